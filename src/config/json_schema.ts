/**
 * The configuration's schema as JSON Schema, for editors: draft-07, with what taplo and Even Better TOML can use. It is made
 * from the schemas that the loader checks with, so that both take the same keys. It is looser where JSON Schema has no
 * words for a rule. It must not know which keys there are.
 */
import { type ConversionConfig, type JsonSchema as LibrarySchema, toJsonSchema } from "@valibot/to-json-schema";
import type { GenericSchema } from "valibot";
import { formatDuration } from "./duration.ts";
import type { ChannelKind } from "./load.ts";
import { channelSchema, settingsSchema } from "./schema.ts";
import { formatSize } from "./size.ts";

export type JsonSchema = LibrarySchema;

type Example = NonNullable<JsonSchema["examples"]>[number];
type Definitions = Record<string, JsonSchema>;

/** The schema of a whole configuration with these types of channel. */
export function configurationJsonSchema(kinds: Iterable<ChannelKind>): JsonSchema {
  const definitions: Definitions = {};
  const settings = convert(settingsSchema(1), "", definitions);
  const channel = settings.properties?.["channel"];
  if (typeof channel !== "object" || channel.type !== "array") throw new Error("There is no list of channels");
  const common = convert(channelSchema, "channel-", definitions);
  channel.items = { anyOf: [...kinds].flatMap((kind) => channelForms(kind, common, definitions)) };
  const schema: JsonSchema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Configuration of smtpd",
    description: 'Paths are relative to the file. Durations and sizes are numbers (seconds, bytes) or texts ("5m").',
    ...settings,
    ...(Object.keys(definitions).length === 0 ? {} : { definitions }),
  };
  addExamples(schema);
  return shared(schema);
}

/** A schema that is shorter than this is clearer where it is used. */
const SHARED_LENGTH = 400;

/** The schema with what occurs several times, such as the keys that channels of all types have, written once. */
function shared(schema: JsonSchema): JsonSchema {
  const counts = new Map<string, number>();
  const count = (part: JsonSchema) => {
    const text = JSON.stringify(part);
    counts.set(text, (counts.get(text) ?? 0) + 1);
    // What is in a part that occurred before is shared with it.
    if (counts.get(text) === 1) mapParts(part, (inner) => (count(inner), inner));
  };
  count(schema);
  const definitions: Definitions = {};
  const references = new Map<string, string>();
  const replaced = (part: JsonSchema, key: string): JsonSchema => {
    const text = JSON.stringify(part);
    if (text.length < SHARED_LENGTH || (counts.get(text) ?? 0) < 2) return mapParts(part, replaced, key);
    let name = references.get(text);
    if (name === undefined) {
      name = key;
      for (let number = 2; name in definitions || name in (schema.definitions ?? {}); number++) {
        name = `${key}-${number}`;
      }
      references.set(text, name);
      definitions[name] = {};
      definitions[name] = mapParts(part, replaced, key);
    }
    return { $ref: `#/definitions/${name}` };
  };
  const { definitions: own, ...result } = mapParts(schema, replaced);
  const all = { ...own, ...definitions };
  return Object.keys(all).length === 0 ? result : { ...result, definitions: all };
}

/** The schema with its parts changed; they are told with the name of the key they belong to. */
function mapParts(schema: JsonSchema, change: (part: JsonSchema, key: string) => JsonSchema, key = "part"): JsonSchema {
  const one = (part: JsonSchema | boolean, name: string) => typeof part === "object" ? change(part, name) : part;
  const all = (parts: Readonly<Record<string, JsonSchema | boolean>>) =>
    Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, one(part, name)]));
  const { properties, definitions, anyOf, items, additionalProperties } = schema;
  return {
    ...schema,
    ...(properties === undefined ? {} : { properties: all(properties) }),
    ...(definitions === undefined ? {} : { definitions: all(definitions) }),
    ...(anyOf === undefined ? {} : { anyOf: anyOf.map((part) => one(part, key)) }),
    ...(items === undefined || Array.isArray(items) ? {} : { items: one(items, key) }),
    ...(additionalProperties === undefined ? {} : { additionalProperties: one(additionalProperties, key) }),
  };
}

/** The forms a channel of one type may take: one, or as many as its options have. */
function channelForms(kind: ChannelKind, common: JsonSchema, definitions: Definitions): readonly JsonSchema[] {
  const own = convert(kind.schema, `${kind.type}-`, definitions);
  const forms = own.anyOf === undefined ? [own] : own.anyOf.filter((form) => typeof form === "object");
  return forms.map((form) => {
    const { name, type: _type, ...rest } = common.properties ?? {};
    const required = [...common.required ?? [], ...form.required ?? []];
    const properties: Record<string, JsonSchema | boolean> = {
      ...(name === undefined ? {} : { name }),
      type: { type: "string", const: kind.type, description: kind.summary, examples: [kind.type] },
      ...form.properties,
      ...rest,
    };
    return {
      title: `Channel of type ${kind.type}`,
      description: kind.summary,
      type: "object",
      properties: structuredClone(properties),
      required: [...new Set(required)],
      additionalProperties: form.additionalProperties ?? false,
    };
  });
}

