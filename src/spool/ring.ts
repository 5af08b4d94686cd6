/**
 * A ring of shared memory through which content goes to another thread without being cloned. Places are given back in the
 * order in which they were taken, because that is the order in which the other thread answers. It knows nothing else of
 * who uses it.
 */

/** Places are taken by one thread only; the other one merely reads them. */
export class Ring {
  readonly memory: SharedArrayBuffer;
  readonly #bytes: Uint8Array;
  #head = 0;
  #used = 0;

  constructor(sizeBytes: number) {
    this.memory = new SharedArrayBuffer(sizeBytes);
    this.#bytes = new Uint8Array(this.memory);
  }

  /** Copies `bytes` in. `taken` is what to give back later; undefined when there is no room just now. */
  put(bytes: Uint8Array): { readonly at: number; readonly size: number; readonly taken: number } | undefined {
    const size = bytes.length;
    const capacity = this.#bytes.length;
    // A place is in one piece; what is left before the end is taken with it.
    const fits = this.#head + size <= capacity;
    const taken = fits ? size : capacity - this.#head + size;
    if (this.#used + taken > capacity) return undefined;
    const at = fits ? this.#head : 0;
    this.#bytes.set(bytes, at);
    this.#head = at + size;
    this.#used += taken;
    return { at, size, taken };
  }

  /** Gives back the oldest `taken` bytes. */
  free(taken: number): void {
    this.#used -= taken;
    if (this.#used === 0) this.#head = 0;
  }
}
