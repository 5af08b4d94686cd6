/**
 * The mboxrd format: the separator line, the quoting of lines that look like one, and line ends. Bytes in, bytes out; it
 * must not know of files.
 */
import type { StoredMessage } from "../spool/spool.ts";
import { headerAddress } from "./content.ts";

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x3e;
const FROM = [0x46, 0x72, 0x6f, 0x6d, 0x20] as const;

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;

/** `From sender date` with its line end. Readers find the date behind the first space, so the sender must have none. */
export function separatorLine(message: StoredMessage): string {
  const { reversePath, smtputf8 } = message.envelope;
  const sender = headerAddress(reversePath, smtputf8).replace(/\s/g, "-");
  return `From ${sender === "" ? "MAILER-DAEMON" : sender} ${asctime(message.receivedAtMs)}\n`;
}

/** A moment as C's asctime writes it, in UTC: `Thu Jan  1 00:00:00 1970`. */
export function asctime(atMs: number): string {
  const at = new Date(atMs);
  const time = at.toISOString().slice(11, 19);
  const day = String(at.getUTCDate()).padStart(2, " ");
  return `${DAYS[at.getUTCDay()]} ${MONTHS[at.getUTCMonth()]} ${day} ${time} ${at.getUTCFullYear()}`;
}

/**
 * Turns a message, given in pieces cut anywhere, into an mbox entry's body: CRLF becomes LF, a line of any number of ">"
 * followed by "From " gets one more ">", and the end gets a line end if it lacks one and an empty line.
 *
 * One more ">" reads the same wherever in the run it is put, so it goes behind the run: then a few bytes of a possible
 * "From " are all that must be kept back between two pieces, however long the run is.
 */
export class MboxEncoder {
  /** Bytes of "From " seen behind the quotes at the start of the line; -1 once the line is known to be an ordinary one. */
  #matched = 0;
  /** A CR at the end of the last piece, which may be half of a line end. */
  #carriage = false;
  #lineEmpty = true;

  encode(piece: Uint8Array): Uint8Array {
    // Each five bytes kept as "From " grow by one; what was kept back from the last piece comes on top.
    const out = new Uint8Array(piece.length + Math.ceil(piece.length / FROM.length) + 8);
    let used = 0;
    let at = 0;
    while (at < piece.length) {
      const byte = piece[at] as number;
      if (this.#carriage) {
        this.#carriage = false;
        if (byte !== LF) {
          used = this.#ordinary(out, used);
          out[used++] = CR;
        }
      }
      if (byte === LF) {
        used = this.#ordinary(out, used);
        out[used++] = LF;
        this.#matched = 0;
        this.#lineEmpty = true;
        at++;
      } else if (this.#matched < 0) {
        const end = piece.indexOf(LF, at);
        const stop = end === -1 ? piece.length : end;
        this.#carriage = piece[stop - 1] === CR;
        const text = piece.subarray(at, this.#carriage ? stop - 1 : stop);
        out.set(text, used);
        used += text.length;
        at = stop;
      } else {
        this.#lineEmpty = false;
        used = this.#lineStart(byte, out, used);
        at++;
      }
    }
    return out.subarray(0, used);
  }

  end(): Uint8Array {
    const out = new Uint8Array(8);
    let used = this.#ordinary(out, 0);
    if (this.#carriage) out[used++] = CR;
    if (!this.#lineEmpty) out[used++] = LF;
    out[used++] = LF;
    return out.subarray(0, used);
  }

  /** One byte of a line of which nothing but quotes and perhaps a part of "From " was seen. */
  #lineStart(byte: number, out: Uint8Array, start: number): number {
    let used = start;
    if (byte === QUOTE && this.#matched === 0) {
      out[used++] = byte;
      return used;
    }
    if (byte === FROM[this.#matched]) {
      this.#matched++;
      if (this.#matched < FROM.length) return used;
      out[used++] = QUOTE;
      return this.#ordinary(out, used);
    }
    used = this.#ordinary(out, used);
    if (byte === CR) this.#carriage = true;
    else out[used++] = byte;
    return used;
  }

  /** Writes what was kept back; the rest of the line is copied as it is. */
  #ordinary(out: Uint8Array, start: number): number {
    let used = start;
    for (let index = 0; index < this.#matched; index++) out[used++] = FROM[index] as number;
    this.#matched = -1;
    return used;
  }
}
