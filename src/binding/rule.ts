/**
 * A binding compiled: its conditions, what it makes of a recipient, and the changes it applies. A rule looks at one
 * recipient and knows nothing of other rules; `table.ts` finds the rules to ask and `route.ts` goes through them.
 */
import type { BindingConfig, Changes } from "../config/config.ts";
import type { HeaderEdit } from "../message/edit.ts";
import { formatMailbox, type Mailbox, parseForwardPath } from "../smtp/address.ts";
import { prepared, type Reply, reply } from "../smtp/reply.ts";
import { type Aliases, parseAliases } from "./aliases.ts";
import { addressMatcher, compileConditions, type Condition, type Facts } from "./condition.ts";
import type { ListFile, ListFiles } from "./list.ts";
import type { Subject } from "./match.ts";
import { parseTemplate, type Template, type TemplateValues } from "./template.ts";

/** One copy of the message for one recipient. */
export interface RoutedDelivery {
  readonly channel: string;
  readonly binding: string;
  /** Absent: the recipient as it was given. */
  readonly recipient?: Mailbox;
  /** Absent: the sender as it was given; null: the null reverse-path. */
  readonly sender?: Mailbox | null;
  /** In the order of their application; absent: none. */
  readonly edits?: readonly HeaderEdit[];
  /** Stored, and kept until somebody releases it. */
  readonly held?: true;
}

export type Route =
  /** No deliveries: taken and discarded. */
  | { readonly kind: "accept"; readonly binding: string; readonly deliveries: readonly RoutedDelivery[] }
  /** `binding` is absent when none matched. */
  | { readonly kind: "refuse"; readonly binding?: string; readonly reply: Reply }
  /** Depends on the body; never once the body is known. */
  | {
    readonly kind: "undecided";
    /** Those that may match. */
    readonly bindings: readonly string[];
    /**
     * Recipients with the same key are refused or accepted together, whatever the body is. Absent: it will be accepted,
     * only where to is not known.
     */
    readonly refusalKey?: string;
  };

/** What the rule would mean for a recipient if it matched, as far as that can be said before it is tried. */
export type Effect =
  | "refuses"
  | "accepts"
  /** Delivers and goes on: what nobody else takes is accepted. */
  | "adds"
  /** Goes on, whatever it changes. */
  | "continues"
  /** Depends on what it makes of the address. */
  | "open";

export interface Rule {
  readonly name: string;
  /** Different for each rule of a listener's router. */
  readonly id: string;
  /** All but `recipients`. */
  readonly conditions: readonly Condition[];
  /** The patterns of `recipients`, where the tables cannot answer for them or captures may be asked for. */
  readonly recipients: RecipientMatcher | undefined;
  readonly outcome: BindingConfig["outcome"];
  readonly aliases: ListFile<Aliases> | undefined;
  readonly changes: CompiledChanges | undefined;
  readonly hold: boolean;
  readonly continues: boolean;
  readonly effect: Effect;
  /** The route of every recipient for which the rule is the first to ask, when nothing else can matter. */
  readonly constant: Route | undefined;
}

export interface RecipientMatcher {
  has(subject: Subject): boolean;
  captures?(subject: Subject): readonly string[] | undefined;
}

/** The binding must have been checked: a malformed pattern throws. `scanned`: some recipients are in no table. */
export function compileRule(binding: BindingConfig, id: string, scanned: boolean, lists: ListFiles | undefined): Rule {
  const { name, outcome, recipients } = binding;
  const conditions = compileConditions(binding, binding.not, lists);
  const aliases = outcome.kind === "aliases" ? aliasList(outcome.file, lists) : undefined;
  if (aliases !== undefined) conditions.push(aliasesCondition(aliases));
  const changes = binding.changes === undefined ? undefined : compileChanges(binding.changes);
  const hold = binding.hold === true;
  const continues = binding.continues === true;
  const asked = recipients !== undefined && (scanned || changes?.usesCaptures === true);
  const plain = conditions.length === 0 && changes === undefined && !continues;
  return {
    name,
    id,
    conditions,
    recipients: asked ? addressMatcher(recipients, "recipient", lists) : undefined,
    outcome,
    aliases,
    changes,
    hold,
    continues,
    effect: effectOf(binding),
    constant: plain ? constantRoute(name, outcome, hold) : undefined,
  };
}

function effectOf({ outcome, changes, continues }: BindingConfig): Effect {
  if (outcome.kind === "reject") return "refuses";
  const rewrites = changes?.rewriteRecipient !== undefined || changes?.rewriteSender !== undefined;
  if (outcome.kind === "aliases" || rewrites) return "open";
  if (continues !== true) return "accepts";
  return outcome.kind === "deliver" ? "adds" : "continues";
}

function constantRoute(name: string, outcome: BindingConfig["outcome"], hold: boolean): Route | undefined {
  switch (outcome.kind) {
    case "reject":
      return { kind: "refuse", binding: name, reply: outcome.reply };
    case "discard":
      return { kind: "accept", binding: name, deliveries: [] };
    case "deliver": {
      const held = hold ? { held: true } as const : {};
      const deliveries = outcome.channels.map((channel) => ({ channel, binding: name, ...held }));
      return { kind: "accept", binding: name, deliveries };
    }
    default:
      return undefined;
  }
}

function aliasList(file: string, lists: ListFiles | undefined): ListFile<Aliases> {
  if (lists === undefined) throw new TypeError(`A binding names the file "${file}", and no files were given`);
  return lists.list(file, parseAliases);
}

