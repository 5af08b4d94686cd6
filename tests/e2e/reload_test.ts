/**
 * SIGHUP: the new configuration takes over whole, or not at all; sessions under way finish under the old one.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { freePorts, ServerProcess, testKeyPair } from "../helpers/server_process.ts";
import { makeMail, readMaildir } from "./mail.ts";
import { dotStuffed, RawClient } from "./raw_client.ts";
import { maildirConfig, queueEmpty } from "./setup.ts";

const timeout = 60_000;

/** Changes the configuration, sends SIGHUP, and waits for what the server says of it. */
async function reload(server: ServerProcess, change: (text: string) => string, event: string): Promise<void> {
  const file = join(server.directory, "smtpd.toml");
  await writeFile(file, change(await readFile(file, "utf8")));
  const before = server.log.filter((entry) => entry.event === event).length;
  server.signal("SIGHUP");
  await server.logged((entry) =>
    entry.event === event && server.log.filter((other) => other.event === event).length > before
  );
}

async function recipientReply(port: number, recipient: string): Promise<number> {
  const client = await RawClient.greet(port);
  await client.command("MAIL FROM:<sender@example.org>", 250);
  const { code } = await client.command(`RCPT TO:<${recipient}>`);
  await client.quit();
  return code;
}

test("A new configuration takes over: bindings, channels, limits and endpoints", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig());
  const port = server.port("inbound");
  const [another = 0] = await freePorts(1);
  const old = await RawClient.greet(port);
  await old.command("MAIL FROM:<sender@example.org>", 250);

  await reload(
    server,
    (text) =>
      `${
        text.replace('path = "mail"', 'path = "elsewhere"').replace(
          'recipients = ["*"]',
          'recipients = ["*@new.example"]',
        )
      }
[[listener]]
name = "second"
listen_ip = "127.0.0.1"
port = ${another}
session_max_messages = 1
`,
    "reloaded",
  );

  // The session that was there before goes on under its own rules; what it sends goes where the channel now points.
  await old.command("RCPT TO:<box@example.com>", 250);
  await old.command("DATA", 354);
  await old.write(dotStuffed(makeMail("old-session", 5_000)));
  await old.write(".\r\n");
  await old.expect(250);
  await old.quit();
  assert.equal(await recipientReply(port, "box@example.com"), 550);
  assert.equal(await recipientReply(another, "box@new.example"), 250);
  await queueEmpty(server);
  assert.deepEqual([...(await readMaildir(join(server.directory, "elsewhere"))).copies.keys()], ["old-session"]);

  // And back: the second endpoint goes away, the first stays.
  await reload(server, (text) => text.slice(0, text.lastIndexOf("[[listener]]")), "reloaded");
  await assert.rejects(RawClient.greet(another));
  assert.equal(await recipientReply(port, "box@new.example"), 250);
  assert.equal(await server.stop(), 0);
});

test("A configuration that is wrong, or cannot be opened, changes nothing", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig());
  const port = server.port("inbound");
  const file = join(server.directory, "smtpd.toml");
  const good = await readFile(file, "utf8");
  const taken = new URL(`http://127.0.0.1:${port}`).port;
  const wrong: readonly (readonly [why: string, text: string])[] = [
    ["a syntax error", `${good}[[`],
    ["an unknown channel", good.replace('deliver = ["box"]', 'deliver = ["bx"]')],
    [
      "a missing key pair",
      good.replace("port =", 'tls = { mode = "starttls", certificate = "no.pem", private_key = "no.pem" }\nport ='),
    ],
    ["another spool", good.replace("spool/smtpd.db", "spool/other.db")],
    ["an address that is not ours", `${good}\n[[listener]]\nname = "far"\nlisten_ip = "192.0.2.1"\nport = ${taken}\n`],
  ];
  for (const [why, text] of wrong) {
    await reload(server, () => text, "reload refused");
    assert.equal(await recipientReply(port, "box@example.com"), 250, why);
  }
  await reload(server, () => good, "reloaded");
  assert.equal(await server.stop(), 0);
});

test("A reload takes the key pair that is there now", { timeout }, async () => {
  await using server = await ServerProcess.start(
    maildirConfig({ listener: 'tls = { mode = "implicit", certificate = "cert.pem", private_key = "key.pem" }' }),
  );
  const { certificate, privateKey } = await testKeyPair();
  await writeFile(join(server.directory, "key.pem"), "rubbish");
  await reload(server, (text) => text, "reload refused");
  await writeFile(join(server.directory, "cert.pem"), certificate);
  await writeFile(join(server.directory, "key.pem"), privateKey);
  await reload(server, (text) => text, "reloaded");
  const client = await RawClient.greet(server.port("inbound"), { implicitTls: true });
  await client.quit();
  assert.equal(await server.stop(), 0);
});
