/**
 * IP addresses and networks: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`. A set answers with one look-up for each length of
 * prefix in it, however many networks there are. IPv4 addresses inside IPv6 ones (`::ffff:192.0.2.1`) count as IPv4.
 */
import { isIP } from "node:net";

export interface Network {
  /** Bits of the address, most significant first, as numbers of 16 bits: 2 for IPv4, 8 for IPv6. */
  readonly groups: readonly number[];
  readonly prefix: number;
}

/** Undefined when it is neither an address nor a network. Bits behind the prefix do not count. */
export function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf("/");
  const groups = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (groups === undefined) return undefined;
  const bits = groups.length * 16;
  if (slash < 0) return { groups, prefix: bits };
  const written = text.slice(slash + 1);
  if (!/^\d{1,3}$/u.test(written)) return undefined;
  // A prefix of an IPv4 address that was written as IPv6 counts the 96 bits before it.
  const mapped = bits === 32 && text.slice(0, slash).includes(":");
  const prefix = Number(written) - (mapped ? 96 : 0);
  return prefix < 0 || prefix > bits ? undefined : { groups, prefix };
}

function parseAddress(text: string): readonly number[] | undefined {
  const family = isIP(text);
  if (family === 4) return ipv4Groups(text);
  if (family !== 6) return undefined;
  const bare = text.split("%", 1)[0] ?? "";
  const [left = "", right] = bare.split("::");
  const before = ipv6Groups(left);
  const after = right === undefined ? [] : ipv6Groups(right);
  const groups = [...before, ...new Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after];
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  return mapped ? groups.slice(6) : groups;
}

function ipv4Groups(text: string): readonly number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split(".").map(Number);
  return [a * 256 + b, c * 256 + d];
}

function ipv6Groups(text: string): readonly number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part) => part.includes(".") ? ipv4Groups(part) : [Number.parseInt(part, 16)]);
}

/** The first bits of an address as a key; the family is in its length. */
function keyOf(groups: readonly number[], prefix: number): string {
  let key = `${groups.length}`;
  for (let index = 0; index < groups.length; index++) {
    const bits = Math.min(16, Math.max(0, prefix - index * 16));
    key += `:${((groups[index] ?? 0) >> (16 - bits)) << (16 - bits)}`;
  }
  return key;
}

export class NetworkSet {
  /** By length of prefix, for each family. */
  readonly #ipv4 = new Map<number, Set<string>>();
  readonly #ipv6 = new Map<number, Set<string>>();

  constructor(networks: Iterable<Network> = []) {
    for (const { groups, prefix } of networks) {
      const lengths = groups.length === 2 ? this.#ipv4 : this.#ipv6;
      const keys = lengths.get(prefix);
      if (keys === undefined) lengths.set(prefix, new Set([keyOf(groups, prefix)]));
      else keys.add(keyOf(groups, prefix));
    }
  }

  /** False for what is no IP address. */
  has(address: string): boolean {
    const groups = parseAddress(address);
    if (groups === undefined) return false;
    for (const [prefix, keys] of groups.length === 2 ? this.#ipv4 : this.#ipv6) {
      if (keys.has(keyOf(groups, prefix))) return true;
    }
    return false;
  }
}
