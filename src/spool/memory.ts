// deno-lint-ignore-file require-await -- the contract is asynchronous, and a thrown error must become a rejection.
/**
 * The spool of a process that need not survive: tests, `serve --capture`, a channel run once. Same contract as the durable
 * stores but for durability; everything is gone with the process.
 */
import type { Log } from "../observe/log.ts";
import type { Clock } from "../runtime/runtime.ts";
import { boundedDetail, listLimit, selector } from "./selection.ts";
import type {
  Attempt,
  Change,
  ChangeOutcome,
  DeliveryState,
  Draft,
  Lease,
  NewDelivery,
  NewMessage,
  QueueEntry,
  Selection,
  Settlement,
  Spool,
  StoredMessage,
  Summary,
} from "./spool.ts";
import { changeable, SpoolError } from "./spool.ts";
import { type Counted, summaryOf } from "./summary.ts";

export interface MemoryOptions {
  /** Bytes of content held at one time; more is refused as "full". Default: 256 MiB. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;

interface StoredDelivery {
  readonly id: number;
  readonly message: Held;
  readonly delivery: NewDelivery;
  state: DeliveryState;
  dueAtMs: number;
  token: string | undefined;
  attempts: number;
  detail: string | undefined;
  readonly history: Attempt[];
}

interface Held {
  readonly stored: StoredMessage;
  readonly content: readonly Uint8Array[];
  readonly deliveries: Map<number, StoredDelivery>;
}

/** A store that lives in this process alone. */
export function openMemorySpool(options: MemoryOptions, clock: Clock, log: Log): Spool {
  return new MemorySpool(options.maxBytes ?? DEFAULT_MAX_BYTES, clock, log);
}

class MemorySpool implements Spool {
  readonly #maxBytes: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #messages = new Map<string, Held>();
  /** In the order of their ids. */
  readonly #deliveries = new Map<number, StoredDelivery>();
  #bytes = 0;
  #lastId = 0;
  #lastToken = 0;
  #closed = false;

  constructor(maxBytes: number, clock: Clock, log: Log) {
    this.#maxBytes = maxBytes;
    this.#clock = clock;
    this.#log = log;
  }

