/** The limits of a listener on messages, recipients, octets and clients, met by real clients and by bare sockets. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { runCommand, ServerProcess, testKeyPair } from "../helpers/server_process.ts";
import { commonText, listenerText, sender, Shared } from "./mail_server.ts";
import { MaildirReader } from "./maildir.ts";
import { needs, TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";
import { sendWithSmtplib } from "./smtplib.ts";

const bounded = { timeout: TEST_TIMEOUT_MS };
const sizeLimit = 4096;

const shared = new Shared(() =>
  ServerProcess.start([
    commonText,
    listenerText("messages", ["session_max_messages = 2"]),
    listenerText("recipients", ["max_recipients = 3"]),
    listenerText("size", [`max_message_size = ${sizeLimit}`]),
    listenerText("crowd", ["max_concurrency = 50"]),
    listenerText("crowd-tls", ["max_concurrency = 1"], "implicit"),
  ].join("\n"))
);

const maildirOf = (server: ServerProcess) => new MaildirReader(join(server.directory, "mail"));

async function ready(server: ServerProcess, listener: string): Promise<RawClient> {
  const client = await RawClient.greeted(server.port(listener));
  await client.expect(250, "EHLO raw.example.net");
  return client;
}

/** Up to the 354. */
async function begin(client: RawClient, recipient: string): Promise<void> {
  await client.expect(250, `MAIL FROM:<${sender}>`);
  await client.expect(250, `RCPT TO:<${recipient}>`);
  await client.expect(354, "DATA");
}

async function fileOf(server: ServerProcess, name: string, octets: number): Promise<string> {
  const directory = join(server.directory, "sizes");
  await mkdir(directory, { recursive: true });
  const file = join(directory, name);
  await writeFile(file, `Subject: Size\r\n\r\n${"x".repeat(octets - 19)}\r\n`);
  return file;
}

