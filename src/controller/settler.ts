/**
 * Hands settlements to the spool: everything that finished while the last call was under way shares the next one. A spool
 * that fails is asked again, later and later; a settlement is dropped only when the spool is closed or at the very end,
 * and then the expiry of its lease brings the delivery back. It knows nothing of channels or of schedules.
 */
import type { Clock } from "../runtime/runtime.ts";
import type { Log } from "../observe/log.ts";
import type { Lease, Settlement, Spool } from "../spool/spool.ts";
import { SpoolError } from "../spool/spool.ts";
import { SETTLE_BATCH_MAX, SPOOL_RETRY_FIRST_MS, SPOOL_RETRY_MAX_MS } from "./limits.ts";

/** Microtasks from one outcome of an async generator to the next, and one to spare. */
const OUTCOME_HOPS = 5;

/** Waits as long as outcomes keep coming without a turn of the event loop between them, so that they go together. */
export async function whileComing(count: () => number): Promise<void> {
  for (let seen = 0; seen < count() && seen < SETTLE_BATCH_MAX;) {
    seen = count();
    for (let hop = 0; hop < OUTCOME_HOPS; hop++) await undefined;
  }
}

export interface LeaseSettlement {
  readonly lease: Lease;
  readonly settlement: Settlement;
}

export class Settler {
  readonly #spool: Spool;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #changed: () => void;
  #queue: LeaseSettlement[] = [];
  #inFlight = 0;
  #scheduled = false;
  #failures = 0;
  #again: Disposable | undefined;
  #closed = false;

  /** `changed` is called after each call of the spool, whether it succeeded or not. */
  constructor(spool: Spool, clock: Clock, log: Log, changed: () => void) {
    this.#spool = spool;
    this.#clock = clock;
    this.#log = log;
    this.#changed = changed;
  }

  /** Settlements that the spool has not confirmed yet. */
  get unrecorded(): number {
    return this.#queue.length + this.#inFlight;
  }

  /** Whether the last call of the spool failed. */
  get failing(): boolean {
    return this.#failures > 0;
  }

  add(lease: Lease, settlement: Settlement): void {
    if (this.#closed) return;
    this.#queue.push({ lease, settlement });
    if (this.#scheduled || this.#inFlight > 0 || this.#again !== undefined) return;
    this.#scheduled = true;
    void this.#flushSoon();
  }

  /** Forgets what could not be recorded and says how much that was. */
  close(): number {
    this.#closed = true;
    this.#again?.[Symbol.dispose]();
    this.#again = undefined;
    const lost = this.unrecorded;
    this.#queue = [];
    return lost;
  }

  async #flushSoon(): Promise<void> {
    await whileComing(() => this.#queue.length);
    this.#scheduled = false;
    await this.#flush();
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0 && this.#inFlight === 0) {
      const all = this.#queue;
      const batch = all.length <= SETTLE_BATCH_MAX ? all : all.slice(0, SETTLE_BATCH_MAX);
      this.#queue = all.length <= SETTLE_BATCH_MAX ? [] : all.slice(SETTLE_BATCH_MAX);
      this.#inFlight = batch.length;
      try {
        await this.#spool.settle(batch);
        this.#inFlight = 0;
        if (this.#failures > 0) this.#log.info("spool-recovered", { failures: this.#failures });
        this.#failures = 0;
        this.#changed();
      } catch (error) {
        this.#inFlight = 0;
        this.#failed(batch, error);
        this.#changed();
        return;
      }
    }
  }

  #failed(batch: readonly LeaseSettlement[], error: unknown): void {
    this.#failures++;
    const text = error instanceof Error ? error.message : String(error);
    if (this.#closed || (error instanceof SpoolError && error.code === "closed")) {
      // Nothing can be recorded any more; the leases expire and whoever opens the spool next attempts them again.
      this.#log.error("settle-dropped", { error: text, deliveries: batch.length });
      return;
    }
    this.#queue = batch.concat(this.#queue);
    const delayMs = Math.min(SPOOL_RETRY_FIRST_MS * 2 ** (this.#failures - 1), SPOOL_RETRY_MAX_MS);
    this.#log.error("settle-failed", { error: text, deliveries: this.#queue.length, retryInMs: delayMs });
    this.#again = this.#clock.after(delayMs, () => {
      this.#again = undefined;
      void this.#flush();
    });
  }
}
