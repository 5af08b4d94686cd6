/**
 * Mail data on its way out with DATA (RFC 5321 §4.1.1.4): dot-stuffing (§4.5.2), and line ends that are CRLF and nothing
 * else (§2.3.8). A bare LF or a bare CR becomes CRLF before dots are looked for, so no disagreement about line ends between
 * us, the server and those behind it can turn data into commands. It must not know where the data come from.
 */
import { CR, DOT, EMPTY, LF, NUL } from "./bytes.ts";

const CRLF = Uint8Array.of(CR, LF);

/** An end of data (RFC 5321 §4.1.1.4) that stands at the start of a line. */
const FINAL_LINE = Uint8Array.of(DOT, CR, LF);

/** `dots`: stuffed, and ended by a line of one dot; without: for BDAT, which counts octets in place of both. */
export class DataWriter {
  readonly #dots: boolean;
  /** A NUL was among the data: they may not be sent on as text (RFC 5321 §4.5.2). */
  hasNul = false;
  #atLineStart = true;
  /** A CR ended the last piece and is held back: what follows decides what it is. */
  #heldCr = false;

  constructor(options: { readonly dots: boolean }) {
    this.#dots = options.dots;
  }

  /** What goes on the wire for the piece: the piece itself when nothing in it needs a change. */
  write(piece: Uint8Array): Uint8Array {
    if (piece.length === 0) return EMPTY;
    this.hasNul ||= piece.includes(NUL);
    const end = piece[piece.length - 1] === CR ? piece.length - 1 : piece.length;
    if (!this.#heldCr && this.#isClean(piece, end)) {
      this.#heldCr = end < piece.length;
      if (end > 0) this.#atLineStart = piece[end - 1] === LF;
      return end === piece.length ? piece : piece.subarray(0, end);
    }
    return this.#rewrite(piece, end);
  }

  /** The end of the last line, when it has none, and the end of the data. */
  end(): Uint8Array {
    const open = this.#heldCr || !this.#atLineStart;
    this.#heldCr = false;
    this.#atLineStart = true;
    if (!this.#dots) return open ? CRLF : EMPTY;
    if (!open) return FINAL_LINE;
    const bytes = new Uint8Array(CRLF.length + FINAL_LINE.length);
    bytes.set(CRLF);
    bytes.set(FINAL_LINE, CRLF.length);
    return bytes;
  }

  /** Whether `piece`, up to `end`, has CRLF for line ends alone and no line that begins with a dot. */
  #isClean(piece: Uint8Array, end: number): boolean {
    let lineStart = this.#atLineStart ? 0 : -1;
    for (let at = 0; at < end;) {
      if (this.#dots && lineStart === at && piece[at] === DOT) return false;
      const lf = piece.indexOf(LF, at);
      const cr = piece.indexOf(CR, at);
      if (lf < 0 || lf >= end) return cr < 0 || cr >= end;
      if (lf === 0 || cr !== lf - 1) return false;
      at = lf + 1;
      lineStart = at;
    }
    return true;
  }

  /** Octet by octet, into the most that can become of them: a dot or a CR more for each. */
  #rewrite(piece: Uint8Array, end: number): Uint8Array {
    const out = new Uint8Array(2 * piece.length + CRLF.length);
    let length = 0;
    let at = 0;
    if (this.#heldCr) {
      out[length++] = CR;
      out[length++] = LF;
      if (piece[0] === LF) at = 1;
      this.#atLineStart = true;
    }
    for (; at < end; at++) {
      const byte = piece[at] as number;
      if (byte === CR || byte === LF) {
        out[length++] = CR;
        out[length++] = LF;
        if (byte === CR && piece[at + 1] === LF) at++;
        this.#atLineStart = true;
        continue;
      }
      if (this.#dots && this.#atLineStart && byte === DOT) out[length++] = DOT;
      out[length++] = byte;
      this.#atLineStart = false;
    }
    // A held CR that the LF of this piece completed may be followed by the piece's own last CR.
    this.#heldCr = end < piece.length;
    return out.subarray(0, length);
  }
}
