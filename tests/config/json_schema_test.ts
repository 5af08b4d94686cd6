/** The JSON Schema for editors: what it takes and refuses, and that it says something about every key. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Ajv } from "ajv";
import { channelTypes } from "../../src/channel/registry.ts";
import { configurationJsonSchema, type JsonSchema } from "../../src/config/json_schema.ts";
import { readToml } from "../../src/config/read.ts";
import { createSource } from "../../src/config/source.ts";
import { plain } from "../../src/config/tree.ts";
import { load } from "./world.ts";

const schema = configurationJsonSchema(channelTypes.values());
const validate = new Ajv({ strict: true, strictTypes: false, allErrors: true }).compile(
  structuredClone(schema) as object,
);

function parsed(text: string): unknown {
  const result = readToml(createSource("test.toml", text));
  assert.ok(result.ok, text);
  // Without prototypes the validator would miss nothing, but comparing is easier with them.
  return JSON.parse(JSON.stringify(plain(result.root)));
}

const LISTENER = '[[listener]]\nname = "in"\nport = 25\n';

test("json schema: config.example.toml is valid and names the schema", async () => {
  const text = await readFile(new URL("../../config.example.toml", import.meta.url), "utf8");
  assert.ok(validate(parsed(text)), JSON.stringify(validate.errors));
  const named = /^#:schema (\S+)\n/u.exec(text)?.[1] ?? "";
  const file = new URL(`../../${named}`, import.meta.url);
  assert.equal(JSON.parse(await readFile(file, "utf8")).$schema, "http://json-schema.org/draft-07/schema#");
});

const right: readonly string[] = [
  LISTENER,
  `${LISTENER}session_timeout = 60\nmax_message_size = "10 MB"\n`,
  `${LISTENER}session_timeout = "1h30m"\nmax_message_size = 26214400\n`,
  `${LISTENER}tags = ["a", "b"]\n`,
  `${LISTENER}[listener.tls]\nmode = "starttls"\ncertificate = "c.pem"\nprivate_key = "k.pem"\n`,
  `${LISTENER}[listener.tls]\nmode = "starttls"\ncertificate = { file = "c.pem" }\nprivate_key = { env = "KEY" }\n`,
  '[[channel]]\nname = "a"\ntype = "maildir"\npath = "mail"\nmax_age = "5d"\n[channel.retry]\nfirst_delay = "1m"\n',
  '[[channel]]\nname = "a"\ntype = "discard"\n',
  '[[binding]]\nname = "a"\nrecipients = "*@example.com"\ndeliver = "a"\n',
  'include = "conf.d/*.toml"\n',
  '[check.severity]\nSMTPD201 = "off"\n',
];

for (const text of right) {
  test(`json schema: takes ${JSON.stringify(text)}`, () => {
    assert.ok(validate(parsed(text)), JSON.stringify(validate.errors));
  });
}

const wrong: readonly string[] = [
  'hostname = "x"\n',
  '[[listener]]\nname = "in"\n',
  '[[listener]]\nname = "in"\nport = 0\n',
  '[[listener]]\nname = "in"\nport = 65536\n',
  '[[listener]]\nname = "in"\nport = 25.5\n',
  '[[listener]]\nname = "in"\nport = "25"\n',
  '[[listener]]\nname = "in out"\nport = 25\n',
  `${LISTENER}session_timeout = "60"\n`,
  `${LISTENER}session_timeout = "5 parsecs"\n`,
  `${LISTENER}session_timeout = 99999999\n`,
  `${LISTENER}max_message_size = "25M"\n`,
  `${LISTENER}protocol = "http"\n`,
  `${LISTENER}[listener.tls]\nmode = "starttls"\nprivate_key = { file = "k.pem", env = "KEY" }\n`,
  `${LISTENER}[listener.tls]\nmode = "starttls"\nprivate_key = { url = "k.pem" }\n`,
  `${LISTENER}[listener.tls]\ncertificate = "c.pem"\n`,
  '[[channel]]\nname = "a"\ntype = "maildri"\npath = "mail"\n',
  '[[channel]]\nname = "a"\ntype = "maildir"\n',
  '[[channel]]\nname = "a"\ntype = "discard"\npath = "mail"\n',
  '[[channel]]\nname = "a"\ntype = "discard"\nretries = 4\n',
  '[[channel]]\nname = "a\\u0001b"\ntype = "discard"\n',
  '[[channel]]\nname = "a"\ntype = "maildir"\npath = "mail\\u0007"\n',
  '[check.severity]\nSMTPD201 = "loud"\n',
];

for (const text of wrong) {
  test(`json schema: refuses ${JSON.stringify(text)}, as the loader does`, async () => {
    assert.equal(validate(parsed(text)), false);
    const { config } = await load(text.includes("[[listener]]") ? text : `${text}${LISTENER}`);
    assert.equal(config, undefined);
  });
}

interface Property {
  readonly part: JsonSchema;
  /** Where it stands, as a JSON Pointer. */
  readonly pointer: string;
}

