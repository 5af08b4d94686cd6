/**
 * Bindings, and single patterns of theirs, that can never match because earlier bindings take everything they would. It
 * reports only what is certain: a binding that has further conditions or continues takes nothing for sure, and of kinds
 * of patterns that are not known here nothing is. It must not know what bindings do with what they take.
 *
 * Patterns are looked up in tables, so that the time grows with the number of patterns, not with its square.
 */
import { domainsAbove } from "../../binding/address_set.ts";
import { parsePattern, type Pattern } from "../../binding/match.ts";
import { isRegexText } from "../../binding/regex.ts";
import type { BindingConfig } from "../config.ts";
import { quote } from "../diagnostic.ts";
import { inboundChannels } from "../slave_consistency.ts";
import { type Place, spanOf } from "../source.ts";
import { asText, type TableNode, tablesAt, textAt } from "../tree.ts";
import type { LintContext, LintRule } from "./rule.ts";

export const shadowedBinding: LintRule = {
  code: "SMTPD210",
  check({ root, config, report }) {
    if (config === undefined) return;
    const tables = tablesAt(root, "listener");
    const own = config.listeners.map(({ bindings }, index) => {
      const table = tables[index];
      return walk(bindings, table === undefined ? [] : tablesAt(table, "binding"), () => [], report);
    });
    // What a shared binding would take never comes to it when every listener's own bindings have taken it.
    const takesNothing = config.listeners.some(({ bindings }) => bindings.length === 0) ||
      inboundChannels(root).length > 0;
    walk(config.bindings, tablesAt(root, "binding"), (item) => {
      if (takesNothing) return [];
      const takers: Taker[] = [];
      for (const taken of own) {
        const taker = taken.taker(item);
        if (taker === undefined) return [];
        takers.push(taker);
      }
      return takers;
    }, report);
  },
};

/** A pattern of a binding: everything, when it has no `recipients`. */
interface Item {
  /** Undefined for what is not known here: regular expressions, lists in files. */
  readonly pattern: Pattern | undefined;
  /** As written; equal texts take the same. */
  readonly text: string | undefined;
  readonly place: Place;
}

const ANYTHING: Omit<Item, "place"> = { pattern: { kind: "any" }, text: undefined };

/** A pattern that takes for sure whatever it matches. */
interface Taker {
  readonly binding: string;
  readonly order: number;
  readonly item: Item;
}

/** Goes through one list of bindings, reports what never comes to pass, and gives back what the list takes for sure. */
function walk(
  bindings: readonly BindingConfig[],
  tables: readonly TableNode[],
  elsewhere: (item: Item) => readonly Taker[],
  report: LintContext["report"],
): Taken {
  const taken = new Taken();
  // Once a recipient may have changed on its way, the patterns before were not asked about what it is now.
  let isRewritten = false;
  for (const [order, binding] of bindings.entries()) {
    const table = tables[order];
    if (table === undefined) break;
    const items = itemsOf(table);
    const dead = items.flatMap((item) => {
      const taker = taken.taker(item);
      const takers = taker === undefined ? elsewhere(isRewritten ? { ...item, ...ANYTHING } : item) : [taker];
      return takers.length === 0 ? [] : [{ item, takers }];
    });
    if (dead.length === items.length) reportBinding(binding, table, dead.flatMap(({ takers }) => takers), report);
    else for (const { item, takers } of dead) reportPattern(item, takers, report);
    if (isUnconditional(binding)) { for (const item of items) taken.claim({ binding: binding.name, order, item }); }
    if (binding.continues === true && binding.changes?.rewriteRecipient !== undefined) {
      isRewritten = true;
      taken.forget();
    }
  }
  return taken;
}

const SHOWN_TAKERS = 3;

function reportBinding(
  binding: BindingConfig,
  table: TableNode,
  takers: readonly Taker[],
  report: LintContext["report"],
): void {
  const names = [...new Set(takers.map((taker) => taker.binding))];
  const list = names.slice(0, SHOWN_TAKERS).map(quote).join(names.length > SHOWN_TAKERS ? ", " : " and ");
  const more = names.length > SHOWN_TAKERS ? ` and ${names.length - SHOWN_TAKERS} more` : "";
  const verb = names.length === 1 ? "takes" : "take";
  report(
    `The binding ${quote(binding.name)} can never match: ${list}${more} ${verb} all its recipients before it`,
    textAt(table, "name")?.place ?? table.place,
    {
      secondary: [...new Set(takers)].slice(0, SHOWN_TAKERS).map(labelled),
      help: `Put it before ${names.length === 1 ? quote(names[0] ?? "") : "them"}, or remove it.`,
    },
  );
}

function reportPattern(item: Item, takers: readonly Taker[], report: LintContext["report"]): void {
  const names = [...new Set(takers.map((taker) => quote(taker.binding)))];
  const list = names.length > SHOWN_TAKERS ? `${names.length} bindings` : names.join(" and ");
  report(
    `${quote(item.text ?? "")} never matches here: ${list} ${names.length === 1 ? "takes" : "take"} it before`,
    item.place,
    {
      secondary: takers.slice(0, SHOWN_TAKERS).map(labelled),
      help: "Remove it, or put this binding first.",
    },
  );
}

