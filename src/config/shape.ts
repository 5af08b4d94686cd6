/**
 * What can be read from a schema without running it: its kind, its parts, its description, examples and metadata. valibot's
 * own types are too many to name. It must not know values.
 */
import { dirname, resolve } from "node:path";
import type { Place } from "./source.ts";

export interface SchemaShape {
  readonly type: string;
  readonly pipe?: readonly { readonly kind: string; readonly type: string; readonly metadata?: unknown }[];
  readonly wrapped?: SchemaShape;
  /** Of a wrapper that allows absence: what stands for an absent value. */
  readonly default?: unknown;
  readonly entries?: Readonly<Record<string, SchemaShape>>;
  readonly item?: SchemaShape;
  readonly value?: SchemaShape;
  readonly options?: readonly unknown[];
}

/** Without wrappers that allow absence; they have no value of their own to describe. */
export function unwrap(schema: SchemaShape): SchemaShape {
  let inner = schema;
  while (inner.wrapped !== undefined) inner = inner.wrapped;
  return inner;
}

/** Whether a key with this schema may be left out. */
export function isOptional(schema: SchemaShape): boolean {
  return schema.wrapped !== undefined;
}

/** What stands for an absent value; undefined when nothing does. */
export function defaultOf(schema: SchemaShape): unknown {
  for (let at: SchemaShape | undefined = schema; at?.wrapped !== undefined; at = at.wrapped) {
    if (at.default !== undefined) return typeof at.default === "function" ? at.default() : at.default;
  }
  return undefined;
}

export function descriptionOf(schema: SchemaShape): string | undefined {
  const found = unwrap(schema).pipe?.find((item) => item.type === "description");
  return (found as { readonly description?: string } | undefined)?.description;
}

export function examplesOf(schema: SchemaShape): readonly unknown[] {
  const found = unwrap(schema).pipe?.find((item) => item.type === "examples");
  return (found as { readonly examples?: readonly unknown[] } | undefined)?.examples ?? [];
}

export function metadataOf(schema: SchemaShape, key: string): unknown {
  for (const item of schema.pipe ?? []) {
    if (
      item.kind === "metadata" && typeof item.metadata === "object" && item.metadata !== null && key in item.metadata
    ) {
      return (item.metadata as Readonly<Record<string, unknown>>)[key];
    }
  }
  return undefined;
}

/** The value with its path absolute, if the schema says that it holds one; paths are relative to the file they stand in. */
export function absolute(schema: SchemaShape, value: string, place: Place): string {
  const path = metadataOf(schema, "path");
  if (path !== true || value === "") return value;
  const after = metadataOf(schema, "after");
  const prefix = typeof after === "string" ? after : "";
  if (!value.startsWith(prefix) || value.length === prefix.length) return value;
  return prefix + absolutePath(value.slice(prefix.length), place);
}

export function absolutePath(path: string, place: Place): string {
  return resolve(dirname(place.source.file), path);
}
