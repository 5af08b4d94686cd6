/**
 * Channels that lead back to a listener of the same configuration which hands the mail to them again. It follows imaginary
 * recipients through the routing itself and reports only what certainly goes round. It must not know how bindings work.
 */
import { isIP } from "node:net";
import type { Router } from "../../binding/route.ts";
import { formatMailbox, type Mailbox } from "../../smtp/address.ts";
import type { BindingConfig, Config, ListenerConfig } from "../config.ts";
import { quote } from "../diagnostic.ts";
import { spanOf } from "../source.ts";
import { type TableNode, tablesAt, textAt } from "../tree.ts";
import { endpointOf } from "./channel_endpoint.ts";
import { isLoopback, isReachable } from "./host.ts";
import { queryFor, routersOf, samplesOf } from "./route_probe.ts";
import type { LintRule } from "./rule.ts";

export const relayLoop: LintRule = {
  code: "SMTPD222",
  async check(context) {
    const { root, config, report } = context;
    if (config === undefined) return;
    const inward = inwardChannels(root, config);
    if (inward.size === 0) return;
    const routers = await routersOf(context);
    if (routers === undefined) return;
    const world: World = { config, routers, inward, nowMs: context.environment.nowMs };
    const told = new Set<string>();
    for (const [channel, { table, listeners: [first] }] of inward) {
      const found = told.has(channel) ? undefined : roundTrip(channel, world);
      const endpoint = endpointOf(table);
      const listener = first === undefined ? undefined : tablesAt(root, "listener")[first];
      if (found === undefined || endpoint === undefined || listener === undefined) continue;
      const { recipient, way } = found;
      // One circle is one finding, however many channels it leads over.
      for (const passed of way) told.add(passed);
      const over = way.length === 1 ? "" : `, by way of ${way.slice(1).map(quote).join(", ")}`;
      report(
        `Mail goes round in a circle: ${quote(channel)} sends it back to this server, which sends it there again`,
        endpoint.place,
        {
          secondary: [{ ...spanOf(textAt(listener, "name")?.place ?? listener.place), label: "it comes back here" }],
          notes: [`Mail for ${quote(formatMailbox(recipient))}, for example${over}.`],
          help: "Name the server that the mail is for, or give the listener bindings that take it elsewhere.",
        },
      );
    }
  },
};

/** A channel that sends to listeners of this configuration, by their indices. */
interface Inward {
  readonly table: TableNode;
  readonly listeners: readonly number[];
}

interface World {
  readonly config: Config;
  readonly routers: readonly Router[];
  readonly inward: ReadonlyMap<string, Inward>;
  readonly nowMs: number;
}

const SMTP_TYPES: ReadonlySet<string> = new Set(["smtp", "lmtp"]);

function inwardChannels(root: TableNode, config: Config): ReadonlyMap<string, Inward> {
  const inward = new Map<string, Inward>();
  for (const table of tablesAt(root, "channel")) {
    const name = textAt(table, "name")?.value;
    const endpoint = SMTP_TYPES.has(textAt(table, "type")?.value ?? "") ? endpointOf(table) : undefined;
    if (name === undefined || endpoint === undefined) continue;
    const listeners = [...config.listeners.keys()].filter((index) => {
      const listener = config.listeners[index];
      return listener?.port === endpoint.port && isHere(endpoint.host, listener, config);
    });
    if (listeners.length > 0) inward.set(name, { table, listeners });
  }
  return inward;
}

const EVERY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** Whether a host is certainly the one that a listener listens on. */
function isHere(host: string, listener: ListenerConfig, config: Config): boolean {
  const { listenIp } = listener;
  const isEverywhere = listenIp === undefined || EVERY_ADDRESS.has(listenIp);
  if (isIP(host) !== 0) return isEverywhere ? isLoopback(host) || EVERY_ADDRESS.has(host) : host === listenIp;
  if (isLoopback(host)) return isEverywhere || isLoopback(listenIp);
  const name = host.replace(/\.$/u, "").toLowerCase();
  return isReachable(listener) && [listener.hostName, config.hostName].some((own) => own.toLowerCase() === name);
}

const MAX_SAMPLES = 200;

interface RoundTrip {
  readonly recipient: Mailbox;
  /** The channels of the circle, in order. */
  readonly way: readonly string[];
}

/** A recipient that comes to the channel and then comes to it again. */
function roundTrip(channel: string, world: World): RoundTrip | undefined {
  const { config: { listeners, bindings } } = world;
  const delivers = ({ outcome }: BindingConfig) => outcome.kind === "deliver" && outcome.channels.includes(channel);
  for (const [index, listener] of listeners.entries()) {
    const samples = [...listener.bindings, ...bindings].filter(delivers)
      .flatMap(({ recipients }) => samplesOf(recipients?.slice(0, MAX_SAMPLES), "recipient"));
    for (const recipient of samples.slice(0, MAX_SAMPLES)) {
      for (const client of [NEIGHBOUR, STRANGER]) {
        for (const sent of deliveriesOf(index, recipient, world, client)) {
          const way = sent.channel === channel ? wayBack(sent, world) : undefined;
          if (way !== undefined) return { recipient, way };
        }
      }
    }
  }
  return undefined;
}

interface Sent {
  readonly channel: string;
  readonly recipient: Mailbox;
}

const MAX_HOPS = 100;

/** The channels over which mail that a channel has sent comes to that channel again; undefined when it does not. */
function wayBack(start: Sent, world: World): readonly string[] | undefined {
  const seen = new Set<string>();
  const open: { readonly sent: Sent; readonly way: readonly string[] }[] = [{ sent: start, way: [start.channel] }];
  for (let next = open.pop(); next !== undefined && seen.size < MAX_HOPS; next = open.pop()) {
    const { sent, way } = next;
    const key = `${sent.channel} ${formatMailbox(sent.recipient)}`;
    if (seen.has(key)) continue;
    seen.add(key);
    // Of several listeners that it may come to, only what happens at the first is certain.
    const index = world.inward.get(sent.channel)?.listeners[0];
    if (index === undefined) continue;
    for (const again of deliveriesOf(index, sent.recipient, world, NEIGHBOUR)) {
      if (again.channel === start.channel) return way;
      open.push({ sent: again, way: [...way, again.channel] });
    }
  }
  return undefined;
}

/** A client on this machine, as the channel is one; and any other, as where the mail comes from at first. */
const NEIGHBOUR = "127.0.0.1";
const STRANGER = "1.2.3.4";

/** What a listener makes of a recipient that a client gives it. */
function deliveriesOf(index: number, recipient: Mailbox, world: World, client: string): readonly Sent[] {
  const listener = world.config.listeners[index];
  const router = world.routers[index];
  if (listener === undefined || router === undefined) return [];
  // Who connects from this machine to one of its addresses comes from that address.
  const clientAddress = client === NEIGHBOUR && !EVERY_ADDRESS.has(listener.listenIp ?? "::")
    ? listener.listenIp ?? client
    : client;
  const route = router.route(queryFor(listener, recipient, { clientAddress, nowMs: world.nowMs }));
  if (route.kind !== "accept") return [];
  return route.deliveries.map((delivery) => ({
    channel: delivery.channel,
    recipient: delivery.recipient ?? recipient,
  }));
}
