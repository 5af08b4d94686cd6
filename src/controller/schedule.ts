/**
 * What each channel is doing and when the spool is to be asked for it next: running jobs, waiting jobs, free slots. Plain
 * bookkeeping without I/O or promises; the controller acts on what it says.
 */
import type { Channel } from "../channel/channel.ts";
import type { ChannelConfig } from "../config/config.ts";
import type { Lease } from "../spool/spool.ts";
import type { Question } from "./inquiry.ts";
import { TokenBucket } from "./rate.ts";
import {
  AHEAD_MAX,
  AHEAD_MIN,
  JOB_MAX_RECIPIENTS,
  LOOK_AGAIN_MS,
  SPOOL_RETRY_FIRST_MS,
  SPOOL_RETRY_MAX_MS,
  WAITING_MAX,
} from "./limits.ts";

/** Places already consumed in front of the waiting jobs before the array is moved up. */
const COMPACT_AT = 1_024;

/** Leases of one message for one channel that are attempted together. */
export interface Work {
  readonly lane: Lane;
  readonly messageId: string;
  /** Not settled yet; a lease leaves as soon as its outcome is known. */
  readonly pending: Lease[];
  /** By the spool's clock; moved by renewals. */
  expiresAtMs: number;
  /** When a client waits for what the channel says; then there is one lease, which is kept by who asks. */
  readonly question?: Question;
}

/** Leases that stay with us for as long as their time is extended. */
export type Renewable = Pick<Work, "pending" | "expiresAtMs">;

/** One attempt under way. */
export interface Run {
  readonly work: Work;
  readonly abort: AbortController;
  /** By the monotonic clock: when to abort, and after that, when to stop waiting for the channel. */
  deadlineMs: number;
  abortedFor: "timeout" | "stop" | undefined;
  over: boolean;
}

/** One channel and its work. */
export class Lane {
  readonly name: string;
  readonly config: ChannelConfig;
  readonly channel: Channel;
  /** What the channel's rate limit lets through; absent: everything. */
  readonly bucket: TokenBucket | undefined;
  /** Recipients of one job. */
  readonly jobMaxRecipients: number;
  /** Jobs in attempt. A slot is a job: all recipients that are attempted together count as one. */
  running = 0;
  /** Jobs that wait for a slot, oldest first; consumed from `#head` so that taking one costs the same at any length. */
  #waiting: Work[] = [];
  #head = 0;
  #waitingDeliveries = 0;
  /** When something may be due in the spool, as far as we know. Infinity: nothing known, until the next look. */
  dueAtMs = 0;
  /** Not before this, whatever is due: something looked due and was not, or the spool failed. */
  #notBeforeMs = 0;
  /** A call of the spool for this channel is under way. */
  asking = false;
  /** How many deliveries may be taken beyond the free slots. */
  #ahead = AHEAD_MIN;
  #filledAtMs = 0;
  #failures = 0;

  constructor(name: string, config: ChannelConfig, channel: Channel) {
    this.name = name;
    this.config = config;
    this.channel = channel;
    this.bucket = config.rateLimit === undefined ? undefined : new TokenBucket(config.rateLimit);
    this.jobMaxRecipients = Math.min(JOB_MAX_RECIPIENTS, this.bucket?.burst ?? JOB_MAX_RECIPIENTS);
  }

  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  get waitingDeliveries(): number {
    return this.#waitingDeliveries;
  }

  get free(): number {
    return Math.max(0, this.config.maxConcurrency - this.running);
  }

  /** Whether deliveries claimed now would be attempted at once or soon. */
  get open(): boolean {
    return this.#waitingDeliveries < WAITING_MAX;
  }

  push(work: Work): void {
    this.#waiting.push(work);
    this.#waitingDeliveries += work.pending.length;
  }

