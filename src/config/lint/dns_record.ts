/**
 * With `--online`: whether the DNS leads mail here, and whether the server's name and address agree. It must not know how
 * the DNS is asked.
 */
import { parsePattern } from "../../binding/match.ts";
import { isRegexText } from "../../binding/regex.ts";
import type { Config } from "../config.ts";
import { quote } from "../diagnostic.ts";
import type { Place } from "../source.ts";
import { asText, type TableNode, tablesAt, type Text, textAt } from "../tree.ts";
import { isReachable } from "./host.ts";
import { isQualified } from "./host_name.ts";
import type { LintNetwork, LintRule } from "./rule.ts";

export const foreignExchanger: LintRule = {
  code: "SMTPD271",
  async check({ root, config, environment: { network }, report }) {
    if (network === undefined || config === undefined || !receivesMail(config)) return;
    const names = new Set(config.listeners.filter(isReachable).map((listener) => canonical(listener.hostName)));
    const known = await Promise.all([...names].map((name) => network.addresses(name)));
    const ours: Ours = { names, addresses: new Set(known.flatMap((addresses) => addresses ?? [])) };
    const domains = [...domainsOf(root)];
    for (let from = 0; from < domains.length; from += AT_ONCE) {
      await Promise.all(
        domains.slice(from, from + AT_ONCE).map(async ([domain, place]) => {
          const why = await whyElsewhere(domain, ours, network);
          if (why === undefined) return;
          report(`Mail for ${quote(domain)} does not come here: ${why}`, place, {
            help:
              `Give the domain an MX record for ${[...names].slice(0, 3).map(quote).join(" or ")}, unless another ` +
              "server hands its mail to this one.",
          });
        }),
      );
    }
  },
};

export const disagreeingName: LintRule = {
  code: "SMTPD272",
  async check({ root, config, environment: { network }, report }) {
    if (network === undefined || config === undefined) return;
    const tables = tablesAt(root, "listener").filter((_, index) => {
      const listener = config.listeners[index];
      return listener !== undefined && isReachable(listener);
    });
    if (tables.length === 0) return;
    const names = [textAt(root, "host_name"), ...tables.map((table) => textAt(table, "host_name"))];
    for (const name of new Set(names.filter((text): text is Text => text !== undefined))) {
      const host = canonical(name.value);
      if (host.startsWith("[") || !isQualified(host)) continue;
      const why = await whyDisagreeing(host, network);
      if (why === undefined) continue;
      report(`The DNS does not agree with the host name ${quote(name.value)}: ${why}`, name.place, {
        help:
          "Servers that get mail from this one look both up: the name must have the address, and the address the name.",
      });
    }
  },
};

const AT_ONCE = 20;
/** A configuration of thousands of domains is asked about some of them only. */
const MAX_DOMAINS = 200;

function receivesMail(config: Config): boolean {
  return config.listeners.some((listener) => isReachable(listener) && listener.protocol === "smtp");
}

/** The domains that bindings deliver for, each with the first pattern that names it. */
function domainsOf(root: TableNode): ReadonlyMap<string, Place> {
  const domains = new Map<string, Place>();
  const bindings = [root, ...tablesAt(root, "listener")].flatMap((table) => tablesAt(table, "binding"));
  for (const binding of bindings) {
    const recipients = binding.entries.get("recipients")?.node;
    if (recipients === undefined || !binding.entries.has("deliver")) continue;
    for (const item of recipients.kind === "array" ? recipients.items : [recipients]) {
      const text = asText(item);
      const parsed = text === undefined || isRegexText(text.value) ? undefined : parsePattern(text.value);
      const pattern = parsed?.ok === true ? parsed.pattern : undefined;
      const domain = pattern?.kind === "domain"
        ? pattern.domain
        : pattern?.kind === "address"
        ? pattern.key.slice(pattern.key.lastIndexOf("@") + 1)
        : "";
      if (!domain.startsWith("[") && isQualified(domain) && !domains.has(domain)) domains.set(domain, item.place);
      if (domains.size === MAX_DOMAINS) return domains;
    }
  }
  return domains;
}

interface Ours {
  readonly names: ReadonlySet<string>;
  readonly addresses: ReadonlySet<string>;
}

/** Where a domain's mail goes instead (RFC 5321 §5.1); undefined when it comes here, or when that cannot be known. */
async function whyElsewhere(domain: string, ours: Ours, network: LintNetwork): Promise<string | undefined> {
  const exchangers = await network.mailExchangers(domain);
  if (exchangers === undefined) return undefined;
  const names = exchangers.map(({ name }) => canonical(name));
  // RFC 7505 §3: a lone "." says that the domain takes no mail.
  if (names.length === 1 && names[0] === "") return "its MX record says that it takes no mail";
  if (names.some((name) => ours.names.has(name))) return undefined;
  // Without an MX record, the domain's own addresses count.
  const hosts = names.length === 0 ? [domain] : names;
  if (hosts.some((host) => ours.names.has(host))) return undefined;
  const found = await Promise.all(hosts.map((host) => network.addresses(host)));
  if (found.includes(undefined)) return undefined;
  if (found.some((addresses) => addresses?.some((address) => ours.addresses.has(address)))) return undefined;
  if (names.length > 0) return `its MX ${names.length === 1 ? "is" : "are"} ${names.slice(0, 3).map(quote).join(", ")}`;
  return found[0]?.length === 0 ? "it is not in the DNS" : "it has no MX record, and its address is not this server's";
}

/** Why name and address do not lead to each other; undefined when they do, or when that cannot be known. */
async function whyDisagreeing(host: string, network: LintNetwork): Promise<string | undefined> {
  const addresses = await network.addresses(host);
  if (addresses === undefined) return undefined;
  if (addresses.length === 0) return "it has no address";
  for (const address of addresses) {
    const names = await network.names(address);
    if (names === undefined || names.some((name) => canonical(name) === host)) continue;
    return names.length === 0
      ? `its address ${address} has no name`
      : `its address ${address} has the name ${names.slice(0, 3).map(quote).join(", ")}`;
  }
  return undefined;
}

function canonical(name: string): string {
  return name.replace(/\.$/u, "").toLowerCase();
}
