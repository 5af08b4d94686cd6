/**
 * What is recorded of an attempt: when a delivery that failed is tried again, and when it is given up. The time and random
 * numbers are the caller's. It must not know how anything is recorded.
 */
import type { Outcome } from "../channel/channel.ts";
import { oneLine } from "../channel/content.ts";
import type { RetryPolicy } from "../config/config.ts";
import type { Clock, Random } from "../runtime/runtime.ts";
import type { Lease, Settlement } from "../spool/spool.ts";

/** Each delay is spread by a fifth in both directions, so that what failed together does not come back together. */
const JITTER = 0.2;

export type RetryDecision = { readonly kind: "retry"; readonly dueAtMs: number } | { readonly kind: "failed" };

/**
 * The wait before the next attempt. `failuresBefore` counts the failures before this one; `fraction` is uniform in [0, 1).
 */
export function retryDelayMs(policy: RetryPolicy, failuresBefore: number, fraction: number): number {
  const delayMs = Math.min(policy.firstDelayMs * 2 ** Math.max(0, failuresBefore), policy.maxDelayMs);
  return Math.round(delayMs * (1 - JITTER + 2 * JITTER * fraction));
}

/**
 * What follows a failure at `nowMs`. A message older than the policy's maximum is given up. Before that, the last attempt
 * is drawn forward to the moment at which it would become too old, so that a long delay does not stretch the maximum.
 * A wait that the receiver asked for counts when it is longer than ours; it does not stretch the maximum either.
 */
export function afterFailure(
  policy: RetryPolicy,
  delivery: { readonly failuresBefore: number; readonly receivedAtMs: number; readonly retryAfterMs?: number },
  nowMs: number,
  fraction: number,
): RetryDecision {
  const expiresAtMs = delivery.receivedAtMs + policy.maxAgeMs;
  if (nowMs >= expiresAtMs) return { kind: "failed" };
  const delayMs = retryDelayMs(policy, delivery.failuresBefore, fraction);
  const atLeastMs = Math.min(delayMs, retryDelayMs(policy, 0, 0));
  const waitMs = Math.max(delayMs, delivery.retryAfterMs ?? 0);
  return { kind: "retry", dueAtMs: Math.max(Math.min(nowMs + waitMs, expiresAtMs), nowMs + atLeastMs) };
}

/** How the delivery is settled after an attempt that ended so. */
export function settlementOf(
  policy: RetryPolicy,
  lease: Lease,
  outcome: Outcome,
  clock: Pick<Clock, "nowMs">,
  random: Pick<Random, "fraction">,
): Exclude<Settlement, { readonly kind: "returned" }> {
  const detail = oneLine(outcome.detail);
  if (outcome.kind === "delivered") return { kind: "done", detail };
  if (outcome.kind === "failed") return { kind: "failed", detail };
  const { attempts: failuresBefore, message: { receivedAtMs } } = lease;
  const delivery = { failuresBefore, receivedAtMs, retryAfterMs: outcome.retryAfterMs ?? 0 };
  const decision = afterFailure(policy, delivery, clock.nowMs(), random.fraction());
  if (decision.kind === "retry") return { kind: "retry", detail, dueAtMs: decision.dueAtMs };
  const hours = Math.round(policy.maxAgeMs / 36_000) / 100;
  return { kind: "failed", detail: `Given up after ${hours} h: ${detail}` };
}
