/** `smtpd queue show`, `cat`, `history` and `summary`: all that is known, safe for a terminal and exact for a program. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { queueList, queueSummary } from "../../src/cli/queue_list.ts";
import { queueCat, queueHistory, queueShow } from "../../src/cli/queue_show.ts";
import type { Runtime, Transport } from "../../src/runtime/runtime.ts";
import { TransportError } from "../../src/runtime/runtime.ts";
import { delivery } from "../spool/fixture.ts";
import { QueueWorld } from "./queue_world.ts";

test("queue show: DSN parameters, changed senders and changes to the header, controls visible", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [
    {
      ...delivery("a", "bob@example.net"),
      originalRecipient: "alias@example.net",
      notify: ["failure", "delay"],
      orcpt: "rfc822;first\x1b@example.org",
      reversePath: "",
      edits: [{ kind: "set", name: "X-Queue", value: "red\x07" }, { kind: "prefix-subject", text: "[x]" }],
    },
  ], { envelope: { ret: "headers", envid: "QQ\x1b[2J" } });
  const { runtime, out } = world.line();
  assert.equal(await queueShow(runtime, world.spool, ["m000", "m0001"], {}), 0);
  for (
    const line of [
      "  from      alice@example.com",
      "  dsn       RET=HDRS ENVID=QQ\\x1b[2J",
      "    was       alias@example.net",
      "    dsn       NOTIFY=FAILURE,DELAY ORCPT=rfc822;first\\x1b@example.org",
      "    from      <>",
      "    change    set X-Queue: red\\x07",
      "    change    prefix the subject with [x]",
    ]
  ) {
    assert.ok(out().split("\n").includes(line), `${line} in\n${out()}`);
  }
  // Shown once, though named twice.
  assert.equal(out().match(/^m0001$/gm)?.length, 1);
});

/** A runtime whose standard output is no terminal, and what came out of it. */
function piped(runtime: Runtime, pieces: Uint8Array[], failure?: TransportError): Runtime {
  const transport: Pick<Transport, "write"> = {
    write(bytes) {
      pieces.push(bytes.slice());
      return failure === undefined ? Promise.resolve() : Promise.reject(failure);
    },
  };
  const stdio = { ...runtime.processes.stdio, transport: () => transport as Transport };
  return { ...runtime, processes: { ...runtime.processes, stdio } };
}

test("queue cat: a pipe gets the stored bytes as they are, and may close early", async () => {
  await using world = new QueueWorld();
  const content = "Subject: \x1b[31mred\r\n\r\n\0\x80 bytes\n";
  await world.queue("m0001", undefined, { content });
  const { runtime, out, err } = world.line();
  const pieces: Uint8Array[] = [];
  assert.equal(await queueCat(piped(runtime, pieces), world.spool, "m000"), 0);
  assert.deepEqual(Buffer.concat(pieces), Buffer.from(content));
  assert.equal(out(), "");
  const closed = new TransportError("Cannot write", "EPIPE");
  assert.equal(await queueCat(piped(runtime, [], closed), world.spool, "m0001"), 0);
  const full = new TransportError("Cannot write", "ENOSPC");
  await assert.rejects(queueCat(piped(runtime, [], full), world.spool, "m0001"), full);
  assert.equal(await queueCat(runtime, world.spool, "nope"), 1);
  assert.equal(err(), 'smtpd: There is no message "nope" in the queue.\n');
});

test("queue cat: a terminal gets lines and tabs, and controls made visible", async () => {
  await using world = new QueueWorld();
  const [lease] = await world.add("m0001");
  const bytes = new TextEncoder().encode("a\tb\x1b[2J\r\nü\x9b\rc\r\n\r\n");
  // One byte at a time: neither a character nor a line end may suffer from where pieces end.
  const spool = {
    ...{ list: world.spool.list.bind(world.spool) },
    async *content() {
      for (const byte of bytes) yield await Promise.resolve(Uint8Array.of(byte));
    },
  } as unknown as typeof world.spool;
  const { runtime, out } = world.line({ terminal: true });
  assert.equal(await queueCat(runtime, spool, lease!.message.id), 0);
  assert.equal(out(), "a\tb\\x1b[2J\nü\\x9b\\x0dc\n\n");
});

