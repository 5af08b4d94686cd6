/**
 * One time limit for any number of connections that are being closed: a single timer serves them all, so that closing
 * costs no timer each. It must not know what is closed, only how to end what takes too long.
 */
import { clearTimeout, setTimeout } from "node:timers";

/** How long a connection may take to send its last bytes and to see the peer's end of stream. */
export const LINGER_MS = 5_000;

export class Lingering {
  /** In order of their time limits, because the limit is the same for all. */
  readonly #waiting = new Map<object, { readonly atMs: number; readonly expire: () => void }>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls `expire` after `LINGER_MS` unless `remove` comes first. */
  add(key: object, expire: () => void): void {
    this.#waiting.set(key, { atMs: performance.now() + LINGER_MS, expire });
    this.#arm();
  }

  remove(key: object): void {
    this.#waiting.delete(key);
    if (this.#waiting.size === 0 && this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
  }

  #arm(): void {
    if (this.#timer !== undefined) return;
    for (const { atMs } of this.#waiting.values()) {
      this.#timer = setTimeout(() => this.#sweep(), Math.max(1, atMs - performance.now()));
      this.#timer.unref();
      return;
    }
  }

  #sweep(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    for (const [key, { atMs, expire }] of this.#waiting) {
      if (atMs > nowMs) break;
      this.#waiting.delete(key);
      expire();
    }
    this.#arm();
  }
}
