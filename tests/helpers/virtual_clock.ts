/**
 * A clock that stands still until a test moves it. Moving it stops at each timer on the way, in order, and lets everything
 * that follows from it settle, so a test of hours takes milliseconds and always runs the same way.
 */
import type { Clock } from "../../src/runtime/runtime.ts";

interface Timer {
  atMs: number;
  readonly order: number;
  readonly periodMs: number | undefined;
  readonly call: () => void;
}

/** Waits until promises and immediates that are already on their way have run. */
export async function settled(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

export class VirtualClock implements Clock {
  readonly #startMs: number;
  #elapsedMs = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  /** Timers not yet called or disposed. */
  get pending(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#startMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, call: () => void): Disposable {
    return this.#add(delayMs, undefined, call);
  }

  every(periodMs: number, call: () => void): Disposable {
    return this.#add(periodMs, periodMs, call);
  }

  /** Moves on by `ms`, calling what becomes due. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#elapsedMs + ms;
    await settled();
    for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      if (next.periodMs === undefined) this.#timers.delete(next);
      else next.atMs += next.periodMs;
      next.call();
      await settled();
    }
    this.#elapsedMs = untilMs;
    await settled();
  }

  /** Moves on until `promise` is settled, at most by `limitMs`, and returns its value. */
  async during<Value>(promise: Promise<Value>, limitMs: number, stepMs = 250): Promise<Value> {
    let done = false;
    const watched = promise.finally(() => done = true);
    watched.catch(() => {});
    for (let passedMs = 0; !done && passedMs <= limitMs; passedMs += stepMs) await this.advance(stepMs);
    if (!done) throw new Error(`Still waiting after ${limitMs} ms of virtual time`);
    return await watched;
  }

  #add(delayMs: number, periodMs: number | undefined, call: () => void): Disposable {
    const timer: Timer = { atMs: this.#elapsedMs + Math.max(0, delayMs), order: this.#order++, periodMs, call };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  #next(untilMs: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue;
      if (first === undefined || timer.atMs < first.atMs || (timer.atMs === first.atMs && timer.order < first.order)) {
        first = timer;
      }
    }
    return first;
  }
}
