/**
 * Holds a tree against a schema: unknown keys, missing keys, wrong values, each a diagnostic at its place; and the checked
 * value. It must not know which keys there are.
 */
import * as v from "valibot";
import { type Diagnostic, diagnostic, quote } from "./diagnostic.ts";
import { absolute, absolutePath, descriptionOf, examplesOf, metadataOf, type SchemaShape, unwrap } from "./shape.ts";
import { type Place, spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { tomlValue } from "./toml_text.ts";
import { describe, type Entry, isTables, type Node, plain, shown, type TableNode, textAt } from "./tree.ts";

export type Schema = v.GenericSchema<unknown, unknown>;

export interface CheckContext {
  readonly report: (finding: Diagnostic) => void;
  readonly synonyms: ReadonlyMap<string, string>;
  /** Told of every value that says where a secret or a file is. */
  readonly reference?: (reference: Reference) => void;
}

/**
 * Where the configuration names something to be read when the program runs; `place` is the name's. What stands in a file
 * that `isPublic` is no secret.
 */
export type Reference =
  | { readonly kind: "file"; readonly path: string; readonly place: Place; readonly isPublic?: true }
  | { readonly kind: "env"; readonly name: string; readonly place: Place }
  /** A secret in the configuration itself. */
  | { readonly kind: "inline"; readonly place: Place };

/** The value a table gives under a schema, or undefined when it gives none; why is then reported. */
export function checkTable<S extends Schema>(
  schema: S,
  table: TableNode,
  context: CheckContext,
): v.InferOutput<S> | undefined {
  const walk = new Walk(context);
  const result = v.safeParse(schema, walk.input(schema as unknown as SchemaShape, table));
  if (result.success) return result.output;
  for (const issue of result.issues) reportIssue(issue, table, walk, context);
  return undefined;
}

/** Stands where a table or an array must not, so that the schema refuses it: to valibot, arrays and dates are objects. */
const MISFIT = Symbol("misfit");

class Walk {
  /** The schema each value was held against, for help texts. */
  readonly schemas = new Map<Node, SchemaShape>();
  readonly #context: CheckContext;

  constructor(context: CheckContext) {
    this.#context = context;
  }

  /** The plain value to give to the schema: known keys only, paths absolute. */
  input(schema: SchemaShape, node: Node): unknown {
    const inner = unwrap(schema);
    // Of a choice, the choice itself carries the description, not the option taken.
    if (!this.schemas.has(node)) this.schemas.set(node, inner);
    const reference = this.#context.reference === undefined ? undefined : metadataOf(inner, "reference");
    if (reference !== undefined) this.#refer(reference, node);
    if (inner.options !== undefined && (inner.type === "union" || inner.type === "variant")) {
      return this.#unionInput(inner.options as readonly SchemaShape[], node);
    }
    if (node.kind === "table") return this.#tableInput(inner, node);
    if (inner.entries !== undefined || inner.type === "record") return MISFIT;
    if (node.kind === "array") {
      const item = inner.item;
      if (inner.type === "array" && item !== undefined) return node.items.map((child) => this.input(item, child));
      return accepts(inner) ? plain(node) : MISFIT;
    }
    return typeof node.value === "string" ? absolute(inner, node.value, node.place) : node.value;
  }

  #refer(plain: unknown, node: Node): void {
    const refer = (reference: Reference) => this.#context.reference?.(reference);
    if (node.kind === "scalar" && typeof node.value === "string" && node.value !== "") {
      const { value, place } = node;
      if (plain === "value") refer({ kind: "inline", place });
      else if (plain !== "text") {
        const isPublic = plain === "list" ? { isPublic: true } as const : {};
        refer({ kind: "file", path: absolutePath(value, place), place, ...isPublic });
      }
    } else if (node.kind === "table") {
      const [file, env] = [textAt(node, "file"), textAt(node, "env")];
      if (file !== undefined && file.value !== "") {
        refer({ kind: "file", path: absolutePath(file.value, file.place), place: file.place });
      } else if (env !== undefined) refer({ kind: "env", name: env.value, place: env.place });
    }
  }

  #tableInput(schema: SchemaShape, table: TableNode): unknown {
    if (schema.entries === undefined && schema.type !== "record") return accepts(schema) ? plain(table) : MISFIT;
    const entries = schema.entries ?? {};
    if (schema.type === "object" || schema.type === "strict_object") {
      adoptUnknown(Object.keys(entries), table, this.#context);
    }
    const input: Record<string, unknown> = Object.create(null);
    for (const [key, entry] of table.entries) {
      const known = Object.hasOwn(entries, key) ? entries[key] : schema.value;
      if (known !== undefined) input[key] = this.input(known, entry.node);
      else if (schema.type === "loose_object") input[key] = plain(entry.node);
    }
    return input;
  }

  #unionInput(options: readonly SchemaShape[], node: Node): unknown {
    const inner = options.map(unwrap);
    if (node.kind === "table") {
      const tables = inner.filter((option) => option.entries !== undefined);
      if (tables.length === 0) return MISFIT;
      const entries = Object.assign({}, ...tables.map((option) => option.entries));
      return this.#tableInput({ type: "strict_object", entries }, node);
    }
    const wanted: string = node.kind === "array" ? "array" : typeof node.value;
    const fitting = inner.find((option) => option.type === wanted);
    return fitting === undefined ? MISFIT : this.input(fitting, node);
  }
}

