/**
 * The policy of the dialogs as the host of a driven session: it keeps what was committed, and answers now at once and now
 * by a promise, so that the driver is seen with both. It must not know over what the session is driven.
 */
import assert from "node:assert/strict";
import type { TlsIdentity, Transport } from "../../src/runtime/runtime.ts";
import type { SessionHost } from "../../src/server/drive.ts";
import { concatBytes } from "../../src/smtp/bytes.ts";
import type { Reply } from "../../src/smtp/reply.ts";
import type { Question, Verdict } from "../../src/smtp/session.ts";
import type { StoredMessage } from "./dialog.ts";
import { envelopeText, isCommitted, type Policy } from "./policy.ts";

export class PolicyHost implements SessionHost {
  readonly stored: StoredMessage[] = [];
  readonly #policy: Policy;
  readonly #identity: TlsIdentity | undefined;
  #draft: Uint8Array[] = [];
  #turn = 0;

  constructor(policy: Policy, identity: TlsIdentity | undefined) {
    this.#policy = policy;
    this.#identity = identity;
  }

  decide(question: Question): Verdict | Promise<Verdict> {
    const verdict = this.#policy.decide(question);
    if (question.kind === "data") this.#draft = [];
    if (question.kind === "commit" && isCommitted(verdict)) {
      this.stored.push({ envelope: envelopeText(question.transaction), body: concatBytes(this.#draft) });
    }
    this.#turn += 1;
    return this.#turn % 2 === 0 ? verdict : Promise.resolve(verdict);
  }

  body(bytes: Uint8Array): Reply | undefined {
    this.#draft.push(bytes.slice());
    return this.#policy.refuseBody();
  }

  abandon(): void {
    this.#draft = [];
  }

  async startTls(transport: Transport, lastPlaintext: Uint8Array): Promise<void> {
    assert.ok(this.#identity !== undefined && transport.startTls !== undefined, "No handshake is possible here");
    await transport.startTls(this.#identity, lastPlaintext);
  }
}
