/**
 * The mail data of DATA (RFC 5321 §4.1.1.4): finds its end, removes dot-stuffing (§4.5.2) and watches its line endings
 * (§2.3.8), without copying what it passes on. It must not know of replies or of what becomes of the message.
 */
import { CR, DOT, LF, NUL } from "./bytes.ts";

/** What may not stand in mail data (RFC 5321 §2.3.8, §4.5.2). */
export type DataFault = "bare LF" | "bare CR" | "NUL";

export type DataStep =
  /** A piece of the message; reading goes on at `next`. */
  | { readonly kind: "body"; readonly bytes: Uint8Array; readonly next: number }
  /** The chunk is used up. */
  | { readonly kind: "more" }
  /** The terminating line was read; what follows in the chunk, from `next` on, are commands again. */
  | { readonly kind: "end"; readonly next: number };

export interface DataReader {
  /** Reads on in `chunk` from `at`; call again with `next` until it gives "more" or "end". */
  read(chunk: Uint8Array, at: number): DataStep;
  /** The first fault met so far. */
  readonly fault: DataFault | undefined;
}

const CR_PIECE = Uint8Array.of(CR);
const CRLF_PIECE = Uint8Array.of(CR, LF);
const MORE: DataStep = { kind: "more" };

/** What the end of the previous chunk left undecided. */
type Boundary =
  | "line-start"
  | "in-line"
  /** A CR that was passed on already: LF must follow. */
  | "cr"
  /** A dot at the start of a line, held back. */
  | "dot"
  /** A dot and CR at the start of a line, both held back. */
  | "dot-cr";

/**
 * Only CRLF ends a line and only CRLF.CRLF ends the data. A bare CR, a bare LF or a NUL is remembered as the fault, and the
 * data go on until their true end, so that no disagreement about line ends can turn data into commands.
 */
export class StrictDataReader implements DataReader {
  fault: DataFault | undefined;
  #boundary: Boundary = "line-start";

  read(chunk: Uint8Array, at: number): DataStep {
    if (at >= chunk.length) return MORE;
    switch (this.#boundary) {
      case "dot":
        if (chunk[at] === CR) {
          this.#boundary = "dot-cr";
          return this.read(chunk, at + 1);
        }
        // A stuffed dot is dropped; what follows it is an ordinary part of the line.
        return this.#readLines(chunk, at, false);
      case "dot-cr":
        if (chunk[at] === LF) return { kind: "end", next: at + 1 };
        this.fault ??= "bare CR";
        this.#boundary = "in-line";
        return { kind: "body", bytes: CR_PIECE, next: at };
      case "cr":
        if (chunk[at] !== LF) {
          this.fault ??= "bare CR";
          return this.#readLines(chunk, at, false);
        }
        this.#boundary = "line-start";
        return { kind: "body", bytes: chunk.subarray(at, at + 1), next: at + 1 };
      case "line-start":
        return this.#readLines(chunk, at, true);
      case "in-line":
        return this.#readLines(chunk, at, false);
    }
  }

  /** Goes from line to line until a dot at the start of one, or the end of the chunk. */
  #readLines(chunk: Uint8Array, at: number, startsLine: boolean): DataStep {
    let line = at;
    let lineStart = startsLine;
    for (;;) {
      if (lineStart && chunk[line] === DOT) {
        this.#boundary = "dot";
        return line > at ? this.#piece(chunk, at, line, line + 1) : this.read(chunk, line + 1);
      }
      const lf = chunk.indexOf(LF, line);
      if (lf < 0) return this.#lastLine(chunk, at, line);
      // Only a true CRLF brings the start of a line; a bare LF does not.
      lineStart = lf > line && chunk[lf - 1] === CR;
      this.#watchLine(chunk, line, lf);
      line = lf + 1;
      if (line >= chunk.length) {
        this.#boundary = lineStart ? "line-start" : "in-line";
        return this.#piece(chunk, at, line, line);
      }
    }
  }

  /** One fault is enough: looking on for the next CR of data that have none would cost the square of their length. */
  #watchLine(chunk: Uint8Array, line: number, lf: number): void {
    if (this.fault !== undefined) return;
    const cr = chunk.indexOf(CR, line);
    if (cr < 0 || cr !== lf - 1) this.fault = cr >= 0 && cr < lf ? "bare CR" : "bare LF";
  }

  /** From `line` on the chunk has no line end. */
  #lastLine(chunk: Uint8Array, at: number, line: number): DataStep {
    const last = chunk.length - 1;
    const cr = chunk.indexOf(CR, line);
    if (cr >= 0 && cr < last) this.fault ??= "bare CR";
    this.#boundary = chunk[last] === CR ? "cr" : "in-line";
    return this.#piece(chunk, at, chunk.length, chunk.length);
  }

  #piece(chunk: Uint8Array, from: number, to: number, next: number): DataStep {
    const bytes = chunk.subarray(from, to);
    if (this.fault === undefined && bytes.includes(NUL)) this.fault = "NUL";
    return { kind: "body", bytes, next };
  }
}

/**
 * For old devices: LF ends a line as CRLF does, in the terminating line as well, and every line end is passed on as CRLF. A
 * bare CR is passed on as a line end, but the lines around it never count for dots, so no form of it can end the data.
 */
export class NormalizingDataReader implements DataReader {
  fault: DataFault | undefined;
  #boundary: Boundary = "line-start";

  read(chunk: Uint8Array, at: number): DataStep {
    if (at >= chunk.length) return MORE;
    const byte = chunk[at];
    switch (this.#boundary) {
      case "dot":
        if (byte === LF) return { kind: "end", next: at + 1 };
        if (byte === CR) {
          this.#boundary = "dot-cr";
          return this.read(chunk, at + 1);
        }
        this.#boundary = "in-line";
        return this.#readLine(chunk, at);
      case "dot-cr":
        if (byte === LF) return { kind: "end", next: at + 1 };
        // The dot was stuffing, the CR a line end of its own.
        this.#boundary = "in-line";
        return { kind: "body", bytes: CRLF_PIECE, next: at };
      case "cr":
        if (byte !== LF) {
          this.#boundary = "in-line";
          return { kind: "body", bytes: CRLF_PIECE, next: at };
        }
        this.#boundary = "line-start";
        return { kind: "body", bytes: CRLF_PIECE, next: at + 1 };
      case "line-start":
        if (byte === DOT) {
          this.#boundary = "dot";
          return this.read(chunk, at + 1);
        }
        return this.#readLine(chunk, at);
      case "in-line":
        return this.#readLine(chunk, at);
    }
  }

  /** Up to the next CR or LF, which is left to the next call as a boundary. */
  #readLine(chunk: Uint8Array, at: number): DataStep {
    let end = at;
    while (end < chunk.length && chunk[end] !== LF && chunk[end] !== CR) end++;
    if (end > at) {
      // The line end itself is met again at `end`, with nothing before it.
      this.#boundary = "in-line";
      return this.#piece(chunk.subarray(at, end), end);
    }
    if (chunk[end] === CR) {
      this.#boundary = "cr";
      return this.read(chunk, end + 1);
    }
    this.#boundary = "line-start";
    return { kind: "body", bytes: CRLF_PIECE, next: end + 1 };
  }

  #piece(bytes: Uint8Array, next: number): DataStep {
    if (this.fault === undefined && bytes.includes(NUL)) this.fault = "NUL";
    return { kind: "body", bytes, next };
  }
}