/**
 * Reports unknown keys. One that clearly means a known key is from here on taken for it, so that its value is checked and
 * neither a missing key nor a missing channel is reported for the same cause. With `only`, looks for that key alone.
 */
export function adoptUnknown(
  known: readonly string[],
  table: TableNode,
  context: CheckContext,
  only?: string,
): void {
  for (const [key, entry] of [...table.entries]) {
    if (known.includes(key)) continue;
    // A key that is there already cannot be meant, unless both are lists of tables: [[bindings]] beside [[binding]].
    const candidates = known.filter((candidate) => {
      const present = table.entries.get(candidate);
      return present === undefined || (isTables(present.node) && isTables(entry.node));
    });
    const meant = nearest(key, candidates, context.synonyms);
    if (only !== undefined && meant !== only) continue;
    const place = spanOf(entry.key);
    const list = known.length === 0 ? "No key is known here; remove it." : `Known here: ${known.join(", ")}.`;
    context.report(diagnostic("SMTPD101", `Unknown key ${quote(key)}`, place, {
      help: meant === undefined ? list : `Did you mean ${quote(meant)}?`,
      fix: meant === undefined ? undefined : {
        title: `Rename ${quote(key)} to ${quote(meant)}`,
        isSafe: true,
        edits: [entry.key, ...entry.again].map((where) => ({ span: spanOf(where), text: meant })),
      },
    }));
    table.entries.delete(key);
    if (meant !== undefined) adopt(table, meant, entry);
  }
}

function adopt(table: TableNode, key: string, entry: Entry): void {
  const present = table.entries.get(key);
  if (present === undefined) table.entries.set(key, entry);
  else if (isTables(present.node) && isTables(entry.node)) {
    for (const item of entry.node.items) present.node.items.push(item);
  }
}

/** The keys a schema of a table knows; undefined when it takes any. */
export function keysOf(schema: Schema): readonly string[] | undefined {
  const inner = unwrap(schema as unknown as SchemaShape);
  return inner.type === "object" || inner.type === "strict_object" ? Object.keys(inner.entries ?? {}) : undefined;
}

/** Schemas that say nothing about the form of a value. */
function accepts(schema: SchemaShape): boolean {
  return schema.type === "any" || schema.type === "unknown" || schema.type === "custom";
}

type Issue = v.BaseIssue<unknown>;

function reportIssue(issue: Issue, root: TableNode, walk: Walk, context: CheckContext): void {
  const keys = (issue.path ?? []).map((item) => item.key);
  // Of a choice of forms, the one that was begun says more than the choice itself.
  const begun = issue.type === "union"
    ? issue.issues?.filter((inner) => inner.path?.at(-1)?.origin === "value")
    : undefined;
  if (begun !== undefined && begun.length > 0) {
    for (const inner of begun) {
      reportAt([...keys, ...(inner.path ?? []).map((item) => item.key)], inner, root, walk, context);
    }
  } else reportAt(keys, issue, root, walk, context);
}

