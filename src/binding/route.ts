/**
 * Decides what becomes of a recipient: the first binding that matches, in order, a listener's own before the shared ones.
 * Patterns are kept in hash tables that hold the place of the first binding for each key, so that a recipient costs the
 * same few look-ups however many bindings there are. It must not know of sessions or channels.
 */
import type { BindingConfig, ListenerConfig } from "../config/config.ts";
import type { Mailbox } from "../smtp/address.ts";
import { type Reply, reply } from "../smtp/reply.ts";
import { addressKey, canonicalDomain, parsePattern } from "./match.ts";

export type Route =
  | { readonly kind: "deliver"; readonly binding: string; readonly channels: readonly string[] }
  /** `binding` is absent when none matched. */
  | { readonly kind: "reject"; readonly binding?: string; readonly reply: Reply };

export interface Router {
  route(forwardPath: Mailbox): Route;
}

/** RFC 5321 §3.6.2, RFC 3463 §3.8: nothing says that we take mail for this recipient, so we do not relay it. */
export const NOT_ACCEPTED: Route = {
  kind: "reject",
  reply: reply(550, "5.7.1", "Recipient not accepted here; relaying denied"),
};

/** Patterns of one list of bindings, each with the index of the first binding that has it. */
interface Table {
  readonly routes: readonly Route[];
  readonly addresses: ReadonlyMap<string, number>;
  readonly domains: ReadonlyMap<string, number>;
  readonly postmaster: number;
  readonly any: number;
}

const NONE = Number.MAX_SAFE_INTEGER;

/** Shared bindings are the same list for every listener and may be many: one table serves all. */
const tables = new WeakMap<readonly BindingConfig[], Table>();

/** The bindings must have been checked: a malformed pattern throws. */
export function compileRoutes(
  listener: Pick<ListenerConfig, "hostName" | "bindings">,
  shared: readonly BindingConfig[],
): Router {
  const own = compileTable(listener.bindings);
  const common = tableOf(shared);
  const hostDomain = canonicalDomain(listener.hostName);
  return {
    route(forwardPath) {
      const isBare = forwardPath.domain === "";
      const domain = isBare ? hostDomain : canonicalDomain(forwardPath.domain);
      const address = addressKey(forwardPath.localPart, domain);
      return first(own, address, domain, isBare) ?? first(common, address, domain, isBare) ?? NOT_ACCEPTED;
    },
  };
}

function first(table: Table, address: string, domain: string, isBare: boolean): Route | undefined {
  if (table.routes.length === 0) return undefined;
  const index = Math.min(
    table.addresses.get(address) ?? NONE,
    table.domains.get(domain) ?? NONE,
    isBare ? table.postmaster : NONE,
    table.any,
  );
  return table.routes[index];
}

function tableOf(bindings: readonly BindingConfig[]): Table {
  const known = tables.get(bindings);
  if (known !== undefined) return known;
  const table = compileTable(bindings);
  tables.set(bindings, table);
  return table;
}

function compileTable(bindings: readonly BindingConfig[]): Table {
  const addresses = new Map<string, number>();
  const domains = new Map<string, number>();
  let postmaster = NONE;
  let any = NONE;
  bindings.forEach((binding, index) => {
    for (const text of binding.recipients) {
      const parsed = parsePattern(text);
      if (!parsed.ok) throw new TypeError(`Binding "${binding.name}" has an unchecked recipient pattern "${text}"`);
      const pattern = parsed.pattern;
      switch (pattern.kind) {
        case "address":
          if (!addresses.has(pattern.key)) addresses.set(pattern.key, index);
          break;
        case "domain":
          if (!domains.has(pattern.domain)) domains.set(pattern.domain, index);
          break;
        case "postmaster":
          postmaster = Math.min(postmaster, index);
          break;
        case "any":
          any = Math.min(any, index);
      }
    }
  });
  return { routes: bindings.map(routeOf), addresses, domains, postmaster, any };
}

function routeOf(binding: BindingConfig): Route {
  const { name, outcome } = binding;
  if (outcome.kind === "deliver") return { kind: "deliver", binding: name, channels: outcome.channels };
  return { kind: "reject", binding: name, reply: outcome.reply };
}
