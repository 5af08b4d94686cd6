/**
 * Decides what becomes of a recipient: bindings in order, a listener's own before the shared ones, until one decides. Pure
 * but for lists in files. Before the end of data a binding may be undecided; then all that could follow is weighed, so
 * that a recipient is only accepted or refused when that is certain. It must not know of sessions or channels.
 */
import type { BindingConfig, Conditions, ListenerConfig } from "../config/config.ts";
import { formatMailbox } from "../smtp/address.ts";
import { prepared, type Reply, reply } from "../smtp/reply.ts";
import type { Condition, Facts, Query, Truth } from "./condition.ts";
import type { ListFiles } from "./list.ts";
import { canonicalDomain, canonicalLocalPart, type Subject, subjectOf } from "./match.ts";
import { changed, type Route, type RoutedDelivery, type Rule, type State } from "./rule.ts";
import { compileTable, Cursor, NONE, quickRoute, type Table } from "./table.ts";

export type { Query } from "./condition.ts";
export type { Route, RoutedDelivery } from "./rule.ts";

export interface Router {
  route(query: Query): Route;
  /** The same, with everything that was tried on the way. */
  explain(query: Query): Explanation;
  /** Whether some binding asks for header fields, for the size, for the time: what nobody asks for need not be known. */
  readonly reads: { readonly headers: boolean; readonly size: boolean; readonly time: boolean };
}

export interface Explanation {
  readonly steps: readonly Step[];
  readonly route: Route;
}

/** One binding, tried for one address. */
export interface Step {
  readonly binding: string;
  /** The address as it was then. */
  readonly recipient: string;
  readonly result: "matched" | "not matched" | "undecided";
  /** What did not hold or is not known yet: `recipients`, `not.clients`, and what it looked at. */
  readonly condition?: string;
  readonly value?: string;
  /** What the binding made of the address and the sender, where that changed. */
  readonly becomes?: { readonly recipient: string; readonly sender: string };
  /** After a match. */
  readonly then?: "decides" | "continues" | "expands" | "refuses";
}

/** RFC 5321 §3.6.2, RFC 3463 §3.8: nothing says that we take mail for this recipient, so we do not relay it. */
export const NOT_ACCEPTED: Route = {
  kind: "refuse",
  reply: prepared(reply(550, "5.7.1", "Recipient not accepted here; relaying denied")),
};

const ALIAS_LOOP = prepared(reply(550, "5.4.6", "The address is an alias of itself"));
const TOO_MANY_ALIASES = prepared(reply(550, "5.4.6", "The address stands for too many others"));

/** What one recipient may become by way of aliases, and how many steps that may take. */
const MAX_EXPANSIONS = 1_000;
const MAX_ALIAS_STEPS = 32;

/** Shared bindings are the same list for every listener and may be many: one table serves all. */
const tables = new WeakMap<readonly BindingConfig[], WeakMap<object, Table>>();
const NO_LISTS = {};

export type RoutedListener = Pick<ListenerConfig, "name" | "tags" | "hostName" | "bindings">;

/** The bindings must have been checked: a malformed pattern throws. `lists` is for those that name files. */
export function compileRoutes(listener: RoutedListener, shared: readonly BindingConfig[], lists?: ListFiles): Router {
  return new CompiledRouter(listener, compileTable(listener.bindings, "own", lists), tableOf(shared, lists), [
    ...listener.bindings,
    ...shared,
  ]);
}

function tableOf(bindings: readonly BindingConfig[], lists: ListFiles | undefined): Table {
  let byLists = tables.get(bindings);
  if (byLists === undefined) tables.set(bindings, byLists = new WeakMap());
  let table = byLists.get(lists ?? NO_LISTS);
  if (table === undefined) byLists.set(lists ?? NO_LISTS, table = compileTable(bindings, "shared", lists));
  return table;
}

class CompiledRouter implements Router {
  readonly reads: Router["reads"];
  readonly #listener: Facts["listener"];
  readonly #hostDomain: string;
  readonly #own: Table;
  readonly #common: Table;

  constructor(listener: RoutedListener, own: Table, common: Table, bindings: readonly BindingConfig[]) {
    this.#listener = { name: listener.name, tags: listener.tags };
    this.#hostDomain = canonicalDomain(listener.hostName);
    this.#own = own;
    this.#common = common;
    const some = (key: keyof Conditions) =>
      bindings.some((binding) => binding[key] !== undefined || binding.not?.[key] !== undefined);
    this.reads = { headers: some("headers"), size: some("size"), time: some("time") };
  }

