/** A listener in memory: limits, time-outs, stores that fail, mistakes of ours, shutdown. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Spool, SpoolError } from "../../src/spool/spool.ts";
import { settled } from "../helpers/virtual_clock.ts";
import { World } from "./listener_world.ts";

const ENVELOPE = ["EHLO client.example.org", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"];

/** A spool that goes wrong where a test says so. */
function broken(spool: Spool, parts: { readonly [Name in keyof Spool]?: Spool[Name] }): Spool {
  return new Proxy(spool, {
    get(target, name) {
      const value = Reflect.get(parts, name) ?? Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

test("A message is accepted, and the recipient that no binding takes is refused", async () => {
  await using world = await World.open();
  const client = world.connect();
  const answers = await client.say(...ENVELOPE, "RCPT TO:<x@elsewhere.example>", "RCPT TO:<gone@example.com>", "DATA");
  assert.match(answers, /250 2\.1\.5 .*\r\n550 5\.7\.1 .*\r\n550 5\.1\.6 Moved\r\n354 /);
  assert.match(await client.say("Subject: x", "", "hello", "."), /^250 2\.0\.0 Queued as [0-9a-z]{19}\r\n$/);
  assert.match(await client.say("QUIT"), /^221 /);
  assert.equal(client.closed, true);
  assert.equal(world.listener.connections, 0);
  assert.equal(world.deadlines.size, 0);
});

test("A client above max_concurrency gets 421 4.3.2, and a place as soon as one is free", async () => {
  await using world = await World.open({ maxConcurrency: 2 });
  const [first, second, third] = [world.connect(), world.connect(), world.connect()];
  await settled(5);
  assert.match(first.heard + second.heard, /^220 .*\r\n220 .*\r\n$/);
  assert.match(third.heard, /^421 4\.3\.2 /);
  assert.equal(third.closed, true);
  await first.hangUp();
  const fourth = world.connect();
  await settled(5);
  assert.match(fourth.heard, /^220 /);
});

test("A silent client gets 421 4.4.2 after five minutes (RFC 5321 §4.5.3.2.7)", async () => {
  await using world = await World.open();
  const client = world.connect();
  await world.clock.advance(299_000);
  assert.equal(client.closed, false);
  await world.clock.advance(2_000);
  assert.match(client.heard, /421 4\.4\.2 /);
  assert.equal(client.closed, true);
});

test("session_timeout ends a session in mid-data, and nothing is kept", async () => {
  await using world = await World.open({ sessionTimeoutMs: 60_000 });
  const client = world.connect();
  await client.say(...ENVELOPE, "DATA", "Subject: x");
  for (let second = 0; second < 62; second += 2) {
    await client.say("drip");
    await world.clock.advance(2_000);
    if (client.closed) break;
  }
  assert.match(client.heard, /421 4\.4\.2 /);
  assert.equal(client.closed, true);
  assert.deepEqual(await world.spool.list({}), []);
});

test("A commit that fails is 451 or 452, the session goes on, and nothing remains", async () => {
  for (const [code, expected] of [["broken", /^451 4\.3\.0 /], ["full", /^452 4\.3\.1 /]] as const) {
    let fail = true;
    await using world = await World.open({}, (spool) =>
      broken(spool, {
        begin: () => {
          const draft = spool.begin();
          const commit: typeof draft.commit = (message, options) =>
            fail ? Promise.reject(new SpoolError("No luck", code)) : draft.commit(message, options);
          return {
            write: (bytes) => draft.write(bytes),
            commit,
            [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
          };
        },
      }));
    const client = world.connect();
    await client.say(...ENVELOPE, "DATA");
    assert.match(await client.say("hello", "."), expected);
    assert.deepEqual(await world.spool.list({}), []);
    fail = false;
    await client.say(...ENVELOPE.slice(1), "DATA");
    assert.match(await client.say("hello", "."), /^250 /);
  }
});

test("A store that fails in mid-data is answered at the end of the data, with the rest drained", async () => {
  await using world = await World.open({}, (spool) =>
    broken(spool, {
      begin: () => {
        let writes = 0;
        const draft = spool.begin();
        return {
          write: (bytes) => ++writes > 2 ? Promise.reject(new SpoolError("Disk full", "full")) : draft.write(bytes),
          commit: (message, options) => draft.commit(message, options),
          [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
        };
      },
    }));
  const client = world.connect();
  await client.say(...ENVELOPE, "DATA");
  for (let line = 0; line < 5; line++) assert.equal(await client.say(`MAIL FROM:<${line}@example.org>`), "");
  assert.match(await client.say("."), /^452 4\.3\.1 /);
  assert.match(await client.say("NOOP"), /^250 /);
});

test("A full disk is said at MAIL, before the body is sent", async () => {
  await using world = await World.open({}, (spool) => broken(spool, { refusal: () => new SpoolError("Full", "full") }));
  const client = world.connect();
  await client.say("EHLO x");
  assert.match(await client.say("MAIL FROM:<a@example.org>"), /^452 4\.3\.1 /);
});

test("A mistake of ours ends that session alone with 421", async () => {
  let wrong = true;
  await using world = await World.open({}, (spool) =>
    broken(spool, {
      begin: () => {
        if (wrong) throw new TypeError("A bug");
        return spool.begin();
      },
    }));
  const other = world.connect();
  await other.say(...ENVELOPE);
  const client = world.connect();
  assert.match(await client.say(...ENVELOPE, "DATA"), /421 4\.3\.0 Internal error; closing\r\n$/);
  assert.equal(client.closed, true);
  wrong = false;
  await other.say("DATA");
  assert.match(await other.say("hello", "."), /^250 /);
});

test("A message with too many Received fields is a loop: 554 5.4.6 (RFC 5321 §6.3)", async () => {
  await using world = await World.open();
  const client = world.connect();
  await client.say(...ENVELOPE, "DATA");
  const hops = Array.from({ length: 101 }, () => "Received: from a by b; Sat, 21 Nov 2026 22:05:04 +0000");
  assert.match(await client.say(...hops, "", "hello", "."), /^554 5\.4\.6 /);
  await client.say(...ENVELOPE.slice(1), "DATA");
  assert.match(await client.say(...hops.slice(1), "", "hello", "."), /^250 /);
});

test("Shutdown: 421 between transactions, the transaction in progress finishes first", async () => {
  await using world = await World.open({ maxConcurrency: 3 });
  const [idle, busy, slow] = [world.connect(), world.connect(), world.connect()];
  await idle.say("EHLO x");
  await busy.say(...ENVELOPE, "DATA", "hello");
  await slow.say(...ENVELOPE);
  await world.listener.drain();
  await settled(5);
  assert.match(idle.heard, /421 4\.3\.2 /);
  assert.equal(idle.closed, true);
  assert.equal(busy.closed, false);
  assert.match(await busy.say("."), /^250 2\.0\.0 Queued as .*\r\n421 4\.3\.2 /);
  assert.equal(busy.closed, true);
  world.listener.cut();
  await settled(5);
  assert.match(slow.heard, /421 4\.3\.2 /);
  await world.listener.empty();
  assert.equal(world.listener.connections, 0);
});

test("A client that sends without reading is not buffered without bound", async () => {
  await using world = await World.open();
  const client = world.connect();
  const answers = await client.send("NOOP\r\n".repeat(20_000));
  await settled(50);
  assert.ok(answers.length > 0);
  assert.equal(client.heard.split("250 2.0.0 OK\r\n").length - 1, 20_000);
});
