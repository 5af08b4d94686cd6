/**
 * The reference of the configuration as Markdown: every key with its type, default, meaning and an example, taken from the
 * schemas. It must not know which keys there are.
 */
import { formatDuration } from "./duration.ts";
import type { ChannelKind } from "./load.ts";
import { channelSchema, settingsSchema } from "./schema.ts";
import { defaultOf, descriptionOf, examplesOf, isOptional, metadataOf, type SchemaShape, unwrap } from "./shape.ts";
import { formatSize } from "./size.ts";
import { tomlString, tomlValue } from "./toml_text.ts";

const OPENING = `# Configuration

Every key of \`smtpd.toml\`. This page is made from the schema that the program checks with, by \`scripts/reference\`.

A **duration** is a number of seconds, or a text such as \`"5m"\` or \`"1h30m"\` (w, d, h, m, s, ms). A **size** is a number of
bytes, or a text such as \`"25MiB"\` (powers of 1024) or \`"10MB"\` (powers of 1000). A **path** is relative to the file it
stands in. A **secret** is \`{ file = "…" }\` or \`{ env = "…" }\`; a plain text is what its key says. An unknown key is an error.
`;

interface Section {
  /** How it is written, `[listener.tls]`, and what for; a table that may stand in two places has two. */
  readonly places: Place[];
  readonly schema: SchemaShape;
  readonly entries: Readonly<Record<string, SchemaShape>>;
}

interface Place {
  readonly header: string;
  readonly meaning: string;
}

export function referenceMarkdown(kinds: Iterable<ChannelKind>): string {
  const sections: Section[] = [];
  const top = settingsSchema(1) as unknown as SchemaShape;
  gather({ places: [], schema: top, entries: top.entries ?? {} }, "", sections);
  const [first, ...rest] = sections;
  const texts = [OPENING, "## At the top of the file\n", rows(first?.entries ?? {})];
  for (const section of rest) {
    texts.push(`## ${section.places.map(({ header }) => code(header)).join(" and ")}\n`);
    if (new Set(section.places.map(({ meaning }) => meaning)).size === 1) texts.push(`${section.places[0]?.meaning}\n`);
    else texts.push(`${section.places.map(({ header, meaning }) => `- ${code(header)}: ${meaning}`).join("\n")}\n`);
    if (section.places[0]?.header === "[[channel]]") texts.push(channelText([...kinds]));
    else texts.push(rows(section.entries));
  }
  return `${texts.join("\n")}`;
}

/** The section and, behind it, those of the tables within; one schema in two places is one section. */
function gather(section: Section, path: string, sections: Section[]): void {
  const known = sections.find((other) => other.schema === section.schema);
  if (known !== undefined) {
    known.places.push(...section.places);
    return;
  }
  sections.push(section);
  for (const [key, schema] of Object.entries(section.entries)) {
    const inner = innerTable(schema);
    if (inner === undefined) continue;
    const name = path === "" ? key : `${path}.${key}`;
    const header = inner.isList ? `[[${name}]]` : `[${name}]`;
    gather({ places: [{ header, meaning: meaningOf(schema) }], ...inner }, name, sections);
  }
}

interface InnerTable {
  readonly schema: SchemaShape;
  readonly entries: Readonly<Record<string, SchemaShape>>;
  readonly isList: boolean;
}

/** The table that a key holds, or may hold, or the tables of its list. */
function innerTable(schema: SchemaShape): InnerTable | undefined {
  const outer = base(schema);
  if (outer.type === "union") {
    const forms = (outer.options as readonly SchemaShape[]).map(innerTable).filter((form) => form !== undefined);
    // Where a secret or a list is kept is told on top of the page.
    return forms.find(({ entries }) => Object.keys(entries).some((key) => key !== "file" && key !== "env"));
  }
  const isList = outer.type === "array" && outer.item !== undefined;
  const inner = isList && outer.item !== undefined ? base(outer.item) : outer;
  return inner.entries === undefined ? undefined : { schema: inner, entries: inner.entries, isList };
}

/** Without what a pipe adds: two pipes around one table hold the same table. */
function base(schema: SchemaShape): SchemaShape {
  let inner = unwrap(schema);
  for (let first = inner.pipe?.[0]; first?.kind === "schema"; first = inner.pipe?.[0]) {
    if ((first as unknown) === inner) break;
    inner = unwrap(first as unknown as SchemaShape);
  }
  return inner;
}

