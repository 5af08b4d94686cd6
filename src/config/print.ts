/**
 * A shown configuration written down: as TOML with the origin of each value in a comment, or as JSON with the origins
 * beside it. It must not know where values come from.
 */
import { escapeUnsafe } from "./diagnostic.ts";
import { type Origin, plainShown, type Shown, type ShownTable, type ShownValue } from "./effective.ts";
import { tomlKey, tomlValue } from "./toml_text.ts";

/** Comments stand at this column at most; behind a longer value they follow it. */
const MAX_COMMENT_COLUMN = 56;

export interface PrintOptions {
  /** Paints comments, for terminals. */
  readonly dim?: (text: string) => string;
}

/** TOML that the loader takes, unless something in it is masked. */
export function printToml(root: ShownTable, options: PrintOptions = {}): string {
  const dim = options.dim ?? ((text: string) => text);
  const blocks: string[] = [];
  const write = (table: ShownTable, path: readonly string[], header: string | undefined) => {
    const values = [...table.entries].filter((entry): entry is [string, ShownValue] => entry[1].kind === "value");
    const rows: (readonly [string, string])[] = values.map(([key, value]) => [
      `${tomlKey(key)} = ${tomlValue(value.value)}`,
      `# ${originText(value.origin)}${value.isMasked ? ", secret" : ""}`,
    ]);
    if (header !== undefined) rows.unshift([header, `# ${originText(table.origin)}`]);
    if (rows.length > 0) blocks.push(aligned(rows, dim));
    for (const [key, inner] of table.entries) {
      const name = [...path, tomlKey(key)];
      if (inner.kind === "table") {
        // Headers of tables that have only tables may be left out, but a table that is written empty is there.
        const isImplied = inner.entries.size > 0 &&
          [...inner.entries.values()].every((entry) => entry.kind !== "value");
        write(inner, name, isImplied ? undefined : `[${name.join(".")}]`);
      } else if (inner.kind === "tables") {
        for (const item of inner.items) write(item, name, `[[${name.join(".")}]]`);
      }
    }
  };
  write(root, [], undefined);
  return blocks.length === 0 ? "" : `${blocks.join("\n\n")}\n`;
}

function aligned(rows: readonly (readonly [text: string, comment: string])[], dim: (text: string) => string): string {
  const widths = rows.map(([text]) => text.length).filter((width) => width <= MAX_COMMENT_COLUMN);
  const column = Math.max(0, ...widths);
  return rows.map(([text, comment]) => `${text.padEnd(column)}  ${dim(comment)}`).join("\n");
}

function originText(origin: Origin): string {
  return origin === "default" ? "default" : `${escapeUnsafe(origin.file)}:${origin.line}`;
}

/** Values and origins in one document; origins by JSON Pointer. */
export function printJson(root: ShownTable, about: Readonly<Record<string, unknown>>): string {
  const origins: Record<string, Origin> = {};
  const masked: string[] = [];
  const walk = (shown: Shown, pointer: string) => {
    if (shown.kind === "tables") shown.items.forEach((item, index) => walk(item, `${pointer}/${index}`));
    else if (shown.kind === "table") {
      for (const [key, inner] of shown.entries) {
        walk(inner, `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`);
      }
    } else {
      origins[pointer] = shown.origin;
      if (shown.isMasked) masked.push(pointer);
    }
  };
  walk(root, "");
  return `${safeJson({ ...about, config: plainShown(root), origins, masked })}\n`;
}

/** JSON escapes control characters below 32 alone; a terminal understands more. */
function safeJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2).replace(
    /[\u007f-\u009f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
