/** LMTP (RFC 2033) with other people's clients: one reply for each recipient. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { runCommand } from "../helpers/server_process.ts";
import { assertSameBytes, letter, onTheWire } from "./letters.ts";
import { assertReceived, type Mail, MailServer, sender, Shared } from "./mail_server.ts";
import { needs, TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";
import { sendWithSmtplib } from "./smtplib.ts";

const shared = new Shared(() => MailServer.start());

async function assertDelivered(server: MailServer, recipient: string, name: string): Promise<void> {
  const stored = await server.maildir.of(recipient);
  assertSameBytes(stored.content, (await letter(name)).bytes, recipient);
}

describe("LMTP", () => {
  after(() => shared.end());

  it("smtplib: of two recipients one is refused, the other gets the message", needs("python3"), async () => {
    const server = await shared.get();
    const [mail] = server.mails("lmtp-smtplib", [await letter("dots")]) as [Mail];
    const [result] = await sendWithSmtplib({
      protocol: "lmtp",
      mode: "plain",
      port: server.port("lmtp"),
      certificate: server.certificateFile,
      mails: [{ sender, recipients: ["somebody@elsewhere.example", mail.recipient], file: mail.file }],
    });
    assert.equal(result?.error, null);
    const refused = result?.refused["somebody@elsewhere.example"];
    assert.deepEqual(Object.keys(result?.refused ?? {}), ["somebody@elsewhere.example"]);
    assert.equal(refused?.[0], 550);
    assert.match(String(refused?.[1]), /^5\.7\.1 /);
    await assertDelivered(server, mail.recipient, "dots");
    assertReceived(await server.maildir.of(mail.recipient), "LMTP");
  });

  it("swaks", needs("swaks"), async () => {
    const server = await shared.get();
    const port = String(server.port("lmtp"));
    const to = "lmtp-swaks@example.com";
    const args = ["--protocol", "LMTP", "--server", "127.0.0.1", "--port", port, "--from", sender, "--to", to];
    const { code, out } = await runCommand("swaks", [...args, "--no-data-fixup", "--data", "-"], {
      input: onTheWire((await letter("dots")).bytes),
    });
    assert.equal(code, 0, out);
    await assertDelivered(server, to, "dots");
    assertReceived(await server.maildir.of(to), "LMTP");
  });

  it("each accepted recipient has a reply of its own, by DATA and by BDAT", { timeout: TEST_TIMEOUT_MS }, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("lmtp"));
    await client.expect(250, "LHLO raw.example.net");
    const { bytes } = await letter("dots");
    for (const kind of ["data", "bdat"]) {
      await client.expect(250, `MAIL FROM:<${sender}>`);
      await client.expect(250, `RCPT TO:<lmtp-first-${kind}@example.com>`);
      await client.expect(550, "RCPT TO:<somebody@elsewhere.example>");
      await client.expect(250, `RCPT TO:<lmtp-second-${kind}@example.com>`);
      if (kind === "data") await client.expect(354, "DATA");
      client.send(
        kind === "data" ? onTheWire(bytes) : Buffer.concat([Buffer.from(`BDAT ${bytes.length} LAST\r\n`), bytes]),
      );
      for (const reply of await client.replies(2)) assert.equal(reply.code, 250, reply.lines.join(" / "));
      for (const name of ["first", "second"]) await assertDelivered(server, `lmtp-${name}-${kind}@example.com`, "dots");
    }
    const quit = await client.expect(221, "QUIT");
    assert.equal(quit.lines.length, 1);
  });

  it("has no HELO and no EHLO", { timeout: TEST_TIMEOUT_MS }, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("lmtp"));
    await client.expect(500, "EHLO raw.example.net");
    await client.expect(500, "HELO raw.example.net");
    await client.expect(503, `MAIL FROM:<${sender}>`);
  });
});
