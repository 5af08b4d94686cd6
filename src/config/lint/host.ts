/**
 * Which hosts and listeners only this machine reaches. It must not know what rules make of that.
 */
import { isIP, isIPv4 } from "node:net";

/** Addresses of the loopback interface, `localhost` and the names below it (RFC 6761 §6.3). Brackets do not count. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[(?:IPv6:)?(.*)\]$/iu, "$1").replace(/\.$/u, "").toLowerCase();
  const mapped = /^::ffff:(.+)$/u.exec(name)?.[1] ?? name;
  if (isIPv4(mapped)) return mapped.startsWith("127.");
  // Also in the forms with zeros written out, and as URLs write what was an IPv4 address.
  if (isIP(name) === 6) return /^[0:]*:0*1$/u.test(name) || /^::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}$/u.test(name);
  return name === "localhost" || name.endsWith(".localhost");
}

/** Whether other machines may reach a listener. */
export function isReachable(listener: { readonly listenIp?: string }): boolean {
  return listener.listenIp === undefined || !isLoopback(listener.listenIp);
}
