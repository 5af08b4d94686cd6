/** The configuration as config print shows it: what is in force, where it comes from, and no secret. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { effectiveConfiguration, MASK, writtenConfiguration } from "../../src/config/effective.ts";
import { type ChannelKind, loadConfig, type LoadResult } from "../../src/config/load.ts";
import { pathOption, secretOption, textOption } from "../../src/config/option.ts";
import { printJson, printToml } from "../../src/config/print.ts";
import { ARCHIVE, channelKinds, LISTENER, MAIN, MemoryFiles } from "./world.ts";

const hook: ChannelKind = {
  type: "secretive",
  summary: "Has secrets.",
  schema: v.strictObject({
    url: v.optional(textOption("Where to.", "https://example.com")),
    secret: v.optional(secretOption("Key.", "value")),
    others: v.optional(v.record(v.string(), secretOption("Key.", "value"))),
    headers: v.optional(v.record(v.string(), v.string())),
    key: v.optional(secretOption("Key file.", "path")),
    script: v.optional(pathOption("Script.")),
  }),
};
const kinds: ReadonlyMap<string, ChannelKind> = new Map([...channelKinds, ["secretive", hook]]);

function load(text: string, others: Readonly<Record<string, string>> = {}): Promise<LoadResult> {
  const files = new MemoryFiles({ [MAIN]: text, ...others });
  return loadConfig(MAIN, { files, channels: kinds, hostName: "box.example.net" });
}

async function effective(text: string, others?: Readonly<Record<string, string>>) {
  const result = await load(text, others);
  assert.ok(result.config !== undefined, JSON.stringify(result.diagnostics));
  return effectiveConfiguration(result, result.config, kinds);
}

test("config print: what is written, from all files, with file and line", async () => {
  const result = await load('include = "more.toml"\nhost_name = "mx.example.com"\n\n' + LISTENER, {
    "/etc/smtpd/more.toml": ARCHIVE,
  });
  assert.deepEqual(printToml(writtenConfiguration(result, kinds)).split("\n"), [
    'host_name = "mx.example.com"  # /etc/smtpd/smtpd.toml:2',
    "",
    "[[channel]]       # /etc/smtpd/more.toml:1",
    'name = "archive"  # /etc/smtpd/more.toml:2',
    'type = "maildir"  # /etc/smtpd/more.toml:3',
    'path = "mail"     # /etc/smtpd/more.toml:4',
    "",
    "[[listener]]  # /etc/smtpd/smtpd.toml:4",
    'name = "in"   # /etc/smtpd/smtpd.toml:5',
    "port = 2525   # /etc/smtpd/smtpd.toml:6",
    "",
  ]);
});

test("config print --effective: defaults, names that follow from others, absolute paths", async () => {
  const text = printToml(await effective(LISTENER + ARCHIVE));
  for (
    const line of [
      'host_name = "box.example.net"  # default',
      'url = "sqlite:/etc/smtpd/spool/smtpd.db"  # default',
      "port = 2525  # /etc/smtpd/smtpd.toml:3",
      'max_message_size = "25MiB"  # default',
      'banner = "ESMTP smtpd"  # default',
      'path = "/etc/smtpd/mail"  # /etc/smtpd/smtpd.toml:7',
      "[channel.retry]  # default",
      'first_delay = "1m"  # default',
      "[listener.tls]  # default",
      'mode = "off"  # default',
    ]
  ) assert.ok(text.replace(/ +(?=# )/gu, "  ").split("\n").includes(line), `${line}\n${text}`);
  assert.doesNotMatch(text, /session_max_messages|listen_ip/u);
});

test("config print: secrets are masked, where they come from is told", async () => {
  const text = [
    LISTENER,
    '[[channel]]\nname = "x"\ntype = "secretive"\nsecret = "hunter2"',
    'url = "https://user:hunter2@example.com/?a=b"\nkey = "k.pem"\nscript = "token.sh"',
    '[channel.others]\na = "hunter2"\nb = { file = "secrets/b" }\nc = { env = "HOOK_SECRET" }',
    '[channel.headers]\nAuthorization = "Bearer hunter2"\nX-Api-Key = "hunter2"\nAccept = "text/plain"\n',
  ].join("\n");
  const result = await load(text);
  const shown = await effective(text);
  for (const all of [writtenConfiguration(result, kinds), shown]) {
    for (const out of [printToml(all), printJson(all, {})]) assert.doesNotMatch(out, /hunter2/u);
  }
  const lines = printToml(shown).split("\n").map((line) => line.replace(/ +# .*:\d+/u, ""));
  for (
    const line of [
      `secret = "${MASK}", secret`,
      `url = "https://user:${MASK}@example.com/?a=b", secret`,
      'key = "/etc/smtpd/k.pem"',
      'script = "/etc/smtpd/token.sh"',
      `a = "${MASK}", secret`,
      'b = { file = "/etc/smtpd/secrets/b" }',
      'c = { env = "HOOK_SECRET" }',
      `Authorization = "${MASK}", secret`,
      `X-Api-Key = "${MASK}", secret`,
      'Accept = "text/plain"',
    ]
  ) assert.ok(lines.includes(line), `${line}\n${lines.join("\n")}`);
  assert.deepEqual(JSON.parse(printJson(shown, {})).masked, [
    "/channel/0/url",
    "/channel/0/secret",
    "/channel/0/others/a",
    "/channel/0/headers/Authorization",
    "/channel/0/headers/X-Api-Key",
  ]);
});

test("config print --json: values and origins side by side", async () => {
  const { config, origins, file } = JSON.parse(printJson(await effective(LISTENER), { file: MAIN }));
  assert.equal(file, MAIN);
  assert.equal(config.listener[0].port, 2525);
  assert.deepEqual(origins["/listener/0/port"], { file: MAIN, line: 3 });
  assert.equal(origins["/listener/0/tls/mode"], "default");
  assert.equal(origins["/spool/url"], "default");
});

test("config print: nothing that is shown can reach a terminal raw", async () => {
  const name = "/etc/smtpd/\u001b[31m.toml";
  const result = await load(`include = "\\u001b*.toml"\n${LISTENER}`, {
    [name]: '[check.severity]\n"SMTPD201\\u001b\\u009b\\u202e" = "off"\n',
  });
  for (
    const out of [printToml(writtenConfiguration(result, kinds)), printJson(writtenConfiguration(result, kinds), {})]
  ) {
    assert.match(out, /SMTPD201/u);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/u);
  }
});

/** Configurations of the keys that are there in many forms. */
const configurations = fc.record({
  host: fc.option(fc.constantFrom("mx.example.com", "mail.example.org"), { nil: undefined }),
  grace: fc.option(fc.oneof(fc.integer({ min: 0, max: 60 }), fc.constantFrom("5s", "1m30s")), { nil: undefined }),
  listeners: fc.array(
    fc.record({
      size: fc.option(fc.constantFrom(131072, "1MiB", "10 MB"), { nil: undefined }),
      tls: fc.boolean(),
      banner: fc.option(fc.constantFrom("hello", 'a "b" \\ c'), { nil: undefined }),
      tags: fc.constantFrom("", "a b", ["x", "y"]),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  channels: fc.array(fc.constantFrom("mail", "mail/ä", "/var/mail/x y", "a'b\"c"), { maxLength: 3 }),
});

test("config print: what comes out loads to the same configuration", async () => {
  await fc.assert(
    fc.asyncProperty(configurations, async ({ host, grace, listeners, channels }) => {
      const text = [
        host === undefined ? "" : `host_name = "${host}"`,
        grace === undefined ? "" : `shutdown_grace = ${JSON.stringify(grace)}`,
        ...listeners.map(({ size, tls, banner, tags }, index) =>
          [
            `[[listener]]\nname = "l${index}"\nport = ${2500 + index}\ntags = ${JSON.stringify(tags)}`,
            size === undefined ? "" : `max_message_size = ${JSON.stringify(size)}`,
            banner === undefined ? "" : `banner = ${JSON.stringify(banner)}`,
            tls ? '[listener.tls]\nmode = "required"\ncertificate = "c.pem"\nprivate_key = { env = "K" }' : "",
          ].join("\n")
        ),
        ...channels.map((path, index) =>
          `[[channel]]\nname = "c${index}"\ntype = "maildir"\npath = ${JSON.stringify(path)}\n` +
          `[[binding]]\nname = "b${index}"\nrecipients = "a${index}@example.com"\ndeliver = "c${index}"`
        ),
      ].join("\n");
      const first = await load(text);
      assert.ok(first.config !== undefined, JSON.stringify(first.diagnostics));
      for (const shown of [writtenConfiguration(first, kinds), effectiveConfiguration(first, first.config, kinds)]) {
        const second = await load(printToml(shown));
        assert.deepEqual(second.diagnostics, []);
        assert.deepEqual(second.config, first.config);
      }
    }),
    { numRuns: 100 },
  );
});
