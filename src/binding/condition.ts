/**
 * Conditions of bindings, compiled: each says of a recipient's facts whether it holds, does not hold, or cannot be known
 * before the end of data. It must not know of the order of bindings or of what they do.
 */
import type { Conditions, ListItem, SizeCondition, TimeCondition, TlsCondition } from "../config/config.ts";
import type { Field } from "../message/field.ts";
import type { Mailbox } from "../smtp/address.ts";
import type { DsnNotify } from "../smtp/transaction.ts";
import { AddressSet } from "./address_set.ts";
import { type ListFiles, type ListParser, parseEntries } from "./list.ts";
import { parsePattern, type PatternRole, type Subject } from "./match.ts";
import { type Network, NetworkSet, parseNetwork } from "./network.ts";
import { parseTextPattern, TextSet } from "./text_set.ts";
import { isWithin, parseClockTime, parseDays, timeText, type TimeWindow } from "./time_window.ts";

/** What is known of a recipient, its transaction and its session when it is routed. */
export interface Query {
  readonly recipient: Mailbox;
  /** Null: the null reverse-path. */
  readonly sender: Mailbox | null;
  /** The client's IP address; "" when it has none. */
  readonly clientAddress: string;
  readonly helo: string;
  readonly tls: TlsFacts | undefined;
  /** Whom the client logged in as. */
  readonly user: string | undefined;
  readonly notify: DsnNotify | undefined;
  /** SIZE of MAIL (RFC 1870 §6): decides until the real one is known. */
  readonly declaredSizeBytes: number | undefined;
  readonly nowMs: number;
  /** Undefined before the end of data. */
  readonly body: BodyFacts | undefined;
}

export interface TlsFacts {
  /** `TLSv1.3`. */
  readonly version: string;
  /** The name in the client's certificate. */
  readonly clientName?: string;
}

export interface BodyFacts {
  readonly sizeBytes: number;
  /** Undefined: the header section is larger than what is read of it, and no header condition holds. */
  readonly fields: readonly Field[] | undefined;
}

/** The query as bindings see it, earlier rewriting included. */
export interface Facts {
  readonly query: Query;
  readonly recipient: Subject;
  readonly sender: Subject;
  readonly listener: { readonly name: string; readonly tags: readonly string[] };
}

/** Undefined: not known before the end of data. */
export type Truth = boolean | undefined;

export interface Condition {
  /** As in the configuration: `senders`, `not.clients`. */
  readonly name: string;
  holds(facts: Facts): Truth;
  /** What it looked at, for explanations. */
  shown(facts: Facts): string;
  captures?(facts: Facts): readonly string[] | undefined;
}

/** Patterns in the configuration and in files, asked as one. */
interface Matcher<Value> {
  has(value: Value): boolean;
  captures?(value: Value): readonly string[] | undefined;
}

/** The lists must be there when an item is a file. Throws when an item was not checked. */
export function addressMatcher(items: readonly ListItem[], role: PatternRole, lists: ListFiles | undefined) {
  return matcherOf(items, lists, (text) => parsePattern(text, role), (patterns) => new AddressSet(patterns));
}

function textMatcher(items: readonly ListItem[], lists: ListFiles | undefined) {
  return matcherOf(items, lists, parseTextPattern, (patterns) => new TextSet(patterns));
}

function networkMatcher(items: readonly ListItem[], lists: ListFiles | undefined) {
  return matcherOf(items, lists, parseNetworkItem, (networks: readonly Network[]) => new NetworkSet(networks));
}

type ParsedItem<Pattern> =
  | { readonly ok: true; readonly pattern: Pattern }
  | { readonly ok: false; readonly reason: string };

function parseNetworkItem(text: string): ParsedItem<Network> {
  const network = parseNetwork(text);
  return network === undefined
    ? { ok: false, reason: "it is no IP address or network" }
    : { ok: true, pattern: network };
}

