/**
 * Address patterns: what may stand in a binding's `recipients` and `senders`, and the canonical form in which patterns and
 * addresses are compared. Each form is one kind of `Pattern`; `matches` is their definition, with which the tables in
 * `table.ts` and `address_set.ts` must agree. It must not know of bindings, order or outcomes.
 */
import { domainToASCII } from "node:url";
import { type Mailbox, parseForwardPath } from "../smtp/address.ts";
import { isAscii } from "../smtp/bytes.ts";
import { compileGlob, type Glob, isGlob } from "./glob.ts";
import { isRegexText, parseRegex, type Regex } from "./regex.ts";

export type Pattern =
  /** `user@example.com`, also with a quoted local-part or an address literal. `key` is in the form of `addressKey`. */
  | { readonly kind: "address"; readonly key: string }
  /** `*@example.com`: any local-part. `domain` is in the form of `canonicalDomain`. */
  | { readonly kind: "domain"; readonly domain: string }
  /** `*@*.example.com`: any address in any domain below this one. */
  | { readonly kind: "subdomains"; readonly domain: string }
  /** `user+*@example.com`: the sub-addresses of an address. `key` is that of `user+*`, taken as it is written. */
  | { readonly kind: "extensions"; readonly key: string }
  /** Any other text with `*` or `?`. */
  | { readonly kind: "glob"; readonly localPart: Glob; readonly domain: Glob }
  /** `/RE2/flags`, on the address as given, its domain canonical. */
  | { readonly kind: "regex"; readonly regex: Regex }
  /** `postmaster`: the recipient `<Postmaster>`, which has no domain (RFC 5321 §4.1.1.3). */
  | { readonly kind: "postmaster" }
  /** `<>`: the null reverse-path (RFC 5321 §4.5.5). */
  | { readonly kind: "null" }
  /** `*`: everything. */
  | { readonly kind: "any" };

export type ParsedPattern =
  | { readonly ok: true; readonly pattern: Pattern }
  /** `reason` continues `Invalid recipient pattern "…": `, `help` says what to write. */
  | { readonly ok: false; readonly reason: string; readonly help: string };

/** What separates a sub-address from the address it belongs to: `user+extension@example.com`. */
export const EXTENSION_DELIMITER = "+";

/** Where a pattern stands; some forms make sense only for recipients or for senders. */
export type PatternRole = "recipient" | "sender";

const FORMS: Readonly<Record<PatternRole, string>> = {
  recipient: 'Write an address, "*@domain", "*@*.domain", "user+*@domain", a text with * and ?, "/RE2/", ' +
    '"postmaster", or "*" for every recipient.',
  sender: 'Write an address, "*@domain", "*@*.domain", "user+*@domain", a text with * and ?, "/RE2/", ' +
    '"<>" for the null sender, or "*" for every sender.',
};

/** The engine of regular expressions must be loaded when the text is one (`regex.ts`). */
export function parsePattern(text: string, role: PatternRole = "recipient"): ParsedPattern {
  const forms = FORMS[role];
  if (text === "*") return accepted({ kind: "any" });
  if (role === "recipient" && text.toLowerCase() === "postmaster") return accepted({ kind: "postmaster" });
  if (text === "<>") {
    return role === "sender" ? accepted({ kind: "null" }) : refused("no recipient is empty", forms);
  }
  if (isRegexText(text)) {
    const parsed = parseRegex(text);
    return parsed.ok ? accepted({ kind: "regex", regex: parsed.regex }) : refused(parsed.reason, parsed.help);
  }
  if (text.startsWith("@")) {
    return refused("the part before the @ is missing", `Write "*${text.slice(0, 80)}" for a whole domain.`);
  }
  if (/[<>\s]/u.test(text) && !text.startsWith('"')) {
    return refused("spaces and angle brackets are no part of an address", forms);
  }
  if (!text.startsWith('"') && isGlob(text)) return parseWildcards(text, forms);
  const mailbox = parseMailbox(text);
  if (mailbox !== undefined) {
    return accepted({ kind: "address", key: addressKey(mailbox.localPart, canonicalDomain(mailbox.domain)) });
  }
  return noAddress(text, forms);
}