test("queue history: the attempts of what is selected, with the answers, and nothing of others", async () => {
  await using world = new QueueWorld();
  const leases = await world.add("m0001", [delivery("a", "x@example.net"), delivery("b", "y@example.net")]);
  await world.settle(leases, "retry");
  await world.settle(await world.add("m0002"), "failed");
  await world.queue("m0003");
  const text = world.line();
  assert.equal(await queueHistory(text.runtime, world.spool, [], {}), 0);
  assert.equal(text.out().match(/ {4}451 4\.3\.0 busy\\x07\\x9b$/gm)?.length, 3);
  assert.match(text.out(), /^2026-01-02T12:00:00\.000Z +now +retry +m0001 +a +x@example\.net$/m);
  const json = world.line();
  assert.equal(await queueHistory(json.runtime, world.spool, ["m0001", "m0009"], { json: true, channel: "b" }), 1);
  assert.deepEqual(JSON.parse(json.out()), [{
    at: "2026-01-02T12:00:00.000Z",
    kind: "retry",
    detail: "451 4.3.0 busy\x07\x9b",
    message: "m0001",
    delivery: 2,
    channel: "b",
    recipient: "y@example.net",
  }]);
  const cut = world.line();
  await queueHistory(cut.runtime, world.spool, [], { limit: 1 });
  assert.match(cut.err(), /These are the first 1\. More follow/);
  const none = world.line();
  assert.equal(await queueHistory(none.runtime, world.spool, ["m0003"], {}), 0);
  assert.equal(none.err(), "smtpd: Nothing in the queue matches.\n");
});

test("queue summary: groups with totals as a table and as JSON", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery("a", "x@example.net"), delivery("a", "y@Example.net")]);
  world.clock.ms += 60_000;
  await world.settle(await world.add("m0002", [delivery("b", "z@\x1bexample.org")]), "failed");
  const text = world.line();
  assert.equal(await queueSummary(text.runtime, world.spool, {}), 0);
  assert.deepEqual(text.out().split("\n"), [
    "CHANNEL  DOMAIN           QUEUED  LEASED  HELD  FAILED  OLDEST  NEXT",
    "a        example.net           2       0     0       0  1m ago  now",
    "b        \\x1bexample.org       0       0     0       1  now     -",
    "total    2 groups              2       0     0       1  -       -",
    "",
  ]);
  const json = world.line();
  await queueSummary(json.runtime, world.spool, { json: true, limit: 1 });
  assert.deepEqual(JSON.parse(json.out()), {
    total: { queued: 2, leased: 0, held: 0, failed: 1 },
    groupCount: 2,
    groups: [{
      channel: "a",
      domain: "example.net",
      queued: 2,
      leased: 0,
      held: 0,
      failed: 0,
      oldestAt: "2026-01-02T12:00:00.000Z",
      nextDueAt: "2026-01-02T12:00:00.000Z",
    }],
  });
  const cut = world.line();
  await queueSummary(cut.runtime, world.spool, { limit: 1 });
  assert.match(cut.err(), /These are the largest 1\. More follow/);
  const none = world.line();
  assert.equal(await queueSummary(none.runtime, world.spool, { channel: "none" }), 0);
  assert.match(none.err(), /Nothing in the queue matches/);
});

test("queue list: ids and ranges narrow it, a delivery named twice is listed once", async () => {
  await using world = new QueueWorld();
  for (const id of ["m0001", "m0002", "m0003"]) await world.queue(id, [delivery(), delivery("b")]);
  const { runtime, out, err } = world.line();
  const ids = ["m0002", "m0001..m0002", "m9999"];
  assert.equal(await queueList(runtime, world.spool, ids, { json: true, channel: "b" }), 1);
  assert.deepEqual(JSON.parse(out()).map((entry: { readonly delivery: number }) => entry.delivery), [4, 2]);
  assert.equal(err(), 'smtpd: There is no message "m9999" in the queue.\n');
});