function reportAt(keys: readonly unknown[], issue: Issue, root: TableNode, walk: Walk, context: CheckContext): void {
  const found = locate(root, keys);
  const schema = walk.schemas.get(found.node);
  if (found.missing !== undefined) {
    const entry = schema?.entries?.[found.missing];
    const message = `Missing key ${quote(found.missing)}`;
    const help = entry === undefined ? undefined : helpOf(found.missing, unwrap(entry));
    context.report(diagnostic("SMTPD103", message, spanOf(found.node.place), { help }));
    return;
  }
  const subject = found.key === undefined ? "here" : `for ${quote(found.key)}`;
  const help = schema === undefined || found.key === undefined ? undefined : helpOf(found.key, schema);
  const place = spanOf(found.node.place);
  if (issue.kind === "schema" && issue.type === "picklist") {
    reportPicklist(issue, found.node, subject, context);
  } else if (issue.kind === "schema") {
    const expected = issue.message.startsWith("expected ") ? issue.message.slice(9) : expectedWords(issue);
    context.report(
      diagnostic("SMTPD102", `Expected ${expected} ${subject}, found ${describe(found.node)}`, place, { help }),
    );
  } else {
    const reason = /^Invalid [a-z]/u.test(issue.message)
      ? `expected ${issue.expected ?? "another value"}`
      : issue.message;
    context.report(diagnostic("SMTPD102", `Invalid value ${shown(found.node)} ${subject}: ${reason}`, place, { help }));
  }
}

function reportPicklist(issue: Issue, node: Node, subject: string, context: CheckContext): void {
  const choices = [...(issue.expected ?? "").matchAll(/"([^"]*)"/gu)].map((match) => match[1] ?? "");
  const value = node.kind === "scalar" && typeof node.value === "string" ? node.value : undefined;
  const meant = value === undefined ? undefined : nearest(value, choices);
  const place = spanOf(node.place);
  const list = choices.map(quote).join(", ");
  const reason = issue.message.startsWith("must ")
    ? issue.message
    : `must be ${choices.length > 1 ? "one of " : ""}${list}`;
  context.report(diagnostic("SMTPD102", `Invalid value ${shown(node)} ${subject}: ${reason}`, place, {
    help: meant === undefined ? undefined : `Did you mean ${quote(meant)}?`,
    fix: meant === undefined
      ? undefined
      : { title: `Replace ${shown(node)} by ${quote(meant)}`, edits: [{ span: place, text: JSON.stringify(meant) }] },
  }));
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ["string", "a text in quotes"],
  ["number", "a number"],
  ["boolean", "true or false"],
  ["Object", "a table"],
  ["Array", "an array"],
]);

function expectedWords(issue: Issue): string {
  return WORDS.get(issue.expected ?? "") ?? issue.expected ?? "another value";
}

interface Found {
  readonly node: Node;
  /** Name of the nearest key above the value. */
  readonly key?: string;
  /** The key the schema wants and the table has not. */
  readonly missing?: string;
}

/** The value at a path; where the path leaves the tree, the last value on it. */
function locate(root: TableNode, keys: readonly unknown[]): Found {
  let node: Node = root;
  let key: string | undefined;
  for (const part of keys) {
    const next: Node | undefined = node.kind === "table"
      ? node.entries.get(String(part))?.node
      : node.kind === "array"
      ? node.items[Number(part)]
      : undefined;
    if (next === undefined) return node.kind === "table" ? { node, missing: String(part) } : withKey(node, key);
    if (node.kind === "table") key = String(part);
    node = next;
  }
  return withKey(node, key);
}

function withKey(node: Node, key: string | undefined): Found {
  return key === undefined ? { node } : { node, key };
}

/** `port: TCP port. For example port = 2525.` */
function helpOf(key: string, schema: SchemaShape): string | undefined {
  const description = descriptionOf(schema);
  if (description === undefined) return undefined;
  const example = examplesOf(schema)[0];
  const text = description.replace(/\.?$/u, ".");
  return `${key}: ${text}${example === undefined ? "" : ` For example ${key} = ${tomlValue(example)}.`}`;
}
