/**
 * One transaction of a client session on its way: which recipients are decided and how, and in which form the content goes
 * out. It must not know when commands are sent or replies come.
 */
import { concatBytes, EMPTY } from "./bytes.ts";
import type { OutgoingTransaction, RecipientResult, TransactionResult } from "./client_session.ts";
import { DataWriter } from "./data_writer.ts";
import { CHUNK_OCTETS } from "./limits.ts";

export class Outgoing {
  readonly transaction: OutgoingTransaction;
  readonly #results: (RecipientResult | undefined)[];
  /** Indexes of recipients that the server took, in order. */
  readonly accepted: number[] = [];
  /** The server has said something on it. */
  heard = false;
  /** The end of the data was given out. */
  ended = false;
  /** Replies that still come change nothing any more. */
  refused = false;

  constructor(transaction: OutgoingTransaction) {
    this.transaction = transaction;
    this.#results = transaction.recipients.map(() => undefined);
  }

  settle(index: number, result: RecipientResult): void {
    this.#results[index] ??= result;
  }

  settleAll(result: RecipientResult): void {
    for (let index = 0; index < this.#results.length; index++) this.settle(index, result);
  }

  isOpen(index: number): boolean {
    return this.#results[index] === undefined;
  }

  get isDecided(): boolean {
    return !this.#results.includes(undefined);
  }

  result(unheard: boolean): TransactionResult {
    const undecided: RecipientResult = { kind: "deferred", detail: "Nothing was said on the recipient" };
    return { recipients: this.#results.map((result) => result ?? undecided), unheard };
  }
}

/** The content in the form in which it goes out. */
export interface BodyWriter {
  /** Text with a NUL in it, which may go out neither way (RFC 5321 §4.5.2). */
  readonly hasNul: boolean;
  write(piece: Uint8Array): readonly BodyPiece[];
  end(): readonly BodyPiece[];
}

export interface BodyPiece {
  readonly bytes: Uint8Array;
  /** A reply follows: it is a chunk. */
  readonly isChunk: boolean;
}

/** For DATA. */
export class DataBody implements BodyWriter {
  readonly #writer = new DataWriter({ dots: true });

  get hasNul(): boolean {
    return this.#writer.hasNul;
  }

  write(piece: Uint8Array): readonly BodyPiece[] {
    return [{ bytes: this.#writer.write(piece), isChunk: false }];
  }

  end(): readonly BodyPiece[] {
    return [{ bytes: this.#writer.end(), isChunk: false }];
  }
}

/** For BDAT (RFC 3030 §2): in chunks of one size, the last one with what remains. */
export class ChunkedBody implements BodyWriter {
  /** Absent: binary content goes out as it is. */
  readonly #writer: DataWriter | undefined;
  #held: Uint8Array[] = [];
  #octets = 0;

  constructor(options: { readonly binary: boolean }) {
    this.#writer = options.binary ? undefined : new DataWriter({ dots: false });
  }

  get hasNul(): boolean {
    return this.#writer?.hasNul ?? false;
  }

  write(piece: Uint8Array): readonly BodyPiece[] {
    let rest = this.#writer?.write(piece) ?? piece;
    const chunks: BodyPiece[] = [];
    while (this.#octets + rest.length > CHUNK_OCTETS) {
      const room = CHUNK_OCTETS - this.#octets;
      this.#hold(rest.subarray(0, room));
      rest = rest.subarray(room);
      chunks.push(this.#chunk(false));
    }
    this.#hold(rest);
    return chunks;
  }

  end(): readonly BodyPiece[] {
    // Two octets at most: a chunk may be that much longer.
    this.#hold(this.#writer?.end() ?? EMPTY);
    return [this.#chunk(true)];
  }

  #hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // The piece belongs to whoever gave it, and will be used again.
    this.#held.push(bytes.slice());
    this.#octets += bytes.length;
  }

  #chunk(last: boolean): BodyPiece {
    const text = `BDAT ${this.#octets}${last ? " LAST" : ""}\r\n`;
    const command = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const bytes = concatBytes([command, ...this.#held]);
    this.#held = [];
    this.#octets = 0;
    return { bytes, isChunk: true };
  }
}
