/**
 * The content of a job for requests: whole when it may be kept, in pieces when it may not. A large message is read once to
 * learn its exact length and to sign it, and once more to send it, so that memory stays flat. This file must not know where
 * it goes.
 */
import type { HttpBody } from "../../runtime/runtime.ts";
import type { Job } from "../channel.ts";
import { deliveryFields } from "../content.ts";
import type { Dispatch } from "./payload.ts";
import type { Signature } from "./signature.ts";

/** Up to this a message is kept for all recipients. */
const KEEP_BYTES = 256 * 1_024;

/** The content in one piece; undefined when it has more bytes than that. */
export async function wholeContent(job: Job, maxBytes: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
  // The size is that of the stored content; what bindings add comes on top of it.
  if (job.message.sizeBytes > maxBytes) return undefined;
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const piece of job.content()) {
    signal.throwIfAborted();
    sizeBytes += piece.length;
    if (sizeBytes > maxBytes) return undefined;
    pieces.push(piece.slice());
  }
  return joined(pieces, sizeBytes);
}

/** The message as final delivery has it, for the recipients of one job. */
export class RawContent {
  readonly #job: Job;
  readonly #signal: AbortSignal;
  /** Read and small enough, or not small enough; absent: not read yet. */
  #kept: Promise<Uint8Array | undefined> | undefined;

  constructor(job: Job, signal: AbortSignal) {
    this.#job = job;
    this.#signal = signal;
  }

  /** The body for one recipient. The signature learns what it consists of. */
  async bodyFor({ recipient }: Dispatch, signature: Signature | undefined): Promise<HttpBody> {
    const fields = deliveryFields(this.#job.message, recipient.delivery, "\r\n");
    const kept = await (this.#kept ??= wholeContent(this.#job, KEEP_BYTES, this.#signal));
    if (kept !== undefined) {
      const whole = joined([fields, kept], fields.length + kept.length);
      signature?.update(whole);
      return { sizeBytes: whole.length, pieces: () => [whole] };
    }
    signature?.update(fields);
    let sizeBytes = fields.length;
    for await (const piece of this.#job.content()) {
      this.#signal.throwIfAborted();
      sizeBytes += piece.length;
      signature?.update(piece);
    }
    return { sizeBytes, pieces: () => this.#pieces(fields) };
  }

  async *#pieces(fields: Uint8Array): AsyncIterable<Uint8Array> {
    yield fields;
    for await (const piece of this.#job.content()) {
      this.#signal.throwIfAborted();
      yield piece;
    }
  }
}

function joined(pieces: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const whole = new Uint8Array(sizeBytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