/** A recipient without an alias is left to the bindings that follow. */
function aliasesCondition(aliases: ListFile<Aliases>): Condition {
  return {
    name: "aliases",
    holds: ({ recipient }) => aliases.content.lookUp(recipient) !== undefined,
    shown: ({ recipient }) => `${recipient.text} is not in the file`,
  };
}

export interface CompiledChanges {
  readonly rewriteRecipient: Template | undefined;
  readonly rewriteSender: Template | undefined;
  readonly edits: readonly { readonly edit: HeaderEdit; readonly template: Template | undefined }[];
  readonly usesCaptures: boolean;
}

function compileChanges(changes: Changes): CompiledChanges | undefined {
  const { rewriteRecipient, rewriteSender, removeHeaders, setHeaders, addHeaders, subjectPrefix } = changes;
  const edits: { readonly edit: HeaderEdit; readonly template: Template | undefined }[] = [];
  for (const name of removeHeaders ?? []) edits.push({ edit: { kind: "remove", name }, template: undefined });
  for (const { name, value } of setHeaders ?? []) {
    edits.push({ edit: { kind: "set", name, value }, template: templateOf(value) });
  }
  for (const { name, value } of addHeaders ?? []) {
    edits.push({ edit: { kind: "add", name, value }, template: templateOf(value) });
  }
  if (subjectPrefix !== undefined) {
    edits.push({ edit: { kind: "prefix-subject", text: subjectPrefix }, template: templateOf(subjectPrefix) });
  }
  const compiled = {
    rewriteRecipient: rewriteRecipient === undefined ? undefined : templateOf(rewriteRecipient),
    rewriteSender: rewriteSender === undefined ? undefined : templateOf(rewriteSender),
    edits,
  };
  const templates = [compiled.rewriteRecipient, compiled.rewriteSender, ...edits.map(({ template }) => template)];
  if (compiled.rewriteRecipient === undefined && compiled.rewriteSender === undefined && edits.length === 0) return;
  return { ...compiled, usesCaptures: templates.some((template) => (template?.highestCapture ?? -1) >= 0) };
}

function templateOf(text: string): Template {
  const parsed = parseTemplate(text);
  if (!parsed.ok) throw new TypeError(`A binding has an unchecked template "${text}": ${parsed.reason}`);
  return parsed.template;
}

/** What earlier rules, and then this one, have made of a recipient and its message. */
export interface State {
  readonly recipient: Mailbox;
  readonly sender: Mailbox | null;
  readonly edits: readonly HeaderEdit[];
  readonly hold: boolean;
}

const BAD_RECIPIENT = prepared(reply(553, "5.1.3", "The address cannot be rewritten to a valid one"));
const BAD_SENDER = prepared(reply(553, "5.1.7", "The sender cannot be rewritten to a valid address"));

/** The state with the rule's changes applied, or why it cannot be. */
export function changed(rule: Rule, state: State, facts: Facts): State | Reply {
  const { changes } = rule;
  if (changes === undefined) return state;
  const values: TemplateValues = {
    recipient: { localPart: state.recipient.localPart, domain: state.recipient.domain || facts.recipient.domain },
    sender: state.sender,
    captures: () => capturesOf(rule, facts),
  };
  let { recipient, sender } = state;
  if (changes.rewriteRecipient !== undefined) {
    const rewritten = parseRewritten(changes.rewriteRecipient.expand(values));
    if (rewritten === undefined) return BAD_RECIPIENT;
    recipient = rewritten;
  }
  if (changes.rewriteSender !== undefined) {
    const text = changes.rewriteSender.expand(values);
    const rewritten = text === "" || text === "<>" ? null : parseRewritten(text);
    if (rewritten === undefined) return BAD_SENDER;
    sender = rewritten;
  }
  const edits = changes.edits.length === 0 ? state.edits : [...state.edits, ...expandedEdits(changes, values)];
  return { ...state, recipient, sender, edits };
}

function expandedEdits(changes: CompiledChanges, values: TemplateValues): readonly HeaderEdit[] {
  return changes.edits.map(({ edit, template }) => {
    if (template === undefined || edit.kind === "remove") return edit;
    const text = template.expand(values);
    return edit.kind === "prefix-subject"
      ? { kind: edit.kind, text }
      : { kind: edit.kind, name: edit.name, value: text };
  });
}

/** Those of the recipient; where it has none, those of the sender, then those of the header fields. */
function capturesOf(rule: Rule, facts: Facts): readonly string[] | undefined {
  const own = rule.recipients?.captures?.(facts.recipient);
  if (own !== undefined) return own;
  for (const condition of rule.conditions) {
    const captured = condition.captures?.(facts);
    if (captured !== undefined) return captured;
  }
  return undefined;
}

/**
 * An address that a template made: quoted where it must be, and held against the grammar of the envelope, so that nothing
 * a peer wrote can become anything but part of an address.
 */
function parseRewritten(text: string): Mailbox | undefined {
  const at = text.lastIndexOf("@");
  if (at <= 0) return undefined;
  const localPart = text.slice(0, at);
  const written = localPart.startsWith('"') ? text : formatMailbox({ localPart, domain: text.slice(at + 1) });
  const parsed = parseForwardPath(`<${written}>`, 0);
  return parsed.ok && parsed.end === written.length + 2 && parsed.value.domain !== "" ? parsed.value : undefined;
}
