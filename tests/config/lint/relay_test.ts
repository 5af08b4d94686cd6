/** Open relays, catch-alls and loops: what the routing makes of imaginary mail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { catchAll, openRelay } from "../../../src/config/lint/open_relay.ts";
import { relayLoop } from "../../../src/config/lint/relay_loop.ts";
import { examineExample } from "../example_world.ts";

const TLS = 'tls = { mode = "starttls", certificate = "cert.pem", private_key = "key.pem" }\n';
const CHANNELS = `[[channel]]
name = "relay"
type = "smtp"
host = "smtp.example.net"
port = 25
[[channel]]
name = "store"
type = "lmtp"
host = "192.0.2.3"
port = 24
[[channel]]
name = "archive"
type = "maildir"
path = "mail"
`;

function listener(name = "in", port = 2525, more = ""): string {
  return `[[listener]]\nname = "${name}"\nport = ${port}\n${more}`;
}

function binding(name: string, more: string, deliver = "relay"): string {
  return `[[binding]]\nname = "${name}"\n${more}deliver = "${deliver}"\n`;
}

/** `SMTPD220 relaying`: the code and the binding it is about. */
async function relays(...parts: readonly string[]): Promise<readonly string[]> {
  const text = parts.join("") + CHANNELS;
  const files = { "cert.pem": "a certificate", "key.pem": "its key", "lists/ours": "10.0.0.0/8\n" };
  const { loaded, findings } = await examineExample({ text, files }, { rules: [openRelay, catchAll] });
  assert.ok(loaded.config !== undefined, JSON.stringify(findings));
  return findings.map(({ code, primary }) => {
    const source = loaded.sources.get(primary.file)?.text ?? "";
    return `${code} ${source.slice(primary.start.offset + 1, primary.end.offset - 1)}`;
  });
}

const EVERYBODY = 'recipients = ["*"]\n';

test("open relay: everything for everybody, whatever way it is written", async () => {
  for (const recipients of ["*", "*@*", "/./", "/@/", "*@*.com"]) {
    assert.deepEqual(await relays(listener(), binding("out", `recipients = ['${recipients}']\n`)), ["SMTPD220 out"]);
  }
  assert.deepEqual(await relays(listener(), binding("out", 'senders = ["*"]\n')), ["SMTPD220 out"]);
});

test("open relay: domains that are named are ours", async () => {
  for (const recipients of ["*@example.com", "*@*.example.com", "a@example.com", "postmaster", "/@example\\.com$/"]) {
    assert.deepEqual(await relays(listener(), binding("out", `recipients = ['${recipients}']\n`)), [], recipients);
  }
});

test("open relay: only the listeners that others reach count", async () => {
  const out = binding("out", EVERYBODY);
  for (const ip of ["127.0.0.1", "::1", "127.8.8.8"]) {
    assert.deepEqual(await relays(listener("in", 25, `listen_ip = "${ip}"\n`), out), [], ip);
  }
  for (const ip of ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1"]) {
    assert.deepEqual(await relays(listener("in", 25, `listen_ip = "${ip}"\n`), out), ["SMTPD220 out"], ip);
  }
  const local = listener("local", 2526, 'listen_ip = "127.0.0.1"\n');
  assert.deepEqual(await relays(listener(), local, binding("out", `${EVERYBODY}listeners = ["local"]\n`)), []);
  assert.deepEqual(await relays(listener(), local, binding("out", `${EVERYBODY}listeners = ["in"]\n`)), [
    "SMTPD220 out",
  ]);
});

test("open relay: knowing the client or its user closes it, what a client only says does not", async () => {
  for (
    const closing of [
      'clients = ["192.0.2.0/24", "2001:db8::/32"]\n',
      'clients = { file = "lists/ours" }\n',
      "authenticated = true\n",
      'authenticated = ["ann"]\n',
      'not = { clients = ["0.0.0.0/0", "::/0"] }\n',
      'tls = { client_name = "*.example.com" }\n',
    ]
  ) assert.deepEqual(await relays(listener("in", 25, TLS), binding("out", EVERYBODY + closing)), [], closing);
  for (
    const open of [
      'senders = ["*@example.com"]\n',
      'senders = ["ann@example.com"]\n',
      'senders = ["<>"]\n',
      "tls = true\n",
      "authenticated = false\n",
      'clients = ["0.0.0.0/0"]\n',
      'not = { clients = ["192.0.2.0/24"] }\n',
      'time = { from = "20:00", to = "06:00" }\n',
    ]
  ) {
    assert.deepEqual(await relays(listener("in", 25, TLS), binding("out", EVERYBODY + open)), ["SMTPD220 out"], open);
  }
});

test("open relay: bindings before it count as they do when mail comes", async () => {
  const strangers = 'not = { clients = ["192.0.2.0/24"] }\n';
  const refuse = `[[binding]]\nname = "strangers"\n${strangers}reject = "550 5.7.1 Not from there"\n`;
  assert.deepEqual(await relays(listener(), refuse, binding("out", EVERYBODY)), []);
  assert.deepEqual(await relays(listener(), binding("out", EVERYBODY), refuse), ["SMTPD220 out"]);
});

