/**
 * Batched SMTP (RFC 2442): which messages a file brings in, which of its lines are errors, and that no part of a message is
 * ever read as a command.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { SlaveWorld } from "../helpers/slave_process.ts";

const timeout = 60_000;

const CONFIG = `host_name = "mx.example.com"
[spool]
url = "sqlite:spool/smtpd.db"
min_free_space = 0
[[binding]]
name = "nobody"
senders = ["refused@*"]
reject = "550 5.7.1 Not from you"
[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["box"]
[[channel]]
name = "box"
type = "maildir"
path = "mail"
[[channel]]
name = "uplink"
type = "stdio"
`;

const mail = (to: string, body = "Subject: x\n\nHello\n", from = "me@example.org") =>
  `MAIL FROM:<${from}>\n${to.split(" ").map((one) => `RCPT TO:<${one}>\n`).join("")}DATA\n${body}.\n`;

async function batch(text: string, options: { readonly stdin?: boolean; readonly config?: string } = {}) {
  await using world = await SlaveWorld.create(options.config ?? CONFIG);
  const file = join(world.directory, "letters");
  await writeFile(file, text, "latin1");
  const result = options.stdin === true
    ? await world.run({ args: ["--batch"], input: text })
    : await world.run({ args: ["--batch", file] });
  assert.equal(result.out, "");
  const lines = result.err.split("\n").flatMap((line) => {
    const found = /^smtpd: (?:standard input|.*letters):(\d+): (.*)$/.exec(line);
    return found === null ? [] : [`${found[1]} ${found[2]}`];
  });
  return { code: result.code, lines, err: result.err, queue: await world.queue() };
}

const crlf = (text: string) => text.replaceAll("\n", "\r\n");

for (const [name, form] of [["LF", (text: string) => text], ["CRLF", crlf]] as const) {
  for (const stdin of [false, true]) {
    test(
      `batch: all messages of a file, lines ending with ${name}, ${stdin ? "standard input" : "file"}`,
      { timeout },
      async () => {
        const text = `HELO there\n${mail("a@example.com b@example.com")}${mail("c@example.com")}QUIT\n`;
        const { code, lines, queue, err } = await batch(form(text), { stdin });
        assert.deepEqual(lines, []);
        assert.equal(code, 0, err);
        assert.deepEqual(queue.map((entry) => entry["recipient"]).sort(), [
          "a@example.com",
          "b@example.com",
          "c@example.com",
        ]);
      },
    );
  }
}

test("batch: no greeting is needed, and several files are one", { timeout }, async () => {
  const one = `${mail("a@example.com")}QUIT\n`;
  const { code, queue } = await batch(one + one);
  assert.equal(code, 0);
  assert.equal(queue.length, 2);
});

test("batch: errors with their lines, and the good messages are taken", { timeout }, async () => {
  const text = mail("a@example.com") + // lines 1 to 7
    mail("x@elsewhere.example") + // 8 to 14
    mail("b@example.com y@elsewhere.example") + // 15 to 22
    "NONSENSE\n" + // 23
    mail("c@example.com", "Hello\n", "broken@@example") + // 24 to 28
    mail("d@example.com");
  const { code, lines, queue, err } = await batch(text);
  assert.deepEqual(lines.map((line) => line.replace(/^(\d+ \d{3}) .*\((.*)\)$/, "$1 $2")), [
    "9 550 RCPT TO:<x@elsewhere.example>",
    "17 550 RCPT TO:<y@elsewhere.example>",
    "23 500 NONSENSE",
    "24 501 MAIL FROM:<broken@@example>",
  ]);
  assert.equal(code, 1);
  assert.match(err, /^smtpd: 3 messages accepted, 4 errors$/m);
  assert.deepEqual(queue.map((entry) => entry["recipient"]).sort(), [
    "a@example.com",
    "b@example.com",
    "d@example.com",
  ]);
});

for (const form of [(text: string) => text, crlf]) {
  test("batch: the content of a message that is refused is never read as commands", { timeout }, async () => {
    const evil = `${mail("b@example.com").replaceAll(/^\./gm, "..")}Bye\n`;
    for (
      const refused of [
        mail("x@elsewhere.example", evil),
        mail("a@example.com", evil, "broken@@example"),
        mail("a@example.com", evil, "refused@example.org"),
        `DATA\n${evil}.\n`,
      ]
    ) {
      const { code, queue, lines } = await batch(form(refused + mail("c@example.com")));
      assert.deepEqual(queue.map((entry) => entry["recipient"]), ["c@example.com"], refused);
      assert.equal(code, 1);
      assert.equal(lines.length, 1, lines.join("\n"));
    }
  });
}

test(
  "batch: in a file whose lines end with CRLF, a bare LF is an error of the message and ends nothing",
  { timeout },
  async () => {
    const hidden = "Hello\n.\nMAIL FROM:<evil@example.org>\nRCPT TO:<b@example.com>\nDATA\nevil\n.\n";
    const text = crlf(mail("a@example.com", "BODY\n")).replace("BODY\r\n", `${hidden}\r\n`) +
      crlf(mail("c@example.com"));
    const { code, queue, lines } = await batch(text);
    assert.deepEqual(queue.map((entry) => entry["recipient"]), ["c@example.com"]);
    assert.equal(code, 1);
    assert.match(lines.join("\n"), /^\d+ 550 5\.6\.0 [^\n]*$/);
  },
);

test("batch: a message without data is told, and does not become part of the next", { timeout }, async () => {
  const { code, queue, lines } = await batch(
    `MAIL FROM:<first@example.org>\nRCPT TO:<a@example.com>\n${mail("b@example.com")}`,
  );
  assert.deepEqual(queue.map((entry) => entry["recipient"]), ["b@example.com"]);
  assert.deepEqual(lines, ["3 The message that begins in line 1 has no end"]);
  assert.equal(code, 1);
});

test("batch: none accepted is 2, nothing to do is 0", { timeout }, async () => {
  assert.equal((await batch(mail("x@elsewhere.example"))).code, 2);
  assert.equal((await batch("")).code, 0);
  assert.equal((await batch("HELO x\nQUIT\n")).code, 0);
});

test("batch: a message without an end is told and not taken", { timeout }, async () => {
  for (
    const cut of [
      mail("a@example.com").slice(0, -2),
      "MAIL FROM:<me@example.org>\n",
      mail("a@example.com").slice(0, -6),
    ]
  ) {
    const { code, queue, lines } = await batch(`${mail("b@example.com")}${cut}`);
    assert.equal(queue.length, 1);
    assert.equal(code, 1);
    assert.match(lines.join("\n"), /^\d+ The message that begins in line 8 has no end$/);
  }
});

test("batch: chunks", { timeout }, async () => {
  const text = "EHLO x\nMAIL FROM:<me@example.org>\nRCPT TO:<a@example.com>\nBDAT 7\nDATA\r\nx" +
    "BDAT 10 LAST\nQUIT\r\nab\r\nMAIL FROM:<me@example.org>\nRCPT TO:<x@elsewhere.example>\nBDAT 8 LAST\nRSET\r\nab" +
    mail("b@example.com");
  const { queue, lines, code } = await batch(text);
  assert.deepEqual(queue.map((entry) => entry["recipient"]), ["a@example.com", "b@example.com"]);
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.equal(code, 1);
});

test("batch: many errors do not end it, a limit of the channel counts", { timeout }, async () => {
  assert.equal((await batch(`${"NONSENSE\n".repeat(100)}${mail("a@example.com")}`)).queue.length, 1);
  const config = `${CONFIG}[channel.slave]\nsession_max_messages = 1\n`;
  const { queue, code, lines } = await batch(mail("a@example.com") + mail("b@example.com"), { config });
  assert.equal(queue.length, 1);
  assert.equal(code, 1);
  assert.match(lines.join("\n"), /^8 451 4\.5\.3 /);
});

test("batch: control characters do not reach the terminal; a file that is not there is told", { timeout }, async () => {
  const { err } = await batch("\u001b[2J\u0007HELLO\n");
  assert.match(err, /letters:1: 500 /);
  assert.doesNotMatch(err.replaceAll("\n", ""), /\p{Cc}/u);
  await using world = await SlaveWorld.create(CONFIG);
  const { code, err: missing } = await world.run({ args: ["--batch", "nowhere"] });
  assert.match(missing, /nowhere/);
  assert.equal(code, 71);
});
