/**
 * Rules for bindings that concern more than one key or the meaning of a text: one outcome, changes that have an effect,
 * patterns and templates that can be read, listeners that exist. Like `consistency.ts`, it looks at the tree.
 */
import { parsePattern } from "../binding/match.ts";
import { parseNetwork } from "../binding/network.ts";
import { isRegexText, parseRegex } from "../binding/regex.ts";
import { parseTemplate } from "../binding/template.ts";
import { parseTextPattern } from "../binding/text_set.ts";
import { isFieldName } from "../message/edit.ts";
import { NOTIFICATIONS } from "./config.ts";
import type { ConsistencyContext } from "./consistency.ts";
import { diagnostic, quote } from "./diagnostic.ts";
import { spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { asText, type Entry, type Node, tableAt, type TableNode, type Text, textAt, textsAt } from "./tree.ts";

const OUTCOMES = ["deliver", "reject", "defer", "discard", "aliases"] as const;
const CHANGES = [
  "rewrite_recipient",
  "rewrite_sender",
  "add_headers",
  "set_headers",
  "remove_headers",
  "subject_prefix",
] as const;
const CONDITIONS = [
  "recipients",
  "senders",
  "listeners",
  "clients",
  "authenticated",
  "helo",
  "tls",
  "size",
  "headers",
  "dsn",
  "time",
] as const;

/** Every text of a binding that may be a regular expression. */
export function bindingTexts(node: Node): readonly string[] {
  if (node.kind === "scalar") return typeof node.value === "string" ? [node.value] : [];
  if (node.kind === "array") return node.items.flatMap(bindingTexts);
  return [...node.entries].flatMap(([key, entry]) => key === "file" ? [] : bindingTexts(entry.node));
}

/**
 * The engine of regular expressions must be loaded when there is one among the texts. A channel that takes mail in is to
 * bindings a listener, and stands among them.
 */
export function checkBinding(binding: TableNode, listeners: readonly TableNode[], context: ConsistencyContext): void {
  checkOutcome(binding, context);
  if (!CONDITIONS.some((key) => binding.entries.has(key)) && !binding.entries.has("not")) {
    context.report(diagnostic("SMTPD103", 'Missing key "recipients"', spanOf(binding.place), {
      help: 'Say whom it is for, as in recipients = ["*@example.com"]; "*" is everybody. Or give another condition.',
    }));
  }
  const not = tableAt(binding, "not");
  for (const conditions of not === undefined ? [binding] : [binding, not]) {
    checkPatterns(conditions, context);
    checkListeners(conditions, listeners, context);
    checkFieldNames(conditions, context);
  }
  checkTemplates(binding, context);
}

/** The entry of a key that is given and not turned off. */
function given(binding: TableNode, key: string): Entry | undefined {
  const entry = binding.entries.get(key);
  return entry?.node.kind === "scalar" && entry.node.value === false ? undefined : entry;
}

function checkOutcome(binding: TableNode, context: ConsistencyContext): void {
  const outcomes = OUTCOMES.flatMap((key) => {
    const entry = given(binding, key);
    return entry === undefined ? [] : [{ key, entry }];
  }).sort((left, right) => left.entry.key.start - right.entry.key.start);
  const changes = CHANGES.filter((key) => binding.entries.has(key));
  const [outcome, second] = outcomes;
  const continues = given(binding, "continue") !== undefined;
  if (outcome !== undefined && second !== undefined) {
    const message = `A binding has one outcome, not both ${quote(outcome.key)} and ${quote(second.key)}`;
    context.report(diagnostic("SMTPD111", message, spanOf(second.entry.key), {
      secondary: [{ ...spanOf(outcome.entry.key), label: "the other one" }],
      help: "Remove one of the two.",
    }));
  } else if (outcome === undefined && !(continues && (changes.length > 0 || given(binding, "hold") !== undefined))) {
    const help = changes.length > 0
      ? 'Add deliver = ["channel"], or continue = true to leave that to the bindings that follow.'
      : 'Add deliver = ["channel"], reject = "550 5.1.1 No such user", defer, discard = true or aliases.';
    const message = "This binding does not say what becomes of its recipients";
    context.report(diagnostic("SMTPD111", message, spanOf(binding.place), { help }));
  } else if (outcome !== undefined) checkEffects(binding, outcome.key, changes, context);
}

/** What an outcome leaves nothing to do for. */
function checkEffects(
  binding: TableNode,
  outcome: typeof OUTCOMES[number],
  changes: readonly string[],
  context: ConsistencyContext,
): void {
  if (outcome === "deliver") return;
  const idle = outcome === "aliases"
    ? ["continue", ...changes.filter((key) => key === "rewrite_recipient")]
    : ["continue", "hold", ...changes];
  for (const key of idle) {
    const entry = given(binding, key);
    const other = binding.entries.get(outcome);
    if (entry === undefined || other === undefined) continue;
    const message = `${quote(key)} has no effect together with ${quote(outcome)}`;
    context.report(diagnostic("SMTPD112", message, spanOf(entry.key), {
      secondary: [{ ...spanOf(other.key), label: "this decides" }],
      help: "Remove it, or put it into a binding of its own.",
    }));
  }
}

function checkPatterns(conditions: TableNode, context: ConsistencyContext): void {
  const report = (what: string, text: Text, reason: string, help: string) => {
    const message = `Invalid ${what} ${quote(text.value)}: ${reason}`;
    context.report(diagnostic("SMTPD107", message, spanOf(text.place), { help }));
  };
  for (const [key, role] of [["recipients", "recipient"], ["senders", "sender"]] as const) {
    for (const text of textsAt(conditions, key)) {
      const parsed = text.value === "" ? undefined : parsePattern(text.value, role);
      if (parsed?.ok === false) report(`${role} pattern`, text, parsed.reason, parsed.help);
    }
  }
  for (const text of textsAt(conditions, "clients")) {
    if (text.value === "" || parseNetwork(text.value) !== undefined) continue;
    report("network", text, "it is no IP address or network", 'Write "192.0.2.1", "10.0.0.0/8" or "2001:db8::/32".');
  }
  const headers = tableAt(conditions, "headers");
  const tls = tableAt(conditions, "tls");
  const texts = [
    ...textsAt(conditions, "authenticated"),
    ...textsAt(conditions, "helo"),
    ...(tls === undefined ? [] : textsAt(tls, "client_name")),
    ...(headers === undefined ? [] : [...headers.entries.keys()].flatMap((key) => textsAt(headers, key))),
  ];
  for (const text of texts) {
    const parsed = parseTextPattern(text.value);
    if (!parsed.ok) report("pattern", text, parsed.reason, parsed.help);
  }
}

function checkListeners(conditions: TableNode, listeners: readonly TableNode[], context: ConsistencyContext): void {
  if (!context.complete) return;
  const known = new Set(listeners.flatMap((listener) => {
    const tags = textsAt(listener, "tags").flatMap(({ value }) => value.split(/\s+/u));
    return [textAt(listener, "name")?.value ?? "", ...tags];
  }));
  known.add(NOTIFICATIONS);
  for (const text of textsAt(conditions, "listeners")) {
    if (known.has(text.value) || text.value === "") continue;
    const place = spanOf(text.place);
    const meant = nearest(text.value, known);
    context.report(diagnostic("SMTPD113", `There is no listener with the name or tag ${quote(text.value)}`, place, {
      help: meant === undefined ? "Correct it, or give the tag to a listener." : `Did you mean ${quote(meant)}?`,
      fix: meant === undefined
        ? undefined
        : { title: `Replace it by ${quote(meant)}`, edits: [{ span: place, text: JSON.stringify(meant) }] },
    }));
  }
}

/** In conditions and in changes. */
function checkFieldNames(table: TableNode, context: ConsistencyContext): void {
  for (const key of ["headers", "add_headers", "set_headers"]) {
    for (const [name, entry] of tableAt(table, key)?.entries ?? []) {
      if (isFieldName(name)) continue;
      context.report(diagnostic("SMTPD102", `Invalid name of a header field ${quote(name)}`, spanOf(entry.key), {
        help: "Names are at most 76 characters of ASCII without spaces and colons, such as X-Queue.",
      }));
    }
  }
}

function checkTemplates(binding: TableNode, context: ConsistencyContext): void {
  const headers = ["add_headers", "set_headers"].map((key) => tableAt(binding, key)).filter((table) =>
    table !== undefined
  );
  const texts = [
    ...["rewrite_recipient", "rewrite_sender", "subject_prefix"].flatMap((key) => textsAt(binding, key)),
    ...headers.flatMap((table) => [...table.entries.keys()].flatMap((key) => textsAt(table, key))),
  ];
  if (texts.length === 0) return;
  const groups = capturingGroups(binding);
  for (const text of texts) {
    const parsed = parseTemplate(text.value);
    const problem = !parsed.ok ? parsed : parsed.template.highestCapture > groups
      ? {
        reason: `nothing captures $${parsed.template.highestCapture}`,
        help:
          'Captures are the groups of a regular expression in recipients, senders or headers, as in "/^case-(\\\\d+)@/".',
      }
      : undefined;
    if (problem === undefined) continue;
    const message = `Invalid template ${quote(text.value)}: ${problem.reason}`;
    context.report(diagnostic("SMTPD114", message, spanOf(text.place), { help: problem.help }));
  }
}

/** Of the regular expression that has most; -1: there is none. Any number when a file may hold some. */
function capturingGroups(binding: TableNode): number {
  const headers = tableAt(binding, "headers");
  const entries = [
    binding.entries.get("recipients"),
    binding.entries.get("senders"),
    ...(headers === undefined ? [] : headers.entries.values()),
  ];
  let groups = -1;
  for (const entry of entries) {
    const node = entry?.node;
    for (const item of node?.kind === "array" ? node.items : node === undefined ? [] : [node]) {
      if (item.kind === "table") return Infinity;
      const text = asText(item)?.value ?? "";
      const parsed = isRegexText(text) ? parseRegex(text) : undefined;
      if (parsed !== undefined) groups = Math.max(groups, parsed.ok ? parsed.regex.groups : Infinity);
    }
  }
  return groups;
}
