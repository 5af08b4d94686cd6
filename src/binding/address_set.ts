/**
 * A set of address patterns: whether an address is in it, at a cost that does not grow with the exact addresses and domains
 * in it. It must not know of bindings.
 */
import { EXTENSION_DELIMITER, matches, type Pattern, type Subject } from "./match.ts";
import type { Regex } from "./regex.ts";

export class AddressSet {
  readonly #addresses = new Set<string>();
  readonly #domains = new Set<string>();
  readonly #subdomains = new Set<string>();
  readonly #extensions = new Set<string>();
  /** What no table can hold, tried one after the other. */
  readonly #others: Pattern[] = [];
  readonly #regexes: Regex[] = [];
  #any = false;

  constructor(patterns: Iterable<Pattern> = []) {
    for (const pattern of patterns) this.add(pattern);
  }

  add(pattern: Pattern): void {
    switch (pattern.kind) {
      case "address":
        this.#addresses.add(pattern.key);
        break;
      case "domain":
        this.#domains.add(pattern.domain);
        break;
      case "subdomains":
        this.#subdomains.add(pattern.domain);
        break;
      case "extensions":
        this.#extensions.add(pattern.key);
        break;
      case "any":
        this.#any = true;
        break;
      default:
        this.#others.push(pattern);
        if (pattern.kind === "regex") this.#regexes.push(pattern.regex);
    }
  }

  has(subject: Subject): boolean {
    if (this.#any) return true;
    if (subject.mailbox !== null && this.#tables(subject)) return true;
    for (const pattern of this.#others) if (matches(pattern, subject)) return true;
    return false;
  }

  /** What the first of the set's regular expressions that match captured. */
  captures(subject: Subject): readonly string[] | undefined {
    if (subject.mailbox === null) return undefined;
    for (const regex of this.#regexes) {
      const captured = regex.captures(subject.text);
      if (captured !== undefined) return captured;
    }
    return undefined;
  }

  #tables(subject: Subject): boolean {
    if (this.#addresses.has(subject.key) || this.#domains.has(subject.domain)) return true;
    if (this.#subdomains.size > 0) {
      for (const domain of domainsAbove(subject.domain)) if (this.#subdomains.has(domain)) return true;
    }
    if (this.#extensions.size > 0) {
      for (const key of extensionKeys(subject)) if (this.#extensions.has(key)) return true;
    }
    return false;
  }
}

/** `b.c` and `c` for `a.b.c`: the domains whose `*@*.domain` takes it. */
export function domainsAbove(domain: string): readonly string[] {
  const above: string[] = [];
  for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) above.push(domain.slice(dot + 1));
  return above;
}

/** `a+*@c` and `a+b+*@c` for `a+b+x@c`: the keys of the patterns `local+*@domain` that take it. */
export function extensionKeys(subject: Subject): readonly string[] {
  const keys: string[] = [];
  const { localPart, domain } = subject;
  for (let at = localPart.indexOf(EXTENSION_DELIMITER); at >= 0; at = localPart.indexOf(EXTENSION_DELIMITER, at + 1)) {
    keys.push(`${localPart.slice(0, at + 1)}*@${domain}`);
  }
  return keys;
}