/** At least one `*` or `?`; a local-part that really contains one stands in quotes. */
function parseWildcards(text: string, forms: string): ParsedPattern {
  const at = text.lastIndexOf("@");
  if (at < 0) return noAddress(text, forms);
  const localPart = text.slice(0, at);
  const domain = text.slice(at + 1);
  // What the wildcards stand for is an address again, so the pattern with letters in their place must be one.
  if (parseMailbox(`${localPart.replace(/[*?]/gu, "x")}@${domain.replace(/[*?]/gu, "x")}`) === undefined) {
    return noAddress(text, forms);
  }
  if (!isGlob(domain)) {
    if (localPart === "*") return accepted({ kind: "domain", domain: canonicalDomain(domain) });
    const name = localPart.slice(0, -1);
    if (localPart.endsWith(`${EXTENSION_DELIMITER}*`) && !isGlob(name)) {
      return accepted({ kind: "extensions", key: addressKey(localPart, canonicalDomain(domain)) });
    }
  }
  const below = domain.slice(2);
  if (localPart === "*" && domain.startsWith("*.") && !isGlob(below)) {
    return accepted({ kind: "subdomains", domain: canonicalDomain(below) });
  }
  return accepted({
    kind: "glob",
    localPart: compileGlob(canonicalLocalPart(localPart)),
    domain: compileGlob(
      domain.split(".").map((label) => isGlob(label) ? label.toLowerCase() : canonicalDomain(label)).join("."),
    ),
  });
}

function accepted(pattern: Pattern): ParsedPattern {
  return { ok: true, pattern };
}

function refused(reason: string, help: string): ParsedPattern {
  return { ok: false, reason, help };
}

function noAddress(text: string, forms: string): ParsedPattern {
  if (text.includes("@")) return refused("it is not a valid address", forms);
  return refused("the domain is missing", text === "" ? forms : 'Write the full address, such as "info@example.com".');
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

/** An address in the forms in which patterns ask for it. */
export interface Subject {
  /** Null: the null reverse-path. */
  readonly mailbox: Mailbox | null;
  readonly localPart: string;
  /** That of the listener for `<Postmaster>`. */
  readonly domain: string;
  readonly key: string;
  /** `<Postmaster>`, without a domain. */
  readonly isBare: boolean;
  /** What regular expressions see: the local-part as given, unquoted, and the canonical domain. */
  readonly text: string;
}

const NULL_SUBJECT: Subject = { mailbox: null, localPart: "", domain: "", key: "", isBare: false, text: "" };

/** `hostDomain`: the listener's host name in the form of `canonicalDomain`. */
export function subjectOf(mailbox: Mailbox | null, hostDomain: string): Subject {
  if (mailbox === null) return NULL_SUBJECT;
  const isBare = mailbox.domain === "";
  const domain = isBare ? hostDomain : canonicalDomain(mailbox.domain);
  const localPart = canonicalLocalPart(mailbox.localPart);
  return { mailbox, localPart, domain, key: `${localPart}@${domain}`, isBare, text: `${mailbox.localPart}@${domain}` };
}

/** Whether a pattern matches, looked at alone: the definition that all tables must agree with. */
export function matches(pattern: Pattern, subject: Subject): boolean {
  if (pattern.kind === "any") return true;
  if (subject.mailbox === null) return pattern.kind === "null";
  switch (pattern.kind) {
    case "address":
      return pattern.key === subject.key;
    case "domain":
      return pattern.domain === subject.domain;
    case "subdomains":
      return subject.domain.endsWith(`.${pattern.domain}`);
    case "extensions": {
      const at = pattern.key.lastIndexOf("@");
      return subject.domain === pattern.key.slice(at + 1) && subject.localPart.startsWith(pattern.key.slice(0, at - 1));
    }
    case "glob":
      return pattern.localPart.matches(subject.localPart) && pattern.domain.matches(subject.domain);
    case "regex":
      return pattern.regex.test(subject.text);
    case "postmaster":
      return subject.isBare;
    case "null":
      return false;
  }
}
