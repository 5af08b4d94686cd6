/** Channels that are asked while a client waits: their slots, their time, the leases meanwhile, and the end of the server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Channel, Decision } from "../../src/channel/channel.ts";
import { CLAIM_MS } from "../../src/controller/controller.ts";
import type { Answer, Rule } from "../../src/controller/inquiry.ts";
import { settled } from "../helpers/virtual_clock.ts";
import { allDelivered, assertSettledOnce, gate, HOUR_MS, world } from "./controller_world.ts";

type Decide = NonNullable<Channel["decide"]>;

const ACCEPTED: Decision = { kind: "accept", detail: "fine" };

/** Removes everything unless all accept; remembers what was answered. */
function strict() {
  const heard: string[] = [];
  const rule: Rule = (answers: readonly Answer[]) => {
    heard.push(...answers.map(({ lease, decision }) => `${lease.delivery.recipient} ${decision.kind}`));
    const all = answers.every(({ decision }) => decision.kind === "accept");
    return all ? undefined : { removes: () => true, held: false };
  };
  return { heard, rule };
}

/** Answers when it is told to; gives up with its signal. */
function oracle() {
  const asked: string[] = [];
  let release: (decision: Decision) => void = () => {};
  const released = new Promise<Decision>((resolve) => release = resolve);
  const decide: Decide = (job, signal) => {
    asked.push(...job.recipients.map(({ delivery }) => delivery.recipient));
    return Promise.race([
      released,
      new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    ]);
  };
  return { asked, decide, release: (decision: Decision) => release(decision) };
}

test("inquiry: each recipient is asked about on its own, within max_concurrency; then the others go on", async () => {
  const { asked, decide, release } = oracle();
  const { heard, rule } = strict();
  const { spool, controller } = world({
    ask: { deliver: allDelivered, decide, config: { maxConcurrency: 2 } },
    box: allDelivered,
  });
  assert.deepEqual([...controller.deciding], ["ask"]);
  controller.start();
  const leases = spool.add("m1", [["a@x", "ask"], ["b@x", "ask"], ["c@x", "ask"], ["d@x", "box"]], CLAIM_MS);
  const decided = controller.decide(leases, rule);
  await settled();
  assert.deepEqual([asked, spool.count("leased")], [["a@x", "b@x"], 4]);
  release(ACCEPTED);
  await decided;
  await controller.idle();
  assert.deepEqual(asked, ["a@x", "b@x", "c@x"]);
  assert.deepEqual(heard, ["a@x accept", "b@x accept", "c@x accept"]);
  assert.equal(spool.count("done"), 4);
  assertSettledOnce(spool);
  await controller.stop(0);
});

test("inquiry: all leases of a message are kept for as long as its channel takes", async () => {
  const { decide, release } = oracle();
  const { spool, controller, clock } = world({
    ask: { deliver: allDelivered, decide, config: { timeoutMs: HOUR_MS } },
    box: allDelivered,
  });
  controller.start();
  const decided = controller.decide(spool.add("m1", [["a@x", "ask"], ["b@x", "box"]], CLAIM_MS), strict().rule);
  await clock.advance(4 * CLAIM_MS);
  assert.equal(spool.count("leased"), 2);
  assert.ok(spool.renewals >= 4, `${spool.renewals} renewals`);
  release(ACCEPTED);
  await decided;
  await controller.idle();
  assert.deepEqual([spool.count("done"), spool.stale, spool.tokens.size], [2, 0, 2]);
  await controller.stop(0);
});

test("inquiry: a client does not wait behind what nobody waits for", async () => {
  const { state, deliver } = gate();
  const asked: string[] = [];
  const decide: Decide = (job) => {
    asked.push(`${job.recipients[0]?.delivery.recipient} after ${state.jobs.length}`);
    return Promise.resolve(ACCEPTED);
  };
  const { spool, controller } = world({ ask: { deliver, decide, config: { maxConcurrency: 1 } } });
  controller.start();
  for (let index = 0; index < 50; index++) controller.accept(spool.add(`m${index}`, [["a@x", "ask"]], CLAIM_MS));
  const decided = controller.decide(spool.add("asked", [["b@x", "ask"], ["c@x", "ask"]], CLAIM_MS), strict().rule);
  await settled();
  assert.deepEqual([state.inside, asked], [1, []]);
  state.release();
  await decided;
  assert.deepEqual(asked, ["b@x after 1", "c@x after 1"]);
  await controller.idle();
  assert.equal(spool.count("done"), 52);
  await controller.stop(0);
});

test("inquiry: the wait for a slot counts; who gets none in time is not asked, and nothing stays", async () => {
  const { deliver } = gate();
  const { asked, decide } = oracle();
  const { heard, rule } = strict();
  const busy = { deliver, decide, config: { maxConcurrency: 1, timeoutMs: 10_000 } };
  const { spool, controller, clock } = world({ ask: busy, box: allDelivered });
  controller.start();
  controller.accept(spool.add("m1", [["a@x", "ask"]], CLAIM_MS));
  await clock.advance(1_500);
  // The attempt before it runs out of time first, so there is a rest for this one.
  const first = controller.decide(spool.add("m2", [["b@x", "ask"], ["c@x", "ask"], ["d@x", "box"]], CLAIM_MS), rule);
  await clock.during(first, 15_000);
  assert.deepEqual([heard, asked], [["b@x defer", "c@x defer"], ["b@x"]]);
  assert.deepEqual([spool.count("done"), spool.count("leased"), spool.count("queued")], [3, 0, 1]);
  await controller.stop(0);
});

test("inquiry: a stop lets what is asked end within the grace, answers the rest, and leaves no lease", async () => {
  for (const [graceMs, expected] of [[5_000, ["b@x accept", "c@x defer"]], [0, ["b@x defer", "c@x defer"]]] as const) {
    const { decide, release } = oracle();
    const { heard, rule } = strict();
    const { spool, controller, clock } = world({
      ask: { deliver: allDelivered, decide, config: { maxConcurrency: 1 } },
    });
    controller.start();
    const decided = controller.decide(spool.add("m1", [["b@x", "ask"], ["c@x", "ask"]], CLAIM_MS), rule);
    await settled();
    const stopped = controller.stop(graceMs);
    await settled();
    if (graceMs > 0) release(ACCEPTED);
    await clock.during(Promise.all([decided, stopped]), 20_000);
    assert.deepEqual([heard, spool.count("done")], [expected, 2]);
    const late = strict();
    await controller.decide(spool.add("m2", [["d@x", "ask"]], CLAIM_MS), late.rule);
    assert.deepEqual(late.heard, ["d@x defer"]);
    assert.equal(clock.pending, 0);
  }
});

test("inquiry: leases that are lost meanwhile lose nothing: the spool gives the deliveries out again", async () => {
  const { decide, release } = oracle();
  const { spool, controller, clock } = world({
    ask: { deliver: allDelivered, decide, config: { timeoutMs: HOUR_MS } },
    box: allDelivered,
  });
  controller.start();
  const { heard, rule } = strict();
  spool.failing.renew = Infinity;
  const decided = controller.decide(spool.add("m1", [["a@x", "ask"], ["b@x", "box"]], CLAIM_MS), rule);
  await clock.advance(2 * CLAIM_MS);
  assert.equal(spool.count("done"), 2);
  release({ kind: "reject", detail: "no", reason: "no" });
  await decided;
  assert.deepEqual([heard, spool.stale], [["a@x reject"], 2]);
  await controller.stop(0);
});
