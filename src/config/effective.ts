/**
 * A configuration as it is shown: every value with its origin, secrets masked, and, if wanted, with all defaults and with
 * absolute paths. It must not know how it is written down, and never gives a secret's text away.
 */
import type { Config } from "./config.ts";
import { formatDuration } from "./duration.ts";
import type { ChannelKind, LoadResult } from "./load.ts";
import { channelSchema, settingsSchema } from "./schema.ts";
import { absolute, defaultOf, metadataOf, type SchemaShape, unwrap } from "./shape.ts";
import { formatSize } from "./size.ts";
import { createSource, type Place, type Source } from "./source.ts";
import { isTables, newTable, type Node, type TableNode, textAt } from "./tree.ts";

/** Where a value comes from; the line is that of its key. */
export type Origin = { readonly file: string; readonly line: number } | "default";

export type Shown = ShownValue | ShownTable | ShownTables;

export interface ShownValue {
  readonly kind: "value";
  readonly value: unknown;
  readonly origin: Origin;
  /** Part of the value is a secret and is not in it. */
  readonly isMasked: boolean;
}

export interface ShownTable {
  readonly kind: "table";
  readonly origin: Origin;
  readonly entries: ReadonlyMap<string, Shown>;
}

export interface ShownTables {
  readonly kind: "tables";
  readonly items: readonly ShownTable[];
}

/** What stands in place of a secret. */
export const MASK = "(not shown)";

/** Only what is written, merged from all files. */
export function writtenConfiguration(result: LoadResult, kinds: ReadonlyMap<string, ChannelKind>): ShownTable {
  return new View(result.main, kinds, false).configuration(result.root);
}

/** What is in force: what is written and everything that is filled in, paths absolute. */
export function effectiveConfiguration(
  result: LoadResult,
  config: Config,
  kinds: ReadonlyMap<string, ChannelKind>,
): ShownTable {
  const view = new View(result.main, kinds, true);
  const root = copy(result.root);
  view.fill(root, "host_name", config.hostName);
  const listeners = root.entries.get("listener")?.node;
  config.listeners.forEach((listener, index) => {
    const node = listeners?.kind === "array" ? listeners.items[index] : undefined;
    if (node?.kind !== "table") return;
    view.fill(node, "host_name", listener.hostName);
    view.fill(node, "banner", listener.banner);
  });
  return view.configuration(root);
}

/** The tables that defaults are added to; the tree of the loader stays as it is. */
function copy(root: TableNode): TableNode {
  const table = newTable(root.place);
  for (const [key, entry] of root.entries) {
    const { node } = entry;
    const items = key === "listener" && node.kind === "array"
      ? node.items.map((item) => item.kind === "table" ? copy(item) : item)
      : undefined;
    table.entries.set(
      key,
      items === undefined ? entry : { ...entry, node: { kind: "array", place: node.place, items } },
    );
  }
  return table;
}

type Entries = Readonly<Record<string, SchemaShape>>;

class View {
  readonly #kinds: ReadonlyMap<string, ChannelKind>;
  readonly #isEffective: boolean;
  /** Where defaults stand: nowhere, but their paths are relative to the main file. */
  readonly #defaults: Source;
  readonly #place: Place;

  constructor(main: Source, kinds: ReadonlyMap<string, ChannelKind>, isEffective: boolean) {
    this.#kinds = kinds;
    this.#isEffective = isEffective;
    this.#defaults = createSource(main.file, "");
    this.#place = { source: this.#defaults, start: 0, end: 0 };
  }

  configuration(root: TableNode): ShownTable {
    const schema = settingsSchema(1) as unknown as SchemaShape;
    return this.#table(schema.entries ?? {}, undefined, root, root.place, true);
  }

