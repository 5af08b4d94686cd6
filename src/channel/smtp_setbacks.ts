/**
 * Destinations that could not be reached, which are left alone for a while as a whole: the first failure costs a connection
 * attempt, and the messages that wait behind it do not each cost another. It must not know what a destination is.
 */
import type { Clock } from "../runtime/runtime.ts";

const FIRST_MS = 5_000;
const MAX_MS = 5 * 60_000;

/** The oldest are forgotten beyond this. */
const REMEMBERED_MAX = 10_000;

export interface Setback {
  readonly untilMs: number;
  readonly failures: number;
  readonly detail: string;
}

export class Setbacks {
  readonly #clock: Clock;
  /** In the order of their last failure. */
  readonly #known = new Map<string, Setback>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Why and for how long the destination is to be left alone; undefined when it is not. */
  of(key: string): { readonly leftMs: number; readonly detail: string } | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    const leftMs = known.untilMs - this.#clock.monotonicMs();
    return leftMs > 0 ? { leftMs: Math.ceil(leftMs), detail: known.detail } : undefined;
  }

  /** Doubles the time with each failure in a row. Failures of attempts that ran side by side count once. */
  failed(key: string, detail: string): void {
    if (this.of(key) !== undefined) return;
    const failures = (this.#known.get(key)?.failures ?? 0) + 1;
    const delayMs = Math.min(MAX_MS, FIRST_MS * 2 ** (failures - 1));
    this.#known.delete(key);
    this.#known.set(key, { untilMs: this.#clock.monotonicMs() + delayMs, failures, detail });
    if (this.#known.size > REMEMBERED_MAX) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        return;
      }
    }
  }

  succeeded(key: string): void {
    this.#known.delete(key);
  }
}
