/** Counts deliveries by channel and domain, for stores that have them at hand. It must not know where they come from. */
import { domainOf } from "./selection.ts";
import type { DeliveryState, QueueEntry, Summary, SummaryGroup } from "./spool.ts";

type Counts = { -readonly [State in DeliveryState]: number };
type Group = { -readonly [Key in keyof SummaryGroup]: SummaryGroup[Key] };

/** `entries` must come in the order of their ids. */
export function summaryOf(entries: Iterable<QueueEntry>, limit: number): Summary {
  const groups = new Map<string, Group>();
  const total: Counts = { queued: 0, leased: 0, held: 0, failed: 0 };
  for (const { state, dueAtMs, message, delivery } of entries) {
    const { channel } = delivery;
    const domain = domainOf(delivery.recipient);
    const key = JSON.stringify([channel, domain]);
    let group = groups.get(key);
    if (group === undefined) {
      group = { channel, domain, queued: 0, leased: 0, held: 0, failed: 0, oldestAtMs: message.receivedAtMs };
      groups.set(key, group);
    }
    group[state]++;
    total[state]++;
    if (state === "queued") group.nextDueAtMs = Math.min(group.nextDueAtMs ?? dueAtMs, dueAtMs);
  }
  const sorted = [...groups.values()].sort((a, b) =>
    size(b) - size(a) || compare(a.channel, b.channel) || compare(a.domain, b.domain)
  );
  return { groups: sorted.slice(0, limit), groupCount: sorted.length, total };
}

function size(group: Group): number {
  return group.queued + group.leased + group.held + group.failed;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
