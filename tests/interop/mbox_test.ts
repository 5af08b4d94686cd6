/** An mbox that the server wrote, as Python's mailbox reads it: every message of the corpus, one by one. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { projectRoot, runCommand, ServerProcess } from "../helpers/server_process.ts";
import { asData, assertSameBytes, letters } from "./letters.ts";
import { listenerText, sender } from "./mail_server.ts";
import { needs } from "./programs.ts";
import { sendWithSmtplib } from "./smtplib.ts";

const text = `
host_name = "mx.example.com"

[spool]
url = "sqlite:spool/smtpd.db"
min_free_space = 0

${listenerText("inbound")}
[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["box"]

[[channel]]
name = "box"
type = "mbox"
path = "inbox.mbox"
`;

/** In an mbox, lines end with LF and the last one has an end; smtplib ends the last line of an empty message too. */
function asInMbox(bytes: Buffer): Buffer {
  return Buffer.from(bytes.length === 0 ? "\n" : asData(bytes).toString("latin1").replaceAll("\r\n", "\n"), "latin1");
}

/** Without the three fields on top; a ">" that mboxrd put before "From " taken away. */
function contentOf(stored: string): Buffer {
  const top = /^Return-Path: <.*>\nDelivered-To: .*\nReceived: (?:.*\n\t){2}.*\n/.exec(stored);
  assert.ok(top !== null, stored.slice(0, 200));
  return Buffer.from(stored.slice(top[0].length).replace(/^>(>*From )/gm, "$1"), "latin1");
}

it("Python's mailbox finds every message in the mbox", needs("python3"), async () => {
  await using server = await ServerProcess.start(text);
  const directory = join(server.directory, "letters");
  await mkdir(directory);
  const all = await letters();
  const mails = await Promise.all(all.map(async ({ bytes }, index) => {
    const file = join(directory, `${index}.eml`);
    await writeFile(file, bytes);
    return { sender, recipients: [`mbox-${index}@example.com`], file };
  }));
  const certificate = join(server.directory, "cert.pem");
  const results = await sendWithSmtplib({ mode: "plain", port: server.port(), certificate, mails });
  for (const result of results) assert.deepEqual(result, { refused: {}, error: null });
  let delivered = 0;
  await server.logged((entry) => entry.event === "delivered" && ++delivered === all.length);

  const { code, out, err } = await runCommand("python3", [
    `${projectRoot}/tests/interop/mbox_reader.py`,
    join(server.directory, "inbox.mbox"),
  ]);
  assert.equal(code, 0, err);
  const found = JSON.parse(out) as { separator: string; deliveredTo: string; content: string }[];
  assert.equal(found.length, all.length);
  const byRecipient = new Map(found.map((message) => [message.deliveredTo, message]));
  all.forEach(({ name, bytes }, index) => {
    const message = byRecipient.get(`mbox-${index}@example.com`);
    assert.ok(message !== undefined, `"${name}" is not in the mbox`);
    assert.match(message.separator, /^sender@example\.org \w{3} \w{3} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/);
    assertSameBytes(contentOf(message.content), asInMbox(bytes), `"${name}"`);
  });
});
