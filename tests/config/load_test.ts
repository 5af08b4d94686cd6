/** The loader: what it accepts, what it finds, and that all findings come in one run without consequences of one cause. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { channelTypes } from "../../src/channel/registry.ts";
import { findConfigFile, loadConfig } from "../../src/config/load.ts";
import { channelSchema, settingsSchema } from "../../src/config/schema.ts";
import { ARCHIVE, channelKinds, findings, LISTENER, load, MAIN, MemoryFiles } from "./world.ts";

test("name and port alone make a listener, with every default in place", async () => {
  const { config, diagnostics } = await load(LISTENER);
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(config, {
    file: MAIN,
    hostName: "box.example.net",
    spool: { store: { kind: "sqlite", path: "/etc/smtpd/spool/smtpd.db" }, minFreeSpaceBytes: 67_108_864 },
    listeners: [{
      name: "in",
      tags: [],
      protocol: "smtp",
      port: 2525,
      hostName: "box.example.net",
      banner: "ESMTP smtpd",
      maxConcurrency: 200,
      sessionTimeoutMs: 3_600_000,
      maxMessageSizeBytes: 26_214_400,
      maxRecipients: 1000,
      maxErrors: 20,
      lineEndings: "strict",
      tls: { mode: "off" },
      bindings: [],
    }],
    bindings: [],
    channels: [],
    shutdownGraceMs: 30_000,
  });
});

test("every key is taken over", async () => {
  const { config, diagnostics } = await load(`
host_name = "MX.Example.com"
shutdown_grace = 5
[spool]
url = "sqlite:data/q.db"
min_free_space = "1GiB"
[notifications]
channel = "archive"
[[listener]]
name = "in"
description = "d"
tags = "listener  smtp"
protocol = "lmtp"
listen_ip = "::1"
port = 24
host_name = "müller.example"
banner = "hello"
max_concurrency = 50
session_max_messages = 4
session_timeout = 60
max_message_size = "10MB"
max_recipients = 100
max_errors = 3
line_endings = "normalize"
[listener.tls]
mode = "required"
certificate = "tls/cert.pem"
private_key = { env = "KEY" }
[listener.auth]
mode = "off"
[[listener.binding]]
name = "own"
recipients = "*"
deliver = "archive"
[[binding]]
name = "shared"
description = "s"
tags = ["a", "b"]
recipients = ["x@example.com", "*@example.com"]
reject = "450 4.2.1 Later"
[[channel]]
name = "archive"
type = "maildir"
description = "c"
tags = "out"
max_concurrency = 2
rate_limit = "600/m"
timeout = "1m"
max_age = "1d"
notify = "both"
notices = ["12h", "5m", 3600]
path = "mail"
[channel.retry]
first_delay = 2
max_delay = "4s"
`);
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(config, {
    file: MAIN,
    hostName: "MX.Example.com",
    spool: { store: { kind: "sqlite", path: "/etc/smtpd/data/q.db" }, minFreeSpaceBytes: 1024 ** 3 },
    listeners: [{
      name: "in",
      description: "d",
      tags: ["listener", "smtp"],
      protocol: "lmtp",
      listenIp: "::1",
      port: 24,
      hostName: "xn--mller-kva.example",
      banner: "hello",
      maxConcurrency: 50,
      sessionMaxMessages: 4,
      sessionTimeoutMs: 60_000,
      maxMessageSizeBytes: 10_000_000,
      maxRecipients: 100,
      maxErrors: 3,
      lineEndings: "normalize",
      tls: { mode: "required", certificate: "/etc/smtpd/tls/cert.pem", privateKey: { kind: "env", name: "KEY" } },
      bindings: [{ name: "own", tags: [], recipients: ["*"], outcome: { kind: "deliver", channels: ["archive"] } }],
    }],
    bindings: [{
      name: "shared",
      description: "s",
      tags: ["a", "b"],
      recipients: ["x@example.com", "*@example.com"],
      outcome: { kind: "reject", reply: { code: 450, enhanced: "4.2.1", lines: ["Later"] } },
    }],
    channels: [{
      name: "archive",
      description: "c",
      tags: ["out"],
      type: "maildir",
      maxConcurrency: 2,
      rateLimit: { count: 600, periodMs: 60_000 },
      timeoutMs: 60_000,
      retry: { firstDelayMs: 2000, maxDelayMs: 4000, maxAgeMs: 86_400_000 },
      notify: "both",
      noticesMs: [300_000, 3_600_000, 43_200_000],
      options: { path: "/etc/smtpd/mail" },
      // Its keys are those of slave_test.ts.
      slave: config?.channels[0]?.slave,
    }],
    notifications: { channel: "archive" },
    shutdownGraceMs: 5000,
  });
});

test("config.example.toml loads without findings, with the channel types there are", async () => {
  const text = readFileSync(new URL("../../config.example.toml", import.meta.url), "utf8");
  const files = new MemoryFiles({ [MAIN]: text });
  const result = await loadConfig(MAIN, { files, channels: channelTypes, hostName: "box" });
  assert.deepEqual(findings(result), []);
  assert.deepEqual(result.config?.listeners.map(({ name, port, listenIp }) => [name, port, listenIp]), [
    ["inbound", 2525, "127.0.0.1"],
    ["secure", 2465, "127.0.0.1"],
    ["local", 2424, "127.0.0.1"],
  ]);
});

/** Each: what is added to a good configuration, and the findings, all of them. */
const CASES: Readonly<Record<string, readonly [text: string, expected: readonly string[]]>> = {
  "seed-style keys are one finding each, and their values are used": [
    '[[listener]]\nname = "in"\nportNum = 25\nlistenIP = "127.0.0.1"\nhostName = "a.b"\nmaxConcurrency = 5\n' +
    "sessionMaxMessages = 4\nsessionTimeout = 60\n",
    [
      'SMTPD101 3:1 Unknown key "portNum"',
      'SMTPD101 4:1 Unknown key "listenIP"',
      'SMTPD101 5:1 Unknown key "hostName"',
      'SMTPD101 6:1 Unknown key "maxConcurrency"',
      'SMTPD101 7:1 Unknown key "sessionMaxMessages"',
      'SMTPD101 8:1 Unknown key "sessionTimeout"',
    ],
  ],
  "a misspelt key's value is checked too": [
    '[[listener]]\nname = "in"\nprot = 99999\n',
    [
      'SMTPD101 3:1 Unknown key "prot"',
      'SMTPD102 3:8 Invalid value 99999 for "port": must be a whole number from 1 to 65535',
    ],
  ],
  "a misspelt table is one finding, and what it holds is known": [
    LISTENER +
    '[[bindings]]\nname = "b"\nrecipients = "*"\ndeliver = "archive"\n[[chanel]]\nname = "archive"\ntype = "discard"\n',
    ['SMTPD101 4:3 Unknown key "bindings"', 'SMTPD101 8:3 Unknown key "chanel"'],
  ],
  "missing keys are reported at their table": [
    "[[listener]]\n[[binding]]\ndeliver = []\n",
    [
      'SMTPD103 1:1 Missing key "name"',
      'SMTPD103 1:1 Missing key "port"',
      'SMTPD103 2:1 Missing key "name"',
      'SMTPD103 2:1 Missing key "recipients"',
      'SMTPD102 3:11 Invalid value an array for "deliver": must not be empty',
    ],
  ],
  "wrong types are reported at their value": [
    'host_name = 5\nspool = "x"\n[[listener]]\nname = "in"\nport = "25"\ntags = [1, "a b"]\ntls = []\nbanner = true\nsession_timeout = [1]\n',
    [
      'SMTPD102 1:13 Expected a text in quotes for "host_name", found the number 5',
      'SMTPD102 2:9 Expected a table for "spool", found the string "x"',
      'SMTPD102 5:8 Expected a number for "port", found the string "25"',
      'SMTPD102 6:9 Expected a text in quotes for "tags", found the number 1',
      'SMTPD102 7:7 Expected a table for "tls", found an array',
      'SMTPD102 8:10 Expected a text in quotes for "banner", found true',
      'SMTPD102 9:19 Expected a number of seconds or text such as "5m" for "session_timeout", found an array',
    ],
  ],
  "a table where an array of tables belongs": [
    '[listener]\nname = "in"\nport = 25\n',
    ['SMTPD102 1:1 Expected an array for "listener", found a table'],
  ],
  "values out of bounds": [
    '[[listener]]\nname = "-x"\nport = 0\nlisten_ip = "localhost"\nmax_concurrency = 1.5\nmax_message_size = "9GiB"\n' +
    'session_timeout = "0s"\nbanner = "a\\tb"\nhost_name = "a b"\n',
    [
      'SMTPD102 2:8 Invalid value "-x" for "name": must begin with a letter or digit and contain only letters, digits, ".", "_" and "-"',
      'SMTPD102 3:8 Invalid value 0 for "port": must be a whole number from 1 to 65535',
      'SMTPD102 4:13 Invalid value "localhost" for "listen_ip": must be an IPv4 or IPv6 address, such as 127.0.0.1 or ::1',
      'SMTPD102 5:19 Invalid value 1.5 for "max_concurrency": must be a whole number from 1 to 1000000',
      'SMTPD102 6:20 Invalid value "9GiB" for "max_message_size": must lie between 1KiB and 4GiB',
      'SMTPD102 7:19 Invalid value "0s" for "session_timeout": must lie between 1s and 1w',
      'SMTPD102 8:10 Invalid value "a\\u{9}b" for "banner": must be 1 to 400 ASCII characters on one line',
      'SMTPD102 9:13 Invalid value "a b" for "host_name": must be a host name such as mail.example.com',
    ],
  ],
  "numbers beyond doubles": [
    '[[listener]]\nname = "in"\nport = 99999999999999999999\nmax_errors = inf\nmax_recipients = nan\n',
    [
      'SMTPD102 3:8 Invalid value 100000000000000000000 for "port": must be a whole number from 1 to 65535',
      'SMTPD102 4:14 Invalid value Infinity for "max_errors": must be a whole number from 1 to 1000000',
      'SMTPD102 5:18 Expected a number for "max_recipients", found the number NaN',
    ],
  ],
  "a choice with a near miss, and authentication that is not there": [
    LISTENER + 'protocol = "stmp"\n[listener.auth]\nmode = "required"\n',
    [
      'SMTPD102 4:12 Invalid value "stmp" for "protocol": must be one of "smtp", "lmtp"',
      'SMTPD102 6:8 Invalid value "required" for "mode": must be "off": authentication is not available',
    ],
  ],
  "names are unique whatever the kind": [
    LISTENER +
    '[[channel]]\nname = "in"\ntype = "discard"\n[[binding]]\nname = "in"\nrecipients = "*"\ndeliver = "in"\n',
    ['SMTPD104 5:8 The name "in" is already taken', 'SMTPD104 8:8 The name "in" is already taken'],
  ],
  "deliveries name channels": [
    LISTENER + ARCHIVE +
    '[[listener.binding]]\nname = "a"\nrecipients = "*"\ndeliver = ["archvie", "archive", "zzz"]\n',
    ['SMTPD105 11:12 There is no channel "archvie"', 'SMTPD105 11:34 There is no channel "zzz"'],
  ],
  "notifications go to a channel that there is": [
    LISTENER + ARCHIVE + '[notifications]\nchannel = "archvie"\n',
    ['SMTPD105 9:11 There is no channel "archvie"'],
  ],
  "a warning that would come when the message is given up": [
    LISTENER + ARCHIVE + 'max_age = "1d"\nnotices = ["4h", "24h"]\n',
    ['SMTPD112 9:18 A warning of "notices" is not before "max_age"'],
  ],
  "bindings may be for notifications": [
    LISTENER + ARCHIVE + '[[binding]]\nname = "a"\nlisteners = "notifications"\ndeliver = "archive"\n',
    [],
  ],
  "a channel whose name cannot be read may be the one that is meant": [
    LISTENER +
    '[[channel]]\nname = 5\ntype = "discard"\n[[binding]]\nname = "a"\nrecipients = "*"\ndeliver = "archive"\n',
    ['SMTPD102 5:8 Expected a text in quotes for "name", found the number 5'],
  ],
  "channel types and their options": [
    LISTENER +
    '[[channel]]\nname = "a"\ntype = "mailder"\npath = 5\n[[channel]]\nname = "b"\ntyp = "maildir"\npaht = "x"\n' +
    '[[channel]]\nname = "c"\n[[channel]]\nname = "d"\ntype = "hook"\nwait = "2m"\nfoo = 1\n',
    [
      'SMTPD106 6:8 There is no channel type "mailder"',
      'SMTPD101 10:1 Unknown key "typ"',
      'SMTPD101 11:1 Unknown key "paht"',
      'SMTPD103 12:1 Missing key "type"',
      'SMTPD102 17:8 Invalid value "2m" for "wait": must lie between 0s and 1m',
      'SMTPD101 18:1 Unknown key "foo"',
    ],
  ],
  "recipient patterns": [
    LISTENER + ARCHIVE +
    '[[binding]]\nname = "b"\nrecipients = ["a@b.c", "@b.c", "joe", "/x", "a b@c", "*@*.b.c", "/x/", ""]\ndeliver = "archive"\n',
    [
      'SMTPD107 10:24 Invalid recipient pattern "@b.c": the part before the @ is missing',
      'SMTPD107 10:32 Invalid recipient pattern "joe": the domain is missing',
      'SMTPD107 10:39 Invalid recipient pattern "/x": the closing / is missing',
      'SMTPD107 10:45 Invalid recipient pattern "a b@c": spaces and angle brackets are no part of an address',
      'SMTPD102 10:72 Invalid value "" for "recipients": must not be empty',
    ],
  ],
  "a binding has exactly one outcome": [
    LISTENER + ARCHIVE + '[[binding]]\nname = "a"\nrecipients = "*"\n' +
    '[[binding]]\nname = "b"\nrecipients = "*"\nreject = "550 No"\ndeliver = "archive"\n' +
    '[[binding]]\nname = "c"\nrecipients = "*"\ndelivr = "archive"\n[[binding]]\nname = "d"\nrecipients = "*"\nreject = "250 no"\n',
    [
      "SMTPD111 8:1 This binding does not say what becomes of its recipients",
      'SMTPD111 15:1 A binding has one outcome, not both "reject" and "deliver"',
      'SMTPD101 19:1 Unknown key "delivr"',
      'SMTPD102 23:10 Invalid value "250 no" for "reject": must be a text in ASCII, with or without its code, such as "550 5.1.1 This address has been retired"',
    ],
  ],
  "TLS needs a key pair, and off needs none": [
    LISTENER +
    '[listener.tls]\nmode = "implicit"\nprivate_key = "k"\n[[listener]]\nname = "b"\nport = 1\ntls = { mode = "off" }\n' +
    '[[listener]]\nname = "c"\nport = 2\ntls = { certificate = "c", private_key = { file = "k", env = "E" } }\n',
    [
      'SMTPD110 5:8 TLS mode "implicit" needs "certificate"',
      'SMTPD103 14:7 Missing key "mode"',
      'SMTPD102 14:42 Expected { file = "…" }, { env = "…" } or the path of a file for "private_key", found a table',
    ],
  ],
  "a secret's parts": [
    LISTENER + '[listener.tls]\nmode = "starttls"\ncertificate = "c"\nprivate_key = { fil = "k" }\n' +
    '[[listener]]\nname = "b"\nport = 1\n[listener.tls]\nmode = "off"\nprivate_key = { env = "a b" }\n',
    [
      'SMTPD101 7:17 Unknown key "fil"',
      'SMTPD102 13:23 Invalid value "a b" for "env": must be the name of an environment variable',
    ],
  ],
  "listeners on one address and port": [
    '[[listener]]\nname = "a"\nport = 25\nlisten_ip = "127.0.0.1"\n[[listener]]\nname = "b"\nport = 25\nlisten_ip = "127.0.0.1"\n' +
    '[[listener]]\nname = "c"\nport = 25\nlisten_ip = "::1"\n[[listener]]\nname = "d"\nport = 25\nlisten_ip = "0:0::1"\n' +
    '[[listener]]\nname = "e"\nport = 26\nlisten_ip = "0.0.0.0"\n[[listener]]\nname = "f"\nport = 26\nlisten_ip = "::1"\n' +
    '[[listener]]\nname = "g"\nport = 26\n[[listener]]\nname = "h"\nport = 27\n',
    [
      "SMTPD108 7:8 Port 25 of 127.0.0.1 already belongs to another listener",
      "SMTPD108 15:8 Port 25 of ::1 already belongs to another listener",
      "SMTPD108 27:8 Port 26 already belongs to another listener",
    ],
  ],
  "listeners on an address in two forms, and on addresses that take one another in": [
    ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::", "127.0.0.2", "::1"].map((ip, index) =>
      `[[listener]]\nname = "l${index}"\nport = 25\nlisten_ip = "${ip}"\n`
    ).join(""),
    [
      "SMTPD108 7:8 Port 25 of 127.0.0.1 already belongs to another listener",
      "SMTPD108 11:8 Port 25 of 0.0.0.0 already belongs to another listener",
      "SMTPD108 15:8 Port 25 of :: already belongs to another listener",
      "SMTPD108 19:8 Port 25 of 127.0.0.2 already belongs to another listener",
      "SMTPD108 23:8 Port 25 of ::1 already belongs to another listener",
    ],
  ],
  "no listener at all": ['host_name = "a.b"\n', ["SMTPD109 1:1 No listener is defined"]],
  "limits below the RFC's minimum are warnings": [
    LISTENER + 'max_recipients = 99\nmax_message_size = "10KiB"\n',
    [
      'SMTPD201 4:18 "max_recipients" is below the minimum of 100 recipients (RFC 5321 §4.5.3.1.8)',
      'SMTPD201 5:20 "max_message_size" is below the minimum of 65536 bytes (RFC 5321 §4.5.3.1.7)',
    ],
  ],
  "retry delays that contradict each other": [
    LISTENER + ARCHIVE + '[channel.retry]\nfirst_delay = "2h"\nmax_delay = "1h"\n',
    ['SMTPD112 10:13 "max_delay" is shorter than "first_delay"'],
  ],
  "a spool that is not there yet": [
    LISTENER + '[spool]\nurl = "postgres://db"\n',
    ['SMTPD102 5:7 Invalid value "postgres://db" for "url": must be "sqlite:PATH" or "memory:"'],
  ],
  "a syntax error hides what would only follow from it": ['[[binding]\nname = "a"\n', [
    "SMTPD001 1:11 This table header has no end",
  ]],
  "a misspelt include hides what its files would hold": [
    'includ = "conf.d/*.toml"\n' + LISTENER + '[[binding]]\nname = "b"\nrecipients = "*"\ndeliver = "elsewhere"\n',
    ['SMTPD101 1:1 Unknown key "includ"'],
  ],
  "keys of objects are unknown keys like any other": [
    "__proto__ = 1\nconstructor = 2\n" + LISTENER,
    ['SMTPD101 1:1 Unknown key "__proto__"', 'SMTPD101 2:1 Unknown key "constructor"'],
  ],
};

