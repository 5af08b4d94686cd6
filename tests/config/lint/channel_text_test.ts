/**
 * Options of channels that are texts or secrets, as their own schemas have them: what check looks after, and what config
 * print shows of them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelTypes } from "../../../src/channel/registry.ts";
import { effectiveConfiguration, MASK } from "../../../src/config/effective.ts";
import { lintRules } from "../../../src/config/lint/rules.ts";
import { examine } from "../../../src/config/lint/run.ts";
import { printToml } from "../../../src/config/print.ts";
import type { Example } from "../../../src/config/pages/page.ts";
import { EXAMPLE_FILE, exampleEnvironment, exampleFiles } from "../example_world.ts";
import { MemoryFiles } from "../world.ts";

const CHANNELS = {
  pipe: { required: 'command = ["cat"]', texts: "env" },
  script: { required: 'module = "worker.js"', texts: "env" },
  webhook: { required: 'url = "https://app.example.com/"', texts: "headers" },
} as const;

function withChannel(type: keyof typeof CHANNELS, texts: string, more: Partial<Example> = {}): Example {
  const { required, texts: key } = CHANNELS[type];
  const text = `host_name = "mx.example.com"
[[listener]]
name = "inbound"
port = 2525
[[binding]]
name = "all"
recipients = ["*@example.com"]
deliver = ["out"]
[[channel]]
name = "out"
type = "${type}"
${required}
${key} = ${texts}
`;
  return { text, files: { "worker.js": "export default {};" }, ...more };
}

function examined(example: Example) {
  return examine(EXAMPLE_FILE, {
    load: { files: new MemoryFiles(exampleFiles(example)), channels: channelTypes, hostName: "box.example.net" },
    environment: exampleEnvironment(example),
    rules: lintRules,
  });
}

for (const type of Object.keys(CHANNELS) as (keyof typeof CHANNELS)[]) {
  const codes = async (texts: string, more?: Partial<Example>) => {
    return (await examined(withChannel(type, texts, more))).findings.map(({ code }) => code);
  };

  test(`${type}: a text that stands where a secret may is no secret in the configuration`, async () => {
    assert.deepEqual(await codes('{ Queue = "support" }'), []);
  });

  test(`${type}: a variable that is not set, and a secret's file that is open or not there, are found`, async () => {
    assert.deepEqual(await codes('{ Queue = { env = "NOT_SET" } }'), ["SMTPD203"]);
    assert.deepEqual(await codes('{ Queue = { env = "SET" } }', { world: { variables: { SET: "x" } } }), []);
    assert.deepEqual(await codes('{ Queue = { file = "absent" } }'), ["SMTPD202"]);
    const files = { "worker.js": "export default {};", key: "s3cret" };
    assert.deepEqual(await codes('{ Queue = { file = "key" } }', { files }), []);
    const world = { modes: { key: 0o644 } };
    assert.deepEqual(await codes('{ Queue = { file = "key" } }', { files, world }), ["SMTPD240"]);
  });

  test(`${type}: config print shows such a text, unless its name says that it is a secret`, async () => {
    const { loaded } = await examined(withChannel(type, '{ Queue = "support", Api_Token = "abc123" }'));
    assert.ok(loaded.config !== undefined, JSON.stringify(loaded.diagnostics));
    const printed = printToml(effectiveConfiguration(loaded, loaded.config, channelTypes));
    assert.ok(printed.includes('"support"'), printed);
    assert.ok(!printed.includes("abc123") && printed.includes(MASK), printed);
  });
}

test("script: everybody may read its module, and it must be there", async () => {
  const files = { "worker.js": "export default {};" };
  const open = withChannel("script", "{}", { files, world: { modes: { "worker.js": 0o644 } } });
  assert.deepEqual((await examined(open)).findings, []);
  const { findings } = await examined(withChannel("script", "{}", { files: {} }));
  assert.deepEqual(findings.map(({ code }) => code), ["SMTPD202"]);
});
