/**
 * Recipient patterns: what may stand in a binding's `recipients`, and the canonical form in which patterns and addresses
 * are compared. Each form is one kind of `Pattern`; a further form is a further kind here and a further table in
 * `route.ts`. It must not know of bindings, order or outcomes.
 */
import { domainToASCII } from "node:url";
import { type Mailbox, parseForwardPath } from "../smtp/address.ts";
import { isAscii } from "../smtp/bytes.ts";

export type Pattern =
  /** `user@example.com`, also with a quoted local-part or an address literal. `key` is in the form of `addressKey`. */
  | { readonly kind: "address"; readonly key: string }
  /** `*@example.com`: any local-part. `domain` is in the form of `canonicalDomain`. */
  | { readonly kind: "domain"; readonly domain: string }
  /** `postmaster`: the recipient `<Postmaster>`, which has no domain (RFC 5321 §4.1.1.3). */
  | { readonly kind: "postmaster" }
  /** `*`: everything. */
  | { readonly kind: "any" };

export type ParsedPattern =
  | { readonly ok: true; readonly pattern: Pattern }
  /** `reason` continues `Invalid recipient pattern "…": `, `help` says what to write. */
  | { readonly ok: false; readonly reason: string; readonly help: string };

const FORMS = 'Write an address, "*@domain", "postmaster", or "*" for every recipient.';

export function parsePattern(text: string): ParsedPattern {
  if (text === "*") return { ok: true, pattern: { kind: "any" } };
  if (text.toLowerCase() === "postmaster") return { ok: true, pattern: { kind: "postmaster" } };
  if (text.startsWith("/")) return refused("regular expressions are not available", FORMS);
  if (text.startsWith("@")) {
    return refused("the part before the @ is missing", `Write "*${text.slice(0, 80)}" for a whole domain.`);
  }
  if (/[<>\s]/u.test(text) && !text.startsWith('"')) {
    return refused("spaces and angle brackets are no part of an address", FORMS);
  }
  const anyLocalPart = text.startsWith("*@");
  const mailbox = parseMailbox(anyLocalPart ? `x${text.slice(1)}` : text);
  // A "*" is allowed in an address, so it must be ruled out where somebody most likely meant a wildcard.
  const unquoted = text.startsWith('"') ? "" : text.slice(anyLocalPart ? 1 : 0);
  if (/[*?]/u.test(unquoted)) {
    return refused(
      'wildcards stand only for the whole part before the @, as in "*@example.com", or alone',
      "List each address or domain; a local-part that really contains one of these characters stands in quotes.",
    );
  }
  if (mailbox === undefined) {
    if (text.includes("@")) return refused("it is not a valid address", FORMS);
    return refused(
      "the domain is missing",
      text === "" ? FORMS : 'Write the full address, such as "info@example.com".',
    );
  }
  if (anyLocalPart) return { ok: true, pattern: { kind: "domain", domain: canonicalDomain(mailbox.domain) } };
  return {
    ok: true,
    pattern: { kind: "address", key: addressKey(mailbox.localPart, canonicalDomain(mailbox.domain)) },
  };
}

function refused(reason: string, help: string): ParsedPattern {
  return { ok: false, reason, help };
}

/** The same grammar as for recipients in a session, so that every pattern can be met by one. */
function parseMailbox(text: string): Mailbox | undefined {
  const result = parseForwardPath(`<${text}>`, 0);
  return result.ok && result.end === text.length + 2 && result.value.domain !== "" ? result.value : undefined;
}

/** Domains are compared without case and as A-labels (RFC 5890 §2.3.2.1); address literals without case. */
export function canonicalDomain(domain: string): string {
  if (isAscii(domain)) return domain.toLowerCase();
  // The runtimes disagree on what domainToASCII makes of other characters than those of names.
  // deno-lint-ignore no-control-regex
  if (/[\x00-,/:-@[-`{-\x7f]/u.test(domain.replaceAll("_", ""))) return domain.toLowerCase();
  const ascii = domainToASCII(domain);
  return ascii === "" ? domain.toLowerCase() : ascii;
}

/**
 * Local-parts are compared without case: RFC 5321 §2.4 leaves that to the receiving host, and hosts that tell `Info` from
 * `info` surprise their users. Composed and decomposed forms are the same (RFC 6532 §3.1).
 */
export function canonicalLocalPart(localPart: string): string {
  return isAscii(localPart) ? localPart.toLowerCase() : localPart.normalize("NFC").toLowerCase().normalize("NFC");
}

/** One key for an address. The domain must be canonical; it has no `@`, so the last one separates. */
export function addressKey(localPart: string, canonicalDomain: string): string {
  return `${canonicalLocalPart(localPart)}@${canonicalDomain}`;
}

/** Whether a pattern matches, looked at alone: the definition that the router's tables must agree with. */
export function matches(pattern: Pattern, forwardPath: Mailbox, hostName: string): boolean {
  const isBare = forwardPath.domain === "";
  const domain = canonicalDomain(isBare ? hostName : forwardPath.domain);
  switch (pattern.kind) {
    case "address":
      return pattern.key === addressKey(forwardPath.localPart, domain);
    case "domain":
      return pattern.domain === domain;
    case "postmaster":
      return isBare;
    case "any":
      return true;
  }
}