  route(query: Query): Route {
    const { localPart, domain: given } = query.recipient;
    const isBare = given === "";
    const domain = isBare ? this.#hostDomain : canonicalDomain(given);
    const key = `${canonicalLocalPart(localPart)}@${domain}`;
    let quick = quickRoute(this.#own, key, domain, isBare);
    if (quick === undefined) {
      quick = quickRoute(this.#common, key, domain, isBare);
      if (quick === undefined) return NOT_ACCEPTED;
    }
    return quick === false ? this.#walk(query, undefined) : quick;
  }

  explain(query: Query): Explanation {
    const steps: Step[] = [];
    const route = this.#walk(query, steps);
    return { steps, route };
  }

  #walk(query: Query, steps: Step[] | undefined): Route {
    const walk = new Walk([this.#own, this.#common], query, this.#listener, this.#hostDomain, steps);
    return walk.decide({ recipient: query.recipient, sender: query.sender, edits: [], hold: false }, []);
  }
}

/** One recipient's way through the bindings. */
class Walk {
  readonly #tables: readonly Table[];
  readonly #query: Query;
  readonly #listener: Facts["listener"];
  readonly #hostDomain: string;
  readonly #steps: Step[] | undefined;
  #expansions = 0;

  constructor(
    allTables: readonly Table[],
    query: Query,
    listener: Facts["listener"],
    hostDomain: string,
    steps: Step[] | undefined,
  ) {
    this.#tables = allTables;
    this.#query = query;
    this.#listener = listener;
    this.#hostDomain = hostDomain;
    this.#steps = steps;
  }

  /** `expanded`: the rules and addresses of the aliases that led to this one. */
  decide(start: State, expanded: readonly string[]): Route {
    let state = start;
    let facts = this.#factsOf(state);
    let delivered: string | undefined;
    const deliveries: RoutedDelivery[] = [];
    const undecided: Rule[] = [];
    for (const table of this.#tables) {
      let from = 0;
      let cursor = new Cursor(table, facts.recipient, from);
      for (;;) {
        const index = cursor.next();
        this.#skipped(table, from, index, facts);
        const rule = table.rules[index];
        if (rule === undefined) break;
        from = index + 1;
        const mark = `${rule.id} ${facts.recipient.key}`;
        const truth = this.#holds(rule, facts, expanded.at(-1) === mark);
        if (truth === undefined) undecided.push(rule);
        if (truth !== true) continue;
        const next = this.#apply(rule, state, facts);
        if (!("edits" in next)) return settle(refusal(rule, next), undecided, facts.recipient);
        const hold = next.hold || rule.hold;
        if (rule.outcome.kind === "deliver") {
          delivered = rule.name;
          for (const channel of rule.outcome.channels) deliveries.push(this.#delivery(rule, channel, next, hold));
        }
        if (rule.outcome.kind === "aliases") {
          const route = this.#expand(rule, { ...next, hold }, facts, expanded, mark, deliveries);
          return settle(route, undecided, facts.recipient);
        }
        if (!rule.continues) {
          return settle({ kind: "accept", binding: rule.name, deliveries }, undecided, facts.recipient);
        }
        const moved = next.recipient !== state.recipient;
        state = rule.outcome.kind === "none" && hold ? { ...next, hold } : next;
        facts = this.#factsOf(state);
        if (moved) cursor = new Cursor(table, facts.recipient, from);
      }
    }
    const rest: Route = delivered === undefined ? NOT_ACCEPTED : { kind: "accept", binding: delivered, deliveries };
    return settle(rest, undecided, facts.recipient);
  }

  #factsOf(state: State): Facts {
    return {
      query: this.#query,
      recipient: subjectOf(state.recipient, this.#hostDomain),
      sender: subjectOf(state.sender, ""),
      listener: this.#listener,
    };
  }

  /** Whether the rule's conditions hold; `isItself`: the address is what the rule's own alias made of it. */
  #holds(rule: Rule, facts: Facts, isItself: boolean): Truth {
    if (isItself) {
      this.#step(rule, facts, { result: "not matched", condition: "aliases", value: "the address stands for itself" });
      return false;
    }
    let unknown: Condition | undefined;
    for (const condition of rule.conditions) {
      const truth = condition.holds(facts);
      if (truth === false) {
        this.#failed(rule, facts, condition, "not matched");
        return false;
      }
      if (truth === undefined) unknown ??= condition;
    }
    if (unknown === undefined) return true;
    this.#failed(rule, facts, unknown, "undecided");
    return undefined;
  }

  /** The state with the rule's changes, or the reply that refuses the recipient. */
  #apply(rule: Rule, state: State, facts: Facts): State | Reply {
    const { outcome } = rule;
    const next = outcome.kind === "reject" ? outcome.reply : changed(rule, state, facts);
    if (this.#steps === undefined) return next;
    if (!("edits" in next)) this.#step(rule, facts, { result: "matched", then: "refuses" });
    else {
      const then = outcome.kind === "aliases" ? "expands" : rule.continues ? "continues" : "decides";
      const becomes = next.recipient === state.recipient && next.sender === state.sender
        ? {}
        : { becomes: { recipient: formatMailbox(next.recipient), sender: formatMailbox(next.sender) } };
      this.#step(rule, facts, { result: "matched", then, ...becomes });
    }
    return next;
  }

  #delivery(rule: Rule, channel: string, state: State, hold: boolean): RoutedDelivery {
    const { recipient, sender, edits } = state;
    return {
      channel,
      binding: rule.name,
      ...(recipient === this.#query.recipient ? {} : { recipient }),
      ...(sender === this.#query.sender ? {} : { sender }),
      ...(edits.length === 0 ? {} : { edits }),
      ...(hold ? { held: true } : {}),
    };
  }

  /** What the aliases of an address come to together: one that is refused refuses them all. */
  #expand(
    rule: Rule,
    state: State,
    facts: Facts,
    expanded: readonly string[],
    mark: string,
    before: readonly RoutedDelivery[],
  ): Route {
    if (expanded.includes(mark) || expanded.length >= MAX_ALIAS_STEPS) return refusal(rule, ALIAS_LOOP);
    const targets = rule.aliases?.content.lookUp(facts.recipient) ?? [];
    this.#expansions += targets.length;
    if (this.#expansions > MAX_EXPANSIONS) return refusal(rule, TOO_MANY_ALIASES);
    const deliveries = [...before];
    const bindings: string[] = [];
    let refusalKey = "";
    for (const recipient of targets) {
      const route = this.decide({ ...state, recipient }, [...expanded, mark]);
      if (route.kind === "refuse") return route;
      if (route.kind === "accept") deliveries.push(...route.deliveries);
      else {
        bindings.push(...route.bindings);
        if (route.refusalKey !== undefined) refusalKey = `alone ${facts.recipient.key}`;
      }
    }
    if (bindings.length === 0) return { kind: "accept", binding: rule.name, deliveries };
    return { kind: "undecided", bindings, ...(refusalKey === "" ? {} : { refusalKey }) };
  }

  /** For explanations: the rules between two candidates do not have the address among their recipients. */
  #skipped(table: Table, from: number, to: number, facts: Facts): void {
    if (this.#steps === undefined) return;
    for (const rule of table.rules.slice(from, to === NONE ? undefined : to)) {
      this.#step(rule, facts, { result: "not matched", condition: "recipients", value: facts.recipient.text });
    }
  }

  #failed(rule: Rule, facts: Facts, condition: Condition, result: "not matched" | "undecided"): void {
    if (this.#steps === undefined) return;
    this.#step(rule, facts, { result, condition: condition.name, value: condition.shown(facts) });
  }

  #step(rule: Rule, facts: Facts, step: Omit<Step, "binding" | "recipient">): void {
    this.#steps?.push({ binding: rule.name, recipient: formatMailbox(facts.recipient.mailbox), ...step });
  }
}

function refusal(rule: Rule, given: Reply): Route {
  return { kind: "refuse", binding: rule.name, reply: given };
}

/**
 * What can be said of a recipient now, given the route it takes if none of the undecided rules matches. It is refused at
 * once only if it would be refused in any case.
 */
function settle(rest: Route, undecided: readonly Rule[], recipient: Subject): Route {
  if (undecided.length === 0) return rest;
  const without = rest.kind === "undecided" ? "open" : rest.kind === "accept" ? "accepts" : "refuses";
  const effects = undecided.map(({ effect }) => effect);
  // A rule that adds a delivery and goes on accepts what no rule takes; what another rule refuses stays refused.
  const addsToNothing = rest === NOT_ACCEPTED && effects.includes("adds");
  const mayAccept = without !== "refuses" || addsToNothing || effects.includes("accepts") || effects.includes("open");
  if (!mayAccept) return rest;
  const isOpen = without === "open" || effects.includes("open");
  const mayRefuse = without === "refuses" || effects.includes("refuses") || effects.includes("open") ||
    (rest.kind === "undecided" && rest.refusalKey !== undefined);
  const bindings = undecided.map(({ name }) => name);
  if (rest.kind === "undecided") bindings.push(...rest.bindings);
  if (!mayRefuse) return { kind: "undecided", bindings };
  const key = `${undecided.map(({ id }) => id).join(" ")} ${rest === NOT_ACCEPTED ? "unmatched" : without}`;
  return { kind: "undecided", bindings, refusalKey: isOpen ? `${key} alone ${recipient.key}` : key };
}