  /** Before everything that nobody waits for, behind other questions. */
  pushQuestion(work: Work): void {
    let at = this.#head;
    while (this.#waiting[at]?.question !== undefined) at++;
    this.#waiting.splice(at, 0, work);
    this.#waitingDeliveries += work.pending.length;
  }

  /** The next waiting job, when there is one and a slot for it. */
  get next(): Work | undefined {
    return this.running >= this.config.maxConcurrency ? undefined : this.#waiting[this.#head];
  }

  /** Takes `next`, and the slot with it. */
  take(): Work | undefined {
    const work = this.next;
    if (work === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#head = 0;
    } else if (this.#head >= COMPACT_AT) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    this.#waitingDeliveries -= work.pending.length;
    this.running++;
    return work;
  }

  /** Takes everything that waits away, or only what `which` picks. */
  drain(which: (work: Work) => boolean = () => true): readonly Work[] {
    const drained: Work[] = [];
    const kept: Work[] = [];
    this.eachWaiting((work) => void (which(work) ? drained : kept).push(work));
    this.#waiting = kept;
    this.#head = 0;
    for (const work of drained) this.#waitingDeliveries -= work.pending.length;
    return drained;
  }

  eachWaiting(call: (work: Work) => void): void {
    for (let index = this.#head; index < this.#waiting.length; index++) call(this.#waiting[index] as Work);
  }

  /** How many deliveries to lease now; 0 when it is not the time. */
  wanted(nowMs: number): number {
    if (this.asking || nowMs < this.askAtMs) return 0;
    const room = this.free + this.#ahead - this.#waitingDeliveries;
    // Asking for a few at a time would cost a transaction each, so there is room for half of the wish at least.
    return this.waiting > 0 && room < (this.free + this.#ahead) / 2 ? 0 : Math.max(0, room);
  }

  /** When the spool is worth asking again, if there is room then. */
  get askAtMs(): number {
    return Math.max(this.dueAtMs, this.#notBeforeMs);
  }

  /** Something became due at that moment. */
  due(atMs: number): void {
    if (atMs < this.dueAtMs) this.dueAtMs = atMs;
  }

  /** New work is known to be there: the pause after a disappointing look is over, a pause after a failure is not. */
  nudge(nowMs: number): void {
    this.due(nowMs);
    if (this.#failures === 0) this.#notBeforeMs = 0;
  }

  /** A call of the spool begins. What becomes due while it is under way stays noted, since the answer may not know of it. */
  ask(): void {
    this.asking = true;
    this.dueAtMs = Infinity;
  }

  /** The spool gave `got` of `asked` deliveries. */
  leased(asked: number, got: number, nowMs: number): void {
    this.asking = false;
    this.#failures = 0;
    if (got >= asked) {
      // There is more. A channel that used up the last filling within a second gets twice as much ahead, a slow one less,
      // because what waits here is out of reach for other processes on the same spool.
      const tookMs = nowMs - this.#filledAtMs;
      if (tookMs < 1_000) this.#ahead = Math.min(this.#ahead * 2, AHEAD_MAX);
      else if (tookMs > 5_000) this.#ahead = Math.max(Math.floor(this.#ahead / 2), AHEAD_MIN);
      this.#filledAtMs = nowMs;
      this.dueAtMs = nowMs;
      return;
    }
    this.#notBeforeMs = nowMs + LOOK_AGAIN_MS;
  }

  /** The spool failed. Returns the wait before the next try. */
  failed(nowMs: number): number {
    this.asking = false;
    const delayMs = Math.min(SPOOL_RETRY_FIRST_MS * 2 ** this.#failures, SPOOL_RETRY_MAX_MS);
    this.#failures++;
    this.dueAtMs = nowMs;
    this.#notBeforeMs = nowMs + delayMs;
    return delayMs;
  }
}

/** Groups leases of one channel by message and changes to it, in order, into jobs of a bounded number of recipients. */
export function groupLeases(lane: Lane, leases: readonly Lease[]): readonly Work[] {
  const works: Work[] = [];
  const open = new Map<string, Work>();
  for (const lease of leases) {
    const key = contentKey(lease);
    const work = open.get(key);
    if (work !== undefined && work.pending.length < lane.jobMaxRecipients) {
      work.pending.push(lease);
      work.expiresAtMs = Math.min(work.expiresAtMs, lease.expiresAtMs);
      continue;
    }
    const started = soleWork(lane, lease);
    works.push(started);
    open.set(key, started);
  }
  return works;
}

/** Deliveries of one message go together only when bindings changed it in the same way for them. */
function contentKey({ message, delivery }: Lease): string {
  if (delivery.edits === undefined && delivery.reversePath === undefined) return message.id;
  return `${message.id} ${JSON.stringify([delivery.reversePath, delivery.edits])}`;
}

/** A job of one delivery: the usual case, without a detour. */
export function soleWork(lane: Lane, lease: Lease): Work {
  return { lane, messageId: lease.message.id, pending: [lease], expiresAtMs: lease.expiresAtMs };
}
