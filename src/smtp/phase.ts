/**
 * The phases of a server session (RFC 5321 §4.1.4). The transaction and its body live inside the phases in which they may
 * exist, so leaving the phase forgets them whole. It must not know how a session moves between phases.
 */
import type { Chunk, LineEndingWatch } from "./chunking.ts";
import type { DataReader } from "./data.ts";
import type { Reply } from "./reply.ts";
import type { Recipient, Transaction } from "./transaction.ts";

export type Phase =
  | { readonly name: "connecting" }
  /** The client was refused with its greeting and is waited for to say QUIT (RFC 5321 §3.1). */
  | { readonly name: "unwelcome" }
  /** No HELO yet, or none since the handshake. */
  | { readonly name: "fresh" }
  | { readonly name: "ready" }
  | { readonly name: "envelope"; readonly transaction: OpenTransaction }
  | { readonly name: "data"; readonly transaction: Transaction; readonly receipt: Receipt; readonly reader: DataReader }
  /** Between two BDAT commands of one message. */
  | { readonly name: "chunking"; readonly body: ChunkedBody }
  | { readonly name: "chunk"; readonly body: ChunkedBody; readonly chunk: Chunk; remaining: number }
  /** The octets of a BDAT that was refused: they must not be read as commands (RFC 3030 §2). */
  | {
    readonly name: "draining";
    readonly then: Phase;
    readonly refusal: Reply;
    readonly times: number;
    remaining: number;
  }
  | { readonly name: "tls" }
  | { readonly name: "closed"; readonly why: "quit" | "end-of-stream" | "refused" };

/** The one mutable part of a transaction: recipients join it one by one. */
export interface OpenTransaction extends Transaction {
  readonly recipients: Recipient[];
}

export interface ChunkedBody {
  readonly transaction: Transaction;
  readonly receipt: Receipt;
  /** Absent where any octet may come: BINARYMIME. */
  readonly watch: LineEndingWatch | undefined;
}

/** What has been received of a body. */
export class Receipt {
  sizeBytes = 0;
  #refusal: Reply | undefined;

  /** Given in place of the commit question; the rest of the body is read and dropped. */
  get refusal(): Reply | undefined {
    return this.#refusal;
  }

  /** The first refusal stays; true when this was it. */
  refuse(refusal: Reply): boolean {
    if (this.#refusal !== undefined) return false;
    this.#refusal = refusal;
    return true;
  }
}

/** The body being received, if there is one. */
export function receiptOf(phase: Phase): Receipt | undefined {
  switch (phase.name) {
    case "data":
      return phase.receipt;
    case "chunking":
    case "chunk":
      return phase.body.receipt;
    case "draining":
      return receiptOf(phase.then);
    default:
      return undefined;
  }
}

/** Whether a transaction is in progress (RFC 5321 §3.3). */
export function holdsTransaction(phase: Phase): boolean {
  if (phase.name === "draining") return holdsTransaction(phase.then);
  return phase.name === "envelope" || receiptOf(phase) !== undefined;
}
