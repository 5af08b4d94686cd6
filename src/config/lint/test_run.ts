/**
 * Runs the routing tests of a configuration, once for all rules that ask. It must not know how messages are played, nor how
 * findings look.
 */
import type { Router } from "../../binding/route.ts";
import { addressKey, canonicalDomain } from "../../binding/match.ts";
import { formatMailbox, type Mailbox } from "../../smtp/address.ts";
import type { Config, ListenerConfig, RoutingTest } from "../config.ts";
import { canMeet, decisiveReply, type ImaginedMessage, type Rehearsal, type Rehearse, STRANGER } from "../rehearsal.ts";
import type { ExpectationKey } from "../routing_test.ts";
import { receiversOf } from "../slave_listener.ts";
import { routersOf } from "./route_probe.ts";
import type { LintContext } from "./rule.ts";

export interface TestRun {
  /** For each test what went wrong first; undefined: it passed, or was not run. */
  readonly failures: readonly (Failure | undefined)[];
  /** Names of the bindings that matched in some test; filled when coverage is asked for. */
  readonly reached: ReadonlySet<string>;
}

export type Failure =
  | { readonly kind: "differs"; readonly to: Mailbox; readonly found: Rehearsal; readonly differences: Differences }
  /** There is no listener with TLS, or none without. */
  | { readonly kind: "no listener" }
  /** A list that bindings name cannot be read. */
  | { readonly kind: "no routes" };

export interface Difference {
  readonly key: ExpectationKey;
  readonly expected: string;
  readonly found: string;
}

export type Differences = readonly [Difference, ...(readonly Difference[])];

/** A configuration object belongs to one run. */
const known = new WeakMap<Config, Promise<TestRun>>();

/** Undefined when the configuration does not get that far, or when nobody can play messages. */
export function testRunOf(context: LintContext): Promise<TestRun> | undefined {
  const { config, rehearse } = context;
  if (config === undefined || rehearse === undefined) return undefined;
  const made = known.get(config) ?? runTests(config, context, rehearse);
  known.set(config, made);
  return made;
}

/** What `testRunOf` has made of the configuration before, if anything. */
export function pastTestRun(config: Config): Promise<TestRun> | undefined {
  return known.get(config);
}

async function runTests(
  config: Config,
  context: LintContext,
  open: NonNullable<LintContext["rehearse"]>,
): Promise<TestRun> {
  const { tests = [] } = config;
  if (tests.length === 0) return { failures: [], reached: new Set() };
  const [routers, rehearse] = await Promise.all([routersOf(context), open()]);
  if (routers === undefined) return { failures: [{ kind: "no routes" }], reached: new Set() };
  const run = new Run(config, routers, rehearse, context);
  const failures: (Failure | undefined)[] = [];
  const names = namesOf(config);
  for (const test of tests) {
    failures.push(unknownNames(test, names).length > 0 ? undefined : await run.failureOf(test));
  }
  return { failures, reached: run.reached };
}

class Run {
  readonly reached = new Set<string>();
  readonly #config: Config;
  readonly #routers: readonly Router[];
  readonly #rehearse: Rehearse;
  readonly #context: LintContext;
  /** By the name of a binding of their own. */
  readonly #owners: ReadonlyMap<string, ListenerConfig>;
  /** Some binding continues or has aliases, so that several may match one recipient. */
  readonly #anyLeadsOn: boolean;