  /** Adds a value that follows from others, when none is written. */
  fill(table: TableNode, key: string, value: unknown): void {
    if (!table.entries.has(key)) table.entries.set(key, { key: this.#place, again: [], node: this.#node(value) });
  }

  #table(
    entries: Entries,
    others: SchemaShape | undefined,
    table: TableNode,
    place: Place,
    isRoot = false,
  ): ShownTable {
    const shown = new Map<string, Shown>();
    const keys = this.#isEffective ? [...Object.keys(entries), ...table.entries.keys()] : table.entries.keys();
    for (const key of new Set(keys)) {
      const schema = Object.hasOwn(entries, key) ? entries[key] : others;
      const entry = table.entries.get(key);
      if (entry !== undefined) {
        shown.set(key, this.#shown(key, schema, entry.node, entry.key, isRoot));
        continue;
      }
      const value = schema === undefined ? undefined : defaultOf(schema);
      if (schema === undefined || value === undefined) continue;
      const node = this.#node(value);
      // No tables: nothing to show, and nothing that could be written.
      if (isTables(node) && node.items.length === 0 && unwrap(schema).item?.entries !== undefined) continue;
      shown.set(key, this.#shown(key, schema, this.#withUnit(schema, node), this.#place, isRoot));
    }
    return { kind: "table", origin: this.#origin(place), entries: shown };
  }

  #shown(key: string, schema: SchemaShape | undefined, node: Node, place: Place, isRoot: boolean): Shown {
    const inner = schema === undefined ? undefined : unwrap(schema);
    const isSecret = inner !== undefined && metadataOf(inner, "reference") !== undefined;
    if (node.kind === "table" && !isSecret) {
      return this.#table(entriesOf(inner), inner?.value, node, place);
    }
    const item = inner?.item === undefined ? undefined : unwrap(inner.item);
    if (isTables(node) && node.items.length > 0 && (item === undefined || entriesOf(item) !== NONE)) {
      const items = node.items.filter((child) => child.kind === "table").map((child) => {
        const entries = isRoot && key === "channel" ? this.#channelEntries(child) : entriesOf(item);
        return this.#table(entries, item?.value, child, child.place);
      });
      return { kind: "tables", items };
    }
    const masking = { isMasked: false };
    const value = this.#value(key, inner, node, masking);
    return { kind: "value", value, origin: this.#origin(place), isMasked: masking.isMasked };
  }

  #channelEntries(channel: TableNode): Entries {
    const kind = this.#kinds.get(textAt(channel, "type")?.value ?? "");
    const common = channelSchema.entries as unknown as Entries;
    return kind === undefined ? common : { ...common, ...entriesOf(kind.schema as unknown as SchemaShape) };
  }

  /** A value as it may be shown. */
  #value(key: string, schema: SchemaShape | undefined, node: Node, masking: { isMasked: boolean }): unknown {
    const inner = schema === undefined ? undefined : unwrap(schema);
    if (node.kind === "array") {
      const item = optionFor(inner, "array")?.item;
      return node.items.map((child) => this.#value(key, item, child, masking));
    }
    if (node.kind === "table") {
      const entries = entriesOf(inner);
      return Object.fromEntries(
        [...node.entries].map(([name, entry]) => {
          return [name, this.#value(name, entries[name] ?? inner?.value, entry.node, masking)];
        }),
      );
    }
    if (typeof node.value !== "string") return node.value;
    const reference = inner === undefined ? undefined : metadataOf(inner, "reference");
    const masked = reference === "value" || ((reference ?? "text") === "text" && isSecretKey(key, inner))
      ? MASK
      : undefined;
    const text = masked ?? withoutPassword(node.value);
    if (text !== node.value) masking.isMasked = true;
    const option = optionFor(inner, "string");
    return this.#isEffective && option !== undefined && masked === undefined
      ? absolute(option, text, node.place)
      : text;
  }

  #node(value: unknown): Node {
    const place = this.#place;
    if (Array.isArray(value)) return { kind: "array", place, items: value.map((item) => this.#node(item)) };
    if (typeof value === "object" && value !== null && !(value instanceof Date)) {
      const table = newTable(place);
      for (const [key, inner] of Object.entries(value)) this.fill(table, key, inner);
      return table;
    }
    if (typeof value === "boolean") return { kind: "scalar", place, type: "boolean", value };
    if (typeof value === "number") return { kind: "scalar", place, type: "integer", value };
    return { kind: "scalar", place, type: "string", value: String(value) };
  }

  /** A default that is a number of seconds or bytes, as people write it. */
  #withUnit(schema: SchemaShape, node: Node): Node {
    if (node.kind !== "scalar" || typeof node.value !== "number") return node;
    const quantity = metadataOf(unwrap(schema), "quantity");
    if (quantity === "size") return this.#node(formatSize(node.value));
    return quantity === "duration" ? this.#node(formatDuration(node.value * 1000)) : node;
  }

  #origin(place: Place): Origin {
    if (place.source === this.#defaults) return "default";
    return { file: place.source.file, line: place.source.position(place.start).line };
  }
}

const NONE: Entries = {};

/** The keys of a table, or of all tables that may stand there. */
function entriesOf(schema: SchemaShape | undefined): Entries {
  const inner = schema === undefined ? undefined : unwrap(schema);
  if (inner?.entries !== undefined) return inner.entries;
  if (inner?.type !== "union" && inner?.type !== "variant") return NONE;
  const tables = (inner.options as readonly SchemaShape[]).map(entriesOf).filter((entries) => entries !== NONE);
  return tables.length === 0 ? NONE : Object.assign({}, ...tables);
}

/** Of a choice, the schema for values of this type. */
function optionFor(schema: SchemaShape | undefined, type: string): SchemaShape | undefined {
  if (schema?.type !== "union") return schema;
  return (schema.options as readonly SchemaShape[]).map(unwrap).find((option) => option.type === type);
}

/**
 * A key that by its name holds a secret, though its schema does not say so: a header field such as Authorization, a
 * variable such as API_TOKEN. The name of a variable or a file may be shown.
 */
function isSecretKey(key: string, schema: SchemaShape | undefined): boolean {
  const holdsPath = schema !== undefined && metadataOf(schema, "path") === true;
  return !holdsPath && /passw|passphrase|secret|token|authori[sz]ation|cookie|credential|api[-_]?key/iu.test(key);
}

/** The password of `scheme://user:password@host`. */
function withoutPassword(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s/?#:@]*:)[^\s/?#]*@/giu, `$1${MASK}@`);
}

/** A written value with its places forgotten, for programs. */
export function plainShown(shown: Shown): unknown {
  switch (shown.kind) {
    case "value":
      return shown.value;
    case "tables":
      return shown.items.map(plainShown);
    case "table":
      return Object.fromEntries([...shown.entries].map(([key, inner]) => [key, plainShown(inner)]));
  }
}