describe("Limits", () => {
  after(() => shared.end());

  it(
    "smtplib: session_max_messages refuses the message too many, and a new session takes it",
    needs("python3"),
    async () => {
      const server = await shared.get();
      const file = await fileOf(server, "small", 100);
      const mail = (name: string) => ({ sender, recipients: [`count-${name}@example.com`], file });
      const job = {
        mode: "plain" as const,
        port: server.port("messages"),
        certificate: join(server.directory, "cert.pem"),
      };
      const results = await sendWithSmtplib({ ...job, mails: [mail("1"), mail("2"), mail("3")] });
      assert.deepEqual(results.map((result) => result.error), [null, null, "SMTPSenderRefused"]);
      assert.equal(results[2]?.reply?.[0], 451);
      assert.match(results[2]?.reply?.[1] ?? "", /^4\.5\.3 /);
      const [again] = await sendWithSmtplib({ ...job, mails: [mail("3")] });
      assert.equal(again?.error, null);
      await maildirOf(server).ofEach(["1", "2", "3"].map((name) => `count-${name}@example.com`));
    },
  );

  it("session_max_messages is advertised, and RSET does not start it again", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("messages"));
    const hello = await client.expect(250, "EHLO raw.example.net");
    assert.ok(hello.lines.some((line) => /^250.LIMITS .*\bMAILMAX=2\b/.test(line)), hello.lines.join("\n"));
    for (let count = 0; count < 2; count++) {
      await client.expect(250, `MAIL FROM:<${sender}>`);
      await client.expect(250, "RSET");
    }
    const refused = await client.command(`MAIL FROM:<${sender}>`);
    assert.match(refused.lines[0] ?? "", /^451 4\.5\.3 /);
  });

  it("smtplib: max_recipients refuses those too many, the others get the message", needs("python3"), async () => {
    const server = await shared.get();
    const file = await fileOf(server, "small", 100);
    const recipients = Array.from({ length: 5 }, (_, index) => `rcpt-${index}@example.com`);
    const job = {
      mode: "plain" as const,
      port: server.port("recipients"),
      certificate: join(server.directory, "cert.pem"),
    };
    const [result] = await sendWithSmtplib({ ...job, mails: [{ sender, recipients, file }] });
    assert.equal(result?.error, null);
    assert.deepEqual(Object.keys(result?.refused ?? {}), recipients.slice(3));
    for (const [code, text] of Object.values(result?.refused ?? {})) {
      assert.equal(code, 452);
      assert.match(text, /^4\.5\.3 /);
    }
    const mailbox = maildirOf(server);
    await mailbox.ofEach(recipients.slice(0, 3));
    assert.equal((await mailbox.all()).filter((mail) => mail.deliveredTo.startsWith("rcpt-")).length, 3);
  });

  it("curl: a message that is announced too large is refused at MAIL", needs("curl"), async () => {
    const server = await shared.get();
    const send = async (octets: number) => {
      const file = await fileOf(server, `curl-${octets}`, octets);
      const url = `smtp://127.0.0.1:${server.port("size")}`;
      const to = `curl-${octets}@example.com`;
      const args = ["--disable", "-sv", "--url", url, "--mail-from", sender, "--mail-rcpt", to, "-T", file];
      return await runCommand("curl", args);
    };
    const fits = await send(sizeLimit);
    assert.equal(fits.code, 0, fits.err);
    const tooLarge = await send(sizeLimit + 1);
    assert.notEqual(tooLarge.code, 0);
    assert.match(tooLarge.err, /^> MAIL FROM:<sender@example\.org> SIZE=4097/m);
    assert.match(tooLarge.err, /^< 552 5\.3\.4 /m);
    const stored = await maildirOf(server).of(`curl-${sizeLimit}@example.com`);
    assert.equal(stored.content.length, sizeLimit);
  });

  it("a message that turns out too large is refused at its end, and the session goes on", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server, "size");
    await begin(client, "drained@example.com");
    const lines = "RSET is text here\r\nQUIT as well\r\n".repeat(20_000);
    client.send(`Subject: Large\r\n\r\n${lines}.\r\nNOOP\r\n`);
    assert.match((await client.reply()).lines[0] ?? "", /^552 5\.3\.4 /);
    assert.equal((await client.reply()).code, 250);
    await begin(client, "after-drained@example.com");
    await client.expect(250, "Subject: Small\r\n\r\n.");
    const mailbox = maildirOf(server);
    await mailbox.of("after-drained@example.com");
    assert.ok((await mailbox.all()).every((mail) => mail.deliveredTo !== "drained@example.com"));
  });

  it("exactly max_message_size is taken, one octet more is not, dots undoubled", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server, "size");
    // 500 lines of two octets and their ends, the dots doubled on the wire and single in the count.
    const body = "..\r\n".repeat(500);
    const filler = "x".repeat(sizeLimit - 4 - 500 * 3 - 2);
    await begin(client, "exact@example.com");
    await client.expect(250, `\r\n\r\n${body}${filler}\r\n.`);
    await begin(client, "one-more@example.com");
    await client.expect(552, `\r\n\r\n${body}${filler}x\r\n.`);
    const stored = await maildirOf(server).of("exact@example.com");
    assert.equal(stored.content.length, sizeLimit);
  });

  it(
    "the client above max_concurrency gets 421 4.3.2, and a place that becomes free is given again",
    bounded,
    async () => {
      const server = await shared.get();
      using clients = new DisposableStack();
      const seated: RawClient[] = [];
      for (let count = 0; count < 50; count++) seated.push(clients.use(await RawClient.greeted(server.port("crowd"))));
      using late = await RawClient.connect(server.port("crowd"));
      assert.match(await late.rest(), /^421 4\.3\.2 [^\r\n]*\r\n$/);
      await seated[7]?.expect(221, "QUIT");
      assert.equal(await seated[7]?.rest(), "");
      using next = await greetedInTime(server.port("crowd"));
      await next.expect(250, "EHLO raw.example.net");
      // Those who were there are not disturbed.
      await seated[49]?.expect(250, "NOOP");
    },
  );

  it("with implicit TLS the 421 comes encrypted", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    using first = await RawClient.connectTls(server.port("crowd-tls"), certificate);
    assert.equal((await first.reply()).code, 220);
    using late = await RawClient.connectTls(server.port("crowd-tls"), certificate);
    assert.match(await late.rest(), /^421 4\.3\.2 /);
  });
});

/** The place of a client that left is free a moment after its connection ended. */
async function greetedInTime(port: number): Promise<RawClient> {
  for (let attempt = 1;; attempt++) {
    const client = await RawClient.connect(port);
    const { code } = await client.reply();
    if (code === 220) return client;
    client[Symbol.dispose]();
    assert.ok(attempt < 200, `There was still no place: ${code}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
