/**
 * The examples in docs/examples: each passes all that `check` looks at, its routing tests run and reach every binding, and
 * the page beside them names them all.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { channelTypes } from "../../src/channel/registry.ts";
import { lintEnvironment } from "../../src/cli/lint_environment.ts";
import { configurationJsonSchema } from "../../src/config/json_schema.ts";
import type { LintEnvironment } from "../../src/config/lint/rule.ts";
import { type Examination, examine } from "../../src/config/lint/run.ts";
import { lintRules } from "../../src/config/lint/rules.ts";
import { readToml } from "../../src/config/read.ts";
import { createSource } from "../../src/config/source.ts";
import { plain } from "../../src/config/tree.ts";
import { currentRuntime } from "../../src/runtime/current.ts";
import { rehearse } from "../../src/server/rehearsal.ts";

const directory = fileURLToPath(new URL("../../docs/examples", import.meta.url));
const names = readdirSync(directory).filter((name) => name.endsWith(".toml"));
const runtime = await currentRuntime();

const SECRETS: Readonly<Record<string, string>> = { WEBHOOK_SECRET: "whsec_bm90IGEgc2VjcmV0LCBidXQgbG9uZyBlbm91Z2g=" };

/** The files as they are, on a machine where everything else is as it ought to be. */
function environment(variables: Readonly<Record<string, string>>): LintEnvironment {
  const system = lintEnvironment(runtime);
  return {
    ...system,
    files: {
      ...system.files,
      isWritable: () => Promise.resolve(true),
      fileSystem: () => Promise.resolve("ext4"),
      freeBytes: () => Promise.resolve(2 ** 40),
    },
    variable: (name) => variables[name],
    hostName: "box.example.net",
    privileges: {
      mayListen: (port) => Promise.resolve(port >= 1024),
      openFileLimit: () => Promise.resolve(1_048_576),
    },
  };
}

function examineFile(name: string, variables = SECRETS): Promise<Examination> {
  return examine(join(directory, name), {
    load: { files: runtime.files, channels: channelTypes, hostName: "box.example.net" },
    environment: environment(variables),
    rules: lintRules,
    rehearse: () => Promise.resolve(rehearse),
    coverage: { minPercent: 100 },
  });
}

function described({ findings }: Examination): readonly string[] {
  return findings.map(({ code, message, primary }) => `${primary.file}:${primary.start.line}: ${code} ${message}`);
}

test("examples: there are ten", () => {
  assert.equal(names.length, 10, names.join(", "));
});

for (const name of names) {
  test(`examples: ${name} has no findings, and its routing tests reach every binding`, async () => {
    const examination = await examineFile(name);
    assert.deepEqual(described(examination), []);
    const { loaded: { config }, coverage } = examination;
    assert.ok(config !== undefined && coverage !== undefined);
    assert.ok(coverage.bindings > 0);
    assert.equal(coverage.reached, coverage.bindings);
    assert.ok((config.tests ?? []).length >= 3);
    for (const { listenIp, port } of config.listeners) assert.deepEqual([listenIp, port >= 1024], ["127.0.0.1", true]);
  });

  test(`examples: ${name} keeps what it writes below var, apart from the others`, async () => {
    const { loaded: { config } } = await examineFile(name);
    assert.ok(config !== undefined);
    const own = join(directory, "var", name.replace(/\.toml$/u, ""));
    const { store } = config.spool;
    if (store.kind === "sqlite") assert.equal(store.path, join(own, "spool/smtpd.db"));
    for (const channel of config.channels) {
      const { path } = channel.options as { readonly path?: string };
      if (path !== undefined) assert.ok(path.startsWith(`${own}/`), path);
    }
  });
}

test("examples: editors find the schema that each file names, and no fault with it", () => {
  const schema = configurationJsonSchema(channelTypes.values());
  const validate = new Ajv({ strict: true, strictTypes: false, allErrors: true }).compile(schema as object);
  const parts = readdirSync(join(directory, "conf.d")).map((name) => `conf.d/${name}`);
  for (const name of [...names, ...parts]) {
    const text = readFileSync(join(directory, name), "utf8");
    const result = readToml(createSource(name, text));
    assert.ok(result.ok, name);
    assert.ok(validate(JSON.parse(JSON.stringify(plain(result.root)))), `${name}: ${JSON.stringify(validate.errors)}`);
    const named = /^#:schema (\S+)\n/u.exec(text)?.[1] ?? "";
    assert.equal(resolve(dirname(join(directory, name)), named), resolve(directory, "../smtpd.schema.json"), name);
  }
});

test("examples: what a binding does is what its tests are about: without it, some of them fail", async () => {
  const file = join(directory, "spam.toml");
  const text = readFileSync(file, "utf8").replace('senders = { file = "important.txt" }', 'senders = ["<>"]');
  const { findings } = await examine(file, {
    load: {
      files: {
        ...runtime.files,
        readText: (path) => path === file ? Promise.resolve(text) : runtime.files.readText(path),
      },
      channels: channelTypes,
      hostName: "box.example.net",
    },
    environment: environment(SECRETS),
    rules: lintRules,
    rehearse: () => Promise.resolve(rehearse),
  });
  assert.deepEqual(findings.map(({ code }) => code), ["SMTPD280"]);
});

test("examples: the webhook says which variable it needs", async () => {
  const examination = await examineFile("webhook.toml", {});
  assert.deepEqual(examination.findings.map(({ code }) => code), ["SMTPD203"]);
  assert.match(described(examination)[0] ?? "", /"WEBHOOK_SECRET"/);
});

test("examples: the page beside them names each of them and nothing else", () => {
  const page = readFileSync(join(directory, "README.md"), "utf8");
  const linked = [...page.matchAll(/^\| \[([a-z_]+\.toml)\]\(([a-z_]+\.toml)\)/gmu)].map(([, name, target]) => {
    assert.equal(name, target);
    return name;
  });
  assert.deepEqual(linked.toSorted(), names.toSorted());
  for (const [, target = ""] of page.matchAll(/\]\(([^)]+)\)/gu)) {
    assert.ok(readdirSync(directory).includes(target), target);
  }
});
