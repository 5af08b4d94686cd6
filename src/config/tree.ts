/**
 * A configuration as a tree of values that know where they stand: what the TOML reader makes, includes merge, and checks
 * walk. It must not know the parser nor the schema.
 */
import { quote } from "./diagnostic.ts";
import type { Place } from "./source.ts";

export type Node = TableNode | ArrayNode | ScalarNode;

export interface TableNode {
  readonly kind: "table";
  /** The header `[listener.tls]`, the braces of an inline table, or the key that implied the table. */
  place: Place;
  readonly entries: Map<string, Entry>;
}

export interface Entry {
  /** The key where it stands first, for findings about keys. */
  readonly key: Place;
  /** Where else it stands: further headers `[[listener]]`, dotted keys. A fix that renames it changes them all. */
  readonly again: Place[];
  node: Node;
}

export interface ArrayNode {
  readonly kind: "array";
  readonly place: Place;
  readonly items: Node[];
}

export interface ScalarNode {
  readonly kind: "scalar";
  readonly place: Place;
  readonly type: "string" | "integer" | "float" | "boolean" | "date";
  readonly value: string | number | boolean | Date;
}

export function newTable(place: Place): TableNode {
  return { kind: "table", place, entries: new Map() };
}

/** `[[name]]`, or an array of inline tables; an empty array too. */
export function isTables(node: Node): node is ArrayNode {
  return node.kind === "array" && node.items.every((item) => item.kind === "table");
}

/** The value without places. Tables have no prototype, so that no key can collide with one. */
export function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map(plain);
  const value: Record<string, unknown> = Object.create(null);
  for (const [key, entry] of node.entries) value[key] = plain(entry.node);
  return value;
}

/** What the value is, for messages: `the string "25"`. */
export function describe(node: Node): string {
  if (node.kind === "table") return "a table";
  if (node.kind === "array") return "an array";
  switch (node.type) {
    case "string":
      return `the string ${quote(String(node.value))}`;
    case "boolean":
      return String(node.value);
    case "date":
      return "a date";
    default:
      return `the number ${node.value}`;
  }
}

/** The value as it may stand in a message. */
export function shown(node: Node): string {
  if (node.kind !== "scalar") return describe(node);
  return node.type === "string" ? quote(String(node.value)) : node.type === "date" ? "a date" : String(node.value);
}

/** The tables of an array of tables; anything else in its place is left to the schema. */
export function tablesAt(table: TableNode, key: string): readonly TableNode[] {
  const node = table.entries.get(key)?.node;
  if (node?.kind !== "array") return [];
  return node.items.filter((item): item is TableNode => item.kind === "table");
}

export function tableAt(table: TableNode, key: string): TableNode | undefined {
  const node = table.entries.get(key)?.node;
  return node?.kind === "table" ? node : undefined;
}

export interface Text {
  readonly value: string;
  readonly place: Place;
}

export function asText(node: Node | undefined): Text | undefined {
  if (node?.kind !== "scalar" || typeof node.value !== "string") return undefined;
  return { value: node.value, place: node.place };
}

export function textAt(table: TableNode, key: string): Text | undefined {
  return asText(table.entries.get(key)?.node);
}

/** The strings of a value that is a string or an array of strings. */
export function textsAt(table: TableNode, key: string): readonly Text[] {
  const node = table.entries.get(key)?.node;
  const nodes = node?.kind === "array" ? node.items : node === undefined ? [] : [node];
  return nodes.map(asText).filter((text) => text !== undefined);
}
