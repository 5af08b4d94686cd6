/** STARTTLS (RFC 3207) over real sockets: nothing sent in plain text survives the handshake. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { ServerProcess, testKeyPair } from "../helpers/server_process.ts";
import { commonText, listenerText, sender, Shared } from "./mail_server.ts";
import { TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";

const bounded = { timeout: TEST_TIMEOUT_MS };

const shared = new Shared(() =>
  ServerProcess.start([
    commonText,
    listenerText("offered", [], "starttls"),
    listenerText("required", [], "required"),
    listenerText("off"),
  ].join("\n"))
);

async function hello(server: ServerProcess, listener: string): Promise<RawClient> {
  const client = await RawClient.greeted(server.port(listener));
  await client.expect(250, "EHLO plain.example.net");
  return client;
}

describe("STARTTLS", () => {
  after(() => shared.end());

  it("throws away what came behind it in the same packet", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    for (const injected of ["NOOP\r\n", `EHLO evil.example.net\r\nMAIL FROM:<evil@example.org>\r\n`, "HELP", "\r\n"]) {
      using client = await hello(server, "offered");
      client.send(`STARTTLS\r\n${injected}`);
      assert.match((await client.reply()).lines[0] ?? "", /^220 /);
      await client.startTls(certificate);
      // The injected commands would have been answered by now, before this.
      const reply = await client.command("NOOP");
      assert.match(reply.lines[0] ?? "", /^250 2\.0\.0 OK$/);
      const sequence = await client.command(`MAIL FROM:<${sender}>`);
      assert.equal(sequence.code, 503, "The EHLO before the handshake, or the injected one, still counts");
      await client.expect(250, "EHLO encrypted.example.net");
      await client.expect(250, `MAIL FROM:<${sender}>`);
      await client.expect(221, "QUIT");
      assert.equal(await client.rest(), "");
    }
  });

  it("takes plain text in place of the handshake for what it is", bounded, async () => {
    const server = await shared.get();
    using client = await hello(server, "offered");
    await client.expect(220, "STARTTLS");
    client.send(`EHLO evil.example.net\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n`);
    // A TLS alert may come, a reply may not.
    assert.doesNotMatch(await client.rest(), /^\d{3}[ -]/m);
    using other = await hello(server, "offered");
    await other.expect(250, "NOOP");
  });

  it("forgets the transaction and what EHLO said", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    using client = await hello(server, "offered");
    await client.expect(250, `MAIL FROM:<${sender}>`);
    await client.expect(250, "RCPT TO:<a@example.com>");
    const started = await client.command("STARTTLS");
    assert.equal(started.code, 220);
    await client.startTls(certificate);
    await client.expect(503, "RCPT TO:<b@example.com>");
    await client.expect(503, "DATA");
    const second = await client.expect(250, "EHLO encrypted.example.net");
    assert.ok(second.lines.every((line) => !/STARTTLS/.test(line)), "STARTTLS is offered again");
    await client.expect(503, "STARTTLS");
    await client.expect(503, "DATA");
  });

  it("required: nothing but hello goes before it", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    using client = await RawClient.greeted(server.port("required"));
    const offered = await client.expect(250, "EHLO plain.example.net");
    assert.ok(offered.lines.some((line) => /STARTTLS$/.test(line)));
    assert.match((await client.command(`MAIL FROM:<${sender}>`)).lines[0] ?? "", /^530 5\.7\.0 /);
    await client.expect(220, "STARTTLS");
    await client.startTls(certificate);
    await client.expect(250, "EHLO encrypted.example.net");
    await client.expect(250, `MAIL FROM:<${sender}>`);
  });

  it("off: it is neither offered nor accepted", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.greeted(server.port("off"));
    const offered = await client.expect(250, "EHLO plain.example.net");
    assert.ok(offered.lines.every((line) => !/STARTTLS/.test(line)));
    await client.expect(502, "STARTTLS");
    await client.expect(250, `MAIL FROM:<${sender}>`);
  });

  it("two hundred handshakes in a row, none hangs", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    for (let count = 0; count < 200; count++) {
      using client = await hello(server, "offered");
      await client.expect(220, "STARTTLS");
      await client.startTls(certificate);
      await client.expect(250, "EHLO encrypted.example.net");
    }
  });

  it("leaves no error in the log", bounded, async () => {
    const server = await shared.get();
    assert.equal(await server.stop(), 0);
    assert.deepEqual(server.log.filter((entry) => entry.level === "error"), []);
  });
});
