/** The job controller against a spool that watches it and channels that misbehave, in virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Outcome } from "../../src/channel/channel.ts";
import { CLAIM_MS } from "../../src/controller/controller.ts";
import { WAITING_MAX } from "../../src/controller/limits.ts";
import { silentLog } from "../../src/observe/log.ts";
import type { Log, LogFields } from "../../src/observe/log.ts";
import { settled, VirtualClock } from "../helpers/virtual_clock.ts";
import {
  allDelivered,
  assertSettledOnce,
  deaf,
  type Deliver,
  delivered,
  gate,
  HOUR_MS,
  world,
} from "./controller_world.ts";

test("controller: deliveries claimed at commit are attempted at once, without asking the spool", async () => {
  const { spool, controller } = world({ box: allDelivered });
  assert.equal(controller.claimable(["box"]), true);
  controller.accept(spool.add("m1", [["a@x", "box"], ["b@x", "box"]], CLAIM_MS));
  await settled();
  assert.equal(spool.count("done"), 2);
  assert.deepEqual(spool.asked, []);
  assert.deepEqual(spool.batches, [2]);
});

test("controller: recipients of one message on one channel are one job, other channels have their own", async () => {
  const one = gate();
  const two = gate();
  const { spool, controller } = world({ one: one.deliver, two: two.deliver });
  controller.accept(spool.add("m1", [["a@x", "one"], ["b@x", "two"], ["c@x", "one"]], CLAIM_MS));
  await settled();
  assert.deepEqual([one.state.jobs, two.state.jobs], [[2], [1]]);
  one.state.release();
  two.state.release();
  await controller.idle();
  assert.equal(spool.count("done"), 3);
});

test("controller: start takes what is due, in jobs, and never more at a time than max_concurrency", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: { deliver, config: { maxConcurrency: 3 } } });
  for (let index = 0; index < 40; index++) spool.add(`m${index}`, [["a@x", "box"], ["b@x", "box"]]);
  controller.start();
  await clock.advance(1_000);
  assert.deepEqual([state.inside, state.most], [3, 3]);
  state.release();
  await controller.idle();
  assert.equal(state.most, 3);
  assert.equal(spool.count("done"), 80);
  assert.ok(state.jobs.length < 50, `${state.jobs.length} jobs for 40 messages`);
  assertSettledOnce(spool);
  await controller.stop(0);
  assert.equal(clock.pending, 0);
});

test("controller: a channel that hangs does not keep another one waiting", async () => {
  const { clock, spool, controller } = world({ stuck: deaf, fine: allDelivered });
  for (let index = 0; index < 30; index++) spool.add(`m${index}`, [["a@x", "stuck"], ["b@x", "fine"]]);
  controller.start();
  await clock.advance(2_000);
  assert.equal(spool.count("done"), 30);
  assert.equal(controller.claimable(["fine"]), true);
  await clock.during(controller.stop(0), 60_000);
});

test("controller: claimable is false for a saturated, an unknown channel and while stopping", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: deliver, fine: allDelivered });
  for (let index = 0; index < 2 + WAITING_MAX; index++) {
    assert.equal(controller.claimable(["fine", "box"]), true, `message ${index}`);
    controller.accept(spool.add(`m${index}`, [["a@x", "box"]], CLAIM_MS));
  }
  assert.equal(controller.claimable(["fine", "box"]), false);
  assert.equal(controller.claimable(["fine"]), true);
  assert.equal(controller.claimable(["nowhere"]), false);
  assert.equal(state.inside, 2);
  state.release();
  await controller.idle();
  assert.equal(controller.claimable(["box"]), true);
  const stopping = controller.stop(0);
  assert.equal(controller.claimable(["fine"]), false);
  await clock.during(stopping, 1_000);
});

test("controller: claims beyond the bounded queue and for unknown channels are given back", async () => {
  const { state, deliver } = gate();
  const { spool, controller } = world({ box: deliver });
  for (let index = 0; index < 3 * WAITING_MAX; index++) {
    controller.accept(spool.add(`m${index}`, [["a@x", "box"]], CLAIM_MS));
  }
  controller.accept(spool.add("lost", [["a@x", "nowhere"]], CLAIM_MS));
  await settled();
  assert.equal(spool.count("queued"), WAITING_MAX - 2 + 1);
  state.release();
  await controller.idle();
  assert.equal(spool.count("done"), 3 * WAITING_MAX);
  assert.equal(spool.count("queued"), 1);
  assertSettledOnce(spool);
});

test("controller: a nudge makes new work start without waiting for the next look", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  controller.start();
  await clock.advance(300);
  spool.add("m1", [["a@x", "box"]]);
  controller.nudge(["box", "nowhere"]);
  await settled();
  assert.equal(spool.count("done"), 1);
});

test("controller: work that another process added is found within a few seconds", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  controller.start();
  await clock.advance(300);
  spool.add("m1", [["a@x", "box"]]);
  await clock.advance(6_000);
  assert.equal(spool.count("done"), 1);
});

test("controller: an idle controller asks the spool for leases only when something is due", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  controller.start();
  await clock.advance(60_000);
  assert.equal(spool.asked.length, 1);
});

test("controller: a retry comes no earlier than the receiver asked for", async () => {
  let attempts = 0;
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) {
      attempts++;
      yield await Promise.resolve({ kind: "deferred", deliveryId, detail: "Busy", retryAfterMs: 60_000 });
    }
  };
  const { clock, spool, controller } = world({ box: deliver });
  controller.start();
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  await clock.advance(59_900);
  assert.equal(attempts, 1);
  await clock.advance(200);
  assert.equal(attempts, 2);
  await controller.stop(0);
});

test("controller: deferred and failed outcomes are settled as such, and a retry comes when it is due", async () => {
  let attempts = 0;
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId, delivery } of job.recipients) {
      attempts++;
      const kind = delivery.recipient === "never@x" ? "failed" : attempts > 2 ? "delivered" : "deferred";
      yield await Promise.resolve({ kind, deliveryId, detail: `attempt ${attempts}\r\nsecond line` });
    }
  };
  const { clock, spool, controller } = world({ box: deliver });
  controller.start();
  controller.accept(spool.add("m1", [["later@x", "box"], ["never@x", "box"]], CLAIM_MS));
  await settled();
  const [later, never] = [...spool.entries.values()];
  assert.deepEqual([later?.state, later?.attempts, later?.detail], ["queued", 1, "attempt 1 second line"]);
  assert.deepEqual([never?.state, never?.detail], ["failed", "attempt 2 second line"]);
  await clock.advance(9_900);
  assert.equal(attempts, 2);
  await clock.advance(200);
  assert.equal(attempts, 3);
  assert.equal(later?.state, "done");
});

test("controller: a retry that is due before the next look at the spool is made in time", async () => {
  let attempts = 0;
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) {
      attempts++;
      yield await Promise.resolve({ kind: "deferred", deliveryId, detail: "Not yet" });
    }
  };
  const retry = { firstDelayMs: 500, maxDelayMs: HOUR_MS, maxAgeMs: HOUR_MS };
  const { clock, spool, controller } = world({ box: { deliver, config: { retry } } });
  controller.start();
  await clock.advance(300);
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  await clock.advance(499);
  assert.equal(attempts, 1);
  await clock.advance(1);
  assert.equal(attempts, 2);
});

test("controller: a message that fails again after its maximum age is given up and says why", async () => {
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) {
      yield await Promise.resolve({ kind: "deferred", deliveryId, detail: "Disk full" });
    }
  };
  const { clock, spool, controller } = world({ box: deliver });
  controller.start();
  spool.add("m1", [["a@x", "box"]]);
  await clock.advance(25 * HOUR_MS);
  const entry = [...spool.entries.values()][0];
  assert.deepEqual([entry?.state, entry?.detail], ["failed", "Given up after 24 h: Disk full"]);
  // 10, 20, … 2,560 seconds, then once an hour.
  assert.ok(spool.tokens.size >= 28 && spool.tokens.size <= 36, `${spool.tokens.size} attempts in a day`);
  assertSettledOnce(spool);
});

test("controller: an attempt beyond its time is aborted and tried again", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: deliver });
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  controller.start();
  await clock.advance(59_000);
  assert.equal(state.inside, 1);
  await clock.advance(2_000);
  assert.equal(state.inside, 0);
  const entry = [...spool.entries.values()][0];
  assert.deepEqual([entry?.state, entry?.attempts], ["queued", 1]);
  assert.match(entry?.detail ?? "", /longer than 60 s/);
});

for (const late of ["speaks", "ends", "throws"] as const) {
  test(`controller: a channel deaf to its signal is abandoned once; that it ${late} later changes nothing`, async () => {
    const wake: (() => void)[] = [];
    const deliver: Deliver = async function* (job, signal) {
      await new Promise<void>((resolve) => wake.push(resolve));
      if (late === "throws") throw new Error("Too late");
      if (late === "ends" && signal.aborted) return;
      for (const { deliveryId } of job.recipients) yield delivered(deliveryId);
    };
    const { clock, spool, controller } = world({ box: { deliver, config: { maxConcurrency: 1 } } });
    for (const id of ["m1", "m2", "m3"]) controller.accept(spool.add(id, [["a@x", "box"]], CLAIM_MS));
    controller.start();
    await clock.advance(62_000);
    assert.equal(wake.length, 1);
    await clock.advance(5_000);
    assert.equal(wake.length, 2);
    wake[0]?.();
    await settled();
    assert.equal(wake.length, 2, "the slot was given away twice");
    assert.equal(spool.count("done"), 0);
    assert.equal(spool.settlements.get("token-1")?.length, 1);
    assert.equal(spool.stale, 0);
  });
}

test("controller: the leases of long attempts and of waiting jobs are renewed, so nobody else gets them", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: { deliver, config: { maxConcurrency: 1, timeoutMs: HOUR_MS } } });
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  controller.accept(spool.add("m2", [["a@x", "box"]], CLAIM_MS));
  controller.start();
  for (let minute = 0; minute < 10; minute++) {
    await clock.advance(60_000);
    assert.deepEqual(await spool.lease("box", { limit: 10, forMs: 1_000 }), [], `minute ${minute}`);
  }
  assert.ok(spool.renewals <= 60, `${spool.renewals} renewals in ten minutes`);
  state.release();
  await controller.idle();
  assert.deepEqual([spool.count("done"), spool.stale], [2, 0]);
});

test("controller: a job whose lease ran out while it waited is not attempted", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: { deliver, config: { maxConcurrency: 1, timeoutMs: HOUR_MS } } });
  spool.failing.renew = Infinity;
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  controller.accept(spool.add("m2", [["a@x", "box"]], CLAIM_MS));
  await clock.advance(CLAIM_MS + 1_000);
  state.release();
  await settled();
  assert.equal(state.jobs.length, 1);
  assert.deepEqual(spool.settlements.get("token-2"), [{ kind: "returned" }]);
});

test("controller: a spool that fails to settle is asked again until it has everything", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  spool.failing.settle = 5;
  controller.start();
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  await settled();
  assert.equal(controller.claimable(["box"]), false);
  controller.accept(spool.add("m2", [["a@x", "box"]], CLAIM_MS));
  await clock.advance(10_000);
  assert.deepEqual([spool.count("done"), spool.stale], [2, 0]);
  assert.equal(controller.claimable(["box"]), true);
  assertSettledOnce(spool);
});

test("controller: a spool that fails to lease or to tell what is due is asked again, later and later", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  spool.failing.lease = 6;
  spool.failing.nextDue = 3;
  spool.add("m1", [["a@x", "box"]]);
  controller.start();
  await clock.advance(6_000);
  assert.equal(spool.count("done"), 0);
  await clock.advance(30_000);
  assert.equal(spool.count("done"), 1);
});

test("controller: outcomes that come while a settle is under way share the next one", async () => {
  const { spool, controller } = world({ box: { deliver: allDelivered, config: { maxConcurrency: 100 } } });
  for (let index = 0; index < 50; index++) controller.accept(spool.add(`m${index}`, [["a@x", "box"]], CLAIM_MS));
  await controller.idle();
  assert.equal(spool.count("done"), 50);
  assert.ok(spool.batches.length <= 3, `${spool.batches}`);
});

test("controller: stop lets running attempts finish within the grace and gives back what waits", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: deliver });
  for (let index = 0; index < 5; index++) controller.accept(spool.add(`m${index}`, [["a@x", "box"]], CLAIM_MS));
  controller.start();
  const stopped = controller.stop(10_000);
  await clock.advance(5_000);
  assert.equal(spool.count("queued"), 3);
  state.release();
  await stopped;
  assert.deepEqual([spool.count("done"), spool.count("queued"), spool.count("leased")], [2, 3, 0]);
  assert.equal([...spool.entries.values()].every((entry) => entry.attempts === 0), true);
  assertSettledOnce(spool);
  assert.equal(clock.pending, 0);
});

test("controller: leases that arrive while it stops are given back unattempted", async () => {
  const { state, deliver } = gate();
  const { clock, spool, controller } = world({ box: deliver });
  spool.add("m1", [["a@x", "box"]]);
  controller.start();
  const stopped = controller.stop(1_000);
  await clock.during(stopped, 10_000);
  assert.deepEqual(state.jobs, []);
  assert.deepEqual(spool.settlements.get("token-1"), [{ kind: "returned" }]);
});

test("controller: stop aborts what outlasts the grace, and gives back what even then does not end", async () => {
  const { deliver } = gate();
  const { clock, spool, controller } = world({ obedient: deliver, deaf });
  controller.accept(spool.add("m1", [["a@x", "obedient"], ["a@x", "deaf"]], CLAIM_MS));
  let done = false;
  const stopped = controller.stop(10_000).then(() => done = true);
  await clock.advance(9_900);
  assert.equal(spool.count("leased"), 2);
  await clock.advance(200);
  assert.deepEqual([spool.count("queued"), done], [1, false]);
  await clock.advance(7_000);
  await stopped;
  assert.equal(spool.count("queued"), 2);
  assertSettledOnce(spool);
  assert.equal(clock.pending, 0);
});

test("controller: a second stop with a shorter grace hastens the first", async () => {
  const { deliver } = gate();
  const { clock, spool, controller } = world({ box: deliver });
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  const first = controller.stop(HOUR_MS);
  await clock.advance(1_000);
  await clock.during(Promise.all([first, controller.stop(0)]), 1_000);
  assert.equal(spool.count("queued"), 1);
  assert.equal(clock.pending, 0);
});

test("controller: stop ends in bounded time though the spool records nothing", async () => {
  const { clock, spool, controller } = world({ box: allDelivered });
  spool.failing.settle = Infinity;
  controller.start();
  controller.accept(spool.add("m1", [["a@x", "box"]], CLAIM_MS));
  await clock.during(controller.stop(0), 20_000);
  assert.equal(spool.count("leased"), 1);
  assert.equal(clock.pending, 0);
});

test("controller: each attempt is one event with the session's id and no line breaks", async () => {
  const events: [string, LogFields | undefined][] = [];
  const log: Log = {
    ...silentLog,
    enabled: () => true,
    info: (event, fields) => void events.push([event, fields]),
    with: () => log,
  };
  const deliver: Deliver = async function* (job) {
    const kinds = ["delivered", "deferred", "failed"] as const;
    for (const [index, { deliveryId }] of job.recipients.entries()) {
      yield await Promise.resolve({ kind: kinds[index] ?? "failed", deliveryId, detail: "said\nthis" });
    }
  };
  const { spool, controller } = world({ box: deliver }, log);
  controller.accept(spool.add("m1", [["a@x", "box"], ["b@x", "box"], ["c@x", "box"]], CLAIM_MS));
  await settled();
  assert.deepEqual(events.map(([event]) => event), ["delivered", "deferred", "failed"]);
  assert.deepEqual(events[0]?.[1], {
    session: "session-of-m1",
    message: "m1",
    channel: "box",
    recipient: "a@x",
    attempt: 1,
    ageMs: 0,
    detail: "said this",
  });
  assert.equal(events[1]?.[1]?.["retryInMs"], 10_000);
});

// What a channel may do with one recipient or as a whole; each is an instruction for `misbehaving` below.
const deeds = [
  "deliver",
  "defer",
  "fail",
  "say nothing",
  "twice",
  "unknown id",
  "nonsense",
  "throw",
  "hang",
  "hang and obey",
  "slowly",
] as const;
type Deed = typeof deeds[number];

function misbehaving(script: readonly Deed[], clock: () => VirtualClock): Deliver {
  let step = 0;
  return async function* (job, signal) {
    for (const { deliveryId } of job.recipients) {
      const deed = script[step++];
      if (deed === undefined || deed === "deliver") yield delivered(deliveryId);
      else if (deed === "defer" || deed === "fail") {
        yield { kind: deed === "fail" ? "failed" : "deferred", deliveryId, detail: deed };
      } else if (deed === "twice") {
        yield delivered(deliveryId);
        yield { kind: "failed", deliveryId, detail: "changed its mind" };
      } else if (deed === "unknown id") yield delivered(987_654);
      else if (deed === "nonsense") yield undefined as unknown as Outcome;
      else if (deed === "throw") throw new Error("Broken on purpose");
      else if (deed === "hang") await new Promise(() => {});
      else if (deed === "hang and obey") {
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      } else if (deed === "slowly") {
        await new Promise<void>((resolve) => clock().after(45_000, resolve));
        yield delivered(deliveryId);
      }
    }
  };
}

test("controller: whatever channels and spool do, each lease is settled once and each delivery ends", async () => {
  const failures = fc.record({
    lease: fc.nat(3),
    settle: fc.nat(3),
    renew: fc.nat(3),
    nextDue: fc.nat(3),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...deeds), { maxLength: 12 }),
      fc.array(fc.record({ recipients: fc.integer({ min: 1, max: 4 }), claimed: fc.boolean() }), { maxLength: 6 }),
      fc.integer({ min: 1, max: 3 }),
      failures,
      async (script, messages, maxConcurrency, failing) => {
        const deliver = misbehaving(script, () => clock);
        const { clock, spool, controller } = world({ box: { deliver, config: { maxConcurrency } } });
        Object.assign(spool.failing, failing);
        controller.start();
        let deliveries = 0;
        for (const [index, { recipients, claimed }] of messages.entries()) {
          const to = Array.from({ length: recipients }, (_, at) => [`r${at}@x`, "box"] as const);
          deliveries += recipients;
          if (claimed) controller.accept(spool.add(`m${index}`, to, CLAIM_MS));
          else spool.add(`m${index}`, to);
        }
        // The script is used up within some retries of ten seconds to an hour, and everything then succeeds.
        for (let hour = 0; hour < 30 && spool.count("done") + spool.count("failed") < deliveries; hour++) {
          await clock.advance(10 * 60_000);
        }
        assert.equal(spool.count("done") + spool.count("failed"), deliveries);
        assert.equal(spool.stale, 0);
        await clock.during(controller.stop(0), 60_000);
        assertSettledOnce(spool);
        assert.equal(clock.pending, 0);
      },
    ),
    { numRuns: 25 },
  );
});
