/**
 * A job as a channel sees it, made from leases: what is stored, with the changes that bindings made. It must not know who
 * attempts it or what becomes of it.
 */
import type { Job, JobRecipient } from "../channel/channel.ts";
import { editedContent, type HeaderEdit } from "../message/edit.ts";
import type { Lease, Spool, StoredMessage } from "../spool/spool.ts";
import type { Work } from "./schedule.ts";

/** A job over leases of one message. A lease has everything a recipient of a job has. */
export class SpooledJob implements Job {
  readonly message: StoredMessage;
  readonly recipients: readonly JobRecipient[];
  readonly #spool: Spool;
  /** The same for all recipients of the job. */
  readonly #edits: readonly HeaderEdit[] | undefined;

  constructor(spool: Spool, work: Work) {
    this.#spool = spool;
    this.recipients = work.pending.slice();
    const { message, delivery } = work.pending[0] as Lease;
    const { reversePath } = delivery;
    this.message = reversePath === undefined ? message : { ...message, envelope: { ...message.envelope, reversePath } };
    this.#edits = delivery.edits;
  }

  content(): AsyncIterable<Uint8Array> {
    const stored = this.#spool.content(this.message.id);
    return this.#edits === undefined ? stored : editedContent(stored, this.#edits);
  }
}
