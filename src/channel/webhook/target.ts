/**
 * Where requests may go. A name or an address from a configuration must not lead into the machine, the network behind it or
 * a cloud's metadata service unless that is meant; a name is judged by the addresses it has at the moment of the
 * connection, and only those judged are connected to. It must not know what is sent.
 */
import { isIP } from "node:net";
import { type Network, NetworkSet, parseNetwork } from "../../binding/network.ts";
import type { Resolver } from "../../runtime/runtime.ts";

/** All that a host leads to is not public. */
export class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
}

export type Host =
  | { readonly kind: "address"; readonly address: string }
  | { readonly kind: "name"; readonly name: string };

/** The host of a URL, an IPv6 address without brackets. URLs write IPv4 addresses in one way, however they were given. */
export function hostOf(url: URL): Host {
  const text = url.hostname.replace(/^\[(.*)\]$/u, "$1");
  return isIP(text) === 0 ? { kind: "name", name: text } : { kind: "address", address: text };
}

/** RFC 6761 §6.3: these names never leave the machine. */
export function isThisMachine(name: string): boolean {
  return /^(?:.*\.)?localhost\.?$/iu.test(name);
}

/** The IANA registry of special-purpose IPv4 addresses (RFC 6890 §2.2.2), and Azure's metadata service. */
const SPECIAL_IPV4 = networks(
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
);

/** Global unicast (RFC 4291 §2.4): everything else is loopback, link-local, private, multicast or not assigned. */
const GLOBAL_IPV6 = networks("2000::/3");

/** Within it: protocol assignments with Teredo, documentation, 6to4, which may carry any IPv4 address. */
const SPECIAL_IPV6 = networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20");

/** NAT64 (RFC 6052 §2.1): the last 32 bits are an IPv4 address. */
const NAT64 = networks("64:ff9b::/96");

function networks(...texts: readonly string[]): NetworkSet {
  return new NetworkSet(texts.map((text) => parseNetwork(text) as Network));
}

/** Whether the address is one of the public Internet. An IPv4 address inside an IPv6 one counts as what it is. */
export function isPublicAddress(address: string): boolean {
  const groups = isIP(address) === 0 ? undefined : parseNetwork(address)?.groups;
  if (groups === undefined) return false;
  if (groups.length === 2) return !SPECIAL_IPV4.has(address);
  if (NAT64.has(address)) {
    const octets = groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]);
    return !SPECIAL_IPV4.has(octets.join("."));
  }
  return GLOBAL_IPV6.has(address) && !SPECIAL_IPV6.has(address);
}

/** The addresses of a host that may be connected to. Throws `PrivateAddressError`, or what the resolver throws. */
export async function permittedAddresses(
  name: string,
  resolver: Resolver,
  allowPrivate: boolean,
): Promise<readonly string[]> {
  const found = await resolver.addresses(name);
  if (allowPrivate) return found;
  const permitted = found.filter(isPublicAddress);
  if (permitted.length === 0) throw refusal(name, found);
  return permitted;
}

/** Throws `PrivateAddressError` when the URL names an address that must not be connected to: nobody looks it up. */
export function checkAddress(url: URL, allowPrivate: boolean): void {
  const host = hostOf(url);
  if (host.kind === "address" && !allowPrivate && !isPublicAddress(host.address)) {
    throw refusal(host.address, [host.address]);
  }
}

function refusal(name: string, found: readonly string[]): PrivateAddressError {
  return new PrivateAddressError(
    `Not sent: "${name}" leads to ${found.join(", ")}, which is not public; set allow_private = true if that is meant`,
  );
}
