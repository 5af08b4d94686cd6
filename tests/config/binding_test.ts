/** Bindings in a configuration: what every key becomes, and where what is wrong with one is reported. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { channelTypes } from "../../src/channel/registry.ts";
import { loadConfig } from "../../src/config/load.ts";
import { ARCHIVE, findings, LISTENER, load, MAIN, MemoryFiles } from "./world.ts";

const START = `${LISTENER}tags = "public"\n${ARCHIVE}`;
/** Lines before what a test adds. */
const BEFORE = START.split("\n").length - 1;

test("every key of a binding is taken over", async () => {
  const { config, diagnostics } = await load(`${START}
[[binding]]
name = "all"
recipients = ["/^case-(\\\\d+)@/", { file = "lists/to.txt" }]
senders = "<>"
listeners = "public"
clients = ["10.0.0.0/8", { file = "nets" }]
authenticated = ["a*"]
helo = { file = "names" }
tls = { min_version = "1.2", client_name = "*.example" }
size = { min = "1KiB", max = 2048 }
headers = { Subject = "*invoice*", X-A = ["1", "/2/"] }
dsn = ["report", "success"]
time = { days = "mon-fri", from = "08:00", zone = "Europe/Berlin" }
not = { recipients = "a@b.c", tls = true, authenticated = true, time = [{ to = "06:00" }] }
deliver = "archive"
hold = true
continue = true
rewrite_recipient = "n$1@x.example"
rewrite_sender = "<>"
add_headers = { X-Q = ["a", "b"] }
set_headers = { X-S = "$$" }
remove_headers = "X-R"
subject_prefix = "[\${local}]"
[[binding]]
name = "later"
recipients = "*"
defer = "Not now"
[[binding]]
name = "no"
recipients = "*"
reject = "Never"
[[binding]]
name = "gone"
senders = "*"
discard = true
hold = false
[[binding]]
name = "alias"
recipients = "*"
aliases = { file = "aliases.txt" }
[[binding]]
name = "mark"
authenticated = false
continue = true
hold = true
`);
  assert.deepEqual(diagnostics, []);
  const [all, ...others] = config?.bindings ?? [];
  assert.deepEqual(JSON.parse(JSON.stringify(all)), {
    name: "all",
    tags: [],
    recipients: ["/^case-(\\d+)@/", { file: "/etc/smtpd/lists/to.txt" }],
    senders: ["<>"],
    listeners: ["public"],
    clients: ["10.0.0.0/8", { file: "/etc/smtpd/nets" }],
    authenticated: ["a*"],
    helo: [{ file: "/etc/smtpd/names" }],
    tls: { minVersion: "1.2", clientName: ["*.example"] },
    size: { min: 1024, max: 2048 },
    headers: { Subject: ["*invoice*"], "X-A": ["1", "/2/"] },
    dsn: ["report", "success"],
    time: [{ days: ["mon-fri"], from: "08:00", to: "24:00", zone: "Europe/Berlin" }],
    not: {
      recipients: ["a@b.c"],
      tls: true,
      authenticated: true,
      time: [{ days: ["mon-sun"], from: "00:00", to: "06:00", zone: "UTC" }],
    },
    outcome: { kind: "deliver", channels: ["archive"] },
    changes: {
      rewriteRecipient: "n$1@x.example",
      rewriteSender: "<>",
      removeHeaders: ["X-R"],
      setHeaders: [{ name: "X-S", value: "$$" }],
      addHeaders: [{ name: "X-Q", value: "a" }, { name: "X-Q", value: "b" }],
      subjectPrefix: "[${local}]",
    },
    hold: true,
    continues: true,
  });
  assert.deepEqual(others.map(({ outcome }) => outcome), [
    { kind: "reject", reply: { code: 451, enhanced: "4.7.1", lines: ["Not now"] } },
    { kind: "reject", reply: { code: 550, enhanced: "5.7.1", lines: ["Never"] } },
    { kind: "discard" },
    { kind: "aliases", file: "/etc/smtpd/aliases.txt" },
    { kind: "none" },
  ]);
  assert.deepEqual(others.map(({ hold, continues }) => [hold, continues]), [
    ...new Array(4).fill([undefined, undefined]),
    [true, true],
  ]);
});