  begin(): Draft {
    return new MemoryDraft({
      take: (sizeBytes) => this.#take(sizeBytes),
      give: (sizeBytes) => void (this.#bytes -= sizeBytes),
      store: (message, content, sizeBytes, claimForMs) => this.#store(message, content, sizeBytes, claimForMs),
    });
  }

  async lease(
    channel: string,
    options: { readonly limit: number; readonly forMs: number; readonly ignoreBackoff?: boolean },
  ): Promise<readonly Lease[]> {
    this.#assertOpen();
    const nowMs = this.#clock.nowMs();
    const due = [...this.#deliveries.values()].filter((delivery) =>
      delivery.delivery.channel === channel &&
      (delivery.state === "queued" && options.ignoreBackoff === true ||
        isWaiting(delivery) && delivery.dueAtMs <= nowMs)
    );
    due.sort((a, b) => a.dueAtMs - b.dueAtMs || a.id - b.id);
    return due.slice(0, Math.max(0, Math.floor(options.limit))).map((each) => this.#lend(each, nowMs + options.forMs));
  }

  async settle(
    settlements: readonly { readonly lease: Lease; readonly settlement: Settlement }[],
  ): Promise<void> {
    this.#assertOpen();
    for (const { lease, settlement } of settlements) {
      const delivery = this.#leased(lease);
      if (delivery === undefined) this.#log.warn("spool.stale_settlement", { delivery: lease.deliveryId });
      else this.#settle(delivery, settlement);
    }
  }

  async renew(leases: readonly Lease[], forMs: number): Promise<void> {
    this.#assertOpen();
    for (const lease of leases) {
      const delivery = this.#leased(lease);
      if (delivery !== undefined) delivery.dueAtMs = this.#clock.nowMs() + forMs;
    }
  }

  async nextDue(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    this.#assertOpen();
    const due = new Map<string, number>();
    for (const each of this.#deliveries.values()) {
      const { channel } = each.delivery;
      if (!isWaiting(each) || !channels.includes(channel)) continue;
      due.set(channel, Math.min(due.get(channel) ?? Infinity, each.dueAtMs));
    }
    return due;
  }

  async *content(messageId: string): AsyncIterable<Uint8Array> {
    this.#assertOpen();
    const held = this.#messages.get(messageId);
    if (held === undefined) {
      throw new SpoolError(`Cannot read message "${messageId}": it is not in the spool any more`, "gone");
    }
    yield* held.content;
  }

  async list(selection: Selection): Promise<readonly QueueEntry[]> {
    this.#assertOpen();
    const limit = listLimit(selection);
    const entries: QueueEntry[] = [];
    for (const entry of this.#selected(selection)) {
      if (entries.length >= limit) break;
      entries.push(entry);
    }
    return entries;
  }

  *#selected(selection: Selection): Generator<QueueEntry> {
    const isSelected = selector(selection);
    for (const each of this.#deliveries.values()) {
      if (each.id <= (selection.afterDeliveryId ?? 0)) continue;
      const entry = this.#toEntry(each);
      if (isSelected(entry)) yield entry;
    }
  }

  async attempts(messageId: string): Promise<readonly Attempt[]> {
    this.#assertOpen();
    const deliveries = [...this.#messages.get(messageId)?.deliveries.values() ?? []];
    return deliveries.flatMap(({ history }) => history).sort((a, b) => a.atMs - b.atMs || a.deliveryId - b.deliveryId);
  }

  async change(deliveryIds: readonly number[], change: Change): Promise<readonly ChangeOutcome[]> {
    this.#assertOpen();
    return deliveryIds.map((id) => {
      const each = this.#deliveries.get(id);
      if (each === undefined) return "gone";
      const { state } = this.#toEntry(each);
      if (state === "leased") return "leased";
      if (!changeable[change.kind].includes(state)) return "unsuitable";
      this.#change(each, change, state);
      return "changed";
    });
  }

  async summary(selection: Selection): Promise<Summary> {
    this.#assertOpen();
    return summaryOf(
      counted(this.#selected(selection)),
      listLimit(selection),
      (id) => this.#deliveries.get(id)?.message.stored.receivedAtMs ?? 0,
    );
  }

  refusal(): SpoolError | undefined {
    if (this.#closed) return new SpoolError("The spool is closed", "closed");
    return this.#bytes >= this.#maxBytes ? this.#full() : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#messages.clear();
    this.#deliveries.clear();
  }

  #assertOpen(): void {
    if (this.#closed) throw new SpoolError("The spool is closed", "closed");
  }

  #full(): SpoolError {
    return new SpoolError(
      `The spool in memory is full: it holds ${this.#maxBytes} bytes at most. Deliver what is queued, or use a file`,
      "full",
    );
  }

  #take(sizeBytes: number): void {
    this.#assertOpen();
    if (this.#bytes + sizeBytes > this.#maxBytes) throw this.#full();
    this.#bytes += sizeBytes;
  }

  #store(
    message: NewMessage,
    content: readonly Uint8Array[],
    sizeBytes: number,
    claimForMs: number | undefined,
  ): readonly Lease[] {
    this.#assertOpen();
    const { id, receivedAtMs, envelope } = message;
    if (message.deliveries.length === 0) {
      throw new SpoolError(`Cannot store message "${id}": it has no deliveries`, "broken");
    }
    if (this.#messages.has(id)) {
      throw new SpoolError(`Cannot store message "${id}": the spool has one of that id already`, "broken");
    }
    const nowMs = this.#clock.nowMs();
    const held: Held = { stored: { id, receivedAtMs, sizeBytes, envelope }, content, deliveries: new Map() };
    this.#messages.set(id, held);
    for (const { held: isHeld, ...delivery } of message.deliveries) {
      const each: StoredDelivery = {
        id: ++this.#lastId,
        message: held,
        delivery,
        state: isHeld === true ? "held" : "queued",
        dueAtMs: nowMs,
        token: undefined,
        attempts: 0,
        detail: undefined,
        history: [],
      };
      held.deliveries.set(each.id, each);
      this.#deliveries.set(each.id, each);
    }
    if (claimForMs === undefined) return [];
    const claimed = [...held.deliveries.values()].filter(isWaiting);
    return claimed.map((each) => this.#lend(each, nowMs + claimForMs));
  }

  #lend(each: StoredDelivery, expiresAtMs: number): Lease {
    const token = String(++this.#lastToken);
    each.state = "leased";
    each.dueAtMs = expiresAtMs;
    each.token = token;
    const { id, delivery, attempts, message } = each;
    return { deliveryId: id, token, expiresAtMs, message: message.stored, delivery, attempts };
  }

  #leased(lease: Lease): StoredDelivery | undefined {
    const delivery = this.#deliveries.get(lease.deliveryId);
    return delivery?.token === lease.token ? delivery : undefined;
  }

  #change(each: StoredDelivery, change: Change, state: DeliveryState): void {
    if (change.kind === "remove") return this.#remove(each);
    if (change.kind === "fail") return this.#settle(each, { kind: "failed", detail: change.detail });
    const nowMs = this.#clock.nowMs();
    each.token = undefined;
    each.state = change.kind === "hold" ? "held" : "queued";
    // What is due already keeps its place among the others.
    each.dueAtMs = state === "queued" ? Math.min(each.dueAtMs, nowMs) : nowMs;
  }

  #settle(each: StoredDelivery, settlement: Settlement): void {
    const nowMs = this.#clock.nowMs();
    each.token = undefined;
    switch (settlement.kind) {
      case "done":
        return this.#remove(each);
      case "returned":
        each.state = "queued";
        each.dueAtMs = nowMs;
        return;
      case "retry":
      case "failed": {
        const detail = boundedDetail(settlement.detail);
        each.state = settlement.kind === "retry" ? "queued" : "failed";
        each.dueAtMs = settlement.kind === "retry" ? settlement.dueAtMs : nowMs;
        each.attempts++;
        each.detail = detail;
        each.history.push({ deliveryId: each.id, atMs: nowMs, kind: settlement.kind, detail });
      }
    }
  }

