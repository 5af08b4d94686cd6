/**
 * Where mail goes: recipients by destination, and the servers of a destination in the order in which they are asked
 * (RFC 5321 §5.1). It must not know what is said to them.
 */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { type Dns, type Endpoint, endpointText, type Resolver, TransportError } from "../runtime/runtime.ts";
import { isAscii } from "../smtp/bytes.ts";
import type { ChannelContext, JobRecipient } from "./channel.ts";
import type { ClientOptions } from "./smtp_options.ts";

export interface Destination {
  /** The domain, or "" where one server takes everything. */
  readonly domain: string;
  readonly recipients: readonly JobRecipient[];
}

/** A server to ask, or why there is none. */
export type Candidate =
  | { readonly kind: "server"; readonly name: string; readonly endpoint: Endpoint }
  | { readonly kind: "problem"; readonly permanent: boolean; readonly detail: string };

export interface Servers {
  candidates(destination: Destination): AsyncIterable<Candidate>;
}

/** The domain of an address in lower case A-labels, or "" when it has none. */
export function domainOf(address: string): string {
  const domain = address.slice(address.lastIndexOf("@") + 1);
  if (domain.length === address.length) return "";
  return (isAscii(domain) ? domain : domainToASCII(domain)).toLowerCase();
}

/** RFC 6531 §3.2: where the local-part is ASCII, A-labels spare the address the need for SMTPUTF8. */
export function wireAddress(address: string): string {
  if (isAscii(address)) return address;
  const at = address.lastIndexOf("@");
  const local = address.slice(0, at);
  const domain = domainOf(address);
  return at > 0 && isAscii(local) && domain !== "" ? `${local}@${domain}` : address;
}

/** By domain, in the order of first appearance. */
export function destinationsOf(recipients: readonly JobRecipient[]): readonly Destination[] {
  const groups = Map.groupBy(recipients, ({ delivery }) => domainOf(delivery.recipient));
  return [...groups].map(([domain, group]) => ({ domain, recipients: group }));
}

/** The servers of the configuration, in its order, with all addresses of each. */
export function gatewayServers(
  { host = [], socket_path: path, port }: ClientOptions,
  resolver: Resolver,
): Servers {
  return {
    async *candidates() {
      if (path !== undefined) yield { kind: "server", name: path, endpoint: { kind: "unix", path } };
      for (const each of host) {
        const name = each.replace(/^\[(?:ipv6:)?(.+)\]$/iu, "$1").replace(/\.$/u, "");
        try {
          const addresses = isIP(name) === 0 ? await resolver.addresses(name) : [name];
          for (const address of addresses) yield { kind: "server", name, endpoint: { kind: "ip", address, port } };
        } catch (error) {
          if (!(error instanceof TransportError)) throw error;
          // Who runs this server can put its name right.
          yield problem(false, "4.4.3", error.message);
        }
      }
    },
  };
}

/** The servers that the DNS names for the domain. */
export function directServers({ port }: ClientOptions, context: ChannelContext): Servers {
  return { candidates: ({ domain }) => new Direct(domain, port, context).candidates() };
}

class Direct {
  readonly #domain: string;
  readonly #port: number;
  readonly #context: ChannelContext;
  readonly #dns: Dns;

  constructor(domain: string, port: number, context: ChannelContext) {
    this.#domain = domain;
    this.#port = port;
    this.#context = context;
    this.#dns = context.runtime.dns;
  }

  async *candidates(): AsyncIterable<Candidate> {
    if (this.#domain === "") return yield problem(true, "5.1.2", "The address has no domain");
    const literal = /^\[(?:ipv6:)?(.+)\]$/u.exec(this.#domain)?.[1];
    if (literal !== undefined) return yield this.#at(literal, this.#domain);
    const hosts = await this.#hosts();
    if (!Array.isArray(hosts)) return yield hosts as Candidate;
    for (const host of hosts) yield* this.#addresses(host);
  }

  /** The hosts by preference, equal ones shuffled; the domain itself when it has none (RFC 5321 §5.1). */
  async #hosts(): Promise<readonly string[] | Candidate> {
    let found;
    try {
      found = await this.#dns.mailExchangers(this.#domain);
    } catch (error) {
      return lookUpProblem(error, "5.1.2");
    }
    if (found.length === 0) return [this.#domain];
    const named = found.filter(({ host }) => host !== "");
    if (named.length === 0) return problem(true, "5.1.10", `The domain "${this.#domain}" takes no mail (null MX)`);
    const { random } = this.#context.runtime;
    const sorted = named.map((each) => ({ ...each, order: random.fraction() }))
      .sort((one, other) => one.preference - other.preference || one.order - other.order);
    // RFC 5321 §5.1: where we are among them, only those before us are nearer to the recipient.
    const own = sorted.find(({ host }) => host.toLowerCase() === this.#context.hostName.toLowerCase());
    const nearer = own === undefined ? sorted : sorted.filter(({ preference }) => preference < own.preference);
    if (nearer.length === 0) return problem(true, "5.4.6", `The DNS sends mail for "${this.#domain}" back to us`);
    return nearer.map(({ host }) => host);
  }

  async *#addresses(host: string): AsyncIterable<Candidate> {
    let addresses;
    try {
      addresses = await this.#dns.addresses(host);
    } catch (error) {
      return yield lookUpProblem(error, "5.4.4");
    }
    if (addresses.length === 0) yield problem(true, "5.4.4", `The host "${host}" has no address`);
    for (const address of addresses) yield this.#at(address, host);
  }

  #at(address: string, name: string): Candidate {
    const endpoint: Endpoint = { kind: "ip", address, port: this.#port };
    if (this.#context.isOwnEndpoint?.(address, this.#port) !== true) return { kind: "server", name, endpoint };
    return problem(true, "5.4.6", `The host "${name}" is at ${endpointText(endpoint)}, which is ourselves`);
  }
}

/** RFC 5321 §5.1: that nobody could tell is no answer, and the mail waits. */
function lookUpProblem(error: unknown, enhanced: string): Candidate {
  if (!(error instanceof TransportError)) throw error;
  const permanent = error.code === "ENOTFOUND";
  return problem(permanent, permanent ? enhanced : "4.4.3", error.message);
}

function problem(permanent: boolean, enhanced: string, detail: string): Candidate {
  return { kind: "problem", permanent, detail: `${enhanced} ${detail}` };
}
