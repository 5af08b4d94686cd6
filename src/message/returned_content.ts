/**
 * What of a message goes back to its sender in a notification: all of a small one, the header section of others. Holds no
 * more than that, whatever the message is. It must not know why the message goes back.
 */
import { concatBytes, CR, isAscii, latin1Text, LF, NUL, utf8Text } from "../smtp/bytes.ts";
import { HopCounter } from "./header.ts";

/** Enough for a text; more would make a notification a way to send somebody else large mail. */
export const MAX_RETURNED_OCTETS = 64 * 1024;

export interface Returned {
  readonly kind: "message" | "header";
  /** Lines that end with CRLF; of a header, without the empty line behind it. */
  readonly bytes: Uint8Array;
  /** The header section is longer than what is returned of it. */
  readonly isCut: boolean;
  /** The header section is UTF-8 beyond ASCII (RFC 6532). */
  readonly hasUtf8Header: boolean;
}

/** Takes a message from its beginning, as much of it as is wanted. */
export class ReturnedContent {
  readonly #wantsAll: boolean;
  readonly #header = new HopCounter();
  #pieces: Uint8Array[] = [];
  #octets = 0;
  #isCut = false;

  constructor(wants: Returned["kind"]) {
    this.#wantsAll = wants === "message";
  }

  /** No more of the message is needed. */
  get isEnough(): boolean {
    return this.#isCut || (!this.#wantsAll && this.#header.done);
  }

  see(bytes: Uint8Array): void {
    if (this.isEnough) return;
    const room = MAX_RETURNED_OCTETS - this.#octets;
    this.#isCut = bytes.length > room;
    const part = bytes.slice(0, room);
    this.#pieces.push(part);
    this.#octets += part.length;
    this.#header.see(part);
  }

  returned(): Returned {
    const bytes = concatBytes(this.#pieces);
    const end = endOfHeader(bytes);
    const section = bytes.subarray(0, end ?? lastLineEnd(bytes, this.#isCut));
    const hasUtf8Header = isBeyondAscii(section);
    if (this.#wantsAll && !this.#isCut && isText(bytes)) return { kind: "message", bytes, isCut: false, hasUtf8Header };
    const isCut = this.#isCut && end === undefined;
    return { kind: "header", bytes: asText(section), isCut, hasUtf8Header };
  }
}

/** Where the empty line begins; undefined when there is none. */
function endOfHeader(bytes: Uint8Array): number | undefined {
  for (let at = 0;;) {
    const lf = bytes.indexOf(LF, at);
    if (lf < 0) return undefined;
    if (lf === at || (lf === at + 1 && bytes[at] === CR)) return at;
    at = lf + 1;
  }
}

/** Of a section that was cut, half a line is left out. */
function lastLineEnd(bytes: Uint8Array, isCut: boolean): number {
  return isCut ? bytes.lastIndexOf(LF) + 1 : bytes.length;
}

function isBeyondAscii(bytes: Uint8Array): boolean {
  if (bytes.every((byte) => byte < 0x80)) return false;
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += latin1Text(bytes.subarray(at, at + 4096));
  return utf8Text(text) !== undefined && !isAscii(text);
}

/** Whether it can travel as 8-bit text (RFC 2045 §2.8): no NUL, and CR and LF only together. */
function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte, at) => {
    if (byte === LF) return bytes[at - 1] === CR;
    return byte === CR ? bytes[at + 1] === LF : byte !== NUL;
  });
}

/** The same with spaces in place of NUL and of CR and LF that stand alone. */
function asText(bytes: Uint8Array): Uint8Array {
  if (isText(bytes)) return bytes;
  return bytes.map((byte, at) => {
    const isAlone = (byte === LF && bytes[at - 1] !== CR) || (byte === CR && bytes[at + 1] !== LF);
    return isAlone || byte === NUL ? 0x20 : byte;
  });
}
