/** A job controller in virtual time: channels that do as a test says, a spool that watches, a configuration for each. */
import assert from "node:assert/strict";
import type { Channel, Job, Outcome } from "../../src/channel/channel.ts";
import type { ChannelConfig } from "../../src/config/config.ts";
import { JobController } from "../../src/controller/controller.ts";
import { silentLog } from "../../src/observe/log.ts";
import type { Log } from "../../src/observe/log.ts";
import { VirtualClock } from "../helpers/virtual_clock.ts";
import { WatchingSpool } from "../helpers/watching_spool.ts";

export type Deliver = (job: Job, signal: AbortSignal) => AsyncIterable<Outcome>;

export const HOUR_MS = 3_600_000;

export function config(name: string, changes: Partial<ChannelConfig> = {}): ChannelConfig {
  return {
    name,
    tags: [],
    type: "test",
    maxConcurrency: 2,
    timeoutMs: 60_000,
    retry: { firstDelayMs: 10_000, maxDelayMs: HOUR_MS, maxAgeMs: 24 * HOUR_MS },
    options: {},
    ...changes,
  };
}

export const delivered = (deliveryId: number): Outcome => ({ kind: "delivered", deliveryId, detail: "ok" });

export const allDelivered: Deliver = async function* (job) {
  for (const { deliveryId } of job.recipients) yield await Promise.resolve(delivered(deliveryId));
};

/** Ends when `release` is called or the signal aborts; counts who is inside. */
export function gate() {
  const state = { inside: 0, most: 0, jobs: [] as number[], release: () => {} };
  const released = new Promise<void>((resolve) => state.release = resolve);
  const deliver: Deliver = async function* (job, signal) {
    state.inside++;
    state.most = Math.max(state.most, state.inside);
    state.jobs.push(job.recipients.length);
    try {
      await Promise.race([released, new Promise((_, reject) => signal.onabort = () => reject(signal.reason))]);
      for (const { deliveryId } of job.recipients) yield delivered(deliveryId);
    } finally {
      state.inside--;
    }
  };
  return { state, deliver };
}

/** Neither yields nor ends nor listens to its signal. */
export const deaf: Deliver = async function* () {
  await new Promise(() => {});
  yield delivered(0);
};

export function world(
  channels: Record<
    string,
    Deliver | { deliver: Deliver; config: Partial<ChannelConfig>; decide?: NonNullable<Channel["decide"]> }
  >,
  log?: Log,
) {
  const clock = new VirtualClock();
  const spool = new WatchingSpool(clock);
  const configured = new Map(
    Object.entries(channels).map(([name, given]) => {
      const deliver = typeof given === "function" ? given : given.deliver;
      const decide = typeof given === "function" ? undefined : given.decide;
      const channel: Channel = { deliver, decide, [Symbol.asyncDispose]: () => Promise.resolve() };
      return [name, { config: config(name, typeof given === "function" ? {} : given.config), channel }];
    }),
  );
  const random = { bytes: (count: number) => new Uint8Array(count), fraction: () => 0.5 };
  const controller = new JobController({ spool, channels: configured, clock, random, log: log ?? silentLog });
  return { clock, spool, controller };
}

/** Each lease that was given out was settled exactly once. */
export function assertSettledOnce(spool: WatchingSpool): void {
  for (const token of spool.tokens) {
    assert.equal(spool.settlements.get(token)?.length, 1, `${token}: ${JSON.stringify(spool.settlements.get(token))}`);
  }
}
