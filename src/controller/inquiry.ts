/**
 * Messages about which channels are asked before the client is told that they are accepted. Their deliveries are in the spool
 * and leased meanwhile, so that a crash may bring one twice but loses none: whoever finds the leases expired delivers. It must
 * not know of replies, nor how a channel is called.
 */
import type { Channel, Decision, Job } from "../channel/channel.ts";
import { oneLine } from "../channel/content.ts";
import type { Log } from "../observe/log.ts";
import type { Clock } from "../runtime/runtime.ts";
import type { Lease, NewDelivery, Settlement, Spool } from "../spool/spool.ts";
import type { Lane, Renewable, Work } from "./schedule.ts";

/** A delivery for whose answer a client waits. The first answer counts. */
export class Question {
  /** By the monotonic clock; includes the wait for a slot. */
  readonly deadlineMs: number;
  readonly answered: Promise<Decision>;
  readonly #resolve: (decision: Decision) => void;

  constructor(deadlineMs: number) {
    this.deadlineMs = deadlineMs;
    const { promise, resolve } = Promise.withResolvers<Decision>();
    this.answered = promise;
    this.#resolve = resolve;
  }

  /** Rejects with what the channel throws; then there is no answer yet. */
  async ask(channel: Channel, job: Job, signal: AbortSignal): Promise<void> {
    if (channel.decide === undefined) throw new Error("The channel was asked and does not decide");
    this.#resolve(await channel.decide(job, signal));
  }

  /** There will be no answer of the channel's. */
  defer(detail: string): void {
    this.#resolve({ kind: "defer", detail });
  }
}

export interface Answer {
  readonly lease: Lease;
  readonly decision: Decision;
}

/** Which deliveries of a message go, because the client is told that they were not accepted. */
export interface Removal {
  removes(delivery: NewDelivery): boolean;
  /** Deliveries that are held, which have no lease, may be among them. */
  readonly held: boolean;
}

/** Undefined: none is removed. */
export type Rule = (answers: readonly Answer[]) => Removal | undefined;

/** What the controller does for inquiries. */
export interface InquiryHost {
  /** Undefined for a channel that does not decide. */
  laneOf(channel: string): Lane | undefined;
  start(lane: Lane, work: Work): void;
  done(lane: Lane, lease: Lease, detail: string): void;
  /** Its removal failed and is to be tried again. */
  refused(lease: Lease, detail: string): void;
  accept(leases: readonly Lease[]): void;
  changed(): void;
}

/** Gives up the questions for which there was no slot in time. */
export function withdrawLate(lane: Lane, monotonicMs: number): void {
  const late = lane.drain(({ question }) => question !== undefined && question.deadlineMs <= monotonicMs);
  for (const { question } of late) question?.defer("The channel had no time for it");
}

export class Inquiries {
  readonly #spool: Pick<Spool, "settle" | "list" | "change">;
  readonly #clock: Pick<Clock, "nowMs" | "monotonicMs">;
  readonly #log: Log;
  readonly #host: InquiryHost;
  /** All leases of each message, until it is known what becomes of it. */
  readonly #kept = new Set<Renewable>();

  constructor(spool: Spool, clock: Clock, log: Log, host: InquiryHost) {
    this.#spool = spool;
    this.#clock = clock;
    this.#log = log;
    this.#host = host;
  }

  get underWay(): number {
    return this.#kept.size;
  }

  /** For renewals. */
  eachKept(call: (kept: Renewable) => void): void {
    for (const kept of this.#kept) call(kept);
  }

  async decide(leases: readonly Lease[], rule: Rule): Promise<void> {
    const expiresAtMs = leases.reduce((least, lease) => Math.min(least, lease.expiresAtMs), Infinity);
    const kept: Renewable = { pending: leases.slice(), expiresAtMs };
    this.#kept.add(kept);
    try {
      const answers = await Promise.all(leases.flatMap((lease) => this.#ask(lease) ?? []));
      await this.#conclude(kept, answers, rule(answers));
    } finally {
      this.#kept.delete(kept);
      this.#host.changed();
    }
  }

  #ask(lease: Lease): Promise<Answer> | undefined {
    const lane = this.#host.laneOf(lease.delivery.channel);
    if (lane === undefined) return undefined;
    const question = new Question(this.#clock.monotonicMs() + lane.config.timeoutMs);
    // The lease is renewed with the others of its message.
    const work: Work = { lane, messageId: lease.message.id, pending: [lease], expiresAtMs: Infinity, question };
    this.#host.start(lane, work);
    return question.answered.then((decision) => {
      if (decision.kind !== "accept") this.#logRefusal(lease, decision);
      return { lease, decision };
    });
  }

  async #conclude(kept: Renewable, answers: readonly Answer[], removal: Removal | undefined): Promise<void> {
    const { pending: leases, expiresAtMs } = kept;
    const removed = new Set(removal === undefined ? [] : leases.filter(({ delivery }) => removal.removes(delivery)));
    if (removed.size > 0) await this.#remove([...removed]);
    const [first] = leases;
    if (removal?.held === true && first !== undefined) await this.#removeHeld(first.message.id, removal);
    const done = new Set<Lease>();
    for (const { lease, decision } of answers) {
      const lane = this.#host.laneOf(lease.delivery.channel);
      if (decision.kind !== "accept" || removed.has(lease) || lane === undefined) continue;
      done.add(lease);
      this.#host.done(lane, lease, oneLine(decision.detail));
    }
    const rest = leases.filter((lease) => !removed.has(lease) && !done.has(lease));
    if (rest.length > 0) this.#host.accept(rest.map((lease) => ({ ...lease, expiresAtMs })));
  }

  /** The client is told only when it is done, so that a refused message does not come back after a crash. */
  async #remove(leases: readonly Lease[]): Promise<void> {
    const settlement: Settlement = { kind: "done", detail: "Not accepted" };
    try {
      await this.#spool.settle(leases.map((lease) => ({ lease, settlement })));
    } catch (error) {
      this.#failed(leases[0]?.message.id, error);
      for (const lease of leases) this.#host.refused(lease, settlement.detail);
    }
  }

  async #removeHeld(messageId: string, removal: Removal): Promise<void> {
    try {
      let afterDeliveryId = 0;
      for (;;) {
        const entries = await this.#spool.list({ messageId, state: "held", afterDeliveryId });
        const last = entries.at(-1);
        if (last === undefined) return;
        afterDeliveryId = last.deliveryId;
        const ids = entries.filter(({ delivery }) => removal.removes(delivery)).map(({ deliveryId }) => deliveryId);
        await this.#spool.change(ids, { kind: "remove" });
      }
    } catch (error) {
      this.#failed(messageId, error);
    }
  }

  #failed(messageId: string | undefined, error: unknown): void {
    this.#log.error("removal-failed", {
      message: messageId,
      error: oneLine(error instanceof Error ? error.message : String(error)),
    });
  }

  #logRefusal({ message, delivery }: Lease, { kind, detail }: Decision): void {
    this.#log.info("refused", {
      session: message.envelope.origin.session,
      message: message.id,
      channel: delivery.channel,
      recipient: delivery.recipient,
      decision: kind,
      ageMs: this.#clock.nowMs() - message.receivedAtMs,
      detail: oneLine(detail),
    });
  }
}