/** Definitions that a schema refers to are gathered under names with this prefix. */
function convert(schema: GenericSchema<unknown, unknown>, prefix: string, definitions: Definitions): JsonSchema {
  const converted = toJsonSchema(schema, {
    target: "draft-07",
    typeMode: "input",
    // What JSON Schema has no words for is left to `smtpd check`.
    errorMode: "ignore",
    overrideAction,
    overrideRef: ({ referenceId }) => `#/definitions/${prefix}${referenceId}`,
    overrideSchema: ({ jsonSchema, valibotSchema }) => {
      if (valibotSchema.type !== "variant") return undefined;
      const { oneOf, ...rest } = jsonSchema;
      return { ...rest, ...(oneOf === undefined ? {} : { anyOf: oneOf }) };
    },
  });
  const { $schema: _, $defs, ...rest } = converted;
  for (const [id, definition] of Object.entries($defs ?? {})) {
    if (typeof definition === "object") definitions[`${prefix}${id}`] = definition;
  }
  return rest;
}

const overrideAction: NonNullable<ConversionConfig["overrideAction"]> = ({ valibotAction, jsonSchema }) => {
  if (valibotAction.type === "metadata") {
    const metadata = (valibotAction as { readonly metadata?: Readonly<Record<string, unknown>> }).metadata ?? {};
    const rest = Object.fromEntries(Object.entries(jsonSchema).filter(([key]) => !Object.hasOwn(metadata, key)));
    return metadata["quantity"] === undefined ? rest : { ...rest, anyOf: quantityForms(metadata) };
  }
  if (jsonSchema.pattern !== undefined) return { ...jsonSchema, pattern: portablePattern(jsonSchema.pattern) };
  return undefined;
};

/** A number within bounds, or a text with a unit, whose bounds are left to the loader. */
function quantityForms(metadata: Readonly<Record<string, unknown>>): JsonSchema[] {
  const [minimum, maximum] = [Number(metadata["minimum"]), Number(metadata["maximum"])];
  if (metadata["quantity"] === "duration") {
    const range = `${formatDuration(minimum)} to ${formatDuration(maximum)}`;
    return [
      { type: "number", minimum: minimum / 1000, maximum: maximum / 1000, description: `Seconds, ${range}.` },
      {
        type: "string",
        pattern: "^(?:[0-9]+(?:\\.[0-9]+)?(?:ms|w|d|h|m|s) ?)+$",
        description: `${range}: numbers with w, d, h, m, s or ms.`,
      },
    ];
  }
  const range = `${formatSize(minimum)} to ${formatSize(maximum)}`;
  return [
    { type: "integer", minimum, maximum, description: `Bytes, ${range}.` },
    {
      type: "string",
      pattern: "^[0-9]+(?:\\.[0-9]+)? ?(?:[kKmMgGtT][iI]?)?[bB]$",
      description: `${range}: a number with B, kB, MB, GB, KiB, MiB or GiB.`,
    },
  ];
}

/** Classes of characters that not every engine knows, written out; half a surrogate pair cannot occur in TOML. */
function portablePattern(pattern: string): string {
  return pattern.replaceAll("\\p{Cc}", "\\u0000-\\u001f\\u007f-\\u009f").replaceAll("\\p{Cs}", "");
}

/** Tables get an example made of those of their required keys, or of all when none is required. */
function addExamples(schema: JsonSchema): Example | undefined {
  for (const form of schema.anyOf ?? []) if (typeof form === "object") addExamples(form);
  for (const definition of Object.values(schema.definitions ?? {})) {
    if (typeof definition === "object") addExamples(definition);
  }
  if (typeof schema.items === "object" && !Array.isArray(schema.items)) {
    const item = addExamples(schema.items);
    if (schema.examples === undefined && item !== undefined) schema.examples = [[item]];
  }
  if (schema.properties !== undefined) {
    const examples = new Map<string, Example | undefined>();
    for (const [key, value] of Object.entries(schema.properties)) {
      if (typeof value === "object") examples.set(key, addExamples(value));
    }
    const keys = schema.required === undefined || schema.required.length === 0 ? [...examples.keys()] : schema.required;
    const pairs = keys.flatMap((key) => {
      const example = examples.get(key);
      return example === undefined ? [] : [[key, example] as const];
    });
    if (schema.examples === undefined && pairs.length > 0) schema.examples = [Object.fromEntries(pairs)];
  }
  const first = schema.examples?.[0];
  if (first !== undefined) return first;
  const form = schema.anyOf?.[0];
  return typeof form === "object" ? form.examples?.[0] : undefined;
}
