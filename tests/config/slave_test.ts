/** The keys of channels that take mail in: values, defaults, and the rules around them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelTypes } from "../../src/channel/registry.ts";
import { loadConfig } from "../../src/config/load.ts";
import { examineExample } from "./example_world.ts";
import { MAIN, MemoryFiles } from "./world.ts";

async function load(text: string) {
  const files = new MemoryFiles({ [MAIN]: text });
  return await loadConfig(MAIN, { files, channels: channelTypes, hostName: "box.example.net" });
}

async function findings(text: string): Promise<readonly string[]> {
  return (await examineExample({ text })).findings.map(({ code, message }) => `${code} ${message}`);
}

const UPLINK = '[[channel]]\nname = "uplink"\ntype = "stdio"\n';
const ARCHIVE = '[[channel]]\nname = "archive"\ntype = "maildir"\npath = "mail"\n';
const EVERYONE = '[[binding]]\nname = "everyone"\nrecipients = ["*@example.com"]\ndeliver = ["archive"]\n';

test("slave: a channel says who it is and how it behaves", async () => {
  const { config, diagnostics } = await load(`${UPLINK}local_host_alias = "pipe.example.com"
trust = "local"
line_endings = "crorlf"
slave_debug = "log/uplink.log"
options = { BANNER_ADDITION = "Hello", ALLOW_TRANSACTIONS_PER_SESSION = 3, DISABLE_EXPAND = true }
[channel.slave]
protocol = "lmtp"
banner = "LMTP Example"
session_max_messages = 4
session_timeout = "5m"
max_message_size = "1MiB"
max_recipients = 200
max_errors = 5
tls = "required"
`);
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(config?.channels[0]?.slave, {
    localHostAlias: "pipe.example.com",
    trust: "local",
    lineEndings: "normalize",
    debugFile: "/etc/smtpd/log/uplink.log",
    options: [
      { name: "BANNER_ADDITION", value: "Hello" },
      { name: "ALLOW_TRANSACTIONS_PER_SESSION", value: "3" },
      { name: "DISABLE_EXPAND", value: "1" },
    ],
    protocol: "lmtp",
    banner: "LMTP Example",
    sessionMaxMessages: 4,
    sessionTimeoutMs: 300_000,
    maxMessageSizeBytes: 1024 * 1024,
    maxRecipients: 200,
    maxErrors: 5,
    requiresTls: true,
  });
});

test("slave: a channel of any type, with nothing said, has a listener's defaults and trusts nobody", async () => {
  const { config } = await load(`${UPLINK}${ARCHIVE}${EVERYONE}`);
  const slave = config?.channels[1]?.slave;
  assert.equal(slave?.trust, "none");
  assert.equal(slave?.lineEndings, "strict");
  assert.equal(slave?.maxRecipients, 1000);
  assert.equal(slave?.sessionTimeoutMs, 3_600_000);
  assert.equal(slave?.debugFile, undefined);
});

test("slave: slave_debug = true names a file beside the configuration", async () => {
  const { config } = await load(`${UPLINK}slave_debug = true\n`);
  assert.equal(config?.channels[0]?.slave?.debugFile, "/etc/smtpd/uplink_slave.log");
});

test("slave: line_endings = lf is repaired, cr alone is not offered", async () => {
  assert.equal((await load(`${UPLINK}line_endings = "lf"\n`)).config?.channels[0]?.slave?.lineEndings, "normalize");
  assert.equal((await load(`${UPLINK}line_endings = "cr"\n`)).config, undefined);
});

test("slave: no listener is needed where a channel takes mail in", async () => {
  assert.deepEqual((await load(UPLINK)).diagnostics, []);
  assert.deepEqual((await load(`${ARCHIVE}trust = "local"\n`)).diagnostics, []);
  assert.deepEqual((await load(`${ARCHIVE}[channel.slave]\n`)).diagnostics, []);
  assert.deepEqual((await load(`sendmail_channel = "archive"\n${ARCHIVE}`)).diagnostics, []);
  assert.deepEqual((await load(ARCHIVE)).diagnostics.map(({ code }) => code), ["SMTPD109"]);
});

test("slave: to bindings the channel is a listener of its name and tags", async () => {
  const tagged = `${UPLINK}tags = "pipes"\n`;
  assert.deepEqual((await load(`${tagged}${ARCHIVE}${EVERYONE}listeners = ["uplink", "pipes"]\n`)).diagnostics, []);
  const { diagnostics } = await load(`${tagged}${ARCHIVE}${EVERYONE}listeners = ["uplnk"]\n`);
  assert.deepEqual(diagnostics.map(({ code }) => code), ["SMTPD113"]);
});

test("slave: sendmail_channel must be there", async () => {
  const { diagnostics } = await load(`sendmail_channel = "uplnk"\n${UPLINK}`);
  assert.deepEqual(diagnostics.map(({ code, help }) => [code, help]), [["SMTPD105", 'Did you mean "uplink"?']]);
});

test("slave: options that mean nothing are told with the nearest name, and stop nothing", async () => {
  const { config, diagnostics } = await load(`${UPLINK}[channel.options]\nBANNER_HOSTS = "x"\nNO_SUCH = 1\n`);
  assert.ok(config !== undefined);
  assert.deepEqual(diagnostics.map(({ code, severity }) => `${code} ${severity}`), [
    "SMTPD206 warning",
    "SMTPD206 warning",
  ]);
  assert.equal(diagnostics[0]?.help, 'Did you mean "BANNER_HOST"?');
});

test("slave: a channel that takes mail in is used, and its mail is not taken before", async () => {
  const listener = '[[listener]]\nname = "in"\nlisten_ip = "127.0.0.1"\nport = 2525\n';
  const own = EVERYONE.replace("[[binding]]", "[[listener.binding]]").replace("everyone", "own");
  const text = `${listener}${own}${EVERYONE}${ARCHIVE}`;
  assert.match((await findings(text)).join("\n"), /^SMTPD210 .*everyone/);
  assert.deepEqual(await findings(`${text}${UPLINK}`), []);
});

test("slave: routing tests may name the channel", async () => {
  const text =
    `${UPLINK}${ARCHIVE}${EVERYONE}listeners = ["uplink"]\n[[test]]\nlistener = "uplink"\nto = "a@example.com"\n`;
  assert.deepEqual(await findings(`${text}expect = { deliver = "archive" }\n`), []);
  const [failed = ""] = await findings(`${text}expect = { outcome = "reject" }\n`);
  assert.match(failed, /^SMTPD280 .*found "deliver"/);
  const elsewhere = text.replace('listener = "uplink"', 'listener = "archive"');
  assert.deepEqual(await findings(`${elsewhere}expect = { outcome = "reject" }\n`), []);
});
