/**
 * The buffer into which a connection is read: small while the peer is quiet, large while data flows, so that thousands
 * of idle sessions stay cheap and large messages take few reads. It must not know what is read.
 */

const IDLE_BYTES = 512;
/** Takes a small message with its headers in one read. */
const TALK_BYTES = 5 * 1024;
const FLOW_BYTES = 64 * 1024;

/** This many short reads in a row, and the connection counts as quiet again. */
const QUIET_READS = 8;

/** Large buffers go back here when their connection's flow has ended, since making them costs more than a read. */
const spare: Uint8Array[] = [];
const MAX_SPARE = 16;

export class ReadBuffer {
  #bytes: Uint8Array = new Uint8Array(IDLE_BYTES);
  #wantedBytes = IDLE_BYTES;
  #quietReads = 0;

  /** The buffer for the next read. What was read into the last one is no longer valid. */
  next(): Uint8Array {
    if (this.#bytes.length === this.#wantedBytes) return this.#bytes;
    if (this.#bytes.length === FLOW_BYTES && spare.length < MAX_SPARE) spare.push(this.#bytes);
    this.#bytes = (this.#wantedBytes === FLOW_BYTES ? spare.pop() : undefined) ?? new Uint8Array(this.#wantedBytes);
    return this.#bytes;
  }

  /** The part of the buffer that was filled; decides how large the next one is. */
  filled(count: number): Uint8Array {
    const bytes = this.#bytes;
    if (count === bytes.length) {
      this.#wantedBytes = bytes.length === IDLE_BYTES ? TALK_BYTES : FLOW_BYTES;
      this.#quietReads = 0;
    } else if (bytes.length === FLOW_BYTES) {
      // Nothing more was waiting, so the next read may be a long time coming.
      this.#wantedBytes = TALK_BYTES;
    } else if (bytes.length === TALK_BYTES) {
      this.#quietReads = count <= IDLE_BYTES ? this.#quietReads + 1 : 0;
      if (this.#quietReads >= QUIET_READS) this.#wantedBytes = IDLE_BYTES;
    }
    return bytes.subarray(0, count);
  }
}
