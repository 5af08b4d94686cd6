/**
 * Listeners that take mail from strangers for domains that nobody named: an open relay when it leaves by SMTP, a catch-all
 * when it is kept. It asks the routing itself what would become of such mail, so that conditions count as they do when
 * mail comes. It must not know how bindings work.
 */
import type { Query, Router } from "../../binding/route.ts";
import type { RoutedDelivery } from "../../binding/rule.ts";
import type { BindingConfig, Config, ListenerConfig } from "../config.ts";
import { quote } from "../diagnostic.ts";
import { type Place, spanOf } from "../source.ts";
import { type TableNode, tablesAt, textAt } from "../tree.ts";
import { isReachable } from "./host.ts";
import { ELSEWHERE, queryFor, routersOf, samplesOf } from "./route_probe.ts";
import type { LintContext, LintRule } from "./rule.ts";

export const openRelay: LintRule = {
  code: "SMTPD220",
  async check(context) {
    await eachCatch(context, ({ binding, listener, relays }) => {
      const [relay] = relays;
      if (relay === undefined) return;
      const { root, report } = context;
      const channel = tablesAt(root, "channel").find((table) => textAt(table, "name")?.value === relay);
      report(
        `This is an open relay: anybody may send mail to any domain by way of ${quote(binding)}`,
        placeOfBinding(root, binding) ?? listener.table.place,
        {
          secondary: [
            { ...spanOf(namePlace(listener.table)), label: "strangers connect here" },
            ...channel === undefined ? [] : [{ ...spanOf(namePlace(channel)), label: "and their mail leaves here" }],
          ],
          help:
            'Name your domains in "recipients", or say who may: clients = ["192.0.2.0/24"], authenticated = true. A ' +
            'listener for this machine alone has listen_ip = "127.0.0.1".',
        },
      );
    });
  },
};

export const catchAll: LintRule = {
  code: "SMTPD221",
  async check(context) {
    await eachCatch(context, ({ binding, listener, relays }) => {
      if (relays.length > 0) return;
      const { root, report } = context;
      report(
        `${quote(binding)} takes mail for every domain, from anybody`,
        placeOfBinding(root, binding) ?? listener.table.place,
        {
          secondary: [{ ...spanOf(namePlace(listener.table)), label: "strangers connect here" }],
          help: 'Name your domains in "recipients": ["*@example.com"].',
        },
      );
    });
  },
};

interface Catch {
  readonly binding: string;
  readonly listener: { readonly config: ListenerConfig; readonly table: TableNode };
  /** Channels by which the mail leaves for other servers. */
  readonly relays: readonly string[];
}

/** Channels that hand mail on to servers that hand it on; what an LMTP server or an application gets has arrived. */
const RELAYING: ReadonlySet<string> = new Set(["smtp"]);

/** Tells of every binding that takes what strangers send to strangers, once. */
async function eachCatch(context: LintContext, tell: (found: Catch) => void): Promise<void> {
  const { root, config, environment: { nowMs } } = context;
  if (config === undefined) return;
  const told = new Set<string>();
  const tables = tablesAt(root, "listener");
  for (const [index, listener] of config.listeners.entries()) {
    const table = tables[index];
    const bindings = [...listener.bindings, ...config.bindings];
    if (table === undefined || !isReachable(listener) || !bindings.some(mayTakeAny)) continue;
    const router = (await routersOf(context))?.[index];
    if (router === undefined) return;
    for (const { binding, relays } of catches(router, listener, config, nowMs)) {
      if (told.has(binding)) continue;
      told.add(binding);
      tell({ binding, relays, listener: { config: listener, table } });
    }
  }
}

/** Saves the work for configurations whose every pattern names a domain. */
function mayTakeAny({ recipients }: BindingConfig): boolean {
  return recipients === undefined ||
    recipients.some((item) => typeof item !== "string" || item.startsWith("/") || /^[^"]*[*?][^@]*$/u.test(item));
}

/** Ordinary addresses from far apart networks. One network more or less may be known here; two make a stranger. */
const STRANGERS = ["1.2.3.4", "77.7.7.7", "191.9.8.7", "2a0f:ffff::9"];
const STRANGERS_NEEDED = 2;
const MAX_SENDERS = 20;

function catches(
  router: Router,
  listener: ListenerConfig,
  config: Config,
  nowMs: number,
): readonly Pick<Catch, "binding" | "relays">[] {
  const types = new Map(config.channels.map(({ name, type }) => [name, type]));
  const isRelay = ({ channel, held }: RoutedDelivery) => held !== true && RELAYING.has(types.get(channel) ?? "");
  const found = new Map<string, { readonly strangers: Set<string>; readonly relays: Set<string> }>();
  for (const query of strangersQueries(router, listener, config, nowMs)) {
    const route = router.route(query);
    if (route.kind !== "accept") continue;
    const relays = route.deliveries.filter(isRelay);
    const binding = relays[0]?.binding ?? route.binding;
    const entry = found.get(binding) ?? { strangers: new Set(), relays: new Set() };
    found.set(binding, entry);
    entry.strangers.add(query.clientAddress);
    for (const { channel } of relays) entry.relays.add(channel);
  }
  return [...found].filter(([, { strangers }]) => strangers.size >= STRANGERS_NEEDED)
    .map(([binding, { relays }]) => ({ binding, relays: [...relays] }));
}

/** Who says to be one of our senders is a stranger all the same: anybody can say so. */
function* strangersQueries(
  router: Router,
  listener: ListenerConfig,
  config: Config,
  nowMs: number,
): Iterable<Query> {
  const claimed = [...listener.bindings, ...config.bindings].filter(mayTakeAny).flatMap(({ senders }) =>
    senders === undefined ? [] : samplesOf(senders.slice(0, MAX_SENDERS), "sender")
  );
  const senders = [{ localPart: "somebody", domain: ELSEWHERE[0] }, null, ...claimed.slice(0, MAX_SENDERS)];
  const encryptions = listener.tls.mode === "off"
    ? [undefined]
    : listener.tls.mode === "starttls"
    ? [undefined, { version: "TLSv1.3" }]
    : [{ version: "TLSv1.3" }];
  for (const domain of ELSEWHERE) {
    const recipient = { localPart: "probe", domain };
    for (const timeMs of router.reads.time ? aWeek(nowMs) : [nowMs]) {
      for (const sender of senders) {
        for (const tls of encryptions) {
          for (const clientAddress of STRANGERS) {
            yield queryFor(listener, recipient, { clientAddress, sender, tls, nowMs: timeMs });
          }
        }
      }
    }
  }
}

const HOUR_MS = 3_600_000;

/** Where the hour matters, every third one of a week. */
function aWeek(nowMs: number): readonly number[] {
  return Array.from({ length: 56 }, (_, index) => nowMs + index * 3 * HOUR_MS);
}

function namePlace(table: TableNode): Place {
  return textAt(table, "name")?.place ?? table.place;
}

function placeOfBinding(root: TableNode, name: string): Place | undefined {
  const bindings = [root, ...tablesAt(root, "listener")].flatMap((table) => tablesAt(table, "binding"));
  return bindings.map((table) => textAt(table, "name")).find((text) => text?.value === name)?.place;
}
