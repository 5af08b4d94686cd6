/** Messages in chunks (RFC 3030), which few clients send: every message of the corpus, cut in several ways, pipelined. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { testKeyPair } from "../helpers/server_process.ts";
import { assertSameBytes, letters } from "./letters.ts";
import { type Mail, MailServer, type Mode, modes, sender, Shared } from "./mail_server.ts";
import { TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";

const shared = new Shared(() => MailServer.start());

/** The sizes of the chunks; the last one is LAST. */
type Cut = (octets: number) => readonly number[];

const cuts: readonly Cut[] = [
  (octets) => [octets],
  (octets) => [octets, 0],
  (octets) => pieces(octets, 1000),
  (octets) => [0, ...pieces(octets, octets > 300 ? 333 : 1)],
];

function pieces(octets: number, size: number): readonly number[] {
  const whole = Array.from({ length: Math.floor(octets / size) }, () => size);
  return [...whole, octets % size];
}

async function open(server: MailServer, mode: Mode): Promise<RawClient> {
  const { certificate } = await testKeyPair();
  if (mode === "implicit") {
    const client = await RawClient.connectTls(server.port(mode), certificate);
    await client.reply();
    return client;
  }
  const client = await RawClient.greeted(server.port(mode));
  if (mode === "starttls") {
    await client.expect(250, "EHLO raw.example.net");
    await client.expect(220, "STARTTLS");
    await client.startTls(certificate);
  }
  return client;
}

/** The whole transaction in one go; the replies come afterwards. */
async function sendByBdat(client: RawClient, mail: Mail, bytes: Uint8Array, sizes: readonly number[], body: string) {
  const parts: Uint8Array[] = [];
  const line = (text: string) => parts.push(Buffer.from(`${text}\r\n`));
  line(`MAIL FROM:<${sender}> BODY=${body}`);
  line(`RCPT TO:<${mail.recipient}>`);
  let at = 0;
  sizes.forEach((size, index) => {
    line(`BDAT ${size}${index === sizes.length - 1 ? " LAST" : ""}`);
    parts.push(bytes.subarray(at, at + size));
    at += size;
  });
  assert.equal(at, bytes.length);
  client.send(Buffer.concat(parts));
  for (const reply of await client.replies(2 + sizes.length)) assert.equal(reply.code, 250, reply.lines.join(" / "));
}

describe("Messages sent in chunks are stored octet by octet", () => {
  after(() => shared.end());

  for (const mode of modes) {
    it(`BDAT, ${mode}`, { timeout: TEST_TIMEOUT_MS }, async () => {
      const server = await shared.get();
      const mails = server.mails(`bdat-${mode}`, await letters());
      using client = await open(server, mode);
      const hello = await client.expect(250, "EHLO raw.example.net");
      for (const keyword of ["CHUNKING", "BINARYMIME", "PIPELINING"]) assert.ok(hello.lines.includes(`250-${keyword}`));
      for (const [index, mail] of mails.entries()) {
        const { bytes } = mail.letter;
        const cut = cuts[index % cuts.length] as Cut;
        await sendByBdat(client, mail, bytes, cut(bytes.length), index % 2 === 0 ? "8BITMIME" : "BINARYMIME");
      }
      await client.expect(221, "QUIT");
      // Unlike DATA, a chunk needs no end of the last line, and nothing is added.
      await server.assertStored(mails, mode, (bytes) => bytes);
    });
  }

  it("BINARYMIME keeps every octet, line ends and NUL included", { timeout: TEST_TIMEOUT_MS }, async () => {
    const server = await shared.get();
    const octets = Buffer.from(Array.from({ length: 256 * 256 }, (_, index) => index % 257 === 0 ? 10 : index & 255));
    const header = Buffer.from("Subject: Binary\r\nContent-Transfer-Encoding: binary\r\n\r\n");
    const bytes = Buffer.concat([header, octets, Buffer.from("\r\n.\r\nQUIT\r\n.\n.\r.\r\0")]);
    const mail: Mail = { recipient: "binary@example.com", letter: { name: "binary", bytes }, file: "" };
    using client = await open(server, "plain");
    await client.expect(250, "EHLO raw.example.net");
    await sendByBdat(client, mail, bytes, pieces(bytes.length, 5000), "BINARYMIME");
    const stored = await server.maildir.of(mail.recipient);
    assertSameBytes(stored.content, bytes, "The binary message");
  });
});