function labelled({ binding, item }: Taker) {
  return { ...spanOf(item.place), label: `taken here by ${quote(binding)}` };
}

/** The patterns in the order in which they stand. */
function itemsOf(table: TableNode): readonly Item[] {
  const node = table.entries.get("recipients")?.node;
  if (node === undefined) {
    return [{ ...ANYTHING, place: textAt(table, "name")?.place ?? table.place }];
  }
  return (node.kind === "array" ? node.items : [node]).map((item) => {
    const text = asText(item)?.value;
    if (text === undefined || isRegexText(text)) return { pattern: undefined, text, place: item.place };
    const parsed = parsePattern(text);
    return { pattern: parsed.ok ? parsed.pattern : undefined, text, place: item.place };
  });
}

/** Keys of a binding that decide nothing about what it takes. Any other may be a condition. */
const HARMLESS: ReadonlySet<string> = new Set(["name", "description", "tags", "recipients", "changes", "hold"]);

function isUnconditional(binding: BindingConfig): boolean {
  const { kind } = binding.outcome;
  if (kind !== "deliver" && kind !== "reject" && kind !== "discard") return false;
  return Object.entries(binding).every(([key, value]) =>
    HARMLESS.has(key) || key === "outcome" || value === undefined || (key === "continues" && value === false)
  );
}

/** What is taken for sure, by pattern; of equal ones, the first counts. */
class Taken {
  readonly #addresses = new Map<string, Taker>();
  readonly #domains = new Map<string, Taker>();
  readonly #subdomains = new Map<string, Taker>();
  readonly #extensions = new Map<string, Taker>();
  /** By the text as written: what no other table holds. */
  readonly #texts = new Map<string, Taker>();
  #postmaster: Taker | undefined;
  #any: Taker | undefined;

  claim(taker: Taker): void {
    const { pattern, text } = taker.item;
    switch (pattern?.kind) {
      case "address":
        return claim(this.#addresses, pattern.key, taker);
      case "domain":
        return claim(this.#domains, pattern.domain, taker);
      case "subdomains":
        return claim(this.#subdomains, pattern.domain, taker);
      case "extensions":
        return claim(this.#extensions, pattern.key, taker);
      case "postmaster":
        this.#postmaster ??= taker;
        return;
      case "any":
        this.#any ??= taker;
        return;
      default:
        if (text !== undefined) claim(this.#texts, text, taker);
    }
  }

  /** The first that takes everything the item matches; undefined when none does for sure. */
  taker({ pattern, text }: Item): Taker | undefined {
    let first = this.#any;
    for (const taker of pattern === undefined ? [this.#sameText(text)] : this.#wider(pattern, text)) {
      if (taker !== undefined && (first === undefined || taker.order < first.order)) first = taker;
    }
    return first;
  }

  /** All but what takes everything: nothing passes that. */
  forget(): void {
    for (const table of [this.#addresses, this.#domains, this.#subdomains, this.#extensions, this.#texts]) {
      table.clear();
    }
    this.#postmaster = undefined;
  }

  #sameText(text: string | undefined): Taker | undefined {
    return text === undefined ? undefined : this.#texts.get(text);
  }

  #wider(pattern: Pattern, text: string | undefined): readonly (Taker | undefined)[] {
    switch (pattern.kind) {
      case "address":
        return [this.#addresses.get(pattern.key), ...this.#extensionsOf(pattern.key), ...this.#domainsOf(pattern.key)];
      case "extensions":
        return [...this.#extensionsOf(pattern.key), ...this.#domainsOf(pattern.key)];
      case "domain":
        return this.#domainsOf(`@${pattern.domain}`);
      case "subdomains":
        return [this.#subdomains.get(pattern.domain), ...this.#above(pattern.domain)];
      case "glob":
        // Behind a dot and without wildcards, its end is that of every domain it matches.
        return [this.#sameText(text), ...this.#domainsOf(`@${pattern.domain.text}`)];
      case "postmaster":
        return [this.#postmaster];
      default:
        return [this.#sameText(text)];
    }
  }

  #domainsOf(key: string): readonly (Taker | undefined)[] {
    if (this.#domains.size === 0 && this.#subdomains.size === 0) return [];
    const domain = key.slice(key.lastIndexOf("@") + 1);
    return [this.#domains.get(domain), ...this.#above(domain)];
  }

  #above(domain: string): readonly (Taker | undefined)[] {
    return this.#subdomains.size === 0 ? [] : domainsAbove(domain).map((above) => this.#subdomains.get(above));
  }

  /** `a+*@c` for `a+b@c` and for `a+b+*@c`. */
  #extensionsOf(key: string): readonly (Taker | undefined)[] {
    if (this.#extensions.size === 0) return [];
    const at = key.lastIndexOf("@");
    const found: (Taker | undefined)[] = [];
    for (let plus = key.indexOf("+"); plus >= 0 && plus < at; plus = key.indexOf("+", plus + 1)) {
      found.push(this.#extensions.get(`${key.slice(0, plus + 1)}*${key.slice(at)}`));
    }
    return found;
  }
}

function claim(table: Map<string, Taker>, key: string, taker: Taker): void {
  if (!table.has(key)) table.set(key, taker);
}
