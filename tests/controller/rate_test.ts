/** The token bucket: how many go in which time, as numbers, and the controller that obeys it, in virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { rateLimitOption } from "../../src/config/rate_limit.ts";
import { CLAIM_MS } from "../../src/controller/controller.ts";
import { TokenBucket } from "../../src/controller/rate.ts";
import { settled } from "../helpers/virtual_clock.ts";
import { assertSettledOnce, type Deliver, delivered, world } from "./controller_world.ts";

test("rate: a second's worth may go at once, then one after the other", () => {
  const bucket = new TokenBucket({ count: 10, periodMs: 1_000 });
  assert.equal(bucket.burst, 10);
  for (let count = 0; count < 10; count++) {
    assert.equal(bucket.waitMs(1, 0), 0);
    bucket.take(1, 0);
  }
  assert.deepEqual([0, 50, 99, 100].map((atMs) => bucket.waitMs(1, atMs)), [100, 50, 1, 0]);
  bucket.take(1, 100);
  assert.equal(bucket.waitMs(10, 100), 1_000);
  // A pause is not saved up.
  assert.equal(bucket.waitMs(10, 100_000), 0);
  bucket.take(10, 100_000);
  assert.equal(bucket.waitMs(1, 100_000), 100);
});

test("rate: slow rates let one go at a time; more than the burst waits for the burst and leaves a debt", () => {
  const bucket = new TokenBucket({ count: 5, periodMs: 60_000 });
  assert.equal(bucket.burst, 1);
  assert.equal(bucket.waitMs(3, 0), 0);
  bucket.take(3, 0);
  assert.equal(bucket.waitMs(1, 0), 36_000);
  assert.equal(bucket.waitMs(1, 36_000), 0);
});

test("rate: whatever the times, no more go than flowed in and the burst, and waiting is enough", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.constantFrom(1_000, 60_000, 3_600_000),
      fc.array(fc.nat(100_000), { minLength: 1, maxLength: 50 }),
      (count, periodMs, pauses) => {
        const bucket = new TokenBucket({ count, periodMs });
        let nowMs = 0;
        let gone = 0;
        for (const pauseMs of pauses) {
          nowMs += pauseMs;
          const waitMs = bucket.waitMs(1, nowMs);
          nowMs += waitMs;
          assert.equal(bucket.waitMs(1, nowMs), 0);
          bucket.take(1, nowMs);
          gone++;
          assert.ok(gone <= bucket.burst + nowMs * count / periodMs + 1e-3);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("rate: as it is written in a configuration", () => {
  const schema = rateLimitOption("How many.", "10/s");
  assert.deepEqual(v.parse(schema, "10/s"), { count: 10, periodMs: 1_000 });
  assert.deepEqual(v.parse(schema, "600/m"), { count: 600, periodMs: 60_000 });
  assert.deepEqual(v.parse(schema, "1/h"), { count: 1, periodMs: 3_600_000 });
  for (const wrong of ["0/s", "10", "10/d", "-1/s", "1.5/s", "10 / s", "1000000/s", 10]) {
    assert.equal(v.safeParse(schema, wrong).success, false, String(wrong));
  }
});

test("controller: a rate limit counts deliveries, spreads them over time and holds up no other channel", async () => {
  const begun: number[] = [];
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) {
      begun.push(clock.monotonicMs());
      yield await Promise.resolve(delivered(deliveryId));
    }
  };
  let quick = 0;
  const free: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) {
      quick++;
      yield await Promise.resolve(delivered(deliveryId));
    }
  };
  const { clock, spool, controller } = world({
    slow: { deliver, config: { rateLimit: { count: 4, periodMs: 1_000 } } },
    quick: free,
  });
  controller.start();
  const recipients = Array.from({ length: 6 }, (_, index) => [`r${index}@x`, "slow"] as [string, string]);
  controller.accept(spool.add("m1", [...recipients, ["a@x", "quick"]], CLAIM_MS));
  controller.accept(spool.add("m2", [...recipients, ["a@x", "quick"]], CLAIM_MS));
  spool.add("m3", recipients);
  controller.nudge(["slow"]);
  await settled();
  assert.deepEqual([begun.length, quick], [4, 2]);
  await clock.advance(20_000);
  assert.equal(spool.count("done"), 20);
  assert.equal(begun.length, 18);
  // Sixteen are 14 more than the burst of four lets through at once: three seconds and a half at four in a second.
  assert.ok((begun.at(-1) ?? 0) >= 3_500, begun.join());
  for (const atMs of begun) {
    assert.ok(begun.filter((other) => other >= atMs && other < atMs + 1_000).length <= 8, begun.join());
  }
  assertSettledOnce(spool);
  await controller.stop(0);
  assert.equal(clock.pending, 0);
});

test("controller: what waits for a rate keeps its lease, and goes back at a stop", async () => {
  const deliver: Deliver = async function* (job) {
    for (const { deliveryId } of job.recipients) yield await Promise.resolve(delivered(deliveryId));
  };
  const { clock, spool, controller } = world({
    slow: { deliver, config: { rateLimit: { count: 1, periodMs: 3_600_000 } } },
  });
  controller.start();
  for (let index = 0; index < 3; index++) controller.accept(spool.add(`m${index}`, [["a@x", "slow"]], CLAIM_MS));
  await clock.advance(120_000);
  assert.deepEqual([spool.count("done"), spool.count("leased")], [1, 2]);
  await clock.during(controller.stop(0), 10_000);
  assert.equal(spool.count("queued"), 2);
  assertSettledOnce(spool);
  assert.equal(clock.pending, 0);
});
