/**
 * What a client is told when channels have decided about its message, and which deliveries go with that. It must not know how
 * channels are asked or how deliveries are removed.
 */
import type { Decision } from "../channel/channel.ts";
import { oneLine } from "../channel/content.ts";
import type { Answer, Removal } from "../controller/inquiry.ts";
import { prepared, type Reply, reply } from "../smtp/reply.ts";
import { type Decision as Routed, deliveryKey } from "./routing.ts";

/** The reason is for us, in the log. */
export const UNDECIDED = prepared(reply(451, "4.3.0", "Cannot decide about the message now; try again later"));

export interface Judgement {
  /** For each accepted recipient in order: why it is refused after all. */
  readonly refusals: readonly (Reply | undefined)[];
  readonly removal: Removal | undefined;
}

/**
 * SMTP has one reply, so one refusal refuses the message for everybody. With LMTP a recipient is refused when one of its own
 * deliveries is, and a delivery goes when all whose it is are refused.
 */
export function judge(
  protocol: "smtp" | "lmtp",
  { deliveries, refusals: before, shares = [] }: Routed,
  answers: readonly Answer[],
): Judgement {
  if (answers.every(({ decision }) => decision.kind === "accept")) return { refusals: before, removal: undefined };
  const held = deliveries.some((delivery) => delivery.held === true);
  if (protocol === "smtp") {
    const refusal = refusalOf(answers.map(({ decision }) => decision));
    return { refusals: before.map(() => refusal), removal: { removes: () => true, held } };
  }
  const decisions = new Map(answers.map(({ lease, decision }) => [deliveryKey(lease.delivery), decision]));
  const keys = shares.map((share) => share.map(deliveryKey));
  const refusals = before.map((refusal, index) =>
    refusal ?? refusalOf((keys[index] ?? []).flatMap((key) => decisions.get(key) ?? []))
  );
  const stays = new Set(keys.filter((_, index) => refusals[index] === undefined).flat());
  return { refusals, removal: { removes: (delivery) => !stays.has(deliveryKey(delivery)), held } };
}

/** A final refusal before a passing one: trying again would not help. */
function refusalOf(decisions: readonly Decision[]): Reply | undefined {
  const rejected = decisions.find((decision) => decision.kind === "reject");
  if (rejected !== undefined) return reply(550, "5.7.1", oneLine(rejected.reason).trim() || "Not accepted");
  return decisions.some(({ kind }) => kind === "defer") ? UNDECIDED : undefined;
}
