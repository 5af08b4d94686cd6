/** What the server writes above a message: how it came, over which encryption, and for whom if that is no secret. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { runCommand, testKeyPair } from "../helpers/server_process.ts";
import { assertSameBytes, letter, onTheWire } from "./letters.ts";
import { assertReceived, type Mail, MailServer, sender, Shared } from "./mail_server.ts";
import { needs, TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";
import { sendWithSmtplib } from "./smtplib.ts";

const shared = new Shared(() => MailServer.start());
const bounded = { timeout: TEST_TIMEOUT_MS };

/** A short message in a session that has said its hello. */
async function send(client: RawClient, recipients: readonly string[], parameters = ""): Promise<void> {
  await client.expect(250, `MAIL FROM:<${sender}>${parameters}`);
  for (const recipient of recipients) await client.expect(250, `RCPT TO:<${recipient}>`);
  await client.expect(354, "DATA");
  await client.expect(250, "Subject: Trace\r\n\r\nText.\r\n.");
}

describe("The trace of a message", () => {
  after(() => shared.end());

  it("HELO is SMTP, EHLO is ESMTP", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("plain"));
    await client.expect(250, "HELO old.example.net");
    await send(client, ["helo@example.com"]);
    await client.expect(250, "EHLO new.example.net");
    await send(client, ["ehlo@example.com"]);
    const helo = await server.maildir.of("helo@example.com");
    assertReceived(helo, "SMTP");
    assert.match(helo.received, /^from old\.example\.net \(\[127\.0\.0\.1\]\) by mx\.example\.com /);
    const ehlo = await server.maildir.of("ehlo@example.com");
    assertReceived(ehlo, "ESMTP");
    assert.match(ehlo.received, /^from new\.example\.net /);
  });

  it("names version and cipher as the client saw them", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    using client = await RawClient.greeted(server.port("starttls"));
    await client.expect(250, "EHLO plain.example.net");
    await client.expect(220, "STARTTLS");
    const socket = await client.startTls(certificate);
    await client.expect(250, "EHLO encrypted.example.net");
    await send(client, ["cipher@example.com"]);
    const { received } = await server.maildir.of("cipher@example.com");
    const cipher = socket.getCipher();
    const expected = `with ESMTPS (${socket.getProtocol()} ${cipher.standardName ?? cipher.name})`;
    const known = [expected, `with ESMTPS (${socket.getProtocol()} ${cipher.name})`];
    assert.ok(known.some((text) => received.includes(text)), `${received} has none of ${known.join(", ")}`);
    assert.match(received, /^from encrypted\.example\.net /);
  });

  it("does not tell one recipient of another", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("plain"));
    await client.expect(250, "EHLO new.example.net");
    const recipients = ["first-of-two@example.com", "second-of-two@example.com"];
    await send(client, recipients);
    for (const mail of await server.maildir.ofEach(recipients)) {
      assert.doesNotMatch(mail.received, / for |of-two/);
      assert.match(mail.received, / with ESMTP id [\w-]+; \w{3}, /);
    }
  });

  it("smtplib: an address in UTF-8 is UTF8SMTP, encrypted UTF8SMTPS", needs("python3"), async () => {
    const server = await shared.get();
    const file = server.mails("unused", [await letter("utf8_headers")])[0]?.file ?? "";
    for (const mode of ["plain", "starttls"] as const) {
      const recipient = `zoë-${mode}@example.com`;
      const mail = {
        sender: "påzel@exämple.org",
        recipients: [recipient],
        file,
        mail_options: ["SMTPUTF8", "BODY=8BITMIME"],
      };
      const job = { mode, port: server.port(mode), certificate: server.certificateFile, mails: [mail] };
      assert.deepEqual(await sendWithSmtplib(job), [{ refused: {}, error: null }]);
      const stored = await server.maildir.of(recipient);
      assert.equal(stored.returnPath, "påzel@exämple.org");
      assertReceived(stored, mode === "plain" ? "UTF8SMTP" : "UTF8SMTPS");
      assertSameBytes(stored.content, (await letter("utf8_headers")).bytes, recipient);
    }
  });

  it("an address in UTF-8 needs SMTPUTF8", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("plain"));
    await client.expect(250, "EHLO new.example.net");
    await client.expect(250, `MAIL FROM:<${sender}>`);
    const utf8 = Buffer.from("RCPT TO:<zoë@example.com>\r\n", "utf8");
    client.send(utf8);
    const reply = await client.reply();
    assert.match(reply.lines[0] ?? "", /^553 5\.6\.7 /);
  });

  it("swaks pipelines a transaction", needs("swaks"), async () => {
    const server = await shared.get();
    const [mail] = server.mails("swaks-pipeline", [await letter("dots")]) as [Mail];
    const args = ["--pipeline", "--server", "127.0.0.1", "--port", String(server.port("plain")), "--from", sender];
    const { code, out, err } = await runCommand("swaks", [
      ...args,
      "--to",
      `${mail.recipient},swaks-pipeline-second@example.com`,
      "--no-data-fixup",
      "--data",
      "-",
    ], { input: onTheWire(mail.letter.bytes) });
    assert.equal(code, 0, out + err);
    for (const stored of await server.maildir.ofEach([mail.recipient, "swaks-pipeline-second@example.com"])) {
      assertSameBytes(stored.content, mail.letter.bytes, stored.deliveredTo);
    }
  });

  it("several transactions in one packet are answered in order", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("plain"));
    const transaction = (name: string) =>
      `MAIL FROM:<${sender}>\r\nRCPT TO:<${name}@example.com>\r\nRCPT TO:<no@elsewhere.example>\r\nDATA\r\n`;
    client.send(`EHLO raw.example.net\r\n${transaction("batch-1")}`);
    assert.deepEqual((await client.replies(5)).map((reply) => reply.code), [250, 250, 250, 550, 354]);
    client.send(`Subject: 1\r\n\r\n.\r\n${transaction("batch-2")}`);
    assert.deepEqual((await client.replies(5)).map((reply) => reply.code), [250, 250, 250, 550, 354]);
    client.send("Subject: 2\r\n\r\n.\r\nNOOP\r\nRSET\r\nVRFY somebody\r\nQUIT\r\n");
    assert.deepEqual((await client.replies(5)).map((reply) => reply.code), [250, 250, 250, 252, 221]);
    assert.equal(await client.rest(), "");
    for (const name of ["1", "2"]) {
      const stored = await server.maildir.of(`batch-${name}@example.com`);
      assert.equal(stored.content.toString(), `Subject: ${name}\r\n\r\n`);
    }
  });

  it("a message that is sent octet by octet is stored whole", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("plain"));
    await client.expect(250, "EHLO raw.example.net");
    const wire = onTheWire((await letter("only_dots")).bytes);
    await client.expect(250, `MAIL FROM:<${sender}>`);
    await client.expect(250, "RCPT TO:<dripped@example.com>");
    await client.expect(354, "DATA");
    for (const octet of wire) client.send(Uint8Array.of(octet));
    assert.equal((await client.reply()).code, 250);
    const stored = await server.maildir.of("dripped@example.com");
    assertSameBytes(stored.content, (await letter("only_dots")).bytes, "The message sent octet by octet");
  });
});
