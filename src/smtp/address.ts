/**
 * Addresses of the envelope (RFC 5321 §4.1.2): mailboxes and paths, read from a command and written back. Only the
 * envelope's grammar is known here: no comments, no display names, nothing of RFC 5322.
 */
import { isAscii, utf8Bytes } from "./bytes.ts";
import {
  BRACKETED,
  DOMAIN,
  DOT_STRING,
  isAddressLiteral,
  malformed,
  matchEnd,
  type Parsed,
  parsed,
  QUOTED_STRING,
} from "./grammar.ts";
import { MAX_DOMAIN_OCTETS, MAX_LOCAL_PART_OCTETS, MAX_PATH_OCTETS } from "./limits.ts";
import { type Reply, reply } from "./reply.ts";

export interface Mailbox {
  /** Without quoting: `"john doe"@x` has the local-part `john doe`. Case is kept. */
  readonly localPart: string;
  /** As given, case kept; an address literal with its brackets; "" only for `<Postmaster>`. */
  readonly domain: string;
}

/** `null` is the null reverse-path `<>` (RFC 5321 §4.5.5). */
export type ReversePath = Mailbox | null;
export type ForwardPath = Mailbox;

/** The common path without quotes, routes and literals: one match in place of six. */
const PLAIN_PATH = /<([a-z0-9!#$%&'*+\-/=?^_`{|}~.]{1,64})@([a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?)>/iy;

/** Reverse-path = Path / "<>" (RFC 5321 §4.1.2). */
export function parseReversePath(text: string, at: number): Parsed<ReversePath> {
  if (text.startsWith("<>", at)) return parsed(null, at + 2);
  return parsePath(text, at, "5.1.7");
}

/** Forward-path = Path, or `<Postmaster>` in any case (RFC 5321 §4.1.1.3). */
export function parseForwardPath(text: string, at: number): Parsed<ForwardPath> {
  const bare = text.slice(at, at + "<postmaster>".length);
  if (bare.toLowerCase() === "<postmaster>") {
    return parsed({ localPart: bare.slice(1, -1), domain: "" }, at + bare.length);
  }
  return parsePath(text, at, "5.1.3");
}

/** Path = "<" [ A-d-l ":" ] Mailbox ">" (RFC 5321 §4.1.2). The source route is accepted and ignored (appendix C). */
function parsePath(text: string, at: number, enhanced: string): Parsed<Mailbox> {
  const plain = parsePlainPath(text, at);
  if (plain !== undefined) return plain;
  if (text.charAt(at) !== "<") return malformed(bad(enhanced, "The address must stand in angle brackets"), at);
  let position = at + 1;
  if (text.charAt(position) === "@") {
    const route = skipSourceRoute(text, position);
    if (route < 0) return malformed(bad(enhanced, "Malformed source route"), position);
    position = route;
  }
  const mailbox = parseMailbox(text, position, enhanced);
  if (!mailbox.ok) return mailbox;
  if (text.charAt(mailbox.end) !== ">") return malformed(bad(enhanced, "Malformed address"), mailbox.end);
  const end = mailbox.end + 1;
  if (octets(text.slice(at, end)) > MAX_PATH_OCTETS) return malformed(bad(enhanced, "Path too long"), at);
  return parsed(mailbox.value, end);
}

function parsePlainPath(text: string, at: number): Parsed<Mailbox> | undefined {
  PLAIN_PATH.lastIndex = at;
  const match = PLAIN_PATH.exec(text);
  const localPart = match?.[1];
  const domain = match?.[2];
  if (localPart === undefined || domain === undefined) return undefined;
  // Misplaced dots and hyphens are left to the full grammar, which says what is wrong.
  if (localPart.startsWith(".") || localPart.endsWith(".") || localPart.includes("..")) return undefined;
  if (domain.includes("..") || domain.includes("-.") || domain.includes(".-")) return undefined;
  return parsed({ localPart, domain }, PLAIN_PATH.lastIndex);
}

/** A-d-l = At-domain *( "," At-domain ), At-domain = "@" Domain (RFC 5321 §4.1.2). */
function skipSourceRoute(text: string, at: number): number {
  let position = at;
  for (;;) {
    if (text.charAt(position) !== "@") return -1;
    position = matchEnd(DOMAIN, text, position + 1);
    if (position < 0) return -1;
    const separator = text.charAt(position);
    position += 1;
    if (separator === ":") return position;
    if (separator !== ",") return -1;
  }
}

/** Mailbox = Local-part "@" ( Domain / address-literal ) (RFC 5321 §4.1.2). */
export function parseMailbox(text: string, at: number, enhanced = "5.1.3"): Parsed<Mailbox> {
  const local = parseLocalPart(text, at, enhanced);
  if (!local.ok) return local;
  if (text.charAt(local.end) !== "@") return malformed(bad(enhanced, "The address has no domain"), local.end);
  const domain = parseDomain(text, local.end + 1, enhanced);
  if (!domain.ok) return domain;
  return parsed({ localPart: local.value, domain: domain.value }, domain.end);
}

/** Local-part = Dot-string / Quoted-string (RFC 5321 §4.1.2). */
function parseLocalPart(text: string, at: number, enhanced: string): Parsed<string> {
  const quoted = text.charAt(at) === '"';
  const end = matchEnd(quoted ? QUOTED_STRING : DOT_STRING, text, at);
  if (end < 0) return malformed(bad(enhanced, "Malformed local-part"), at);
  const written = text.slice(at, end);
  const value = quoted ? written.slice(1, -1).replace(/\\([ -~])/g, "$1") : written;
  if (octets(value) > MAX_LOCAL_PART_OCTETS) return malformed(bad(enhanced, "Local-part too long"), at);
  return parsed(value, end);
}

/** Domain / address-literal (RFC 5321 §4.1.2, §4.1.3). */
function parseDomain(text: string, at: number, enhanced: string): Parsed<string> {
  const literal = text.charAt(at) === "[";
  const end = matchEnd(literal ? BRACKETED : DOMAIN, text, at);
  if (end < 0) return malformed(bad(enhanced, "Malformed domain"), at);
  const value = text.slice(at, end);
  if (literal && !isAddressLiteral(value)) return malformed(bad(enhanced, "Malformed address literal"), at);
  if (octets(value) > MAX_DOMAIN_OCTETS) return malformed(bad(enhanced, "Domain too long"), at);
  return parsed(value, end);
}

/** Whether the address can only travel with SMTPUTF8 (RFC 6531 §3.2). */
export function needsSmtputf8(mailbox: Mailbox): boolean {
  return !isAscii(mailbox.localPart) || !isAscii(mailbox.domain);
}

/** The address without angle brackets, quoted where RFC 5321 §4.1.2 wants it; "" for the null reverse-path. */
export function formatMailbox(mailbox: Mailbox | null): string {
  if (mailbox === null) return "";
  const end = matchEnd(DOT_STRING, mailbox.localPart, 0);
  const localPart = end === mailbox.localPart.length
    ? mailbox.localPart
    : `"${mailbox.localPart.replace(/["\\]/g, "\\$&")}"`;
  return mailbox.domain === "" ? localPart : `${localPart}@${mailbox.domain}`;
}

function octets(text: string): number {
  return isAscii(text) ? text.length : utf8Bytes(text).length;
}

function bad(enhanced: string, text: string): Reply {
  return reply(501, enhanced, text);
}
