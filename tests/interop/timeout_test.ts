/** The time limit of a session, met by sockets that stop where they should go on, or never stop. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { join } from "node:path";
import { ServerProcess, testKeyPair } from "../helpers/server_process.ts";
import { commonText, listenerText, sender, Shared } from "./mail_server.ts";
import { MaildirReader } from "./maildir.ts";
import { TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";

const bounded = { timeout: TEST_TIMEOUT_MS };

/** Time enough for the commands before a client stops, on a busy machine too. */
const limit = "session_timeout = 2";

const shared = new Shared(() =>
  ServerProcess.start([
    commonText,
    listenerText("plain", [limit], "starttls"),
    listenerText("implicit", [limit], "implicit"),
  ].join("\n"))
);

async function ready(server: ServerProcess): Promise<RawClient> {
  const client = await RawClient.greeted(server.port("plain"));
  await client.expect(250, "EHLO raw.example.net");
  return client;
}

describe("session_timeout", () => {
  after(() => shared.end());

  it("ends a session between commands with 421 4.4.2", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server);
    assert.match(await client.rest(), /^421 4\.4\.2 [^\r\n]*\r\n$/);
  });

  it("ends a session that is never quiet", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server);
    const ticking = setInterval(() => client.send("NOOP\r\n"), 50);
    try {
      assert.match(await client.rest(), /^(?:250 2\.0\.0 [^\r\n]*\r\n)+421 4\.4\.2 [^\r\n]*\r\n$/);
    } finally {
      clearInterval(ticking);
    }
  });

  it("ends a session in mid-data, and nothing of the message remains", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server);
    await client.expect(250, `MAIL FROM:<${sender}>`);
    await client.expect(250, "RCPT TO:<unfinished@example.com>");
    await client.expect(354, "DATA");
    const ticking = setInterval(() => client.send("A line that never ends the message\r\n"), 50);
    try {
      assert.match(await client.rest(), /^421 4\.4\.2 [^\r\n]*\r\n$/);
    } finally {
      clearInterval(ticking);
    }
    assert.deepEqual(JSON.parse((await server.command("queue", "list", "--json")).out), []);
    assert.ok(
      (await new MaildirReader(join(server.directory, "mail")).all()).every((mail) =>
        mail.deliveredTo !== "unfinished@example.com"
      ),
    );
  });

  it("ends a session in the middle of a chunk", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server);
    await client.expect(250, `MAIL FROM:<${sender}>`);
    await client.expect(250, "RCPT TO:<unfinished@example.com>");
    client.send("BDAT 100000 LAST\r\nSubject: ");
    assert.match(await client.rest(), /^421 4\.4\.2 [^\r\n]*\r\n$/);
  });

  it("ends a client that never begins its handshake", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.connect(server.port("implicit"));
    await client.rest();
  });

  it("ends a client that stops in the middle of its handshake", bounded, async () => {
    const server = await shared.get();
    using client = await RawClient.connect(server.port("implicit"));
    // A record that announces 512 octets of a ClientHello, of which the first few come.
    client.send(Uint8Array.of(0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03));
    await client.rest();
  });

  it("ends a client that stops behind STARTTLS", bounded, async () => {
    const server = await shared.get();
    using client = await ready(server);
    await client.expect(220, "STARTTLS");
    await client.rest();
  });

  it("holds over TLS as well", bounded, async () => {
    const server = await shared.get();
    const { certificate } = await testKeyPair();
    using client = await RawClient.connectTls(server.port("implicit"), certificate);
    assert.equal((await client.reply()).code, 220);
    assert.match(await client.rest(), /^421 4\.4\.2 [^\r\n]*\r\n$/);
  });

  it("leaves no session and no error behind", bounded, async () => {
    const server = await shared.get();
    let ended = 0;
    await server.logged((entry) => entry.event === "session ended" && ++ended === 8);
    assert.equal(await server.stop(), 0);
    assert.deepEqual(server.log.filter((entry) => entry.level === "error"), []);
  });
});
