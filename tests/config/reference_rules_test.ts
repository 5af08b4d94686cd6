/** Files and variables that the configuration names: one finding for each, at the name, whatever form it has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { missingFile } from "../../src/config/lint/missing_file.ts";
import { openSecretFile } from "../../src/config/lint/secret_exposure.ts";
import { unsetVariable } from "../../src/config/lint/unset_variable.ts";
import { examineExample, placesOf } from "./example_world.ts";

const rules = { rules: [missingFile, unsetVariable] };

function listener(name: string, port: number, tls: string): string {
  return `[[listener]]\nname = "${name}"\nport = ${port}\n[listener.tls]\nmode = "starttls"\n${tls}`;
}

test("a missing or empty file is reported at its name, in every form", async () => {
  const text = listener("a", 25, 'certificate = "c.pem"\nprivate_key = { file = "k.pem" }\n');
  assert.deepEqual(placesOf(await examineExample({ text }, rules)), ["SMTPD202 6:15", "SMTPD202 7:24"]);
  const empty = await examineExample({ text, files: { "c.pem": "\n", "k.pem": "k" } }, rules);
  assert.deepEqual(empty.findings.map((one) => one.message), ['The file "/etc/smtpd/c.pem" is empty']);
});

test("a file or a variable named twice is one finding that shows both places", async () => {
  const tls = 'certificate = "c.pem"\nprivate_key = { env = "KEY" }\n';
  const { findings } = await examineExample({ text: listener("a", 25, tls) + listener("b", 26, tls) }, rules);
  assert.deepEqual(findings.map((one) => [one.code, one.secondary.map((span) => span.start.line)]), [
    ["SMTPD202", [13]],
    ["SMTPD203", [14]],
  ]);
});

test("a list of a binding must be there, and may be empty and open to everybody", async () => {
  const text = '[[listener]]\nname = "in"\nport = 25\n[[channel]]\nname = "a"\ntype = "discard"\n' +
    '[[binding]]\nname = "b"\nsenders = ["x@y.z", { file = "from.txt" }]\nnot = { clients = { file = "nets.txt" } }\n' +
    'deliver = "a"\n[[binding]]\nname = "c"\nrecipients = "*@x.example"\naliases = "aliases.txt"\n';
  const listRules = { rules: [missingFile, openSecretFile] };
  assert.deepEqual(placesOf(await examineExample({ text }, listRules)), [
    "SMTPD202 9:30",
    "SMTPD202 10:28",
    "SMTPD202 15:11",
  ]);
  const files = { "from.txt": "", "nets.txt": "::1\n", "aliases.txt": "a: b\n" };
  const modes = { "from.txt": 0o644, "nets.txt": 0o644, "aliases.txt": 0o644 };
  assert.deepEqual(placesOf(await examineExample({ text, files, world: { modes } }, listRules)), []);
});

test("an empty variable is as good as none", async () => {
  const text = listener("a", 25, 'certificate = "c.pem"\nprivate_key = { env = "KEY" }\n');
  const files = { "c.pem": "c" };
  const messages = async (variables: Readonly<Record<string, string>>) =>
    (await examineExample({ text, files, world: { variables } }, rules)).findings.map((one) => one.message);
  assert.deepEqual(await messages({}), ['The environment variable "KEY" is not set']);
  assert.deepEqual(await messages({ KEY: "" }), ['The environment variable "KEY" is empty']);
  assert.deepEqual(await messages({ KEY: "x" }), []);
});

test("they are found whatever else is wrong, in included files, relative to these", async () => {
  const text = 'include = ["conf.d/*.toml"]\nnonsense = 1\n';
  const files = { "conf.d/a.toml": listener("a", 25, 'certificate = "c.pem"\nprivate_key = "k.pem"\n') };
  const { findings } = await examineExample({ text, files: { ...files, "conf.d/k.pem": "k" } }, rules);
  assert.deepEqual(findings.map((one) => [one.code, one.primary.file.split("/").at(-1)]), [
    ["SMTPD101", "smtpd.toml"],
    ["SMTPD202", "a.toml"],
  ]);
});
