/**
 * A token bucket: when the next of so many in a time may go. Pure: the time is given. It must not know what goes.
 */
import type { RateLimit } from "../config/rate_limit.ts";

/** Tokens flow in evenly and gather to a second's worth at most, so that no pause is made up for by a flood. */
export class TokenBucket {
  /** The most that may go at once. */
  readonly burst: number;
  readonly #count: number;
  readonly #periodMs: number;
  /** In parts of a token, `#periodMs` of which are one and `#count` of which flow in each millisecond: whole numbers. */
  #parts: number;
  #atMs = -Infinity;

  constructor({ count, periodMs }: RateLimit) {
    this.#count = count;
    this.#periodMs = periodMs;
    this.burst = Math.max(1, Math.floor(count * 1_000 / periodMs));
    this.#parts = this.burst * periodMs;
  }

  /** How long until `count` may go, or `burst` when that is less; 0: now. */
  waitMs(count: number, nowMs: number): number {
    this.#fill(nowMs);
    const missing = Math.min(count, this.burst) * this.#periodMs - this.#parts;
    return missing <= 0 ? 0 : Math.ceil(missing / this.#count);
  }

  /** `count` go. More than there are is a debt that those who follow wait for. */
  take(count: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#parts -= count * this.#periodMs;
  }

  #fill(nowMs: number): void {
    if (nowMs <= this.#atMs) return;
    this.#parts = Math.min(this.burst * this.#periodMs, this.#parts + (nowMs - this.#atMs) * this.#count);
    this.#atMs = nowMs;
  }
}