test("catch-all: what is kept, discarded or given to an LMTP server is a warning; both together are a relay", async () => {
  assert.deepEqual(await relays(listener(), binding("all", EVERYBODY, "archive")), ["SMTPD221 all"]);
  assert.deepEqual(await relays(listener(), binding("all", EVERYBODY, "store")), ["SMTPD221 all"]);
  const both = `[[binding]]\nname = "all"\n${EVERYBODY}deliver = ["archive", "relay"]\n`;
  assert.deepEqual(await relays(listener(), both), ["SMTPD220 all"]);
  const copies = binding("copy", `${EVERYBODY}continue = true\n`, "archive");
  assert.deepEqual(await relays(listener(), copies, binding("out", EVERYBODY)), ["SMTPD220 out"]);
});

test("open relay: two listeners give one finding for one binding", async () => {
  assert.deepEqual(await relays(listener(), listener("two", 2526), binding("out", EVERYBODY)), ["SMTPD220 out"]);
});

test("open relay: a list that is missing leaves the finding to its own rule", async () => {
  assert.deepEqual(await relays(listener(), binding("out", `${EVERYBODY}clients = { file = "absent" }\n`)), []);
});

/** The channels that are said to lead back. */
async function loops(listeners: string, bindings: string, ...channels: readonly (readonly [string, string, number])[]) {
  const text = `host_name = "mx.example.com"\n${listeners}${bindings}` +
    channels.map(([name, host, port]) =>
      `[[channel]]\nname = "${name}"\ntype = "smtp"\nhost = "${host}"\nport = ${port}\n`
    ).join("");
  const { loaded, findings } = await examineExample({ text }, { rules: [relayLoop] });
  assert.ok(loaded.config !== undefined, JSON.stringify(findings));
  return findings.map(({ code, primary }) => `${code} ${text.slice(primary.start.offset + 1, primary.end.offset - 1)}`);
}

const OFFICE = binding("office", 'recipients = ["*@office.example"]\n', "out");

test("loop: the listener's own address, port and name are recognised", async () => {
  const back = ["SMTPD222"];
  const codes = async (listenIp: string | undefined, host: string, port = 2525) => {
    const more = listenIp === undefined ? "" : `listen_ip = "${listenIp}"\n`;
    return (await loops(listener("in", 2525, more), OFFICE, ["out", host, port])).map((line) => line.slice(0, 8));
  };
  for (const host of ["127.0.0.1", "localhost", "::1", "mx.example.com", "MX.example.com.", "127.0.0.2"]) {
    assert.deepEqual(await codes(undefined, host), back, host);
  }
  assert.deepEqual(await codes("127.0.0.1", "localhost"), back);
  assert.deepEqual(await codes("192.0.2.1", "192.0.2.1"), back);
  assert.deepEqual(await codes("192.0.2.1", "mx.example.com"), back);
  assert.deepEqual(await codes("127.0.0.1", "127.0.0.2"), []);
  assert.deepEqual(await codes("127.0.0.1", "mx.example.com"), []);
  assert.deepEqual(await codes("192.0.2.1", "127.0.0.1"), []);
  assert.deepEqual(await codes(undefined, "192.0.2.1"), []);
  assert.deepEqual(await codes(undefined, "127.0.0.1", 2526), []);
});

test("loop: mail that is taken elsewhere at the second listener does not go round", async () => {
  const two = listener("in", 2525) + listener("inner", 2526, 'listen_ip = "127.0.0.1"\n');
  const inner = '[[listener.binding]]\nname = "inner-all"\nrecipients = "*"\ndeliver = "other"\n';
  const there: readonly [string, string, number] = ["out", "127.0.0.1", 2526];
  assert.deepEqual(await loops(two + inner, OFFICE, there, ["other", "192.0.2.9", 25]), []);
  assert.deepEqual(await loops(two, OFFICE, there), ["SMTPD222 127.0.0.1"]);
  const fromClients = OFFICE.replace("deliver", 'not = { clients = ["127.0.0.0/8"] }\ndeliver');
  assert.deepEqual(await loops(two, fromClients, there), []);
});

test("loop: one that leads over several channels is one finding, which names them", async () => {
  const two = listener("in", 2525) + listener("inner", 2526);
  for (const recipients of ["*", "*@office.example"]) {
    const inner = `[[listener.binding]]\nname = "inner-all"\nrecipients = "${recipients}"\ndeliver = "back"\n`;
    const text = two + inner;
    assert.deepEqual(
      await loops(text, OFFICE, ["out", "127.0.0.1", 2526], ["back", "localhost", 2525]),
      ["SMTPD222 127.0.0.1"],
    );
  }
});

test("loop: a recipient that is rewritten on the way is followed under its new address", async () => {
  const rewritten = (to: string) => OFFICE.replace("deliver", `rewrite_recipient = "${to}"\ndeliver`);
  const home = binding("home", 'recipients = ["*@home.example"]\n', "store");
  const store: readonly [string, string, number] = ["store", "192.0.2.3", 24];
  const out: readonly [string, string, number] = ["out", "127.0.0.1", 2525];
  assert.deepEqual(await loops(listener(), rewritten("${local}@home.example") + home, out, store), []);
  assert.deepEqual(await loops(listener(), rewritten("x@office.example") + home, out, store), ["SMTPD222 127.0.0.1"]);
});
