/**
 * How the server ends: signals, sessions in every state, and that nothing it took is lost by it.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { ServerProcess } from "../helpers/server_process.ts";
import { makeMail, readMaildir } from "./mail.ts";
import { dotStuffed, queuedId, RawClient, sendMail } from "./raw_client.ts";
import { maildirConfig, maildirOf, queueEmpty } from "./setup.ts";

const timeout = 60_000;
/** Far longer than a test may take: who waits for it fails. */
const ENDLESS_GRACE = 'shutdown_grace = "1h"';

/** Resolves with the error code of an attempt to connect, or "connected". */
function connectOutcome(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve("connected");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/** A client that has sent half of a message. */
async function inMidData(port: number, id: string): Promise<{ client: RawClient; rest: Uint8Array }> {
  const client = await RawClient.greet(port);
  await client.command("MAIL FROM:<sender@example.org>", 250);
  await client.command("RCPT TO:<box@example.com>", 250);
  await client.command("DATA", 354);
  const text = dotStuffed(makeMail(id, 100_000));
  await client.write(text.subarray(0, 50_000));
  return { client, rest: Buffer.concat([text.subarray(50_000), Buffer.from(".\r\n")]) };
}

async function expectShutdown(client: RawClient): Promise<void> {
  const reply = await client.expect(421);
  assert.match(reply.lines[0] ?? "", /^421 4\.3\.2 /);
  await client.closed;
}

async function stopping(server: ServerProcess, count: number): Promise<void> {
  await server.logged((entry) => entry.event === "stopping" && entry["count"] === count);
}

/** What the maildir holds once everything that was left in the spool is delivered. */
async function deliveredAfterRestart(server: ServerProcess): Promise<readonly string[]> {
  await server.restart();
  await queueEmpty(server);
  assert.equal(await server.stop(), 0);
  const { copies, damaged } = await readMaildir(maildirOf(server));
  assert.deepEqual(damaged, []);
  return [...copies.keys()].sort();
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(
    `${signal}: idle sessions get 421 at once, transactions in progress end with their 250`,
    { timeout },
    async () => {
      await using server = await ServerProcess.start(maildirConfig({ head: ENDLESS_GRACE }));
      const idle = await RawClient.greet(server.port());
      const silent = await RawClient.connect(server.port());
      await silent.expect(220);
      const begun = await RawClient.greet(server.port());
      await begun.command("MAIL FROM:<sender@example.org>", 250);
      const chunked = await RawClient.greet(server.port());
      await chunked.command("MAIL FROM:<sender@example.org>", 250);
      await chunked.command("RCPT TO:<box@example.com>", 250);
      const chunks = makeMail("chunked", 40_000);
      await chunked.write("BDAT 20000\r\n");
      await chunked.write(chunks.subarray(0, 10_000));
      const half = await inMidData(server.port(), "half");

      server.signal(signal);
      await stopping(server, 1);
      await expectShutdown(idle);
      await expectShutdown(silent);
      assert.equal(await connectOutcome(server.port()), "ECONNREFUSED");

      await begun.command("RCPT TO:<box@example.com>", 250);
      await begun.command("DATA", 354);
      await begun.write(dotStuffed(makeMail("begun", 300)));
      queuedId(await begun.command("."));
      await expectShutdown(begun);
      await half.client.write(half.rest);
      queuedId(await half.client.reply());
      await expectShutdown(half.client);
      assert.ok(server.running, "A transaction was in progress, and the server has ended");
      await chunked.write(chunks.subarray(10_000, 20_000));
      await chunked.expect(250);
      await chunked.write(`BDAT ${chunks.length - 20_000} LAST\r\n`);
      await chunked.write(chunks.subarray(20_000));
      queuedId(await chunked.reply());
      await expectShutdown(chunked);

      assert.equal(await server.exited, 0);
      assert.deepEqual(await deliveredAfterRestart(server), ["begun", "chunked", "half"]);
    },
  );
}

test("A transaction that is given up during the grace ends its session", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig({ head: ENDLESS_GRACE }));
  const client = await RawClient.greet(server.port());
  await client.command("MAIL FROM:<sender@example.org>", 250);
  server.signal("SIGTERM");
  await stopping(server, 1);
  await client.command("RSET", 250);
  await expectShutdown(client);
  assert.equal(await server.exited, 0);
});

test("A second signal ends the grace: 421 in mid-data, exit 0, nothing acknowledged is lost", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig({ head: ENDLESS_GRACE }));
  const sender = await RawClient.greet(server.port());
  for (let number = 0; number < 20; number++) {
    await sendMail(sender, { content: makeMail(`acknowledged-${number}`, 3_000) });
  }
  const half = await inMidData(server.port(), "half");
  server.signal("SIGTERM");
  await stopping(server, 1);
  await expectShutdown(sender);
  assert.ok(server.running, "The first signal ended the server though a transaction was in progress");
  server.signal("SIGTERM");
  await expectShutdown(half.client);
  assert.equal(await server.exited, 0);
  const wanted = Array.from({ length: 20 }, (_, number) => `acknowledged-${number}`).sort();
  assert.deepEqual(await deliveredAfterRestart(server), wanted);
});

test("A second signal ends the server though a client neither reads nor leaves", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig({ head: ENDLESS_GRACE }));
  const deaf = await RawClient.connect(server.port(), { deaf: true });
  deaf.socket.write("EHLO client.example\r\nMAIL FROM:<sender@example.org>\r\n");
  // Far more replies than the sockets' buffers hold.
  deaf.socket.write("NOOP\r\n".repeat(2_000_000));
  const half = await inMidData(server.port(), "half");
  half.client.socket.pause();
  server.signal("SIGTERM");
  await stopping(server, 1);
  server.signal("SIGTERM");
  assert.equal(await server.exited, 0);
  deaf.destroy();
  half.client.destroy();
  assert.deepEqual(await deliveredAfterRestart(server), []);
});

test("When the grace has passed, sessions in mid-data get 421 and the server exits 0", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig({ head: 'shutdown_grace = "1s"' }));
  const half = await inMidData(server.port(), "half");
  server.signal("SIGTERM");
  await expectShutdown(half.client);
  assert.equal(await server.exited, 0);
  assert.deepEqual(await deliveredAfterRestart(server), []);
});

test("A stop while many clients send loses nothing that was acknowledged", { timeout }, async () => {
  await using server = await ServerProcess.start(maildirConfig());
  const acknowledged: string[] = [];
  const clients = Array.from({ length: 10 }, async (_, client) => {
    const smtp = await RawClient.greet(server.port());
    for (let number = 0;; number++) {
      const id = `c${client}-${number}`;
      try {
        await sendMail(smtp, { content: makeMail(id, 1_000 + number * 997 % 90_000) });
      } catch {
        return smtp.destroy();
      }
      acknowledged.push(id);
    }
  });
  await server.logged((entry) => entry.event === "accepted");
  while (acknowledged.length < 50) await new Promise((resolve) => setTimeout(resolve, 5));
  server.signal("SIGTERM");
  await Promise.all(clients);
  assert.equal(await server.exited, 0);
  const stored = new Set(await deliveredAfterRestart(server));
  assert.deepEqual(acknowledged.filter((id) => !stored.has(id)), []);
});
