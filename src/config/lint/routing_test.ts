/**
 * Findings of the routing tests: those that fail, with what happened instead, names in them that do not exist, and bindings
 * that none of them reaches. It must not know how a test is run.
 */
import type { Step } from "../../binding/route.ts";
import { formatMailbox } from "../../smtp/address.ts";
import type { Config, RoutingTest } from "../config.ts";
import { escapeUnsafe, quote } from "../diagnostic.ts";
import { formatSize } from "../size.ts";
import { decisiveReply, type Rehearsal, replyLine } from "../rehearsal.ts";
import type { Place } from "../source.ts";
import { spanOf } from "../source.ts";
import { nearest } from "../suggest.ts";
import { tableAt, type TableNode, tablesAt, textAt, textsAt } from "../tree.ts";
import type { LintContext, LintRule } from "./rule.ts";
import { type Failure, namesOf, pastTestRun, type TestRun, testRunOf, unknownNames } from "./test_run.ts";

export const failedTest: LintRule = {
  code: "SMTPD280",
  async check(context) {
    const tables = tablesAt(context.root, "test");
    const run = await testRunOf(context);
    for (const [index, test] of (context.config?.tests ?? []).entries()) {
      const [failure, table] = [run?.failures[index], tables[index]];
      if (failure !== undefined && table !== undefined) report(test, failure, table, context);
    }
  },
};

function report(test: RoutingTest, failure: Failure, table: TableNode, context: LintContext): void {
  if (failure.kind === "no routes") {
    context.report("The routing tests were not run: a file that bindings name cannot be used", table.place, {
      help: "Correct the file; the server does not start with it either.",
    });
    return;
  }
  if (failure.kind === "no listener") {
    const place = table.entries.get("tls")?.node.place ?? table.place;
    context.report(`There is no listener ${test.tls === true ? "with" : "without"} TLS for this test`, place, {
      help: "Change tls, or give a listener [listener.tls].",
    });
    return;
  }
  const { to, found, differences: [first, ...more] } = failure;
  const isOne = (context.config?.listeners.length ?? 1) === 1;
  const subject = `${quote(formatMailbox(to))}${isOne ? "" : ` on listener ${quote(found.listener)}`}`;
  const words = (difference: typeof first) =>
    `expected ${difference.key} ${escapeUnsafe(difference.expected)}, found ${escapeUnsafe(difference.found)}`;
  const notes = [...more.map(words), ...whyNot(test, found), whatHappened(found)];
  const why = test.expect.binding === undefined ? undefined : bindingPlace(context.root, test.expect.binding);
  const isBinding = first.key === "binding" && why !== undefined;
  context.report(
    `The routing test for ${subject} failed: ${words(first)}`,
    tableAt(table, "expect")?.entries.get(first.key)?.node.place ?? table.place,
    {
      ...(isBinding ? { secondary: [{ ...spanOf(why), label: "this one was expected" }] } : {}),
      notes,
      help: `${quoteCommand(explainCommand(test, failure, context))} shows everything that was tried.`,
    },
  );
}

function bindingPlace(root: TableNode, name: string): Place | undefined {
  const bindings = [root, ...tablesAt(root, "listener")].flatMap((table) => tablesAt(table, "binding"));
  return bindings.map((binding) => textAt(binding, "name")).find((text) => text?.value === name)?.place;
}

/** Why the binding that was expected did not match, or that none came so far. */
function whyNot({ expect: { binding } }: RoutingTest, found: Rehearsal): readonly string[] {
  if (binding === undefined || found.binding === binding) return [];
  const steps = found.explain();
  if (steps.some((step) => step.binding === binding && step.result === "matched")) return [];
  const last = steps.findLast((step) => step.binding === binding);
  if (last === undefined) return steps.length === 0 ? [] : [`${quote(binding)} was not tried: an earlier one decided.`];
  return [`${quote(binding)} did not match: ${stepWords(last)}.`];
}

function stepWords({ condition, value }: Step): string {
  return `${condition ?? "its conditions"} saw ${quote(value ?? "")}`;
}

function whatHappened(found: Rehearsal): string {
  const { outcome, binding, deliveries, dialogue } = found;
  const who = binding === undefined ? "No binding matched" : `${quote(binding)} decided`;
  const targets = deliveries.map(({ channel, recipient }) => `${quote(channel)} for ${quote(recipient)}`);
  const what = targets.length === 0 ? outcome : `${outcome} to ${targets.join(", ")}`;
  const told = `${dialogue.at(-1)?.command} is answered ${quote(replyLine(decisiveReply(found)))}`;
  return `${who}: ${what}; ${told}.`;
}

