/**
 * The clock and the timers of both runtimes. Timers never keep the process alive: listening sockets and open
 * connections do. It must not know what is timed.
 */
import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";
import type { Clock } from "./runtime.ts";

/** Longer delays overflow the runtimes' timers, which then fire at once; they are waited for in slices. */
const LONGEST_TIMER_MS = 2_000_000_000;

/** The system's clock. */
export function systemClock(): Clock {
  return {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after,
    every(periodMs, call) {
      const timer = setInterval(call, Math.min(periodMs, LONGEST_TIMER_MS));
      timer.unref();
      return { [Symbol.dispose]: () => clearInterval(timer) };
    },
  };
}

function after(delayMs: number, call: () => void): Disposable {
  let timer: ReturnType<typeof setTimeout>;
  const arm = (restMs: number): void => {
    const sliceMs = Math.min(restMs, LONGEST_TIMER_MS);
    timer = setTimeout(() => restMs > sliceMs ? arm(restMs - sliceMs) : call(), sliceMs);
    timer.unref();
  };
  arm(delayMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