function channelText(kinds: readonly ChannelKind[]): string {
  const common = channelSchema as unknown as SchemaShape;
  const texts = ["Keys of every channel:\n", rows(common.entries ?? {})];
  for (const [key, schema] of Object.entries(common.entries ?? {})) {
    const inner = innerTable(schema);
    if (inner === undefined) continue;
    texts.push(`### \`[channel.${key}]\`\n`, `${meaningOf(schema)}\n`, rows(inner.entries));
  }
  for (const kind of kinds) {
    texts.push(`### \`type = "${kind.type}"\`\n`, `${kind.summary}\n`);
    const entries = optionsOf(kind.schema as unknown as SchemaShape);
    texts.push(Object.keys(entries).length === 0 ? "No keys of its own.\n" : rows(entries));
    for (const [key, schema] of Object.entries(entries)) {
      const inner = innerTable(schema);
      if (inner === undefined) continue;
      texts.push(`#### \`[channel.${key}]\` of \`${kind.type}\`\n`, `${meaningOf(schema)}\n`, rows(inner.entries));
    }
  }
  return texts.join("\n");
}

/** All keys, also when they stand in several forms. */
function optionsOf(schema: SchemaShape): Readonly<Record<string, SchemaShape>> {
  const inner = unwrap(schema);
  if (inner.entries !== undefined) return inner.entries;
  const forms = (inner.options ?? []) as readonly SchemaShape[];
  return Object.assign({}, ...forms.map(optionsOf));
}

function rows(entries: Readonly<Record<string, SchemaShape>>): string {
  const lines = Object.entries(entries).map(([key, schema]) => {
    const example = examplesOf(schema)[0];
    const cells = [
      code(key),
      typeWords(schema),
      isOptional(schema) ? defaultWords(schema) : "**required**",
      meaningOf(schema),
      example === undefined ? "" : code(`${key} = ${tomlValue(example)}`),
    ];
    return `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return `${
    ["| key | type | default | meaning | example |", "| --- | --- | --- | --- | --- |", ...lines].join("\n")
  }\n`;
}

/** As code; a text that has backticks needs more of them around it. */
function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}

/** One line of Markdown that shows what the description says, be it emphasis or a tag to Markdown. */
function meaningOf(schema: SchemaShape): string {
  const line = (descriptionOf(schema) ?? "").replace(/[\p{Cc}\s]+/gu, " ").replace(/(?<=[^.])$/u, ".");
  return line.replace(/[*<`]|\b_|_\b/gu, (mark) => `\\${mark}`);
}

function defaultWords(schema: SchemaShape): string {
  const value = defaultOf(schema);
  if (value === undefined || innerTable(schema) !== undefined) return "";
  if (typeof value === "number") {
    const quantity = metadataOf(unwrap(schema), "quantity");
    if (quantity === "duration") return code(tomlString(formatDuration(value * 1000)));
    if (quantity === "size") return code(tomlString(formatSize(value)));
  }
  const text = tomlValue(value);
  return text === "[]" || text === "{}" ? "none" : code(text);
}

/** The type in words: `integer, 1 to 65535`. */
export function typeWords(schema: SchemaShape): string {
  const inner = unwrap(schema);
  const table = innerTable(inner);
  if (table !== undefined && inner.type !== "union") return table.isList ? "tables, see below" : "table, see below";
  const quantity = metadataOf(inner, "quantity");
  if (quantity !== undefined) {
    const format = quantity === "size" ? formatSize : formatDuration;
    const bounds = ["minimum", "maximum"].map((key) => format(Number(metadataOf(inner, key))));
    return `${String(quantity)}, ${bounds.join(" to ")}`;
  }
  if (inner.options !== undefined) return optionWords(inner, inner.options);
  switch (inner.type) {
    case "string":
      return metadataOf(inner, "path") === true && metadataOf(inner, "after") === undefined ? "path" : "text";
    case "number":
      return numberWords(inner);
    case "boolean":
      return "true or false";
    case "array":
      return inner.item === undefined ? "array" : `array: ${typeWords(inner.item)}`;
    case "record":
      return inner.value === undefined ? "table" : `table: name = ${typeWords(inner.value)}`;
    default:
      return "any";
  }
}

function optionWords(schema: SchemaShape, options: readonly unknown[]): string {
  if (schema.type === "picklist" || schema.type === "enum") {
    return options.map((option) => code(String(option))).join(", ");
  }
  const words = (options as readonly SchemaShape[]).map((option) => {
    const { entries } = unwrap(option);
    if (entries === undefined) return typeWords(option);
    if (innerTable(schema)?.entries === entries) return "table, see below";
    return code(`{ ${Object.keys(entries).map((key) => `${key} = …`).join(", ")} }`);
  });
  return [...new Set(words)].join(" or ");
}

function numberWords(schema: SchemaShape): string {
  const requirement = (type: string) =>
    (schema.pipe?.find((item) => item.type === type) as { readonly requirement?: unknown } | undefined)?.requirement;
  const isInteger = schema.pipe?.some((item) => item.type === "integer" || item.type === "safe_integer") === true;
  const [low, high] = [requirement("min_value"), requirement("max_value")];
  const range = low === undefined || high === undefined ? "" : `, ${String(low)} to ${String(high)}`;
  return `${isInteger ? "integer" : "number"}${range}`;
}
