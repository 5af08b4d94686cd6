/**
 * The header section as it streams by (RFC 5322 §2.1): counts Received fields to find mail loops (RFC 5321 §6.3), holding
 * no more than the first octets of a line. It must not know what becomes of the message.
 */
import { LF } from "../smtp/bytes.ts";

const RECEIVED = "received:";

export class HopCounter {
  /** Received fields seen so far. */
  hops = 0;
  /** The empty line has passed: the rest is body. */
  done = false;
  /** Octets of the current line that match `Received:` so far; -1 once the line is another field. */
  #matched = 0;
  /** Octets of the current line so far, its CR included. */
  #lineOctets = 0;

  see(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.done;) {
      at = this.#matched >= 0 ? this.#match(bytes, at) : at;
      const lf = bytes.indexOf(LF, at);
      if (lf < 0) {
        this.#lineOctets += bytes.length - at;
        return;
      }
      // Nothing but the CR before the LF.
      this.done = this.#lineOctets + lf - at <= 1;
      this.#matched = 0;
      this.#lineOctets = 0;
      at = lf + 1;
    }
  }

  /** Compares on as far as the line still can be a Received field; gives where it stopped. */
  #match(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.#matched >= 0 && this.#matched < RECEIVED.length) {
      const byte = bytes[at] ?? 0;
      if (byte === LF) return at;
      const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
      this.#matched = lower === RECEIVED.charCodeAt(this.#matched) ? this.#matched + 1 : -1;
      this.#lineOctets += 1;
      at += 1;
    }
    if (this.#matched === RECEIVED.length) {
      this.hops += 1;
      this.#matched = -1;
    }
    return at;
  }
}