  constructor(config: Config, routers: readonly Router[], rehearse: Rehearse, context: LintContext) {
    this.#config = config;
    this.#routers = routers;
    this.#rehearse = rehearse;
    this.#context = context;
    this.#anyLeadsOn = [config, ...config.listeners].some(({ bindings }) =>
      bindings.some(({ continues, outcome }) => continues === true || outcome.kind === "aliases")
    );
    this.#owners = new Map(
      config.listeners.flatMap((listener) => listener.bindings.map(({ name }) => [name, listener] as const)),
    );
  }

  async failureOf(test: RoutingTest): Promise<Failure | undefined> {
    const listeners = this.#listenersOf(test);
    if (listeners.length === 0) return { kind: "no listener" };
    let failure: Failure | undefined;
    for (const to of test.to) {
      const message = messageOf(test, to, this.#context.environment.nowMs);
      for (const listener of listeners) {
        const router = this.#routers[receiversOf(this.#config).indexOf(listener)];
        if (router === undefined) continue;
        const found = await this.#rehearse(listener, router, message);
        if (this.#context.coverage !== undefined) { for (const name of this.#matchedIn(found)) this.reached.add(name); }
        const [first, ...more] = failure === undefined ? differencesOf(test, found) : [];
        if (first !== undefined) failure = { kind: "differs", to, found, differences: [first, ...more] };
      }
    }
    return failure;
  }

  /** Where one binding decides alone, it is the one that matched, and nothing needs to be explained for that. */
  #matchedIn(found: Rehearsal): readonly string[] {
    if (this.#anyLeadsOn) return matchedIn(found);
    return found.binding === undefined ? [] : [found.binding];
  }

  /** The listener that is named; or whose own binding is expected; or all that a client of this kind can meet. */
  #listenersOf({ listener, tls, expect }: RoutingTest): readonly ListenerConfig[] {
    const { listeners } = this.#config;
    if (listener !== undefined) return receiversOf(this.#config).filter(({ name }) => name === listener);
    const owner = this.#owners.get(expect.binding ?? "");
    return (owner === undefined ? listeners : [owner]).filter((candidate) => canMeet(candidate, tls));
  }
}

function messageOf(test: RoutingTest, to: Mailbox, nowMs: number): ImaginedMessage {
  const { from, ip, helo, user, tls, sizeBytes, headers, timeMs } = test;
  return {
    to,
    from: from === undefined ? STRANGER.from : from,
    ip: ip ?? STRANGER.ip,
    helo: helo ?? STRANGER.helo,
    ...(user === undefined ? {} : { user }),
    ...(tls === undefined ? {} : { tls }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    headers,
    timeMs: timeMs ?? nowMs,
  };
}

function matchedIn(found: Rehearsal): readonly string[] {
  return found.explain().filter(({ result }) => result === "matched").map(({ binding }) => binding);
}

/** What is not as it was expected, in the order in which it is decided. */
function differencesOf({ expect }: RoutingTest, found: Rehearsal): readonly Difference[] {
  const { binding, deliver, reply, recipient, outcome } = expect;
  const differences: Difference[] = [];
  const differs = (key: ExpectationKey, expected: string, actual: string) =>
    void differences.push({ key, expected, found: actual });
  if (binding !== undefined && found.binding !== binding && !matchedIn(found).includes(binding)) {
    differs("binding", quoted([binding]), found.binding === undefined ? "none" : quoted([found.binding]));
  }
  if (outcome !== undefined && found.outcome !== outcome) {
    differs("outcome", quoted([outcome]), quoted([found.outcome]));
  }
  if (reply !== undefined && !replyBegins(found, reply)) {
    const { code, enhanced } = decisiveReply(found);
    differs("reply", quoted([reply]), quoted([enhanced === undefined ? String(code) : `${code} ${enhanced}`]));
  }
  if (deliver !== undefined) {
    const [wanted, actual] = [inOrder(deliver), inOrder(found.deliveries.map(({ channel }) => channel))];
    if (wanted.join("\n") !== actual.join("\n")) differs("deliver", quoted(wanted), quoted(actual));
  }
  if (recipient !== undefined) {
    const actual = inOrder(found.deliveries.map((delivery) => delivery.recipient));
    const keys = inOrder(actual.map(textKey));
    if (keys.join("\n") !== inOrder(recipient.map((address) => textKey(formatMailbox(address)))).join("\n")) {
      differs("recipient", quoted(inOrder(recipient.map(formatMailbox))), quoted(actual));
    }
  }
  return differences;
}

function replyBegins(found: Rehearsal, expected: string): boolean {
  const { code, enhanced } = decisiveReply(found);
  const [digits = "", wanted] = expected.split(" ");
  return String(code).startsWith(digits) && (wanted === undefined || wanted === enhanced);
}

function inOrder(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)].sort();
}

/** Addresses are the same as bindings compare them. */
function textKey(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? addressKey(address, "") : addressKey(address.slice(0, at), canonicalDomain(address.slice(at + 1)));
}

function quoted(texts: readonly string[]): string {
  return texts.length === 0 ? "none" : texts.map((text) => `"${text}"`).join(", ");
}

/** The names a test may use, by the key that uses them. */
export interface Names {
  readonly listener: ReadonlySet<string>;
  readonly binding: ReadonlySet<string>;
  readonly deliver: ReadonlySet<string>;
}

export function namesOf(config: Config): Names {
  const { listeners, bindings, channels } = config;
  const names = (named: readonly { readonly name: string }[]) => new Set(named.map(({ name }) => name));
  return {
    listener: names(receiversOf(config)),
    binding: names([...listeners.flatMap((listener) => listener.bindings), ...bindings]),
    deliver: names(channels),
  };
}

export interface UnknownName {
  readonly key: keyof Names;
  readonly name: string;
}

/** Names in a test that stand for nothing. */
export function unknownNames({ listener, expect }: RoutingTest, names: Names): readonly UnknownName[] {
  const unknown = (key: keyof Names, name: string) => names[key].has(name) ? [] : [{ key, name }];
  return [
    ...(listener === undefined ? [] : unknown("listener", listener)),
    ...(expect.binding === undefined ? [] : unknown("binding", expect.binding)),
    ...(expect.deliver ?? []).flatMap((name) => unknown("deliver", name)),
  ];
}
