/**
 * BDAT (RFC 3030 §2): its arguments, and the watch over line endings that holds for text chunks as it does for DATA. It
 * must not know of replies beyond those for malformed arguments.
 */
import { CR, LF, NUL } from "./bytes.ts";
import type { DataFault } from "./data.ts";
import { malformed, type Parsed, parsed } from "./grammar.ts";
import { MAX_SIZE_DIGITS } from "./limits.ts";
import { reply } from "./reply.ts";

export interface Chunk {
  readonly sizeBytes: number;
  readonly last: boolean;
}

/** bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CRLF, end-marker = "LAST" (RFC 3030 §2). */
export function parseChunk(text: string): Parsed<Chunk> {
  const match = /^(\d{1,20})(?: +(LAST))?$/i.exec(text.trim());
  const digits = match?.[1]?.replace(/^0+(?=\d)/, "");
  if (digits === undefined || digits.length > MAX_SIZE_DIGITS) {
    return malformed(reply(501, "5.5.4", "Syntax: BDAT octets [LAST]"), 0);
  }
  return parsed({ sizeBytes: Number(digits), last: match?.[2] !== undefined }, text.length);
}

/** Watches text that arrives in pieces of any length. */
export class LineEndingWatch {
  fault: DataFault | undefined;
  #afterCr = false;

  see(bytes: Uint8Array): void {
    if (this.fault !== undefined || bytes.length === 0) return;
    if (this.#afterCr && bytes[0] !== LF) this.fault = "bare CR";
    else if (bytes.includes(NUL)) this.fault = "NUL";
    else this.fault = this.#lineFault(bytes, this.#afterCr ? 1 : 0);
    this.#afterCr = bytes[bytes.length - 1] === CR;
  }

  /** At the end of the message: a CR that nothing followed is bare as well. */
  end(): void {
    if (this.#afterCr) this.fault ??= "bare CR";
  }

  #lineFault(bytes: Uint8Array, from: number): DataFault | undefined {
    for (let line = from; line < bytes.length;) {
      const lf = bytes.indexOf(LF, line);
      const cr = bytes.indexOf(CR, line);
      if (lf < 0) return cr >= 0 && cr < bytes.length - 1 ? "bare CR" : undefined;
      if (cr < 0 || cr !== lf - 1) return cr >= 0 && cr < lf ? "bare CR" : "bare LF";
      line = lf + 1;
    }
    return undefined;
  }
}
