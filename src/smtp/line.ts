/**
 * Command lines out of a byte stream (RFC 5321 §2.3.8): keeps the part of a line that has arrived, within a bound, and
 * nothing else. It must not know what a line says.
 */
import { concatBytes, CR, EMPTY, LF, NUL } from "./bytes.ts";

export type LineStep =
  /** A line without its end. */
  | { readonly kind: "line"; readonly bytes: Uint8Array; readonly next: number }
  /** A line that cannot be a command; it was read to its end. */
  | { readonly kind: "bad"; readonly fault: "too long" | "bare LF" | "bare CR" | "NUL"; readonly next: number }
  /** The chunk is used up. */
  | { readonly kind: "more" };

const MORE: LineStep = { kind: "more" };

export class LineReader {
  readonly #maxOctets: number;
  readonly #bareLfEndsLine: boolean;
  /** The beginning of a line, copied, since the chunk it came in is gone. */
  #held: Uint8Array = EMPTY;
  /** The line is longer than any command: its octets are dropped until it ends. */
  #overflow = false;
  #lastWasCr = false;
  /** A bare LF came since the last CRLF: what follows, up to and with the next CRLF, belongs to a line already refused. */
  #refused = false;

  constructor(options: { readonly maxOctets: number; readonly bareLfEndsLine: boolean }) {
    this.#maxOctets = options.maxOctets;
    this.#bareLfEndsLine = options.bareLfEndsLine;
  }

  /**
   * A bare LF gives a "bad" line at once, so that a client which knows no better is told and not left waiting; but nothing is
   * read as a command again before a true CRLF, so that no command can hide behind a bare LF.
   */
  read(chunk: Uint8Array, at: number): LineStep {
    const lf = chunk.indexOf(LF, at);
    if (lf < 0) return this.#hold(chunk, at);
    const afterCr = lf > at ? chunk[lf - 1] === CR : this.#lastWasCr;
    if (afterCr || this.#bareLfEndsLine) return this.#complete(chunk, at, lf, afterCr);
    this.clear();
    this.#refused = true;
    return { kind: "bad", fault: "bare LF", next: lf + 1 };
  }

  /** Forgets a line that has only begun. */
  clear(): void {
    this.#held = EMPTY;
    this.#overflow = false;
    this.#lastWasCr = false;
    this.#refused = false;
  }

  #hold(chunk: Uint8Array, at: number): LineStep {
    if (at >= chunk.length) return MORE;
    this.#lastWasCr = chunk[chunk.length - 1] === CR;
    const octets = this.#held.length + chunk.length - at;
    if (this.#overflow || octets > this.#maxOctets) {
      this.#overflow = true;
      this.#held = EMPTY;
    } else this.#held = this.#held.length === 0 ? chunk.slice(at) : concatBytes([this.#held, chunk.subarray(at)]);
    return MORE;
  }

  #complete(chunk: Uint8Array, at: number, lf: number, afterCr: boolean): LineStep {
    const next = lf + 1;
    const refused = this.#refused;
    const tooLong = this.#overflow || this.#held.length + next - at > this.#maxOctets;
    let line = chunk.subarray(at, lf);
    if (this.#held.length > 0) line = concatBytes([this.#held, line]);
    this.clear();
    if (refused) return { kind: "bad", fault: "bare LF", next };
    if (tooLong) return { kind: "bad", fault: "too long", next };
    const bytes = afterCr ? line.subarray(0, line.length - 1) : line;
    const fault = bytes.includes(CR) ? "bare CR" : bytes.includes(NUL) ? "NUL" : undefined;
    return fault === undefined ? { kind: "line", bytes, next } : { kind: "bad", fault, next };
  }
}
