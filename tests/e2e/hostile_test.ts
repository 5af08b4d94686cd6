/**
 * Clients that mean no good, in bounded numbers, while an honest one goes on sending: it must succeed each time, the
 * server's memory must stay where it was, every session must end, and so must the server, in order.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import tls from "node:tls";
import { Duplex } from "node:stream";
import { ServerProcess } from "../helpers/server_process.ts";
import { mailWithBody, makeMail, readMaildir } from "./mail.ts";
import { dotStuffed, queuedId, RawClient, sendMail } from "./raw_client.ts";
import {
  isLinux,
  maildirConfig,
  maildirOf,
  memoryOf,
  mib,
  queueEmpty,
  resetPeak,
  skipUnless,
  until,
  wait,
} from "./setup.ts";

const timeout = 120_000;
const skip = skipUnless(isLinux, "hostile clients", "the server's memory is read from /proc");
const MIB = 1024 * 1024;
/** Resident memory afterwards, over what it was before. */
const MAX_LEFT_BYTES = 64 * MIB;
/** And at its peak, with what waits for the garbage collector: far below what unbounded growth would come to. */
const MAX_PEAK_BYTES = 96 * MIB;

/** Sessions may last this long, so the server itself has to end those of clients that do not leave. */
const SHORT_SESSIONS = 'session_timeout = "4s"';

function config(listener: string): string {
  return maildirConfig({
    listener: `max_concurrency = 2000\n${listener}`,
    more: `[[listener]]
name = "secure"
listen_ip = "127.0.0.1"
port = 0
max_concurrency = 2000
${listener}
tls = { mode = "implicit", certificate = "cert.pem", private_key = "key.pem" }
`,
  });
}

interface Scene {
  readonly server: ServerProcess;
  readonly plain: number;
  readonly secure: number;
  /** Connections the hostile clients have made, each of which must have its "session ended". */
  opened: number;
}

/** Sends one message after another until told to stop; rejects when one is not taken. */
async function honestly(port: number, name: string, goOn: () => boolean): Promise<readonly string[]> {
  const ids: string[] = [];
  do {
    const id = `${name}-${ids.length}`;
    const client = await RawClient.greet(port);
    await sendMail(client, { content: makeMail(id, 3_000) });
    await client.quit();
    ids.push(id);
    await wait(20);
  } while (goOn());
  return ids;
}

/** Plays a hostile client's part while an honest one sends, and looks at the server afterwards. */
function hostile(name: string, attack: (scene: Scene) => Promise<void>, listener = ""): void {
  test(`${name}: no harm to others`, { timeout, skip }, async () => {
    await using server = await ServerProcess.start(config(listener));
    const scene: Scene = { server, plain: server.port("inbound"), secure: server.port("secure"), opened: 0 };
    const before = await honestly(scene.plain, "before", () => false);
    const rssBefore = resetPeak(server.pid);
    let attacking = true;
    const during = honestly(scene.plain, "during", () => attacking);
    // It is awaited below; if the attack fails first, that is the failure to tell.
    during.catch(() => {});
    try {
      await attack(scene);
    } finally {
      attacking = false;
    }
    const ids = [...before, ...await during, ...await honestly(scene.plain, "after", () => false)];
    await until("every session has ended", () => endedSessions(server) >= scene.opened + ids.length);
    const peak = memoryOf(server.pid, "VmHWM") - rssBefore;
    const left = memoryOf(server.pid, "VmRSS") - rssBefore;
    console.log(`hostile: ${name}: peak +${mib(peak)}, left +${mib(left)}, honest messages ${ids.length}`);
    assert.ok(left < MAX_LEFT_BYTES, `Resident memory grew by ${mib(left)}`);
    assert.ok(peak < MAX_PEAK_BYTES, `Resident memory grew by ${mib(peak)} for a while`);
    await queueEmpty(server);
    assert.equal(await server.stop(), 0);
    assert.equal(endedSessions(server), scene.opened + ids.length);
    assert.deepEqual(server.log.filter(({ level }) => level === "error"), []);
    assert.equal(server.stderr, "");
    const { copies, damaged } = await readMaildir(maildirOf(server));
    assert.deepEqual(damaged, []);
    assert.deepEqual(ids.filter((id) => !copies.has(id)), []);
  });
}