  /** And with its last delivery the message. */
  #remove(each: StoredDelivery): void {
    const { message } = each;
    this.#deliveries.delete(each.id);
    message.deliveries.delete(each.id);
    if (message.deliveries.size > 0) return;
    this.#messages.delete(message.stored.id);
    this.#bytes -= message.stored.sizeBytes;
  }

  #toEntry(each: StoredDelivery): QueueEntry {
    const { id, attempts, dueAtMs, detail, message, delivery } = each;
    const expired = each.state === "leased" && dueAtMs <= this.#clock.nowMs();
    return {
      deliveryId: id,
      state: expired ? "queued" : each.state,
      attempts,
      dueAtMs,
      ...(detail === undefined ? {} : { lastDetail: detail }),
      message: message.stored,
      delivery,
    };
  }
}

function* counted(entries: Iterable<QueueEntry>): Generator<Counted> {
  for (const { deliveryId, state, dueAtMs, delivery } of entries) {
    yield { id: deliveryId, channel: delivery.channel, recipient: delivery.recipient, state, dueAtMs };
  }
}

/** Something is to be done with it, now or later. */
function isWaiting(each: StoredDelivery): boolean {
  return each.state === "queued" || each.state === "leased";
}

/** What a draft needs of its spool. */
interface DraftHost {
  /** Throws `SpoolError` when there is not so much room. */
  take(sizeBytes: number): void;
  give(sizeBytes: number): void;
  store(
    message: NewMessage,
    content: readonly Uint8Array[],
    sizeBytes: number,
    claimForMs: number | undefined,
  ): readonly Lease[];
}

class MemoryDraft implements Draft {
  readonly #host: DraftHost;
  #content: Uint8Array[] = [];
  #sizeBytes = 0;
  #ended = false;

  constructor(host: DraftHost) {
    this.#host = host;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    try {
      this.#assertOpen();
      this.#host.take(bytes.length);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#sizeBytes += bytes.length;
    if (bytes.length > 0) this.#content.push(bytes.slice());
  }

  async commit(message: NewMessage, options: { readonly claimForMs?: number } = {}): Promise<readonly Lease[]> {
    this.#assertOpen();
    this.#ended = true;
    try {
      return this.#host.store(message, this.#content, this.#sizeBytes, options.claimForMs);
    } catch (error) {
      this.#host.give(this.#sizeBytes);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#content = [];
    this.#host.give(this.#sizeBytes);
  }

  #assertOpen(): void {
    if (this.#ended) {
      throw new SpoolError("Cannot write to a message that was already stored or given up", "closed");
    }
  }
}
