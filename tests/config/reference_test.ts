/** The reference of the configuration: complete, and true where it can be compared. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { channelTypes } from "../../src/channel/registry.ts";
import { configurationJsonSchema, type JsonSchema } from "../../src/config/json_schema.ts";
import { integerOption, secretOption, sizeOption } from "../../src/config/option.ts";
import { referenceMarkdown, typeWords } from "../../src/config/reference.ts";
import type { SchemaShape } from "../../src/config/shape.ts";

const page = referenceMarkdown(channelTypes.values());
const rows = page.split("\n").filter((line) => line.startsWith("| `"));

/** Names of all keys, by the other way there is from the schemas. */
function keys(): ReadonlySet<string> {
  const schema = configurationJsonSchema(channelTypes.values());
  const found = new Set<string>();
  const walk = (part: JsonSchema | boolean | undefined) => {
    if (typeof part !== "object") return;
    for (const [key, inner] of Object.entries({ ...part.properties })) {
      found.add(key);
      walk(inner);
    }
    for (const inner of [...part.anyOf ?? [], ...Object.values(part.definitions ?? {})]) walk(inner);
    if (!Array.isArray(part.items)) walk(part.items);
  };
  walk(schema);
  // The forms of a secret are told where secrets are.
  for (const form of ["file", "env"]) found.delete(form);
  return found;
}

test("reference: every key has a row with a type and a meaning", () => {
  for (const key of keys()) {
    const own = rows.filter((row) => row.startsWith(`| \`${key}\` |`));
    assert.ok(own.length > 0, key);
    for (const row of own) {
      const [, , type = "", , meaning = ""] = row.split(/(?<!\\) \| |^\| /u).map((cell) => cell.trim());
      assert.match(type, /\S/u, row);
      assert.match(meaning, /\S.*\.$/u, row);
    }
  }
});

test("reference: every table and every type of channel has a section", () => {
  for (const title of ["`[spool]`", "`[[listener]]`", "`[listener.tls]`", "`[[channel]]`", "`[channel.retry]`"]) {
    assert.ok(page.includes(`# ${title}\n`), title);
  }
  for (const type of channelTypes.keys()) assert.ok(page.includes(`\n### \`type = "${type}"\`\n`), type);
  assert.match(page, /\n## `\[\[listener\.binding\]\]` and `\[\[binding\]\]`\n/u);
});

test("reference: types in words", () => {
  const words = (schema: unknown) => typeWords(schema as SchemaShape);
  assert.equal(words(integerOption("x", 1, 5, 1)), "integer, 1 to 5");
  assert.equal(words(v.optional(sizeOption("x", "1KiB", { minimum: 1, maximum: 2048 }))), "size, 1B to 2KiB");
  assert.equal(words(secretOption("x", "path")), "path or `{ file = … }` or `{ env = … }`");
  assert.equal(words(v.picklist(["a", "b"])), "`a`, `b`");
  assert.equal(words(v.record(v.string(), v.boolean())), "table: name = true or false");
  assert.equal(words(v.array(v.string())), "array: text");
});
