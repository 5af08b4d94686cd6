/**
 * The job controller: takes leases from the spool or from a commit, attempts them through their channels within each
 * channel's limits, and turns outcomes into settlements. It must not know what a channel does or how the spool stores;
 * when something is due and how long a retry waits is decided in `schedule.ts` and `retry.ts`.
 *
 * Whatever a channel does, each lease that was taken is settled once: as the channel said, as a retry when it said
 * nothing, or as returned when there was no time to attempt it.
 */
import type { Channel, Outcome } from "../channel/channel.ts";
import { oneLine } from "../channel/content.ts";
import type { ChannelConfig } from "../config/config.ts";
import type { Log } from "../observe/log.ts";
import type { Clock, Random } from "../runtime/runtime.ts";
import type { Lease, Spool } from "../spool/spool.ts";
import { Changes } from "./changes.ts";
import { Inquiries, type Rule, withdrawLate } from "./inquiry.ts";
import { SpooledJob } from "./job.ts";
import {
  ABANDON_AFTER_MS,
  LEASE_MS,
  LOOK_EVERY_MS,
  RECORD_GRACE_MS,
  RENEW_BELOW_MS,
  TICK_MS,
  UNRECORDED_MAX,
  WAITING_MAX,
} from "./limits.ts";
import type { Notifications } from "./notification.ts";
import { Notifier } from "./notifier.ts";
import { noticeOf } from "./notify.ts";
import { settlementOf } from "./retry.ts";
import { groupLeases, Lane, soleWork } from "./schedule.ts";
import type { Renewable, Run, Work } from "./schedule.ts";
import { Settler } from "./settler.ts";

export interface ConfiguredChannel {
  readonly config: ChannelConfig;
  readonly channel: Channel;
}

export interface JobControllerOptions {
  readonly spool: Spool;
  /** By name. The controller does not dispose them. */
  readonly channels: ReadonlyMap<string, ConfiguredChannel>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Absent: senders are told nothing, and what is given up is kept. */
  readonly notifications?: Pick<Notifications, "tell">;
}

/** For how long a commit should claim its deliveries for `accept`. */
export const CLAIM_MS = LEASE_MS;

export class JobController {
  /** Names of the channels that decide about a message before it is acknowledged. */
  readonly deciding: ReadonlySet<string>;
  readonly #spool: Spool;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  readonly #lanes = new Map<string, Lane>();
  readonly #names: readonly string[];
  readonly #settler: Settler;
  readonly #notifier: Notifier | undefined;
  readonly #inquiries: Inquiries;
  readonly #runs = new Set<Run>();
  /** Calls of the spool under way that may bring leases. */
  #asking = 0;
  #looking: Promise<void> | undefined;
  #lastLookMs = 0;
  #renewing = false;
  #ticker: Disposable | undefined;
  #wake: Disposable | undefined;
  #wakeAtMs = Infinity;
  #stopping = false;
  #stopped: Promise<void> | undefined;
  readonly #changes = new Changes();

  constructor(options: JobControllerOptions) {
    this.#spool = options.spool;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#log = options.log;
    for (const [name, { config, channel }] of options.channels) this.#lanes.set(name, new Lane(name, config, channel));
    this.#names = [...this.#lanes.keys()];
    this.deciding = new Set(this.#names.filter((name) => this.#lanes.get(name)?.channel.decide !== undefined));
    const changed = () => this.#changes.happened();
    this.#settler = new Settler(options.spool, options.clock, options.log, changed);
    const { notifications } = options;
    this.#notifier = notifications && new Notifier({ ...options, notifications, settler: this.#settler, changed });
    this.#inquiries = new Inquiries(options.spool, options.clock, options.log, {
      laneOf: (channel) => this.deciding.has(channel) ? this.#lanes.get(channel) : undefined,
      start: (lane, work) => {
        if (this.#stopping) return this.#return(work);
        lane.pushQuestion(work);
        this.#advance(lane);
      },
      done: (lane, lease, detail) =>
        this.#settle(lane, lease, { kind: "delivered", deliveryId: lease.deliveryId, detail }),
      refused: (lease, detail) => this.#settler.add(lease, { kind: "done", detail }),
      accept: (leases) => this.accept(leases),
      changed,
    });
  }

