/** Counts deliveries by channel and domain, one after the other. It must not know where they come from. */
import { domainOf } from "./selection.ts";
import type { DeliveryState, Summary, SummaryGroup } from "./spool.ts";

/** What is counted of a delivery. */
export interface Counted {
  readonly id: number;
  readonly channel: string;
  readonly recipient: string;
  readonly state: DeliveryState;
  readonly dueAtMs: number;
}

type Counts = { -readonly [State in DeliveryState]: number };

interface Group extends Counts {
  readonly channel: string;
  readonly domain: string;
  readonly firstId: number;
  nextDueAtMs: number;
}

/** `deliveries` must come in the order of their ids. `receivedAtMs` tells of a delivery when its message was received. */
export function summaryOf(
  deliveries: Iterable<Counted>,
  limit: number,
  receivedAtMs: (deliveryId: number) => number,
): Summary {
  const groups = new Map<string, Map<string, Group>>();
  const total: Counts = { queued: 0, leased: 0, held: 0, failed: 0 };
  for (const { id, channel, recipient, state, dueAtMs } of deliveries) {
    const domain = domainOf(recipient);
    let domains = groups.get(channel);
    if (domains === undefined) groups.set(channel, domains = new Map());
    let group = domains.get(domain);
    if (group === undefined) {
      group = { channel, domain, queued: 0, leased: 0, held: 0, failed: 0, firstId: id, nextDueAtMs: Infinity };
      domains.set(domain, group);
    }
    group[state]++;
    total[state]++;
    if (state === "queued" && dueAtMs < group.nextDueAtMs) group.nextDueAtMs = dueAtMs;
  }
  const sorted = [...groups.values()].flatMap((domains) => [...domains.values()]).sort((a, b) =>
    size(b) - size(a) || compare(a.channel, b.channel) || compare(a.domain, b.domain)
  );
  return {
    groups: sorted.slice(0, limit).map(({ firstId, nextDueAtMs, ...group }): SummaryGroup => ({
      ...group,
      oldestAtMs: receivedAtMs(firstId),
      ...(nextDueAtMs === Infinity ? {} : { nextDueAtMs }),
    })),
    groupCount: sorted.length,
    total,
  };
}

function size(group: Counts): number {
  return group.queued + group.leased + group.held + group.failed;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