function endedSessions(server: ServerProcess): number {
  return server.log.filter(({ event }) => event === "session ended").length;
}

/** So many clients at one time, each counted. */
async function crowd(scene: Scene, count: number, play: (number: number) => Promise<void>): Promise<void> {
  scene.opened += count;
  await Promise.all(Array.from({ length: count }, (_, number) => play(number)));
}

/** Writes until all is written or the server has hung up, whichever comes first. */
async function push(client: RawClient, pieces: Iterable<Uint8Array | string>): Promise<void> {
  try {
    for (const piece of pieces) await client.write(piece);
  } catch {
    // The server does not have to listen to all of it.
  }
}

hostile("Random bytes", async (scene) => {
  await crowd(scene, 20, async () => {
    const client = await RawClient.connect(scene.plain);
    await push(client, Array.from({ length: 16 }, () => randomBytes(64 * 1024)));
    client.socket.end();
    await client.closed;
  });
});

hostile("A line of 64 MiB without an end", async (scene) => {
  await crowd(scene, 1, async () => {
    const client = await RawClient.greet(scene.plain);
    const piece = new Uint8Array(1024 * 1024).fill(0x41);
    for (let sent = 0; sent < 64; sent++) await client.write(piece);
    const reply = await client.command("", 500);
    assert.match(reply.lines[0] ?? "", /^500 5\.5\.2 Line too long/);
    await client.command("NOOP", 250);
    await client.quit();
  });
});

hostile("A line of 16 MiB within a message", async (scene) => {
  const line = new Uint8Array(16 * 1024 * 1024 + 2).fill(0x42);
  line.set([13, 10], line.length - 2);
  await crowd(scene, 1, async () => {
    const client = await RawClient.greet(scene.plain);
    await sendMail(client, { content: mailWithBody("long-line", line) });
    await client.quit();
  });
  await queueEmpty(scene.server);
  assert.equal((await readMaildir(maildirOf(scene.server))).copies.get("long-line"), 1);
});

hostile("A dialog that drips byte by byte", async (scene) => {
  const words = Buffer.concat([
    Buffer.from("EHLO drip.example\r\nMAIL FROM:<drip@example.org>\r\nRCPT TO:<box@example.com>\r\nDATA\r\n"),
    dotStuffed(mailWithBody("drip", Buffer.from(".\r\n..\r\nlast line\r\n"))),
    Buffer.from(".\r\nQUIT\r\n"),
  ]);
  await crowd(scene, 50, async () => {
    const client = await RawClient.connect(scene.plain);
    for (const octet of words) {
      await client.write(new Uint8Array([octet]));
      await wait(1);
    }
    for (const code of [220, 250, 250, 250, 354]) await client.expect(code);
    queuedId(await client.reply());
    await client.expect(221);
    await client.closed;
  });
  await queueEmpty(scene.server);
  assert.equal((await readMaildir(maildirOf(scene.server))).copies.get("drip"), 50);
});

hostile("Connections that say nothing, or stop within a command", async (scene) => {
  await crowd(scene, 200, async (number) => {
    const client = await RawClient.connect(scene.plain);
    await client.expect(220);
    if (number % 4 === 1) await client.write("EHLO cli");
    if (number % 4 === 2) await client.write("EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCP");
    // Half-open: no more from us, and we still listen.
    if (number % 4 === 3) client.socket.end("NOO");
    else {
      if (number % 4 === 2) { for (const code of [250, 250]) await client.expect(code); }
      assert.match((await client.expect(421)).lines[0] ?? "", /^421 4\.4\.2 /);
    }
    await client.closed;
  });
}, SHORT_SESSIONS);

hostile("Clients that pipeline without end and read no reply", async (scene) => {
  const deaf: RawClient[] = [];
  await crowd(scene, 10, async (number) => {
    const client = await RawClient.connect(scene.plain, { deaf: true });
    deaf.push(client);
    // A million replies are more than the buffers of both ends hold.
    const commands = number < 2 ? 1_000_000 : 100_000;
    client.socket.write(`EHLO deaf.example\r\n${"NOOP\r\n".repeat(commands)}`);
  });
  // They stay and never read, so the server has to be the one that ends it.
  await until("the server has cut them off", () => {
    const ended = scene.server.log.filter(({ event, helo }) => event === "session ended" && helo === "deaf.example");
    return ended.length === deaf.length;
  });
  for (const client of deaf) client.destroy();
}, SHORT_SESSIONS);

