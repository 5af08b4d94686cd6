/**
 * The bindings of one list in order, with tables that give for an address the places of the rules that may take it. A
 * recipient costs the same few look-ups however many bindings there are; only patterns that no table can hold are tried
 * one after the other, and only up to the rule that decides. It must not know what rules do.
 */
import type { BindingConfig } from "../config/config.ts";
import { domainsAbove, extensionKeys } from "./address_set.ts";
import type { ListFiles } from "./list.ts";
import { type ParsedPattern, parsePattern, type Pattern, type Subject } from "./match.ts";
import { compileRule, type Route, type Rule } from "./rule.ts";

/** Behind the last rule. */
export const NONE = Number.MAX_SAFE_INTEGER;

const EMPTY: readonly number[] = [];

/** Places are indices into `rules`, rising. */
export interface Table {
  readonly rules: readonly Rule[];
  readonly addresses: ReadonlyMap<string, readonly number[]>;
  readonly domains: ReadonlyMap<string, readonly number[]>;
  readonly subdomains: ReadonlyMap<string, readonly number[]>;
  readonly extensions: ReadonlyMap<string, readonly number[]>;
  readonly postmaster: readonly number[];
  readonly any: readonly number[];
  /** Rules that have recipients which no table can hold. */
  readonly scanned: readonly number[];
  /** Before this place, address, domain, postmaster and any are all there is. */
  readonly firstIrregular: number;
}

/** The bindings must have been checked: a malformed pattern throws. `id` tells tables of one router apart. */
export function compileTable(bindings: readonly BindingConfig[], id: string, lists: ListFiles | undefined): Table {
  const rules: Rule[] = [];
  const addresses = new Map<string, number[]>();
  const domains = new Map<string, number[]>();
  const subdomains = new Map<string, number[]>();
  const extensions = new Map<string, number[]>();
  const postmaster: number[] = [];
  const any: number[] = [];
  const scanned: number[] = [];
  // A rule that decides every time leaves nothing to those behind it, unless an address may come up for the first time
  // behind it.
  const isLast = bindings.some(rewritesOnTheWay)
    ? () => false
    : (index: number) => rules[index]?.constant !== undefined;
  const enter = (pattern: Pattern, index: number): boolean => {
    switch (pattern.kind) {
      case "address":
        return append(addresses, pattern.key, index, isLast);
      case "domain":
        return append(domains, pattern.domain, index, isLast);
      case "subdomains":
        return append(subdomains, pattern.domain, index, isLast);
      case "extensions":
        return append(extensions, pattern.key, index, isLast);
      case "postmaster":
        return push(postmaster, index, isLast);
      case "any":
        return push(any, index, isLast);
      default:
        return false;
    }
  };
  for (const [index, binding] of bindings.entries()) {
    const { recipients } = binding;
    if (recipients === undefined) push(any, index, isLast);
    let isScanned = false;
    for (const item of recipients ?? []) {
      if (typeof item !== "string" || !enter(patternOf(item, binding), index)) isScanned = true;
    }
    if (isScanned) scanned.push(index);
    rules.push(compileRule(binding, `${id}${index}`, isScanned, lists));
  }
  const irregular = [...subdomains.values(), ...extensions.values(), scanned].map(([first]) => first ?? NONE);
  const firstIrregular = irregular.reduce((first, index) => Math.min(first, index), NONE);
  return { rules, addresses, domains, subdomains, extensions, postmaster, any, scanned, firstIrregular };
}

function patternOf(text: string, binding: BindingConfig): Pattern {
  const parsed: ParsedPattern = parsePattern(text);
  if (parsed.ok) return parsed.pattern;
  throw new TypeError(`Binding "${binding.name}" has an unchecked recipient pattern "${text}"`);
}

function rewritesOnTheWay({ continues, changes }: BindingConfig): boolean {
  return continues === true && changes?.rewriteRecipient !== undefined;
}

type IsLast = (index: number) => boolean;

function append(map: Map<string, number[]>, key: string, index: number, isLast: IsLast): true {
  const places = map.get(key);
  if (places === undefined) map.set(key, [index]);
  else push(places, index, isLast);
  return true;
}

function push(places: number[], index: number, isLast: IsLast): true {
  const last = places.at(-1);
  if (last !== index && (last === undefined || !isLast(last))) places.push(index);
  return true;
}

/**
 * The route when the first rule to ask decides every time: nearly always, and without allocating anything. `undefined`:
 * no rule of this table takes the address. `false`: it must be gone through.
 */
export function quickRoute(table: Table, key: string, domain: string, isBare: boolean): Route | undefined | false {
  if (table.rules.length === 0) return undefined;
  const index = Math.min(
    table.addresses.get(key)?.[0] ?? NONE,
    table.domains.get(domain)?.[0] ?? NONE,
    isBare ? table.postmaster[0] ?? NONE : NONE,
    table.any[0] ?? NONE,
  );
  if (index >= table.firstIrregular) return table.firstIrregular === NONE ? undefined : false;
  return table.rules[index]?.constant ?? false;
}

/** Goes through the rules whose recipients take an address, in order. */
export class Cursor {
  readonly #table: Table;
  readonly #subject: Subject;
  readonly #lists: (readonly number[])[] = [];
  readonly #at: number[] = [];
  readonly #scanAt: number;

  /** Only rules from the place `from` on. */
  constructor(table: Table, subject: Subject, from: number) {
    this.#table = table;
    this.#subject = subject;
    this.#add(table.addresses.get(subject.key), from);
    this.#add(table.domains.get(subject.domain), from);
    if (table.subdomains.size > 0) {
      for (const domain of domainsAbove(subject.domain)) this.#add(table.subdomains.get(domain), from);
    }
    if (table.extensions.size > 0) {
      for (const key of extensionKeys(subject)) this.#add(table.extensions.get(key), from);
    }
    if (subject.isBare) this.#add(table.postmaster, from);
    this.#add(table.any, from);
    this.#scanAt = this.#lists.length;
    this.#add(table.scanned.length === 0 ? EMPTY : table.scanned, from);
  }

  /** The place of the next rule, or `NONE`. */
  next(): number {
    for (;;) {
      let index = NONE;
      for (let list = 0; list < this.#lists.length; list++) index = Math.min(index, this.#head(list));
      if (index === NONE) return NONE;
      let known = false;
      for (let list = 0; list < this.#lists.length; list++) {
        if (this.#head(list) !== index) continue;
        this.#at[list] = (this.#at[list] ?? 0) + 1;
        known ||= list !== this.#scanAt;
      }
      if (known || this.#table.rules[index]?.recipients?.has(this.#subject) === true) return index;
    }
  }

  #head(list: number): number {
    return this.#lists[list]?.[this.#at[list] ?? 0] ?? NONE;
  }

  #add(places: readonly number[] | undefined, from: number): void {
    if (places === undefined || places.length === 0) return;
    let at = 0;
    while (at < places.length && (places[at] ?? NONE) < from) at++;
    this.#lists.push(places);
    this.#at.push(at);
  }
}
