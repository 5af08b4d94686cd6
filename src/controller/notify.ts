/**
 * Decides what the sender is told of a delivery (RFC 3461 §5.2): nothing, or one recipient's part of a notification. It must not know how notifications are made or where they go.
 */
import type { Outcome } from "../channel/channel.ts";
import type { ChannelConfig } from "../config/config.ts";
import { type DsnAction, type ReportedRecipient, statusIn } from "../message/dsn.ts";
import type { Clock } from "../runtime/runtime.ts";
import type { DsnNotify } from "../smtp/transaction.ts";
import { senderOf } from "../spool/selection.ts";
import type { Lease, NewDelivery, Settlement, StoredMessage } from "../spool/spool.ts";

/** What the sender is to be told of one delivery. */
export interface Notice {
  readonly sender: string;
  readonly reported: ReportedRecipient;
  readonly config: ChannelConfig;
}

/** RFC 3463 §3.5: tried until it was too old, and nobody said why. */
const EXPIRED = "4.4.7";

/**
 * What there is to tell now, given how the attempt ended and what will be recorded. Of a retry it only says that the message
 * is old enough for a warning: whether that was sent before is for `isWarningDue`.
 */
export function noticeOf(
  config: ChannelConfig,
  lease: Lease,
  outcome: Outcome,
  settlement: Settlement & { readonly detail: string },
  clock: Pick<Clock, "nowMs">,
): Notice | undefined {
  const { message, delivery } = lease;
  // The usual case: delivered, and the sender has not asked to be told.
  if (outcome.kind === "delivered" && delivery.notify === undefined) return undefined;
  if (config.notify === "keep") return undefined;
  const sender = senderOf(lease);
  // A notification is never answered with another one (RFC 5321 §4.5.5, §6.1), also when a binding gave it a sender.
  if (sender === "" || message.envelope.reversePath === "") return undefined;
  const nowMs = clock.nowMs();
  const action = actionOf(config, lease, outcome, settlement, nowMs);
  if (action === undefined) return undefined;
  const { detail } = settlement;
  const general = outcome.status ?? (action === "failed" && outcome.kind === "deferred" ? EXPIRED : undefined);
  const reported: ReportedRecipient = {
    ...addressed(delivery),
    action,
    status: statusIn(detail, action, general),
    detail,
    ...(outcome.remoteMta === undefined ? {} : { remoteMta: outcome.remoteMta }),
    lastAttemptMs: nowMs,
    ...(action === "delayed" ? { retryUntilMs: message.receivedAtMs + config.retry.maxAgeMs } : {}),
  };
  return { sender, reported, config };
}

function actionOf(
  config: ChannelConfig,
  { message, delivery }: Lease,
  outcome: Outcome,
  settlement: Settlement,
  nowMs: number,
): DsnAction | undefined {
  if (outcome.kind === "delivered") {
    // Who takes the sender's wishes along tells the sender itself (RFC 3461 §5.2.3).
    if (outcome.onward === "notifies" || !wants(delivery.notify, "success")) return undefined;
    return outcome.onward ?? "delivered";
  }
  if (settlement.kind === "failed") return wants(delivery.notify, "failure") ? "failed" : undefined;
  const [first = Infinity] = config.noticesMs ?? [];
  const isOld = nowMs - message.receivedAtMs >= first;
  return isOld && wants(delivery.notify, "delay") ? "delayed" : undefined;
}

/** RFC 3461 §4.1: without NOTIFY the sender is told of failures, and by our choice of delays. */
export function wants(notify: DsnNotify | undefined, what: "success" | "failure" | "delay"): boolean {
  return notify === undefined ? what !== "success" : notify.includes(what);
}

/**
 * Whether a warning is due that was not due at the attempt before: the age of the message has passed one of the channel's
 * `notices` since then. `beforeMs`: when that attempt was; undefined when this is the first.
 */
export function isWarningDue(
  noticesMs: readonly number[],
  { receivedAtMs }: StoredMessage,
  beforeMs: number | undefined,
  nowMs: number,
): boolean {
  const since = beforeMs ?? receivedAtMs;
  return noticesMs.some((ageMs) => receivedAtMs + ageMs > since && receivedAtMs + ageMs <= nowMs);
}

/** Who it was for. What a binding made of the address is nobody's business outside (RFC 3461 §6.3 (e), RFC 3464 §4.2). */
export function addressed(delivery: NewDelivery): Pick<ReportedRecipient, "recipient" | "orcpt"> {
  const { recipient, originalRecipient, orcpt } = delivery;
  return { recipient: originalRecipient ?? recipient, ...(orcpt === undefined ? {} : { orcpt }) };
}