/** Every property of every table by its path; what several tables share is there once. */
function properties(): ReadonlyMap<string, Property> {
  const found = new Map<string, Property>();
  const seen = new Set<string>();
  const walk = (given: JsonSchema | boolean | undefined, at: string, path: string, isProperty = false) => {
    if (typeof given !== "object") return;
    const pointer = given.$ref?.slice(1) ?? at;
    const part = resolved(given);
    if (isProperty) found.set(path, { part, pointer });
    if (seen.has(pointer)) return;
    seen.add(pointer);
    for (const [key, inner] of Object.entries(part.properties ?? {})) {
      walk(inner, `${pointer}/properties/${key}`, `${path}/${key}`, true);
    }
    part.anyOf?.forEach((inner, index) => walk(inner, `${pointer}/anyOf/${index}`, `${path}#${index}`));
    if (!Array.isArray(part.items)) walk(part.items, `${pointer}/items`, path);
    walk(part.additionalProperties, `${pointer}/additionalProperties`, path);
  };
  walk(schema, "", "");
  return found;
}

function resolved(part: JsonSchema): JsonSchema {
  const name = /^#\/definitions\/(.+)$/u.exec(part.$ref ?? "")?.[1];
  if (name === undefined) return part;
  const definition = schema.definitions?.[name];
  assert.ok(typeof definition === "object", name);
  return definition;
}

test("json schema: every key has a description and an example that it takes itself", () => {
  const all = properties();
  assert.ok(all.size > 50);
  const ajv = new Ajv({ strict: false }).addSchema(structuredClone(schema) as object, "all");
  for (const [path, { part, pointer }] of all) {
    assert.match(part.description ?? "", /^\S[^\n]+\S$/, path);
    assert.ok((part.examples?.length ?? 0) > 0, path);
    const check = ajv.getSchema(`all#${pointer}`) ?? assert.fail(pointer);
    for (const example of part.examples ?? []) assert.ok(check(example), `${path}: ${JSON.stringify(example)}`);
    if (part.default !== undefined) assert.ok(check(part.default), `${path}: ${JSON.stringify(part.default)}`);
  }
});

test("json schema: it uses nothing that taplo does not know", () => {
  const known = new Set([
    ..."$schema $ref title description type properties required additionalProperties items anyOf enum const".split(" "),
    ..."default examples definitions propertyNames pattern minimum maximum minLength maxLength minItems maxItems".split(
      " ",
    ),
    ..."minProperties maxProperties exclusiveMinimum exclusiveMaximum not".split(" "),
  ]);
  const walk = (part: unknown) => {
    if (typeof part !== "object" || part === null) return;
    const schema = part as JsonSchema;
    for (const key of Object.keys(schema)) assert.ok(known.has(key), key);
    // Engines differ: no properties of characters, no looking around.
    if (schema.pattern !== undefined) assert.doesNotMatch(schema.pattern, /\\[pP]\{|\(\?[=!<]/u);
    // What stands beside a reference is ignored.
    if (schema.$ref !== undefined) assert.deepEqual(Object.keys(schema), ["$ref"]);
    for (const inner of Object.values({ ...schema.properties, ...schema.definitions })) walk(inner);
    for (const inner of [...schema.anyOf ?? [], schema.items, schema.additionalProperties]) walk(inner);
  };
  walk(schema);
});

test("json schema: each type of channel has its form, and only that", () => {
  const channel = schema.properties?.["channel"];
  assert.ok(typeof channel === "object" && typeof channel.items === "object" && !Array.isArray(channel.items));
  const types = resolved(channel.items).anyOf?.map((form) => {
    assert.ok(typeof form === "object");
    const type = resolved(form).properties?.["type"];
    return typeof type === "object" ? type.const : undefined;
  });
  assert.deepEqual(new Set(types), new Set(channelTypes.keys()));
});
