/**
 * With `--online`: whether the hosts that channels send to are in the DNS and answer. It must not know what is said to
 * them.
 */
import { isIP } from "node:net";
import { quote } from "../diagnostic.ts";
import type { Place } from "../source.ts";
import { type TableNode, tablesAt, textAt } from "../tree.ts";
import type { LintNetwork, LintRule } from "./rule.ts";

export const unresolvableRelay: LintRule = {
  code: "SMTPD270",
  async check({ root, environment: { network }, report }) {
    if (network === undefined) return;
    await eachEndpoint(root, async ({ host, port, place }) => {
      if (await isUnknown(host, port, network)) {
        report(`The host ${quote(host)} cannot be found in the DNS`, place, { help: "Check the spelling." });
      }
    });
  },
};

export const silentEndpoint: LintRule = {
  code: "SMTPD273",
  async check({ root, environment: { network }, report }) {
    if (network === undefined) return;
    await eachEndpoint(root, async ({ host, port, place }) => {
      if (await network.answers(host, port) !== false || await isUnknown(host, port, network)) return;
      report(`Nothing answers at ${quote(`${host}:${port}`)}`, place, {
        help: "Check port and firewall, and that the other side is running.",
      });
    });
  },
};

/** Names that only this machine knows (/etc/hosts, a container's network) are not in the DNS, but may answer. */
async function isUnknown(host: string, port: number, network: LintNetwork): Promise<boolean> {
  if (isIP(host) !== 0) return false;
  return (await network.addresses(host))?.length === 0 && await network.answers(host, port) !== true;
}

interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly place: Place;
}

const AT_ONCE = 20;

/** Hosts are asked side by side, so that many silent ones do not add up their time limits. */
async function eachEndpoint(root: TableNode, ask: (endpoint: Endpoint) => Promise<void>): Promise<void> {
  const endpoints = tablesAt(root, "channel").map(endpointOf).filter((endpoint) => endpoint !== undefined);
  for (let from = 0; from < endpoints.length; from += AT_ONCE) {
    await Promise.all(endpoints.slice(from, from + AT_ONCE).map(ask));
  }
}

/** RFC 5321 §4.5.4.2, RFC 2033 §5 leave LMTP without one; 24 is registered for it. */
const PORTS: ReadonlyMap<string, number> = new Map([["smtp", 25], ["lmtp", 24]]);

/** Where a channel sends to: `host` and `port`, or `url`. */
export function endpointOf(channel: TableNode): Endpoint | undefined {
  const url = textAt(channel, "url");
  const parsed = url === undefined ? null : URL.parse(url.value);
  if (url !== undefined && parsed !== null && /^https?:$/u.test(parsed.protocol)) {
    const port = parsed.port === "" ? (parsed.protocol === "https:" ? 443 : 80) : Number(parsed.port);
    return { host: parsed.hostname.replace(/^\[|\]$/gu, ""), port, place: url.place };
  }
  const host = textAt(channel, "host");
  const node = channel.entries.get("port")?.node;
  const port = node === undefined
    ? PORTS.get(textAt(channel, "type")?.value ?? "")
    : node.kind === "scalar" && typeof node.value === "number"
    ? node.value
    : undefined;
  return host === undefined || port === undefined ? undefined : { host: host.value, port, place: host.place };
}
