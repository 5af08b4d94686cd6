/** smtpd explain ADDRESS as a whole command line over real files: text, JSON, exit codes, wrong usage. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "../../src/cli/cli.ts";
import { currentRuntime } from "../../src/runtime/current.ts";
import type { Runtime } from "../../src/runtime/runtime.ts";

const system = await currentRuntime();
const root = await mkdtemp(join(tmpdir(), "smtpd-explain-"));
after(() => rm(root, { recursive: true, force: true }));

const file = join(root, "smtpd.toml");
await writeFile(
  file,
  `host_name = "mx.example.com"
[[listener]]
name = "inbound"
port = 2525
[[listener]]
name = "backup"
host_name = "mx2.example.com"
port = 2526
[[listener]]
name = "local"
protocol = "lmtp"
port = 2424
[[listener.binding]]
name = "nightly"
recipients = ["logs@example.com"]
deliver = ["box"]
[[listener.binding]]
name = "judged"
recipients = ["judged@example.com"]
deliver = ["judge"]
[[binding]]
name = "staff"
recipients = ["ann@example.com"]
authenticated = true
deliver = ["box"]
[[binding]]
name = "aka"
recipients = ["*@old.example.com"]
aliases = "aliases.txt"
[[binding]]
name = "cases"
recipients = ['/^case-(\\d+)@example\\.com$/']
rewrite_recipient = "case@tickets.example.com"
rewrite_sender = "<>"
subject_prefix = "[case $1]"
set_headers = { X-Queue = "support" }
remove_headers = "X-Spam"
hold = true
deliver = ["hook", "box"]
[[binding]]
name = "busy"
recipients = ["busy@example.com"]
defer = "451 4.7.1 Later"
[[binding]]
name = "spam"
recipients = ["*@example.com"]
headers = { Subject = "*spam*" }
reject = "554 5.7.1 No spam"
[[binding]]
name = "rest"
recipients = ["*@example.com"]
discard = true
[[channel]]
name = "hook"
type = "webhook"
url = "https://user:pass@app.example.com/in"
[[channel]]
name = "judge"
type = "script"
module = "judge.ts"
when = "rcpt-data"
[[channel]]
name = "box"
type = "maildir"
path = "mail/\${domain}/\${local}"
`,
);
await writeFile(join(root, "aliases.txt"), "bob: case-1@example.com\n");

async function explain(args: readonly string[], terminal = false) {
  const [out, err]: [string[], string[]] = [[], []];
  const runtime: Runtime = {
    ...system,
    processes: {
      ...system.processes,
      args: ["explain", ...args],
      environment: (name) => name === "SMTPD_CONFIG" ? file : undefined,
      stdio: {
        writeOut: (text: string) => void out.push(text),
        writeErr: (text: string) => void err.push(text),
        outIsTerminal: terminal,
        errIsTerminal: terminal,
        columns: () => undefined,
        transport: () => assert.fail("explain needs no standard input"),
        input: () => assert.fail("explain needs no standard input"),
        reserveOut: () => assert.fail("explain speaks no protocol"),
      },
    },
  };
  const code = await run(runtime);
  return { code, out: out.join(""), err: err.join("") };
}

test("explain: what is tried, changed, delivered and said, aligned", async () => {
  const { code, out, err } = await explain(["case-42@example.com", "--listener", "inbound"]);
  assert.deepEqual([code, err], [0, ""]);
  assert.equal(
    out,
    `To case-42@example.com
  from somebody@elsewhere.invalid, client 203.0.113.25, helo client.elsewhere.invalid

Listener inbound
  staff  no   recipients: case-42@example.com
  aka    no   recipients: case-42@example.com
  cases  yes  decides
              recipient becomes case@tickets.example.com
              sender becomes <>

  to hook  webhook  https://app.example.com/in
     recipient       case@tickets.example.com
     sender          <>
     remove header   X-Spam
     set header      X-Queue: support
     subject prefix  [case 42]
     held            until somebody releases it
  to box   maildir  ${root}/mail/tickets.example.com/case
     recipient       case@tickets.example.com
     sender          <>
     remove header   X-Spam
     set header      X-Queue: support
     subject prefix  [case 42]
     held            until somebody releases it

  MAIL         250 2.1.0 Sender OK
  RCPT         250 2.1.5 Recipient OK
  end of data  250 2.0.0 Queued as ID

  Held: delivered when somebody releases it.
`,
  );
});

test("explain: listeners on which the same happens are one section, others have their own", async () => {
  const alike = await explain(["busy@example.com"]);
  assert.match(alike.out, /\nListeners inbound, backup\n {2}staff /u);
  assert.match(alike.out, /\nListener local\n {2}nightly {2}no /u);
  assert.match(alike.out, /\n {2}RCPT {2}451 4\.7\.1 Later\n\n {2}Deferred: /u);
  assert.equal(alike.code, 75);
});

test("explain: what depends on session and message is as the options say", async () => {
  const at = ["--listener", "inbound"];
  assert.equal(
    (await explain(["ann@example.com", "--user", "ann", ...at])).out.includes("\n  to box  maildir  "),
    true,
  );
  assert.match((await explain(["ann@example.com", ...at])).out, /staff {2}no {3}authenticated: not authenticated\n/u);
  const spam = await explain(["x@example.com", "--header", "Subject: all spam", ...at]);
  assert.equal(spam.code, 1);
  assert.match(spam.out, /\n {2}RCPT {9}250 [^\n]+\n {2}end of data {2}554 5\.7\.1 No spam\n\n {2}Rejected\.\n$/u);
  const large = await explain(["x@example.com", "--size", "1GiB", ...at]);
  assert.match(large.out, /\n\n {2}MAIL {2}552 5\.3\.4 Message too large\n\n {2}Rejected\.\n$/u);
  const other = await explain(["x@other.example", ...at]);
  assert.match(other.out, /\n {2}rest {3}no {3}recipients: x@other\.example\n {2}No binding matches\.\n/u);
});

test("explain: aliases show the address that is tried in place of the one given", async () => {
  const { out, code } = await explain(["bob@old.example.com", "--listener", "inbound"]);
  assert.equal(code, 0);
  assert.match(out, /\n {2}aka {4}yes {2}its aliases are tried\n {2}as case-1@example\.com\n {2}staff {2}no /u);
});

test("explain: a channel that decides when it is asked is said to, and its verdict is not guessed", async () => {
  const { out, code } = await explain(["judged@example.com", "--listener", "local"]);
  assert.equal(code, 0);
  assert.match(
    out,
    /\n {2}to judge {2}script {2}.*\/judge\.ts\n {5}decides {2}may still reject or defer at the end of data\n/u,
  );
  const [{ deliveries }] = JSON.parse((await explain(["judged@example.com", "--listener", "local", "--json"])).out);
  assert.equal(deliveries[0].decides, true);
});

test("explain: the exit code is that of the listener that takes least", async () => {
  assert.equal((await explain(["rest@example.com"])).code, 0);
  assert.equal((await explain(["busy@example.com"])).code, 75);
  assert.equal((await explain(["x@other.example"])).code, 1);
});

test("explain --json: one object for each listener, with the whole dialogue", async () => {
  const { out, code } = await explain(["logs@example.com", "--from", "<>", "--json"]);
  assert.equal(code, 0);
  const [inbound, , local] = JSON.parse(out);
  assert.deepEqual(Object.keys(local), [
    "listener",
    "message",
    "outcome",
    "binding",
    "tried",
    "deliveries",
    "dialogue",
  ]);
  assert.deepEqual([inbound.outcome, inbound.binding, inbound.deliveries], ["discard", "rest", []]);
  assert.deepEqual(local.tried, [
    { binding: "nightly", recipient: "logs@example.com", result: "matched", then: "decides" },
  ]);
  assert.deepEqual(local.deliveries, [{
    channel: "box",
    type: "maildir",
    place: `${root}/mail/example.com/logs`,
    binding: "nightly",
    recipient: "logs@example.com",
    sender: "",
    edits: [],
    held: false,
    decides: false,
  }]);
  assert.deepEqual(
    local.dialogue.map(({ command, code }: { command: string; code: number }) => `${command} ${code}`),
    ["connection 220", "LHLO 250", "MAIL 250", "RCPT 250", "DATA 354", "end of data 250"],
  );
});

test("explain: colour on a terminal only, and nothing unprintable comes through", async () => {
  assert.equal((await explain(["rest@example.com"])).out.includes("\x1b"), false);
  assert.equal((await explain(["rest@example.com"], true)).out.startsWith("\x1b[1mTo rest@example.com\x1b[0m\n"), true);
  const { out } = await explain(["\u202emoc@example.com", "--header", "Subject: \u200bx\u202e"]);
  assert.doesNotMatch(out, /[\u200b\u202e]/u);
  assert.match(out, /^To \\u\{202e\}moc@example\.com\n/u);
});

test("explain: wrong usage is one line with a way out", async () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [["no address"], /Cannot explain "no address": it is neither an address such as /u],
    [["<>"], /Cannot explain "<>": /u],
    [["a@b.example\r\nDATA"], /Cannot explain "a@b\.example\\u\{d\}\\u\{a\}DATA": /u],
    [["a@b.example", "--listener", "inbuond"], /There is no listener "inbuond"; did you mean "inbound"\?/u],
    [["a@b.example", "--tls"], /No listener has TLS; leave --tls out/u],
    [["a@b.example", "--ip", "localhost"], /It is no IP address\./u],
    [["a@b.example", "--from", "x"], /It is no address\./u],
    [["a@b.example", "--helo", "a b"], /It is no name that a client can say\./u],
    [["a@b.example", "--header", "Subject"], /It must be a name and a value/u],
    [["a@b.example", "--header", "A: b\r\nC: d"], /It must be a name and a value/u],
    [["a@b.example", "--size", "big"], /It must be a number of bytes/u],
    [["a@b.example", "--time", "noon"], /It must be a moment/u],
    [["SMTPD101", "--ip", "192.0.2.1"], /"--ip" is for addresses, and "SMTPD101" is a code/u],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await explain(args);
    assert.deepEqual([code, out], [64, ""], args.join(" "));
    assert.match(err, message);
    assert.match(err, /^smtpd: [^\n]+\n$/u);
  }
});

test("explain: a configuration that cannot be loaded is told as everywhere", async () => {
  const { code, err } = await explain(["a@b.example", "--config", join(root, "absent.toml")]);
  assert.equal(code, 78);
  assert.match(err, /error\[SMTPD002\]/u);
});
