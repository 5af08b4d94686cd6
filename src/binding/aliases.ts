/**
 * Aliases from a file: `name: target, target`, the name a local-part, an address or `@domain`, continued on indented lines;
 * the colon may be left out. It must not know what becomes of the targets.
 */
import { type Mailbox, parseMailbox } from "../smtp/address.ts";
import type { ListLine, ListProblem, ParsedList } from "./list.ts";
import { addressKey, canonicalDomain, canonicalLocalPart, EXTENSION_DELIMITER, type Subject } from "./match.ts";

export class Aliases {
  readonly #targets = new Map<string, readonly Mailbox[]>();

  /** `domain` is "" for targets in the domain of the recipient. */
  add(name: string, targets: readonly Mailbox[]): void {
    this.#targets.set(name, [...this.#targets.get(name) ?? [], ...targets]);
  }

  /** The targets of an address, of it without its extension, or of its domain; the first of these that has any. */
  lookUp(subject: Subject): readonly Mailbox[] | undefined {
    const { localPart, domain } = subject;
    const delimiter = localPart.indexOf(EXTENSION_DELIMITER, 1);
    const base = delimiter < 0 ? undefined : localPart.slice(0, delimiter);
    const targets = this.#targets.get(subject.key) ?? this.#targets.get(localPart) ??
      (base === undefined ? undefined : this.#targets.get(`${base}@${domain}`) ?? this.#targets.get(base)) ??
      this.#targets.get(`@${domain}`);
    return targets?.map((target) => target.domain === "" ? { localPart: target.localPart, domain } : target);
  }
}

export function parseAliases(lines: readonly ListLine[]): ParsedList<Aliases> {
  const content = new Aliases();
  const problems: ListProblem[] = [];
  let name: string | undefined;
  for (const line of lines) {
    let rest = line.text;
    if (!line.indented) {
      const match = /^("(?:[^"\\]|\\.)*"(?:@[^\s:]*)?|[^\s:]*)\s*:?\s*(.*)$/u.exec(line.text);
      name = aliasName(match?.[1] ?? "");
      rest = match?.[2] ?? "";
      if (name === undefined) {
        problems.push({ line: line.number, reason: "it does not begin with a name or an address" });
      }
    } else if (name === undefined) problems.push({ line: line.number, reason: "it continues nothing" });
    if (name === undefined) continue;
    const targets = parseTargets(rest);
    if (targets === undefined) problems.push({ line: line.number, reason: "a target is not an address" });
    else if (targets.length === 0 && !line.indented) continue;
    else content.add(name, targets);
  }
  return { content, problems };
}

function aliasName(text: string): string | undefined {
  if (text.startsWith("@")) {
    const mailbox = wholeMailbox(`x${text}`);
    return mailbox === undefined ? undefined : `@${canonicalDomain(mailbox.domain)}`;
  }
  const mailbox = wholeMailbox(text);
  if (mailbox !== undefined) return addressKey(mailbox.localPart, canonicalDomain(mailbox.domain));
  const local = wholeMailbox(`${text}@x`);
  return local === undefined ? undefined : canonicalLocalPart(local.localPart);
}

function parseTargets(text: string): readonly Mailbox[] | undefined {
  const targets: Mailbox[] = [];
  for (const word of text.match(/(?:"(?:[^"\\]|\\.)*"|[^\s,])+/gu) ?? []) {
    const mailbox = wholeMailbox(word);
    const local = mailbox === undefined ? wholeMailbox(`${word}@x`) : undefined;
    if (mailbox !== undefined) targets.push(mailbox);
    else if (local !== undefined) targets.push({ localPart: local.localPart, domain: "" });
    else return undefined;
  }
  return targets;
}

function wholeMailbox(text: string): Mailbox | undefined {
  const parsed = parseMailbox(text, 0);
  return parsed.ok && parsed.end === text.length ? parsed.value : undefined;
}
