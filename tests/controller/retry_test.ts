/** Backoff: growth, cap, jitter and the end, as numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { afterFailure, retryDelayMs } from "../../src/controller/retry.ts";

const policy = { firstDelayMs: 60_000, maxDelayMs: 3_600_000, maxAgeMs: 5 * 86_400_000 };

test("retry: the delay doubles from the first to the maximum", () => {
  const delays = [0, 1, 2, 5, 6, 7, 60, 5_000].map((failures) => retryDelayMs(policy, failures, 0.5));
  assert.deepEqual(delays, [60_000, 120_000, 240_000, 1_920_000, 3_600_000, 3_600_000, 3_600_000, 3_600_000]);
});

test("retry: jitter spreads the delay by a fifth in both directions", () => {
  assert.equal(retryDelayMs(policy, 0, 0), 48_000);
  assert.equal(retryDelayMs(policy, 0, 0.999999999), 72_000);
});

test("retry: a message that reached its maximum age is given up, one just below is not", () => {
  const delivery = { failuresBefore: 3, receivedAtMs: 1_000 };
  assert.equal(afterFailure(policy, delivery, 1_000 + policy.maxAgeMs, 0.5).kind, "failed");
  assert.equal(afterFailure(policy, delivery, 999 + policy.maxAgeMs, 0.5).kind, "retry");
});

test("retry: the last attempt is drawn forward to the maximum age, but keeps the first delay", () => {
  const delivery = { failuresBefore: 20, receivedAtMs: 0 };
  const expiresAtMs = policy.maxAgeMs;
  assert.deepEqual(afterFailure(policy, delivery, expiresAtMs - 600_000, 0.5), { kind: "retry", dueAtMs: expiresAtMs });
  assert.deepEqual(afterFailure(policy, delivery, expiresAtMs - 1, 0.5), {
    kind: "retry",
    dueAtMs: expiresAtMs - 1 + 48_000,
  });
});

test("retry: a wait that the receiver asks for counts when it is longer than ours, up to the maximum age", () => {
  const delivery = { failuresBefore: 0, receivedAtMs: 0 };
  const dueAfter = (retryAfterMs: number) => afterFailure(policy, { ...delivery, retryAfterMs }, 1_000, 0.5);
  assert.deepEqual(dueAfter(30_000), { kind: "retry", dueAtMs: 61_000 });
  assert.deepEqual(dueAfter(7_200_000), { kind: "retry", dueAtMs: 7_201_000 });
  assert.deepEqual(dueAfter(1e15), { kind: "retry", dueAtMs: policy.maxAgeMs });
  assert.deepEqual(afterFailure(policy, { ...delivery, retryAfterMs: 1 }, policy.maxAgeMs, 0.5), { kind: "failed" });
});

test("retry: whatever the numbers, the next attempt is in the future, within the delay and its jitter", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1e6 }),
      fc.integer({ min: 1, max: 1e7 }),
      fc.integer({ min: 1, max: 1e9 }),
      fc.nat(3_000),
      fc.nat(2_000_000_000),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (firstDelayMs, maxDelayMs, maxAgeMs, failuresBefore, ageMs, fraction) => {
        const nowMs = 1_700_000_000_000;
        const decision = afterFailure(
          { firstDelayMs, maxDelayMs, maxAgeMs },
          { failuresBefore, receivedAtMs: nowMs - ageMs },
          nowMs,
          fraction,
        );
        if (decision.kind === "failed") return ageMs >= maxAgeMs;
        const delayMs = decision.dueAtMs - nowMs;
        return ageMs < maxAgeMs && Number.isInteger(delayMs) && delayMs >= 0 &&
          delayMs <= Math.ceil(Math.min(maxDelayMs, firstDelayMs * 2 ** failuresBefore) * 1.2);
      },
    ),
    { numRuns: 500 },
  );
});
