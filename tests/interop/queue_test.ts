/** DSN parameters (RFC 3461) from a real client wait with a message that cannot be delivered, and the queue shows them. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { createTransport } from "nodemailer";
import { ServerProcess } from "../helpers/server_process.ts";
import { commonText, listenerText } from "./mail_server.ts";
import { TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";

const text = `${commonText}
${listenerText("inbound")}
[[listener.binding]]
name = "stuck"
recipients = ["stuck@example.com"]
deliver = ["jam"]

[[channel]]
name = "jam"
type = "maildir"
path = "jam"

[channel.retry]
first_delay = "1h"
`;

async function json(server: ServerProcess, ...args: readonly string[]) {
  const { code, out, err } = await server.command("queue", ...args, "--json");
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

/** A server whose channel "jam" has lost its maildir. */
async function startJammed(): Promise<ServerProcess> {
  const server = await ServerProcess.start(text);
  const jam = join(server.directory, "jam");
  await rm(jam, { recursive: true });
  await writeFile(jam, "A file where the maildir was.");
  return server;
}

it("nodemailer: what DSN asks for is kept with a message that waits", { timeout: TEST_TIMEOUT_MS }, async () => {
  await using server = await startJammed();
  const transport = createTransport({
    host: "127.0.0.1",
    port: server.port(),
    name: "node.example.net",
    ignoreTLS: true,
  });
  const dsn = {
    id: "letter 7+=",
    return: "headers" as const,
    notify: ["failure" as const, "delay" as const],
    recipient: "first+choice@example.org",
  };
  try {
    const envelope = { from: "sender@example.org", to: "stuck@example.com" };
    await transport.sendMail({ envelope, dsn, raw: "Subject: Waiting\r\n\r\nText.\r\n" });
  } finally {
    transport.close();
  }
  await server.logged((entry) => entry.event === "deferred");

  const [entry, ...more] = await json(server, "list");
  assert.equal(more.length, 0);
  assert.equal(entry.recipient, "stuck@example.com");
  assert.equal(entry.channel, "jam");
  assert.equal(entry.binding, "stuck");
  assert.equal(entry.state, "queued");
  assert.equal(entry.attempts, 1);
  assert.match(entry.lastDetail, /jam/);
  assert.ok(Date.parse(entry.dueAt) > Date.now() + 20 * 60_000, `Due again at ${entry.dueAt}`);

  const [shown] = await json(server, "show", entry.message);
  assert.equal(shown.envelope.ret, "headers");
  assert.equal(shown.envelope.envid, dsn.id);
  assert.equal(shown.envelope.body, "7bit");
  assert.equal(shown.envelope.reversePath, "sender@example.org");
  const [delivery] = shown.deliveries;
  assert.deepEqual(delivery.notify, ["failure", "delay"]);
  assert.equal(delivery.orcpt, `rfc822;${dsn.recipient}`);
  assert.equal(delivery.history.length, 1);

  const { changed } = await json(server, "remove", entry.message);
  assert.deepEqual(changed, [{ delivery: entry.delivery, message: entry.message }]);
  assert.deepEqual(await json(server, "list"), []);
  const again = await server.command("queue", "remove", entry.message);
  assert.equal(again.code, 1);
});

it("BODY=8BITMIME is kept with a message that waits", { timeout: TEST_TIMEOUT_MS }, async () => {
  await using server = await startJammed();
  using client = await RawClient.greeted(server.port());
  const hello = await client.expect(250, "EHLO raw.example.net");
  assert.ok(hello.lines.includes("250-8BITMIME"));
  await client.expect(250, "MAIL FROM:<sender@example.org> BODY=8BITMIME");
  await client.expect(250, "RCPT TO:<stuck@example.com>");
  await client.expect(354, "DATA");
  await client.expect(250, "Subject: Eight\r\n\r\n\x80\xa0\xff\r\n.");
  await server.logged((entry) => entry.event === "deferred");
  const [entry] = await json(server, "list");
  const [shown] = await json(server, "show", entry.message);
  assert.equal(shown.envelope.body, "8bitmime");
});
