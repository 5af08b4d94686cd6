/**
 * What senders are told, end to end: a program refuses a message and its sender, a mailbox of ours, reads why; the same when
 * an operator gives a message up.
 */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import PostalMime from "postal-mime";
import { ServerProcess } from "../helpers/server_process.ts";
import { RawClient } from "./raw_client.ts";
import { queueEmpty, queueLength, TemporaryDirectory, until } from "./setup.ts";

const timeout = 120_000;

const config = (directory: string) =>
  `host_name = "mx.example.com"
[spool]
url = "sqlite:spool/smtpd.db"
[[listener]]
name = "inbound"
listen_ip = "127.0.0.1"
port = 0
[[binding]]
name = "people"
recipients = ["*@example.org"]
deliver = "mailbox"
[[binding]]
name = "tickets"
recipients = ["*@tickets.example.com"]
deliver = "program"
[[binding]]
name = "kept"
recipients = ["*@kept.example.com"]
deliver = "program-kept"
[[binding]]
name = "quarantine"
recipients = ["*@held.example.com"]
hold = true
deliver = "mailbox"
[[channel]]
name = "mailbox"
type = "maildir"
path = "mail/\${local}"
[[channel]]
name = "program"
type = "pipe"
command = ["/bin/sh", "${join(directory, "refuse.sh")}"]
[[channel]]
name = "program-kept"
type = "pipe"
command = ["/bin/sh", "${join(directory, "refuse.sh")}"]
notify = "keep"
`;

const CONTENT = "Subject: Gr=?utf-8?Q?=C3=BC?=n\r\nX-Mine: yes\r\n\r\nThe text\r\n";

async function send(server: ServerProcess, mail: string, ...recipients: readonly string[]): Promise<void> {
  const client = await RawClient.greet(server.port());
  await client.command("EHLO client.example.org", 250);
  await client.command(`MAIL FROM:${mail}`, 250);
  for (const recipient of recipients) await client.command(`RCPT TO:${recipient}`, 250);
  await client.command("DATA", 354);
  await client.command(`${CONTENT}.`, 250);
  await client.quit();
}

/** The messages in the maildir of one of the senders. */
async function mailbox(server: ServerProcess, name: string): Promise<readonly Uint8Array[]> {
  const directory = join(server.directory, "mail", name, "new");
  const files = await readdir(directory).catch(() => [] as string[]);
  return await Promise.all(files.map((file) => readFile(join(directory, file))));
}

async function start(directory: string): Promise<ServerProcess> {
  // Gives the message time to be read, then refuses it with a reason.
  await writeFile(join(directory, "refuse.sh"), 'cat > /dev/null\necho "No ticket here: $RECIPIENT"\nexit 67\n');
  return await ServerProcess.start(config(directory), { directory });
}

test("notification: a program refuses, and the sender reads why", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await using server = await start(directory.path);
  await send(
    server,
    "<alice@example.org> RET=HDRS ENVID=QQ1",
    "<case-1@tickets.example.com> ORCPT=rfc822;case@x.example",
  );
  await until("the sender was told", async () => (await mailbox(server, "alice")).length === 1);
  await queueEmpty(server);
  const [bytes = new Uint8Array()] = await mailbox(server, "alice");
  const text = new TextDecoder().decode(bytes);
  assert.match(text, /^Return-Path: <>\r?\n/);
  const mail = await PostalMime.parse(bytes, { rfc822Attachments: true, attachmentEncoding: "utf8" });
  assert.equal(mail.from?.address, "MAILER-DAEMON@mx.example.com");
  assert.match(mail.text ?? "", /case-1@tickets\.example\.com\n.*exited with 67 \(EX_NOUSER\): No ticket\n? +here/);
  const [status, header] = mail.attachments;
  assert.deepEqual([status?.mimeType, header?.mimeType], ["message/delivery-status", "text/rfc822-headers"]);
  for (
    const field of [
      /^Reporting-MTA: dns; mx\.example\.com$/m,
      /^Original-Envelope-Id: QQ1$/m,
      /^Original-Recipient: rfc822; case@x\.example$/m,
      /^Final-Recipient: rfc822; case-1@tickets\.example\.com$/m,
      /^Action: failed$/m,
      /^Status: 5\.1\.1$/m,
    ]
  ) assert.match(String(status?.content).replaceAll("\r", ""), field);
  assert.match(String(header?.content), /X-Mine: yes/);
  assert.doesNotMatch(text, /The text/);
  const told = server.log.find(({ event }) => event === "notified");
  const failed = server.log.find(({ event }) => event === "failed");
  assert.deepEqual([told?.["session"], told?.["message"]], [failed?.["session"], failed?.["message"]]);
});

test("notification: none where nobody is to be told, and what failed stays in the queue", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await using server = await start(directory.path);
  await send(server, "<>", "<case-2@tickets.example.com>");
  await send(server, "<bob@example.org>", "<case-3@tickets.example.com> NOTIFY=NEVER");
  await send(server, "<bob@example.org>", "<case-4@kept.example.com>");
  await send(server, "<bob@elsewhere.example>", "<case-5@tickets.example.com>");
  await until("all were given up", async () => {
    const { out } = await server.command("queue", "list", "--state", "failed", "--json");
    return (JSON.parse(out) as unknown[]).length === 4;
  });
  assert.equal(await queueLength(server), 4);
  assert.deepEqual(await mailbox(server, "bob"), []);
  const { out } = await server.command("queue", "list", "--sender", "bob@elsewhere.example");
  assert.match(out, /the sender was not told: no binding takes mail to "bob@elsewhere\.example"/);
});

test("notification: queue bounce tells the sender, beside the running server", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await using server = await start(directory.path);
  await send(server, "<carol@example.org>", "<one@held.example.com>", "<two@held.example.com>");
  await send(server, "<>", "<three@held.example.com>");
  const { code, out, err } = await server.command("queue", "bounce", "--all", "--yes", "--reason", "Looks like spam");
  assert.equal(code, 0, err);
  assert.match(out, /^Gave up 3 deliveries of 2 messages\. They are kept as failed\. 1 notification is on the way/);
  await until("the sender was told", async () => (await mailbox(server, "carol")).length === 1);
  const text = new TextDecoder().decode((await mailbox(server, "carol"))[0]);
  assert.match(
    text,
    /Final-Recipient: rfc822; one@held\.example\.com[^]*Final-Recipient: rfc822; two@held\.example\.com/,
  );
  assert.match(text, /Given up by the operator: Looks like spam/);
  assert.equal(await queueLength(server), 3);
});