/** The words of the command line that shows the same. */
function explainCommand(test: RoutingTest, { to, found }: Failure & { kind: "differs" }, { main }: LintContext) {
  const { from, ip, helo, user, tls, sizeBytes, headers, timeMs } = test;
  return [
    "smtpd",
    "explain",
    formatMailbox(to),
    ...(from === undefined ? [] : ["--from", from === null ? "<>" : formatMailbox(from)]),
    ...(ip === undefined ? [] : ["--ip", ip]),
    "--listener",
    found.listener,
    ...(helo === undefined ? [] : ["--helo", helo]),
    ...(tls === true ? ["--tls"] : []),
    ...(user === undefined ? [] : ["--user", user]),
    ...(sizeBytes === undefined ? [] : ["--size", formatSize(sizeBytes)]),
    ...headers.flatMap(({ name, value }) => ["--header", `${name}: ${value}`]),
    ...(timeMs === undefined ? [] : ["--time", new Date(timeMs).toISOString().replace(".000Z", "Z")]),
    "--config",
    main.file,
  ];
}

function quoteCommand(words: readonly string[]): string {
  const quoted = words.map((word) => /^[\w@%+:,./=-]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return escapeUnsafe(quoted.join(" "));
}

const KINDS = { listener: "listener", binding: "binding", deliver: "channel" } as const;

export const unknownTestName: LintRule = {
  code: "SMTPD281",
  check({ root, config, report }) {
    if (config?.tests === undefined) return;
    const names = namesOf(config);
    const tables = tablesAt(root, "test");
    for (const [index, test] of config.tests.entries()) {
      const table = tables[index];
      for (const { key, name } of unknownNames(test, names)) {
        const holder = key === "listener" || table === undefined ? table : tableAt(table, "expect");
        const text = holder === undefined ? undefined : textsAt(holder, key).find(({ value }) => value === name);
        if (text === undefined) continue;
        const meant = nearest(name, names[key]);
        report(`There is no ${KINDS[key]} ${quote(name)}`, text.place, {
          help: meant === undefined ? "Correct the name; the test was not run." : `Did you mean ${quote(meant)}?`,
          fix: meant === undefined ? undefined : {
            title: `Replace it by ${quote(meant)}`,
            edits: [{ span: spanOf(text.place), text: JSON.stringify(meant) }],
          },
        });
      }
    }
  },
};

export interface Coverage {
  readonly bindings: number;
  /** How many of them some test reaches. */
  readonly reached: number;
  /** Rounded down, so that 100 means all. */
  readonly percent: number;
}

/** What the tests of an examined configuration reach; undefined when they were not run. */
export async function coverageOf(config: Config): Promise<Coverage | undefined> {
  const run = await pastTestRun(config);
  if (run === undefined) return undefined;
  const bindings = allBindings(config);
  const reached = bindings.filter((name) => run.reached.has(name)).length;
  return { bindings: bindings.length, reached, percent: percentOf(reached, bindings.length) };
}

export function percentOf(reached: number, bindings: number): number {
  return bindings === 0 ? 100 : Math.floor(reached * 100 / bindings);
}

function allBindings({ listeners, bindings }: Config): readonly string[] {
  return [...listeners.flatMap((listener) => listener.bindings), ...bindings].map(({ name }) => name);
}

export const unreachedBinding: LintRule = {
  code: "SMTPD282",
  async check(context) {
    const { root, coverage, report } = context;
    const run: TestRun | undefined = coverage === undefined ? undefined : await testRunOf(context);
    if (run === undefined) return;
    for (const binding of [root, ...tablesAt(root, "listener")].flatMap((table) => tablesAt(table, "binding"))) {
      const name = textAt(binding, "name");
      if (name === undefined || run.reached.has(name.value)) continue;
      report(`No routing test reaches the binding ${quote(name.value)}`, name.place, {
        help: `Add a test: [[test]] with to = "…" and expect = { binding = ${quote(name.value)} }.`,
      });
    }
  },
};

export const lowCoverage: LintRule = {
  code: "SMTPD283",
  async check(context) {
    const minimum = context.coverage?.minPercent;
    if (minimum === undefined || context.config === undefined) return;
    await testRunOf(context);
    const found = await coverageOf(context.config);
    if (found === undefined || found.reached * 100 >= minimum * found.bindings) return;
    const { percent, reached, bindings } = found;
    const message =
      `The routing tests reach ${reached} of ${bindings} bindings: ${percent} %, and ${minimum} % are wanted`;
    context.report(message, { source: context.main, start: 0, end: context.main.line(1).length }, {
      help: "Add tests for the bindings that SMTPD282 names.",
    });
  },
};