hostile("A message in 20,000 chunks of one octet", async (scene) => {
  const count = 20_000;
  await crowd(scene, 5, async (number) => {
    const client = await RawClient.greet(scene.plain);
    await client.command("MAIL FROM:<tiny@example.org>", 250);
    await client.command("RCPT TO:<box@example.com>", 250);
    const body = new Uint8Array(count).fill(0x2e);
    body.set([13, 10], count - 2);
    const mail = mailWithBody(`tiny-${number}`, body);
    const replies = (async () => {
      for (let chunk = 0; chunk < mail.length; chunk++) await client.expect(250);
    })();
    const pieces = Array.from(mail, (octet) => Buffer.concat([Buffer.from("BDAT 1\r\n"), new Uint8Array([octet])]));
    for (let at = 0; at < pieces.length; at += 100) await client.write(Buffer.concat(pieces.slice(at, at + 100)));
    await replies;
    queuedId(await client.command("BDAT 0 LAST"));
    await client.quit();
  });
});

hostile("Empty chunks without end", async (scene) => {
  await crowd(scene, 5, async () => {
    const client = await RawClient.greet(scene.plain);
    await client.command("MAIL FROM:<tiny@example.org>", 250);
    await client.command("RCPT TO:<box@example.com>", 250);
    const replies = (async () => {
      for (let chunk = 0; chunk < 50_000; chunk++) await client.expect(250);
    })();
    for (let batch = 0; batch < 50; batch++) await client.write("BDAT 0\r\n".repeat(1_000));
    await replies;
    await client.command("RSET", 250);
    await client.quit();
  });
});

hostile("Resets in the middle of messages", async (scene) => {
  await crowd(scene, 60, async (number) => {
    const client = await RawClient.greet(scene.plain);
    await client.command("MAIL FROM:<reset@example.org>", 250);
    await client.command("RCPT TO:<box@example.com>", 250);
    if (number % 2 === 0) await client.command("DATA", 354);
    else await client.write("BDAT 500000\r\n");
    await push(client, [makeMail("never", 150_000)]);
    client.reset();
    await client.closed;
  });
});

hostile("500 connections, opened and closed at once", async (scene) => {
  for (let batch = 0; batch < 10; batch++) {
    await crowd(scene, 50, async (number) => {
      const client = await RawClient.connect(scene.plain);
      if (number % 2 === 0) client.socket.end();
      else client.destroy();
      client.socket.resume();
      await client.closed;
    });
  }
});

hostile("Garbage where TLS is expected", async (scene) => {
  await crowd(scene, 50, async (number) => {
    const client = await RawClient.connect(scene.secure);
    await push(client, [number % 2 === 0 ? randomBytes(5_000) : "EHLO client.example\r\nQUIT\r\n"]);
    client.socket.end();
    await client.closed;
  });
  await tlsWorks(scene);
});

hostile("A TLS handshake that stops after its first message", async (scene) => {
  const hello = await clientHello();
  await crowd(scene, 50, async (number) => {
    const client = await RawClient.connect(scene.secure);
    await client.write(number % 2 === 0 ? hello : hello.subarray(0, 40));
    await client.closed;
  });
  await tlsWorks(scene);
}, SHORT_SESSIONS);

async function tlsWorks(scene: Scene): Promise<void> {
  await crowd(scene, 1, async () => {
    const client = await RawClient.greet(scene.secure, { implicitTls: true });
    await sendMail(client, { content: makeMail("over-tls", 3_000) });
    await client.quit();
  });
}

/** What a client says first, caught before it reaches a server. */
async function clientHello(): Promise<Uint8Array> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const wire = new Duplex({
    read: () => {},
    write: (bytes: Uint8Array, _encoding, done) => {
      resolve(bytes);
      done();
    },
  });
  const client = tls.connect({ socket: wire, servername: "localhost" });
  client.on("error", () => {});
  const hello = await promise;
  client.destroy();
  return hello;
}