for (const [name, [text, expected]] of Object.entries(CASES)) {
  test(`loadConfig: ${name}`, async () => {
    const result = await load(text);
    assert.deepEqual(findings(result), expected);
    const failed = result.diagnostics.some(({ severity }) => severity === "error");
    assert.equal(result.config === undefined, failed, "a configuration exactly when there is no error");
    for (const { message, help } of result.diagnostics) {
      assert.match(message, /^["A-Z]/u);
      assert.notEqual(help, "");
    }
  });
}

test("a finding shows both places, the nearest name, and a fix whose edits repair it", async () => {
  const text = LISTENER + ARCHIVE +
    '[[bindngs]]\nname = "in"\nrecipients = "*"\ndeliver = "archiv"\n[[bindngs]]\nname = "b"\n' +
    'recipients = "*"\ndeliver = "archive"\n';
  const { diagnostics } = await load(text);
  const duplicate = diagnostics.find(({ code }) => code === "SMTPD104") ?? assert.fail();
  assert.deepEqual(duplicate.secondary.map(({ start, label }) => [start.line, label]), [[2, "first used here"]]);
  const edits = diagnostics.flatMap(({ fix }) => fix?.edits ?? []).sort((a, b) =>
    b.span.start.offset - a.span.start.offset
  );
  let repaired = text;
  for (const { span, text: replacement } of edits) {
    repaired = repaired.slice(0, span.start.offset) + replacement + repaired.slice(span.end.offset);
  }
  assert.deepEqual(findings(await load(repaired)), ['SMTPD104 9:8 The name "in" is already taken']);
});

test("port 0 only where it is allowed", async () => {
  const files = new MemoryFiles({ [MAIN]: LISTENER.replace("2525", "0") });
  const context = { files, channels: channelKinds, hostName: "box" };
  assert.equal((await loadConfig(MAIN, context)).config, undefined);
  assert.equal((await loadConfig(MAIN, { ...context, allowPortZero: true })).config?.listeners[0]?.port, 0);
});

test("a system's host name that cannot stand in a greeting is not used", async () => {
  const files = new MemoryFiles({ [MAIN]: LISTENER });
  const { config } = await loadConfig(MAIN, { files, channels: channelKinds, hostName: "bad name\r\n" });
  assert.equal(config?.hostName, "localhost");
});

test("every key has a description and an example", () => {
  interface Shape {
    readonly wrapped?: Shape;
    readonly item?: Shape;
    readonly entries?: Readonly<Record<string, Shape>>;
    readonly pipe?: readonly { readonly type: string }[];
  }
  let keys = 0;
  const visit = (shape: Shape, path: string): void => {
    const inner = shape.wrapped ?? shape;
    const facts = (inner.pipe ?? []).map(({ type }) => type);
    if (path !== "") {
      keys++;
      assert.ok(facts.includes("description"), `${path} has a description`);
      const isTable = inner.entries !== undefined || inner.item?.entries !== undefined;
      assert.ok(isTable || facts.includes("examples"), `${path} has an example`);
    }
    for (const [key, entry] of Object.entries(inner.entries ?? inner.item?.entries ?? {})) {
      visit(entry, `${path}.${key}`);
    }
  };
  visit(settingsSchema(1) as unknown as Shape, "");
  visit(channelSchema as unknown as Shape, "");
  assert.ok(keys > 40, String(keys));
});

test("a channel type may take any key", async () => {
  const open = { type: "open", summary: "Open.", schema: v.looseObject({ path: v.optional(v.string()) }) };
  const files = new MemoryFiles({ [MAIN]: `${LISTENER}[[channel]]\nname = "a"\ntype = "open"\nany = { x = [1] }\n` });
  const result = await loadConfig(MAIN, { files, channels: new Map([["open", open]]), hostName: "box" });
  assert.deepEqual(findings(result), []);
  assert.deepEqual(JSON.parse(JSON.stringify(result.config?.channels[0]?.options)), { any: { x: [1] } });
});

test("no change to a valid file makes the loader throw; a configuration comes exactly without errors", async () => {
  const example = readFileSync(new URL("../../config.example.toml", import.meta.url), "utf8").replaceAll(
    /^#.*\n/gmu,
    "",
  );
  const lines = example.split("\n");
  const junk = fc.constantFrom(
    "[[channel]]",
    "[spool]",
    "port = []",
    "tls = {}",
    'tls.mode = "off"',
    "name = 1979-05-27",
    "binding = [1]",
    "= ]",
    "retry = 5",
    "tags = { a = 1 }",
  );
  const edit = fc.tuple(fc.nat(lines.length), fc.nat(2), fc.oneof(junk, fc.constantFrom(...lines)));
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
      const changed = [...lines];
      for (const [at, removed, line] of edits) changed.splice(at, removed, line);
      const result = await load(changed.join("\n"));
      const failed = result.diagnostics.some(({ severity }) => severity === "error");
      assert.equal(result.config === undefined, failed);
      const places = result.diagnostics.map(({ code, primary, message }) =>
        `${code} ${primary.start.offset} ${message}`
      );
      assert.equal(new Set(places).size, places.length, "nothing is said twice");
      const offsets = result.diagnostics.map(({ primary }) => primary.start.offset);
      assert.deepEqual(offsets, offsets.toSorted((left, right) => left - right));
    }),
    { numRuns: 150 },
  );
});

test("findConfigFile looks in order, and nowhere else once a file is named", async () => {
  const look = (given: string | undefined, variable: string | undefined, ...existing: readonly string[]) => {
    const files = new MemoryFiles(Object.fromEntries(existing.map((path) => [path, ""])));
    return findConfigFile(given, { files, environment: (name) => name === "SMTPD_CONFIG" ? variable : undefined });
  };
  const system = "/etc/smtpd/smtpd.toml";
  assert.deepEqual(await look("a.toml", "b.toml", "smtpd.toml", system), { file: "a.toml" });
  assert.deepEqual(await look(undefined, "b.toml", "smtpd.toml", system), { file: "b.toml" });
  assert.deepEqual(await look(undefined, "", "smtpd.toml", system), { file: "smtpd.toml" });
  assert.deepEqual(await look(undefined, undefined, system), { file: system });
  assert.deepEqual(await look(undefined, undefined), { tried: ["smtpd.toml", system] });
});
