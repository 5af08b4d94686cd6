/**
 * A spool in memory that watches its user: it remembers every settlement of every lease, can be told to fail, and can be
 * asked what is left. It keeps no content beyond one text for all messages.
 */
import type { Draft, Lease, NewDelivery, QueueEntry, Settlement, Spool, StoredMessage } from "../../src/spool/spool.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import type { Clock } from "../../src/runtime/runtime.ts";

export interface Entry {
  readonly deliveryId: number;
  readonly message: StoredMessage;
  readonly delivery: NewDelivery;
  state: "queued" | "leased" | "done" | "failed";
  dueAtMs: number;
  attempts: number;
  token: string;
  detail: string;
}

export class WatchingSpool implements Spool {
  readonly entries = new Map<number, Entry>();
  /** Settlements per lease token, stale ones included. */
  readonly settlements = new Map<string, Settlement[]>();
  /** Every lease that was given out. */
  readonly tokens = new Set<string>();
  /** Sizes of the batches given to `settle`. */
  readonly batches: number[] = [];
  /** Arguments of each call of `lease`. */
  readonly asked: { readonly channel: string; readonly limit: number }[] = [];
  stale = 0;
  renewals = 0;
  /** Calls of these that still fail. */
  readonly failing = { lease: 0, settle: 0, renew: 0, nextDue: 0 };
  readonly #clock: Clock;
  #lastId = 0;
  #lastToken = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Stores a message; the deliveries come back leased when `claimForMs` is given. */
  add(
    messageId: string,
    deliveries: readonly (readonly [recipient: string, channel: string])[],
    claimForMs?: number,
  ): readonly Lease[] {
    const nowMs = this.#clock.nowMs();
    const message: StoredMessage = {
      id: messageId,
      receivedAtMs: nowMs,
      sizeBytes: 5,
      envelope: {
        reversePath: "sender@example.com",
        body: "7bit",
        smtputf8: false,
        origin: { session: `session-of-${messageId}`, listener: "in", address: "", helo: "client", protocol: "ESMTP" },
      },
    };
    const entries = deliveries.map(([recipient, channel]): Entry => {
      const entry: Entry = {
        deliveryId: ++this.#lastId,
        message,
        delivery: { recipient, channel, binding: "test" },
        state: "queued",
        dueAtMs: nowMs,
        attempts: 0,
        token: "",
        detail: "",
      };
      this.entries.set(entry.deliveryId, entry);
      return entry;
    });
    return claimForMs === undefined ? [] : entries.map((entry) => this.#leaseOf(entry, claimForMs));
  }

  count(state: Entry["state"]): number {
    return [...this.entries.values()].filter((entry) => entry.state === state).length;
  }

  async lease(
    channel: string,
    options: { readonly limit: number; readonly forMs: number },
  ): Promise<readonly Lease[]> {
    await this.#fail("lease");
    this.asked.push({ channel, limit: options.limit });
    return this.#due(channel).slice(0, options.limit).map((entry) => this.#leaseOf(entry, options.forMs));
  }

  async settle(batch: readonly { readonly lease: Lease; readonly settlement: Settlement }[]): Promise<void> {
    await this.#fail("settle");
    this.batches.push(batch.length);
    for (const { lease, settlement } of batch) {
      const known = this.settlements.get(lease.token);
      if (known === undefined) this.settlements.set(lease.token, [settlement]);
      else known.push(settlement);
      const entry = this.entries.get(lease.deliveryId);
      if (entry === undefined || entry.state !== "leased" || entry.token !== lease.token) {
        this.stale++;
        continue;
      }
      if (settlement.kind !== "returned") entry.detail = settlement.detail;
      if (settlement.kind === "done" || settlement.kind === "failed") entry.state = settlement.kind;
      else {
        entry.state = "queued";
        entry.dueAtMs = settlement.kind === "retry" ? settlement.dueAtMs : this.#clock.nowMs();
        if (settlement.kind === "retry") entry.attempts++;
      }
    }
  }

  async renew(leases: readonly Lease[], forMs: number): Promise<void> {
    await this.#fail("renew");
    this.renewals++;
    for (const lease of leases) {
      const entry = this.entries.get(lease.deliveryId);
      if (entry?.state === "leased" && entry.token === lease.token) entry.dueAtMs = this.#clock.nowMs() + forMs;
    }
  }

  async nextDue(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    await this.#fail("nextDue");
    const due = new Map<string, number>();
    for (const { delivery, state, dueAtMs } of this.entries.values()) {
      if (!channels.includes(delivery.channel) || (state !== "queued" && state !== "leased")) continue;
      due.set(delivery.channel, Math.min(dueAtMs, due.get(delivery.channel) ?? Infinity));
    }
    return due;
  }

  async *content(_messageId: string): AsyncIterable<Uint8Array> {
    yield await Promise.resolve(new TextEncoder().encode("Hi!\r\n"));
  }

  begin(): Draft {
    throw new Error("Not part of this spool");
  }

  list(): Promise<readonly QueueEntry[]> {
    throw new Error("Not part of this spool");
  }

  attempts(): Promise<readonly never[]> {
    throw new Error("Not part of this spool");
  }

  change(): Promise<readonly never[]> {
    throw new Error("Not part of this spool");
  }

  summary(): Promise<never> {
    throw new Error("Not part of this spool");
  }

  refusal(): undefined {}

  async [Symbol.asyncDispose](): Promise<void> {}

  /** The answer always takes a turn of the event loop, as it does when a worker or a server gives it. */
  async #fail(call: keyof WatchingSpool["failing"]): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (this.failing[call] === 0) return;
    this.failing[call]--;
    throw new SpoolError(`Cannot ${call}: told to fail`, "broken");
  }

  #due(channel: string): readonly Entry[] {
    const nowMs = this.#clock.nowMs();
    return [...this.entries.values()]
      .filter((entry) =>
        entry.delivery.channel === channel && entry.dueAtMs <= nowMs &&
        (entry.state === "queued" || entry.state === "leased")
      )
      .sort((one, other) => one.dueAtMs - other.dueAtMs || one.deliveryId - other.deliveryId);
  }

  #leaseOf(entry: Entry, forMs: number): Lease {
    // A lease that expired without being settled counts as a failed attempt of whoever had it.
    if (entry.state === "leased") entry.attempts++;
    entry.state = "leased";
    entry.token = `token-${++this.#lastToken}`;
    entry.dueAtMs = this.#clock.nowMs() + forMs;
    this.tokens.add(entry.token);
    const { deliveryId, token, message, delivery, attempts } = entry;
    return { deliveryId, token, expiresAtMs: entry.dueAtMs, message, delivery, attempts };
  }
}