test("the bindings that config.example.toml shows as comments are valid as well", async () => {
  const text = readFileSync(new URL("../../config.example.toml", import.meta.url), "utf8");
  const shown = text.replaceAll(/^# (?=\[\[binding|[a-z_]+ = )/gmu, "").replace(/^include = .*$/mu, "");
  const files = new MemoryFiles({ [MAIN]: shown });
  const result = await loadConfig(MAIN, { files, channels: channelTypes, hostName: "box" });
  assert.deepEqual(findings(result), []);
  assert.deepEqual(result.config?.bindings.slice(1, 3).map(({ name }) => name), ["cases", "machines"]);
});

/** Each: what one binding says behind its name, and the findings; lines count from the line behind the name. */
const CASES: Readonly<Record<string, readonly [text: string, expected: readonly string[]]>> = {
  "no condition at all": [
    'deliver = "archive"',
    ['SMTPD103 -1:1 Missing key "recipients"'],
  ],
  "two outcomes": [
    'recipients = "*"\ndiscard = true\ndefer = "451 4.7.1 Later"',
    ['SMTPD111 3:1 A binding has one outcome, not both "discard" and "defer"'],
  ],
  "changes alone do not say what becomes of the mail": [
    'recipients = "*"\nsubject_prefix = "x"',
    ["SMTPD111 -1:1 This binding does not say what becomes of its recipients"],
  ],
  "continuing alone does nothing": [
    'recipients = "*"\ncontinue = true',
    ["SMTPD111 -1:1 This binding does not say what becomes of its recipients"],
  ],
  "an outcome that is turned off is none": [
    'recipients = "*"\ndiscard = false',
    ["SMTPD111 -1:1 This binding does not say what becomes of its recipients"],
  ],
  "what an outcome leaves no room for": [
    'recipients = "*"\nreject = "No"\ncontinue = true\nhold = true\nadd_headers = { X = "1" }',
    [
      'SMTPD112 3:1 "continue" has no effect together with "reject"',
      'SMTPD112 4:1 "hold" has no effect together with "reject"',
      'SMTPD112 5:1 "add_headers" has no effect together with "reject"',
    ],
  ],
  "aliases and rewriting": [
    'recipients = "*"\naliases = "a.txt"\nrewrite_recipient = "a@b.c"\nsubject_prefix = "x"',
    ['SMTPD112 3:1 "rewrite_recipient" has no effect together with "aliases"'],
  ],
  "patterns of every condition, under not as well": [
    'senders = ["postmaster", "x"]\nclients = ["10.0.0.0/33", "host"]\nhelo = "/(/"\n' +
    'headers = { A = ["ok", "/[/"] }\nauthenticated = "/x"\ntls = { client_name = "/a/q" }\n' +
    'not = { recipients = "<>", clients = "x" }\ndiscard = true',
    [
      'SMTPD107 1:12 Invalid sender pattern "postmaster": the domain is missing',
      'SMTPD107 1:26 Invalid sender pattern "x": the domain is missing',
      'SMTPD107 2:12 Invalid network "10.0.0.0/33": it is no IP address or network',
      'SMTPD107 2:27 Invalid network "host": it is no IP address or network',
      'SMTPD107 3:8 Invalid pattern "/(/": missing closing ): `(`',
      'SMTPD107 4:24 Invalid pattern "/[/": missing closing ]: `[`',
      'SMTPD107 5:17 Invalid pattern "/x": the closing / is missing',
      'SMTPD107 6:23 Invalid pattern "/a/q": there are no flags "q"',
      'SMTPD107 7:22 Invalid recipient pattern "<>": no recipient is empty',
      'SMTPD107 7:38 Invalid network "x": it is no IP address or network',
    ],
  ],
  "listeners that are not there": [
    'listeners = ["in", "public", "pubic"]\ndiscard = true',
    ['SMTPD113 1:30 There is no listener with the name or tag "pubic"'],
  ],
  "templates": [
    'recipients = ["a@b.c", "/^(x)/"]\ndeliver = "archive"\nrewrite_recipient = "$2@x.example"\n' +
    'add_headers = { A = "${loca}", B = ["ok $1", "$"] }\nsubject_prefix = "$0"',
    [
      'SMTPD114 3:21 Invalid template "$2@x.example": nothing captures $2',
      'SMTPD114 4:21 Invalid template "${loca}": there is no ${loca}',
      'SMTPD114 4:46 Invalid template "$": a "$" stands alone',
    ],
  ],
  "captures may come from a file, and from nowhere else": [
    'recipients = { file = "a.txt" }\ndeliver = "archive"\nsubject_prefix = "$3"',
    [],
  ],
  "captures without a regular expression": [
    'recipients = "*@x.example"\ndeliver = "archive"\nsubject_prefix = "$0"',
    ['SMTPD114 3:18 Invalid template "$0": nothing captures $0'],
  ],
  "values of the wrong kind": [
    'recipients = 5\nsenders = { fil = "x" }\nclients = [1]\ntls = "yes"\nsize = { min = "x" }\ndsn = "sometimes"\n' +
    'time = { days = "someday", from = "25:00", zone = "Mars/Base" }\nheaders = { "a b" = "x" }\n' +
    'remove_headers = "a:b"\nreject = "öh"\n[[binding]]\nhold = "yes"\ncontinue = true\nname = "c"\nrecipients = "*"',
    [
      'SMTPD102 1:14 Expected a text, { file = "…" } or an array of them for "recipients", found the number 5',
      'SMTPD101 2:13 Unknown key "fil"',
      'SMTPD102 3:12 Expected a text or { file = "…" } for "clients", found the number 1',
      'SMTPD102 4:7 Expected true, false or a table for "tls", found the string "yes"',
      'SMTPD102 5:16 Invalid value "x" for "min": must be a number of bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB, such as "25MiB"',
      'SMTPD102 6:7 Invalid value "sometimes" for "dsn": must be one of "report", "never", "success", "failure", "delay"',
      'SMTPD102 7:17 Invalid value "someday" for "days": must be days such as "mon" or "mon-fri"',
      'SMTPD102 7:35 Invalid value "25:00" for "from": must be a time such as "08:00" or "24:00"',
      'SMTPD102 7:51 Invalid value "Mars/Base" for "zone": must be a time zone such as "UTC" or "Europe/Berlin"',
      'SMTPD102 8:13 Invalid name of a header field "a b"',
      'SMTPD112 9:1 "remove_headers" has no effect together with "reject"',
      'SMTPD102 9:18 Invalid value "a:b" for "remove_headers": must be names of header fields, such as X-Internal',
      'SMTPD102 10:10 Invalid value "öh" for "reject": must be a text in ASCII, with or without its code, ' +
      'such as "550 5.1.1 This address has been retired"',
      'SMTPD102 12:8 Expected true or false for "hold", found the string "yes"',
    ],
  ],
};

for (const [name, [text, expected]] of Object.entries(CASES)) {
  test(`bindings: ${name}`, async () => {
    const result = await load(`${START}[[binding]]\nname = "b"\n${text}\n`);
    const shifted = findings(result).map((finding) =>
      finding.replace(/ (\d+):/u, (_, line: string) => ` ${Number(line) - BEFORE - 2}:`)
    );
    assert.deepEqual(shifted, expected);
    for (const { help } of result.diagnostics) assert.notEqual(help, "");
  });
}