  /** Begins to take due deliveries from the spool. */
  start(): void {
    if (this.#ticker !== undefined || this.#stopping) return;
    this.#ticker = this.#clock.every(TICK_MS, () => this.#tick());
    for (const lane of this.#lanes.values()) this.#advance(lane);
  }

  /**
   * Whether deliveries to these channels should be claimed at commit and given to `accept`. False when one of them has
   * enough to do, is not known, or the controller is stopping; call `nudge` after such a commit.
   */
  claimable(channels: readonly string[]): boolean {
    if (this.#stopping || this.#settler.failing || this.#unrecorded > UNRECORDED_MAX) return false;
    for (const name of channels) {
      const lane = this.#lanes.get(name);
      if (lane === undefined || !lane.open) return false;
    }
    return true;
  }

  /** Deliveries claimed at commit: attempted at once where there is a free slot, soon where there is none. */
  accept(leases: readonly Lease[]): void {
    const only = leases.length === 1 ? leases[0] : undefined;
    if (only !== undefined) {
      const lane = this.#lanes.get(only.delivery.channel);
      if (lane === undefined || !this.#room(lane)) return this.#giveBack(leases);
      lane.push(soleWork(lane, only));
      return this.#advance(lane);
    }
    const byLane = new Map<Lane | undefined, Lease[]>();
    for (const lease of leases) {
      const lane = this.#lanes.get(lease.delivery.channel);
      const group = byLane.get(lane);
      if (group === undefined) byLane.set(lane, [lease]);
      else group.push(lease);
    }
    for (const [lane, group] of byLane) {
      if (lane === undefined || !this.#room(lane)) {
        this.#giveBack(group);
        continue;
      }
      for (const work of groupLeases(lane, group)) lane.push(work);
      this.#advance(lane);
    }
  }

  /**
   * Deliveries claimed at the commit of a message that is not acknowledged yet: asks the channels that decide, removes what
   * the rule makes of their answers, and goes on with the rest as `accept` does. Resolves when what is removed is gone.
   */
  async decide(leases: readonly Lease[], rule: Rule): Promise<void> {
    await this.#inquiries.decide(leases, rule);
  }

  /** Something was stored for these channels that was not claimed; they look into the spool as soon as they have room. */
  nudge(channels: readonly string[]): void {
    for (const name of channels) {
      const lane = this.#lanes.get(name);
      if (lane === undefined) continue;
      lane.nudge(this.#clock.nowMs());
      this.#advance(lane);
    }
  }

  /**
   * Takes nothing new, gives back what waits, lets running attempts finish for `graceMs`, then aborts them and gives
   * their deliveries back. Calling it again with a shorter grace hastens it. Resolves when everything is recorded, or,
   * within a bounded time, left to the expiry of its lease.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    using _grace = this.#clock.after(graceMs, () => {
      for (const run of this.#runs) this.#abort(run, "stop");
    });
    this.#stopped ??= this.#finish();
    await this.#stopped;
  }

  /** For tests and tools: resolves when nothing is running, waiting, unrecorded or due at this moment. */
  async idle(): Promise<void> {
    for (;;) {
      await this.#changes.until(() => this.#quiet());
      await this.#look();
      const nowMs = this.#clock.nowMs();
      const due = [...this.#lanes.values()].filter((lane) => lane.dueAtMs <= nowMs);
      if (this.#quiet() && (due.length === 0 || this.#stopping)) return;
      const taken = await Promise.all(due.map((lane) => {
        lane.nudge(nowMs);
        return this.#lease(lane, lane.wanted(nowMs));
      }));
      // What looks due and cannot be taken belongs to someone else.
      if (this.#quiet() && taken.every((count) => count === 0)) return;
    }
  }

  #quiet(): boolean {
    if (this.#runs.size > 0 || this.#asking > 0 || this.#unrecorded > 0) return false;
    if (this.#inquiries.underWay > 0) return false;
    for (const lane of this.#lanes.values()) if (lane.waiting > 0) return false;
    return true;
  }

  /** Outcomes that the spool does not know yet. */
  get #unrecorded(): number {
    return this.#settler.unrecorded + (this.#notifier?.waiting ?? 0);
  }

  /** Whether a claim that was promised may still wait here. */
  #room(lane: Lane): boolean {
    return !this.#stopping && lane.waitingDeliveries < 2 * WAITING_MAX;
  }

  #giveBack(leases: readonly Lease[]): void {
    for (const lease of leases) {
      this.#settler.add(lease, { kind: "returned" });
      // It is due in the spool again, and this process need not wait for its next look to know.
      this.#lanes.get(lease.delivery.channel)?.due(this.#clock.nowMs());
    }
  }

  /** What was not attempted goes back to where it came from. */
  #return(work: Work): void {
    if (work.question === undefined) this.#giveBack(work.pending.splice(0));
    else work.question.defer("The server is stopping");
  }

  /** Starts what can be started in the lane and asks the spool for more when there is room and something is due. */
  #advance(lane: Lane): void {
    for (let work = this.#take(lane); work !== undefined; work = this.#take(lane)) {
      if (work.expiresAtMs > this.#clock.nowMs()) void this.#attempt(work);
      else {
        // The lease ran out while the job waited, so another process may be at it.
        lane.running--;
        this.#giveBack(work.pending.splice(0));
      }
    }
    if (this.#stopping || this.#ticker === undefined || lane.asking || lane.dueAtMs === Infinity) return;
    const nowMs = this.#clock.nowMs();
    if (lane.askAtMs > nowMs) return this.#wakeAt(lane.askAtMs, nowMs);
    if (this.#settler.failing || this.#unrecorded > UNRECORDED_MAX) return;
    const count = lane.wanted(nowMs);
    if (count > 0) void this.#lease(lane, count);
  }

  /** The next job for which there are a slot and, when the channel's rate is limited, tokens. */
  #take(lane: Lane): Work | undefined {
    const { bucket, next } = lane;
    if (bucket === undefined || next === undefined) return lane.take();
    const monotonicMs = this.#clock.monotonicMs();
    const count = next.pending.length;
    const waitMs = bucket.waitMs(count, monotonicMs);
    if (waitMs > 0) {
      const nowMs = this.#clock.nowMs();
      this.#wakeAt(nowMs + waitMs, nowMs);
      return undefined;
    }
    bucket.take(count, monotonicMs);
    return lane.take();
  }

  #wakeAt(atMs: number, nowMs: number): void {
    if (atMs >= this.#wakeAtMs) return;
    this.#wake?.[Symbol.dispose]();
    this.#wakeAtMs = atMs;
    // The wall clock may be set; a wake-up that comes too early only looks again, and the ticker bounds one that is late.
    this.#wake = this.#clock.after(Math.min(Math.max(0, atMs - nowMs), LOOK_EVERY_MS), () => {
      this.#wake = undefined;
      this.#wakeAtMs = Infinity;
      this.#advanceAll();
    });
  }

  #advanceAll(): void {
    for (const lane of this.#lanes.values()) this.#advance(lane);
  }

  /** Takes up to `count` deliveries from the spool; returns how many it got. */
  async #lease(lane: Lane, count: number): Promise<number> {
    if (count === 0 || lane.asking || this.#stopping) return 0;
    lane.ask();
    this.#asking++;
    let got = 0;
    try {
      const leases = await this.#spool.lease(lane.name, { limit: count, forMs: LEASE_MS });
      got = leases.length;
      lane.leased(count, got, this.#clock.nowMs());
      if (this.#stopping) this.#giveBack(leases);
      else for (const work of groupLeases(lane, leases)) lane.push(work);
    } catch (error) {
      const retryInMs = lane.failed(this.#clock.nowMs());
      this.#log.error("lease-failed", { channel: lane.name, error: textOf(error), retryInMs });
    }
    this.#asking--;
    this.#advance(lane);
    if (got < count && !this.#stopping && this.#ticker !== undefined) void this.#look();
    this.#changes.happened();
    return got;
  }

  /** Asks the spool when each channel has something due. One call at a time, for all channels. */
  #look(): Promise<void> {
    this.#looking ??= (async () => {
      try {
        const dueAt = await this.#spool.nextDue(this.#names);
        for (const [name, atMs] of dueAt) this.#lanes.get(name)?.due(atMs);
      } catch (error) {
        this.#log.warn("look-failed", { error: textOf(error) });
      }
      this.#lastLookMs = this.#clock.monotonicMs();
      this.#looking = undefined;
      this.#advanceAll();
      this.#changes.happened();
    })();
    return this.#looking;
  }

  #tick(): void {
    const monotonicMs = this.#clock.monotonicMs();
    for (const run of this.#runs) {
      if (monotonicMs < run.deadlineMs) continue;
      if (run.abortedFor === undefined) this.#abort(run, "timeout");
      else this.#abandon(run);
    }
    if (this.#inquiries.underWay > 0) { for (const lane of this.#lanes.values()) withdrawLate(lane, monotonicMs); }
    this.#renew();
    if (this.#stopping) return;
    if (monotonicMs - this.#lastLookMs >= LOOK_EVERY_MS) void this.#look();
    else this.#advanceAll();
  }

  /** Extends the leases of everything that runs or waits and has used up a third of its time. */
  #renew(): void {
    if (this.#renewing) return;
    const nowMs = this.#clock.nowMs();
    const works: Renewable[] = [];
    const consider = (work: Renewable) => {
      if (work.expiresAtMs - nowMs < RENEW_BELOW_MS && work.pending.length > 0) works.push(work);
    };
    for (const run of this.#runs) consider(run.work);
    this.#inquiries.eachKept(consider);
    for (const lane of this.#lanes.values()) lane.eachWaiting(consider);
    if (works.length === 0) return;
    this.#renewing = true;
    void (async () => {
      try {
        await this.#spool.renew(works.flatMap((work) => work.pending), LEASE_MS);
        for (const work of works) work.expiresAtMs = nowMs + LEASE_MS;
      } catch (error) {
        this.#log.warn("renew-failed", { error: textOf(error), jobs: works.length });
      }
      this.#renewing = false;
      this.#changes.happened();
    })();
  }

  /** Runs one job to its end, whatever the channel does; the slot was taken by the lane. */
  async #attempt(work: Work): Promise<void> {
    const { lane, question } = work;
    const run: Run = {
      work,
      abort: new AbortController(),
      deadlineMs: question?.deadlineMs ?? this.#clock.monotonicMs() + lane.config.timeoutMs,
      abortedFor: undefined,
      over: false,
    };
    this.#runs.add(run);
    let why = "The channel ended without saying what became of the delivery";
    try {
      const job = new SpooledJob(this.#spool, work);
      if (question !== undefined) await question.ask(lane.channel, job, run.abort.signal);
      else {
        for await (const outcome of lane.channel.deliver(job, run.abort.signal)) {
          if (run.over) return;
          this.#record(run, outcome);
        }
      }
    } catch (error) {
      why = textOf(error);
      if (run.over) this.#log.debug("late-error", { channel: lane.name, message: work.messageId, error: why });
    }
    if (run.over) return;
    this.#settleRest(run, why);
    this.#end(run);
  }

  #record(run: Run, outcome: Outcome): void {
    const { pending, lane, messageId } = run.work;
    const at = pending.findIndex((lease) => lease.deliveryId === outcome.deliveryId);
    const lease = pending[at];
    if (lease === undefined) {
      this.#log.warn("outcome-ignored", { channel: lane.name, message: messageId, delivery: outcome.deliveryId });
      return;
    }
    pending.splice(at, 1);
    this.#settle(lane, lease, outcome);
  }

  /** What the channel left open: given back when it was stopped by our shutdown, tried again otherwise. */
  #settleRest(run: Run, why: string): void {
    const { pending, lane, question } = run.work;
    if (pending.length === 0) return;
    if (run.abortedFor === "stop") return this.#return(run.work);
    const detail = run.abortedFor === "timeout"
      ? `The attempt took longer than ${lane.config.timeoutMs / 1_000} s and was stopped`
      : oneLine(why);
    if (question !== undefined) return question.defer(detail);
    for (const lease of pending.splice(0)) {
      this.#settle(lane, lease, { kind: "deferred", deliveryId: lease.deliveryId, detail });
    }
  }

  #settle(lane: Lane, lease: Lease, outcome: Outcome): void {
    const settlement = settlementOf(lane.config.retry, lease, outcome, this.#clock, this.#random);
    if (settlement.kind === "retry") lane.due(settlement.dueAtMs);
    const notifier = this.#notifier;
    const notice = notifier && noticeOf(lane.config, lease, outcome, settlement, this.#clock);
    if (notice === undefined) this.#settler.add(lease, settlement);
    else notifier?.add(lease, settlement, notice);
    if (!this.#log.enabled("info")) return;
    const { message, delivery } = lease;
    this.#log.info(settlement.kind === "done" ? "delivered" : settlement.kind === "retry" ? "deferred" : "failed", {
      session: message.envelope.origin.session,
      message: message.id,
      channel: lane.name,
      recipient: delivery.recipient,
      attempt: lease.attempts + 1,
      ageMs: this.#clock.nowMs() - message.receivedAtMs,
      ...(settlement.kind === "retry" ? { retryInMs: settlement.dueAtMs - this.#clock.nowMs() } : {}),
      detail: settlement.detail,
    });
  }

  #abort(run: Run, why: "timeout" | "stop"): void {
    if (run.abortedFor !== undefined) return;
    run.abortedFor = why;
    run.deadlineMs = this.#clock.monotonicMs() + ABANDON_AFTER_MS;
    run.abort.abort();
  }

  /** The channel did not obey its signal. Its slot is used again; whatever it still says is not listened to. */
  #abandon(run: Run): void {
    this.#log.warn("attempt-abandoned", { channel: run.work.lane.name, message: run.work.messageId });
    this.#settleRest(run, "");
    this.#end(run);
  }

  #end(run: Run): void {
    run.over = true;
    this.#runs.delete(run);
    run.work.lane.running--;
    this.#advance(run.work.lane);
    this.#changes.happened();
  }

  async #finish(): Promise<void> {
    for (const lane of this.#lanes.values()) {
      for (const work of lane.drain()) this.#return(work);
    }
    this.#ticker ??= this.#clock.every(TICK_MS, () => this.#tick());
    await this.#changes.until(() => this.#runs.size === 0);
    let late = false;
    const timer = this.#clock.after(RECORD_GRACE_MS, () => {
      late = true;
      this.#changes.happened();
    });
    await this.#changes.until(() => late || (!this.#calling() && this.#unrecorded === 0));
    timer[Symbol.dispose]();
    const lost = this.#settler.close() + (this.#notifier?.close() ?? 0);
    if (lost > 0) this.#log.error("stop-unrecorded", { deliveries: lost });
    this.#ticker[Symbol.dispose]();
    this.#wake?.[Symbol.dispose]();
  }

  #calling(): boolean {
    return this.#asking > 0 || this.#looking !== undefined || this.#renewing || this.#inquiries.underWay > 0;
  }
}

function textOf(error: unknown): string {
  return oneLine(error instanceof Error ? error.message : String(error));
}
