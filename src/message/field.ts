/**
 * Header fields as people read them: the header section of a stream collected up to a bound, and its fields unfolded
 * (RFC 5322 §2.2.3) and decoded (RFC 2047). It must not know what fields mean.
 */
import { concatBytes, LF } from "../smtp/bytes.ts";
import { type CharsetDecoder, decodeWords } from "./encoded_word.ts";

/** Far beyond what honest mail has; more is not held for anybody. */
export const MAX_COLLECTED_OCTETS = 256 * 1024;

export interface Field {
  /** In lower case. */
  readonly name: string;
  readonly value: string;
}

/** Copies the header section of a message as it streams by. */
export class FieldCollector {
  #pieces: Uint8Array[] = [];
  #octets = 0;
  /** Octets of the current line so far, its CR included. */
  #lineOctets = 0;
  #state: "header" | "body" | "too large" = "header";

  /** The section was larger than the bound: nothing of it is known. */
  get tooLarge(): boolean {
    return this.#state === "too large";
  }

  see(bytes: Uint8Array): void {
    if (this.#state !== "header") return;
    const end = this.#endOfHeader(bytes);
    const part = end < 0 ? bytes : bytes.subarray(0, end);
    this.#octets += part.length;
    if (this.#octets > MAX_COLLECTED_OCTETS) {
      this.#state = "too large";
      this.#pieces = [];
      return;
    }
    this.#pieces.push(part.slice());
    if (end >= 0) this.#state = "body";
  }

  /** What was collected, in order. */
  fields(decode: CharsetDecoder): readonly Field[] {
    return parseFields(decode("utf-8", concatBytes(this.#pieces)) ?? "", decode);
  }

  /** Where the empty line begins, or -1. */
  #endOfHeader(bytes: Uint8Array): number {
    for (let at = 0;;) {
      const lf = bytes.indexOf(LF, at);
      if (lf < 0) {
        this.#lineOctets += bytes.length - at;
        return -1;
      }
      if (this.#lineOctets + lf - at <= 1) return at;
      this.#lineOctets = 0;
      at = lf + 1;
    }
  }
}

function parseFields(text: string, decode: CharsetDecoder): readonly Field[] {
  const fields: Field[] = [];
  for (const lines of text.split(/\r?\n(?![ \t])/u)) {
    const match = /^([!-9;-~]+)[ \t]*:([^]*)$/u.exec(lines);
    if (match === null) continue;
    const value = decodeWords((match[2] ?? "").replace(/\r?\n(?=[ \t])/gu, "").trim(), decode);
    fields.push({ name: (match[1] ?? "").toLowerCase(), value });
  }
  return fields;
}
