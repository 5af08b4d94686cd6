/**
 * Time limits of many sessions with one coarse ticker: setting a limit is storing a number, so it costs nothing on the hot
 * path, and idle sessions have no timer of their own. It must not know what a session is.
 */
import type { Clock } from "../runtime/runtime.ts";

/** Limits are met to within this. */
export const TICK_MS = 250;

export interface Watch extends Disposable {
  /** The current step must end within this time; Infinity when it has no limit of its own. */
  within(timeoutMs: number): void;
}

interface Watched {
  stepEndsMs: number;
  readonly allEndsMs: number;
  readonly expire: (which: "step" | "all") => void;
}

export class Deadlines implements Disposable {
  readonly #clock: Clock;
  readonly #watched = new Set<Watched>();
  readonly #ticker: Disposable;
  #nowMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#nowMs = clock.monotonicMs();
    this.#ticker = clock.every(TICK_MS, () => this.#tick());
  }

  /**
   * `expire` is called when a limit has passed, and again at each tick until the watch is disposed: what did not end by
   * being asked may need more.
   */
  watch(totalMs: number, expire: (which: "step" | "all") => void): Watch {
    const watched: Watched = { stepEndsMs: Infinity, allEndsMs: this.#clock.monotonicMs() + totalMs, expire };
    this.#watched.add(watched);
    return {
      within: (timeoutMs) => {
        watched.stepEndsMs = this.#nowMs + timeoutMs;
      },
      [Symbol.dispose]: () => {
        this.#watched.delete(watched);
      },
    };
  }

  /** Sessions being watched: zero again when all have ended. */
  get size(): number {
    return this.#watched.size;
  }

  [Symbol.dispose](): void {
    this.#ticker[Symbol.dispose]();
  }

  #tick(): void {
    this.#nowMs = this.#clock.monotonicMs();
    for (const watched of this.#watched) {
      if (watched.allEndsMs <= this.#nowMs) watched.expire("all");
      else if (watched.stepEndsMs <= this.#nowMs) watched.expire("step");
    }
  }
}