function matcherOf<Pattern, Value>(
  items: readonly ListItem[],
  lists: ListFiles | undefined,
  parse: (text: string) => ParsedItem<Pattern>,
  make: (patterns: readonly Pattern[]) => Matcher<Value>,
): Matcher<Value> {
  const patterns: Pattern[] = [];
  const sources: (() => Matcher<Value>)[] = [];
  const parseFile: ListParser<Matcher<Value>> = (lines) => {
    const { entries, problems } = parseEntries(lines, parse);
    return { content: make(entries), problems };
  };
  for (const item of items) {
    if (typeof item === "string") {
      const parsed = parse(item);
      if (!parsed.ok) throw new TypeError(`A condition has an unchecked item "${item}": ${parsed.reason}`);
      patterns.push(parsed.pattern);
      continue;
    }
    if (lists === undefined) throw new TypeError(`A condition names the file "${item.file}", and no files were given`);
    const file = lists.list(item.file, parseFile);
    sources.push(() => file.content);
  }
  const own = make(patterns);
  if (sources.length === 0) return own;
  sources.unshift(() => own);
  return {
    has: (value) => sources.some((source) => source().has(value)),
    captures(value) {
      for (const source of sources) {
        const captured = source().captures?.(value);
        if (captured !== undefined) return captured;
      }
      return undefined;
    },
  };
}

/** All conditions but `recipients`, whose patterns the table of bindings looks up; with it under `not`. */
export function compileConditions(config: Conditions, not: Conditions | undefined, lists: ListFiles | undefined) {
  const conditions = compileEach({ ...config, recipients: undefined }, lists);
  if (not === undefined) return conditions;
  return [...conditions, ...compileEach(not, lists).map(negated)];
}

function negated(condition: Condition): Condition {
  return {
    name: `not.${condition.name}`,
    holds(facts) {
      const truth = condition.holds(facts);
      return truth === undefined ? undefined : !truth;
    },
    shown: (facts) => condition.shown(facts),
  };
}

type Loose<Type> = { readonly [Key in keyof Type]?: Type[Key] | undefined };

/** The cheap ones first, those that need the body last. */
function compileEach(config: Loose<Conditions>, lists: ListFiles | undefined): Condition[] {
  const conditions: Condition[] = [];
  const { recipients, senders, listeners, clients, authenticated, helo, tls, size, headers, dsn, time } = config;
  if (listeners !== undefined) conditions.push(listenersCondition(new Set(listeners)));
  if (tls !== undefined) conditions.push(tlsCondition(tls, lists));
  if (authenticated !== undefined) conditions.push(authenticatedCondition(authenticated, lists));
  if (dsn !== undefined) {
    conditions.push({
      name: "dsn",
      holds: ({ query, sender }) =>
        dsn.some((word) => word === "report" ? sender.mailbox === null : query.notify?.includes(word) === true),
      shown: ({ query, sender }) => query.notify?.join(",") ?? (sender.mailbox === null ? "report" : "none"),
    });
  }
  if (recipients !== undefined) {
    const matcher = addressMatcher(recipients, "recipient", lists);
    conditions.push({
      name: "recipients",
      holds: ({ recipient }) => matcher.has(recipient),
      shown: ({ recipient }) => recipient.text,
    });
  }
  if (senders !== undefined) conditions.push(sendersCondition(senders, lists));
  if (clients !== undefined) {
    const matcher = networkMatcher(clients, lists);
    conditions.push({
      name: "clients",
      holds: ({ query }) => matcher.has(query.clientAddress),
      shown: ({ query }) => query.clientAddress,
    });
  }
  if (helo !== undefined) {
    const matcher = textMatcher(helo, lists);
    conditions.push({ name: "helo", holds: ({ query }) => matcher.has(query.helo), shown: ({ query }) => query.helo });
  }
  if (time !== undefined) conditions.push(timeCondition(time));
  if (size !== undefined) conditions.push(sizeCondition(size));
  for (const [name, items] of Object.entries(headers ?? {})) conditions.push(headerCondition(name, items, lists));
  return conditions;
}

