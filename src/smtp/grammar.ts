/**
 * The ABNF that commands share (RFC 5321 §4.1.2, RFC 6531 §3.3) as sticky patterns, and the result of a parse. Each pattern
 * is linear: no alternative can match the same text in two ways. It must not know which command it reads.
 */
import type { Reply } from "./reply.ts";

/** A production was read up to `end`, or the text is wrong at `at` and `reply` says so to the peer. */
export type Parsed<Value> =
  | { readonly ok: true; readonly value: Value; readonly end: number }
  | { readonly ok: false; readonly reply: Reply; readonly at: number };

export function parsed<Value>(value: Value, end: number): Parsed<Value> {
  return { ok: true, value, end };
}

export function malformed(
  reply: Reply,
  at: number,
): { readonly ok: false; readonly reply: Reply; readonly at: number } {
  return { ok: false, reply, at };
}

/** The end of what the sticky pattern matches at `at`, or -1. */
export function matchEnd(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
}

/**
 * Dot-string = Atom *("." Atom), Atom = 1*atext (RFC 5321 §4.1.2), atext =/ UTF8-non-ascii (RFC 6531 §3.3). The C1 control
 * characters are left out: they have no use in an address and would reach headers and terminals.
 */
export const DOT_STRING =
  /[a-z0-9!#$%&'*+\-/=?^_`{|}~\u00a0-\u{10ffff}]+(?:\.[a-z0-9!#$%&'*+\-/=?^_`{|}~\u00a0-\u{10ffff}]+)*/iuy;

/** Quoted-string = DQUOTE *QcontentSMTP DQUOTE (RFC 5321 §4.1.2, RFC 6531 §3.3). */
export const QUOTED_STRING = /"(?:[ !#-[\]-~\u00a0-\u{10ffff}]|\\[ -~])*"/uy;

/**
 * Domain = sub-domain *("." sub-domain), sub-domain = Let-dig [Ldh-str] (RFC 5321 §4.1.2), sub-domain =/ U-label
 * (RFC 6531 §3.3).
 */
export const DOMAIN =
  /[a-z0-9\u00a0-\u{10ffff}](?:[a-z0-9\u00a0-\u{10ffff}-]*[a-z0-9\u00a0-\u{10ffff}])?(?:\.[a-z0-9\u00a0-\u{10ffff}](?:[a-z0-9\u00a0-\u{10ffff}-]*[a-z0-9\u00a0-\u{10ffff}])?)*/iuy;

/** address-literal = "[" … "]" (RFC 5321 §4.1.3); what stands between is checked by `isAddressLiteral`. */
export const BRACKETED = /\[[!-Z^-~]+\]/y;

const IPV4 = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;
const IPV6_GROUP = /^[0-9a-f]{1,4}$/i;

/** IPv4-address-literal or IPv6-address-literal with its brackets (RFC 5321 §4.1.3). No other tag is registered. */
export function isAddressLiteral(bracketed: string): boolean {
  const inner = bracketed.slice(1, -1);
  if (/^ipv6:/i.test(inner)) return isIpv6(inner.slice("IPv6:".length));
  return IPV4.test(inner);
}

/** IPv6-addr (RFC 5321 §4.1.3): full, compressed, and either with an IPv4 tail. */
function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    const counted = countGroups(half, index === halves.length - 1);
    if (counted === undefined) return false;
    groups += counted;
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

function countGroups(half: string, mayEndInIpv4: boolean): number | undefined {
  if (half === "") return 0;
  const groups = half.split(":");
  const last = groups.at(-1) ?? "";
  const ipv4Tail = mayEndInIpv4 && last.includes(".");
  if (ipv4Tail && !IPV4.test(last)) return undefined;
  const hexadecimal = ipv4Tail ? groups.slice(0, -1) : groups;
  if (!hexadecimal.every((group) => IPV6_GROUP.test(group))) return undefined;
  return groups.length + (ipv4Tail ? 1 : 0);
}

/** xtext = *( xchar / hexchar ) (RFC 3461 §4): undefined when malformed or when it hides a control character. */
export function decodeXtext(text: string): string | undefined {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/.test(text)) return undefined;
  const decoded = text.replace(
    /\+([0-9A-F]{2})/g,
    (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return /^[\x20-\x7e]*$/.test(decoded) ? decoded : undefined;
}
