/**
 * Mail that smtpd sends on: to another smtpd, over every kind of TLS, over LMTP and a UNIX socket, to Postfix's sink, and
 * from one server to another by configuration alone. What arrives is what was sent, octet by octet.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { jobOf } from "../channel/channel_world.ts";
import { gateway, kinds, openLmtp, openSmtp } from "../channel/smtp_world.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { freePorts, ServerProcess, testKeyPair } from "../helpers/server_process.ts";
import { asData, assertSameBytes, letter, letters } from "./letters.ts";
import { MaildirReader } from "./maildir.ts";
import { commonText, listenerText, MailServer, sender, Shared } from "./mail_server.ts";
import { needs, TEST_TIMEOUT_MS } from "./programs.ts";
import { RawClient } from "./raw_client.ts";

const shared = new Shared(() => MailServer.start());
const options = { timeout: TEST_TIMEOUT_MS };

/** A job for one recipient of the server. */
function jobTo(recipient: string, content: Uint8Array) {
  const job = jobOf(content, 1, 1, { reversePath: sender }, 4096);
  const recipients = job.recipients.map((each) => ({ ...each, delivery: { ...each.delivery, recipient } }));
  return { ...job, recipients };
}

describe("outbound to another smtpd", () => {
  after(() => shared.end());

  it("the corpus over STARTTLS, verified, and over one connection", options, async () => {
    const server = await shared.get();
    const tls = { tls: "verified", tls_ca: server.certificateFile, host: "localhost" };
    await using channel = await openSmtp(gateway(server.port("starttls"), tls));
    const all = await letters();
    for (const [index, { bytes, name }] of all.entries()) {
      const [outcome] = await outcomesOf(channel, jobTo(`out-${index}@example.com`, bytes));
      assert.equal(outcome?.kind, "delivered", `${name}: ${outcome?.detail}`);
    }
    const stored = await server.maildir.ofEach(all.map((_, index) => `out-${index}@example.com`));
    for (const [index, mail] of stored.entries()) {
      const { bytes, name } = all[index]!;
      assertSameBytes(mail.content, bytes.length === 0 ? bytes : asData(bytes), name);
      assert.match(mail.received, / with ESMTPS \(TLSv1\.3 /);
    }
  });

  it("each mode of TLS, with and without what it asks for", options, async () => {
    const server = await shared.get();
    const { bytes } = await letter("dots");
    const ca = { tls_ca: server.certificateFile };
    let count = 0;
    const send = async (listener: "plain" | "starttls" | "implicit", more: Readonly<Record<string, unknown>>) => {
      await using channel = await openSmtp(gateway(server.port(listener), more));
      const recipient = `tls-${count++}@example.com`;
      const [outcome] = await outcomesOf(channel, jobTo(recipient, bytes));
      if (outcome?.kind !== "delivered") return outcome?.detail;
      const { received, content } = await server.maildir.of(recipient);
      assertSameBytes(content, bytes, recipient);
      return received.includes(" with ESMTPS ") ? "encrypted" : "plain";
    };
    assert.equal(await send("plain", { tls: "opportunistic" }), "plain");
    assert.equal(await send("starttls", { tls: "opportunistic" }), "encrypted");
    assert.equal(await send("starttls", { tls: "off" }), "plain");
    assert.equal(await send("starttls", { tls: "required" }), "encrypted");
    assert.match(await send("plain", { tls: "required" }) ?? "", /does not offer STARTTLS/);
    assert.match(await send("starttls", { tls: "verified" }) ?? "", /certificate is self-signed/);
    assert.equal(await send("starttls", { tls: "verified", ...ca }), "encrypted");
    const other = { tls: "verified", tls_server_name: "other.example.com", ...ca };
    assert.match(await send("starttls", other) ?? "", /certificate is for another host/);
    assert.equal(await send("implicit", { tls: "implicit", ...ca }), "encrypted");
    assert.match(await send("implicit", { tls: "implicit" }) ?? "", /certificate is self-signed/);
  });

  it("opportunistic TLS that does not work is done without; plain text behind its reply is not", options, async () => {
    const server = await shared.get();
    const { bytes } = await letter("plain");
    const before = server.port("plain");
    let connections = 0;
    // Offers STARTTLS and then speaks no TLS, or puts a reply of its own behind the 220.
    const meddler = createServer((client) => {
      connections++;
      const upstream = connect({ host: "127.0.0.1", port: before });
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
      upstream.on("data", (piece: Uint8Array) => {
        client.write(Buffer.from(piece).toString("latin1").replace(/^250 HELP/m, "250-STARTTLS\r\n250 HELP"));
      });
      client.on("data", (piece: Uint8Array) => {
        if (!Buffer.from(piece).toString("latin1").startsWith("STARTTLS")) return void upstream.write(piece);
        client.write("220 Go on\r\n250 injected\r\n");
      });
    });
    await new Promise<void>((resolve) => meddler.listen({ host: "127.0.0.1", port: 0 }, () => resolve()));
    const address = meddler.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    try {
      await using strict = await openSmtp(gateway(port, { tls: "required", reply_timeout: 5 }));
      const [refused] = await outcomesOf(strict, jobTo("meddled@example.com", bytes));
      assert.equal(refused?.kind, "deferred");
      await using loose = await openSmtp(gateway(port, { tls: "opportunistic", reply_timeout: 5 }));
      assert.deepEqual(kinds(await outcomesOf(loose, jobTo("unmeddled@example.com", bytes))), ["delivered"]);
      assert.equal(connections, 3);
    } finally {
      await new Promise<void>((resolve) => meddler.close(() => resolve()));
    }
  });

  it("LMTP over TCP and over a UNIX socket, with an outcome for each recipient", options, async () => {
    const server = await shared.get();
    const { bytes } = await letter("dots");
    const directory = await mkdtemp(join(tmpdir(), "smtpd-lmtp-"));
    const path = join(directory, "lmtp");
    const clients = new Set<Socket>();
    const door = createServer((client) => {
      clients.add(client);
      const upstream = connect({ host: "127.0.0.1", port: server.port("lmtp") });
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
      client.pipe(upstream);
      upstream.pipe(client);
    });
    await new Promise<void>((resolve) => door.listen({ path }, () => resolve()));
    try {
      for (
        const [name, more] of [["tcp", gateway(server.port("lmtp"))], ["unix", { socket_path: path }]] as const
      ) {
        await using channel = await openLmtp(more);
        const job = jobOf(bytes, 3, 1, { reversePath: sender });
        const to = [`${name}-1@example.com`, "x@elsewhere.example", `${name}-2@example.com`];
        const recipients = job.recipients.map((each, index) => ({
          ...each,
          delivery: { ...each.delivery, recipient: to[index] ?? "" },
        }));
        assert.deepEqual(kinds(await outcomesOf(channel, { ...job, recipients })), [
          "delivered",
          "failed",
          "delivered",
        ]);
        for (const mail of await server.maildir.ofEach([`${name}-1@example.com`, `${name}-2@example.com`])) {
          assertSameBytes(mail.content, bytes, name);
        }
      }
    } finally {
      // A socket whose ends were piped together may stay half open.
      for (const client of clients) client.destroy();
      await new Promise<void>((resolve) => door.close(() => resolve()));
      await rm(directory, { recursive: true });
    }
  });
});

it("one smtpd relays to another by configuration alone, while that one is down at first", options, async () => {
  const { bytes } = await letter("eight_bit");
  const [port = 0] = await freePorts(1);
  await using relay = await ServerProcess.start(`${commonText}
${listenerText("inbound")}
[[listener.binding]]
name = "onward"
recipients = ["*@example.net"]
deliver = ["relay"]

[[channel]]
name = "relay"
type = "smtp"
host = "127.0.0.1"
port = ${port}

[channel.retry]
first_delay = "1s"
`);
  const client = await RawClient.greeted(relay.port());
  await client.expect(250, "EHLO raw.example.net");
  await client.expect(250, `MAIL FROM:<${sender}> BODY=8BITMIME`);
  await client.expect(250, "RCPT TO:<box@example.net>");
  client.send(Buffer.from(`BDAT ${bytes.length} LAST\r\n`));
  client.send(bytes);
  assert.equal((await client.replies(1))[0]?.code, 250);
  client[Symbol.dispose]();
  const { detail } = await relay.logged((entry) => entry.event === "deferred");
  assert.match(String(detail), /ECONNREFUSED/);
  const text = `${commonText}${listenerText("final")}`.replace("*@example.com", "*@example.net");
  await using final = await ServerProcess.start(text.replace("port = 0", `port = ${port}`));
  const delivered = await relay.logged((entry) => entry.event === "delivered");
  assert.match(String(delivered["detail"]), /^Taken by 127\.0\.0\.1:\d+: 250 2\.0\.0 Queued as /);
  await final.logged((entry) => entry.event === "delivered");
  const { content } = await new MaildirReader(join(final.directory, "mail")).of("box@example.net");
  // The relay's own Received stands above what was sent.
  assert.match(content.toString("latin1"), /^Received: from raw\.example\.net /);
  assertSameBytes(content.subarray(content.length - bytes.length), bytes, "relayed");
});

it("smtp-sink takes many messages over few connections", needs("smtp-sink"), async () => {
  const [port = 0] = await freePorts(1);
  const root = typeof process.getuid === "function" && process.getuid() === 0;
  const args = [...root ? ["-u", "nobody"] : [], `127.0.0.1:${port}`, "100"];
  const sink = spawn("smtp-sink", args, { stdio: "ignore" });
  try {
    await reachable(port);
    const { bytes } = await letter("attachment");
    await using channel = await openSmtp(gateway(port, { tls: "opportunistic" }));
    for (let count = 0; count < 50; count++) {
      assert.deepEqual(kinds(await outcomesOf(channel, jobOf(bytes, 5))), Array(5).fill("delivered"));
    }
  } finally {
    sink.kill("SIGKILL");
  }
});

async function reachable(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const answered = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: "127.0.0.1", port });
      socket.once("data", () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.once("data", () => socket.destroy());
    });
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("smtp-sink did not start");
}

// The pair is made once for all tests of the process; here it is made before the clock of a test runs.
await testKeyPair();