function listenersCondition(names: ReadonlySet<string>): Condition {
  return {
    name: "listeners",
    holds: ({ listener }) => names.has(listener.name) || listener.tags.some((tag) => names.has(tag)),
    shown: ({ listener }) => [listener.name, ...listener.tags].join(" "),
  };
}

function sendersCondition(items: readonly ListItem[], lists: ListFiles | undefined): Condition {
  const matcher = addressMatcher(items, "sender", lists);
  return {
    name: "senders",
    holds: ({ sender }) => matcher.has(sender),
    shown: ({ sender }) => sender.mailbox === null ? "<>" : sender.text,
    captures: ({ sender }) => matcher.captures?.(sender),
  };
}

function authenticatedCondition(wanted: boolean | readonly ListItem[], lists: ListFiles | undefined): Condition {
  const shown = ({ query }: Facts) => query.user ?? "not authenticated";
  if (typeof wanted === "boolean") {
    return { name: "authenticated", holds: ({ query }) => (query.user !== undefined) === wanted, shown };
  }
  const matcher = textMatcher(wanted, lists);
  return { name: "authenticated", holds: ({ query }) => query.user !== undefined && matcher.has(query.user), shown };
}

function tlsCondition(wanted: boolean | TlsCondition, lists: ListFiles | undefined): Condition {
  const shown = ({ query }: Facts) => query.tls === undefined ? "no TLS" : query.tls.version;
  if (typeof wanted === "boolean") {
    return { name: "tls", holds: ({ query }) => (query.tls !== undefined) === wanted, shown };
  }
  const { minVersion, clientName } = wanted;
  const names = clientName === undefined ? undefined : textMatcher(clientName, lists);
  return {
    name: "tls",
    holds: ({ query: { tls } }) => {
      if (tls === undefined) return false;
      if (minVersion !== undefined && tlsNumber(tls.version) < Number(minVersion)) return false;
      return names === undefined || (tls.clientName !== undefined && names.has(tls.clientName));
    },
    shown,
  };
}

/** 1.3 for `TLSv1.3`; 0 for what is no TLS. */
function tlsNumber(version: string): number {
  return Number(/^TLSv(1(?:\.\d)?)$/u.exec(version)?.[1] ?? "0");
}

function sizeCondition({ min = 0, max = Infinity }: SizeCondition): Condition {
  const sizeOf = ({ query }: Facts) => query.body?.sizeBytes ?? query.declaredSizeBytes;
  return {
    name: "size",
    holds: (facts) => {
      const size = sizeOf(facts);
      return size === undefined ? undefined : size >= min && size <= max;
    },
    shown: (facts) => String(sizeOf(facts) ?? "not declared"),
  };
}

function headerCondition(field: string, items: readonly ListItem[], lists: ListFiles | undefined): Condition {
  const name = field.toLowerCase();
  const matcher = textMatcher(items, lists);
  const values = ({ query }: Facts) => (query.body?.fields ?? []).filter((each) => each.name === name);
  return {
    name: `headers.${field}`,
    holds: (facts) =>
      facts.query.body === undefined ? undefined : values(facts).some(({ value }) => matcher.has(value)),
    shown: (facts) => values(facts).map(({ value }) => value).join("; ") || "absent",
    captures(facts) {
      for (const { value } of values(facts)) {
        const captured = matcher.captures?.(value);
        if (captured !== undefined) return captured;
      }
      return undefined;
    },
  };
}

function timeCondition(config: readonly TimeCondition[]): Condition {
  const windows = config.map(timeWindow);
  return {
    name: "time",
    holds: ({ query }) => windows.some((window) => isWithin(window, query.nowMs)),
    shown: ({ query }) => windows.map(({ zone }) => timeText(zone, query.nowMs)).join(", "),
  };
}

function timeWindow({ days, from, to, zone }: TimeCondition): TimeWindow {
  return {
    days: new Set(days.flatMap((text) => parseDays(text) ?? [])),
    fromMinutes: parseClockTime(from) ?? 0,
    toMinutes: parseClockTime(to) ?? 24 * 60,
    zone,
  };
}
