/** `smtpd queue list` and `show`: tables for people, JSON for machines, paging, ids that do not exist. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { queueList } from "../../src/cli/queue_list.ts";
import { queueShow } from "../../src/cli/queue_show.ts";
import type { QueueEntry, Selection, Spool } from "../../src/spool/spool.ts";
import { commandLine } from "./command_line.ts";

const nowMs = Date.UTC(2026, 0, 2, 12, 0, 0);

function entry(deliveryId: number, changes: Partial<QueueEntry> = {}): QueueEntry {
  return {
    deliveryId,
    state: "queued",
    attempts: 0,
    dueAtMs: nowMs + 300_000,
    message: {
      id: `m${Math.ceil(deliveryId / 2)}`,
      receivedAtMs: nowMs - 7_200_000,
      sizeBytes: 4096,
      envelope: {
        reversePath: deliveryId === 1 ? "" : "alice@example.com",
        body: "8bitmime",
        smtputf8: false,
        origin: { session: "s1", listener: "in", address: "192.0.2.1", helo: "client.example", protocol: "ESMTPS" },
      },
    },
    delivery: { recipient: `r${deliveryId}@example.net`, channel: "archive", binding: "all" },
    ...changes,
  };
}

/** Just enough of a spool; `pages` counts the calls of `list`. */
function spoolOf(all: readonly QueueEntry[]) {
  const selections: Selection[] = [];
  const spool: Pick<Spool, "list" | "attempts"> = {
    list(selection) {
      selections.push(selection);
      const after = selection.afterDeliveryId ?? 0;
      const found = all.filter((each) =>
        each.deliveryId > after && (selection.messageId === undefined || each.message.id === selection.messageId) &&
        (selection.messageIds === undefined ||
          each.message.id >= selection.messageIds.from && each.message.id <= selection.messageIds.to)
      );
      return Promise.resolve(found.slice(0, Math.min(selection.limit ?? 1000, 1000)));
    },
    attempts: (id) =>
      Promise.resolve(
        all.filter((each) => each.message.id === id && each.attempts > 0)
          .map(({ deliveryId }) => ({
            deliveryId,
            atMs: nowMs - 60_000,
            kind: "retry",
            detail: "451 4.3.0 busy\x07\x9b",
          })),
      ),
  };
  return { spool: spool as Spool, selections };
}

test("queue list: an aligned table with relative times, the last error below its delivery, controls visible", async () => {
  const { spool } = spoolOf([
    entry(1),
    entry(2, { state: "failed", attempts: 12, lastDetail: "550 no\r\nsuch user", dueAtMs: nowMs - 5000 }),
  ]);
  const { runtime, out, err } = commandLine([], { nowMs });
  assert.equal(await queueList(runtime, spool, [], {}), 0);
  assert.equal(err(), "");
  assert.deepEqual(out().split("\n"), [
    "MESSAGE  STATE   TRIES  DUE    RECEIVED     SIZE  CHANNEL  FROM               TO",
    "m1       queued      0  in 5m  2h ago    4.0 KiB  archive  <>                 r1@example.net",
    "m1       failed     12  -      2h ago    4.0 KiB  archive  alice@example.com  r2@example.net",
    "    550 no\\x0d\\x0asuch user",
    "",
  ]);
});

test("queue list: the selection is handed to the spool, and an empty answer says so on stderr only", async () => {
  const { spool, selections } = spoolOf([]);
  const { runtime, out, err } = commandLine([], { nowMs });
  assert.equal(await queueList(runtime, spool, [], { channel: "archive", state: "held", limit: 5 }), 0);
  assert.deepEqual(selections, [{ limit: 6, channel: "archive", state: "held" }]);
  assert.equal(out(), "");
  assert.match(err(), /Nothing in the queue matches/);
});

test("queue list: a table stops at its limit and says that more follow; exactly the limit says nothing", async () => {
  const all = Array.from({ length: 150 }, (_, at) => entry(at + 1));
  const cut = commandLine([], { nowMs });
  await queueList(cut.runtime, spoolOf(all).spool, [], {});
  assert.equal(cut.out().trim().split("\n").length, 101);
  assert.match(cut.err(), /These are the first 100\. More follow/);
  const whole = commandLine([], { nowMs });
  await queueList(whole.runtime, spoolOf(all).spool, [], { limit: 150 });
  assert.equal(whole.out().trim().split("\n").length, 151);
  assert.equal(whole.err(), "");
});

test("queue list --json: everything, page by page, as one array", async () => {
  const all = Array.from({ length: 2500 }, (_, at) => entry(at + 1));
  const { spool } = spoolOf(all);
  const { runtime, out } = commandLine([], { nowMs });
  assert.equal(await queueList(runtime, spool, [], { json: true }), 0);
  const list = JSON.parse(out());
  assert.equal(list.length, 2500);
  assert.deepEqual(new Set(list.map((each: { delivery: number }) => each.delivery)).size, 2500);
  assert.deepEqual(list[1], {
    message: "m1",
    delivery: 2,
    state: "queued",
    attempts: 0,
    dueAt: "2026-01-02T12:05:00.000Z",
    recipient: "r2@example.net",
    channel: "archive",
    binding: "all",
    reversePath: "alice@example.com",
    receivedAt: "2026-01-02T10:00:00.000Z",
    sizeBytes: 4096,
    listener: "in",
    session: "s1",
  });
  const limited = commandLine([], { nowMs });
  await queueList(limited.runtime, spool, [], { json: true, limit: 3 });
  assert.equal(JSON.parse(limited.out()).length, 3);
  const none = commandLine([], { nowMs });
  await queueList(none.runtime, spoolOf([]).spool, [], { json: true });
  assert.deepEqual(JSON.parse(none.out()), []);
});

test("queue show: the envelope, each delivery and its failed attempts, as text and as JSON", async () => {
  const { spool } = spoolOf([entry(1), entry(2, { attempts: 1 })]);
  const text = commandLine([], { nowMs });
  assert.equal(await queueShow(text.runtime, spool, ["m1"], {}), 0);
  assert.match(text.out(), /^m1\n {2}received +2026-01-02T10:00:00\.000Z \(2h ago\)$/m);
  assert.match(text.out(), /r2@example\.net/);
  assert.match(text.out(), /retry +2026-01-02T11:59:00\.000Z \(1m ago\) 451 4\.3\.0 busy\\x07/);
  const json = commandLine([], { nowMs });
  await queueShow(json.runtime, spool, ["m1"], { json: true });
  const [message] = JSON.parse(json.out());
  assert.equal(message.deliveries.length, 2);
  assert.equal(message.deliveries[0].history.length, 0);
  assert.equal(message.deliveries[1].history[0].detail, "451 4.3.0 busy\x07\x9b");
  assert.doesNotMatch(json.out(), /[^\n -~]/);
});

test("queue show: an unknown id is told on stderr and ends with 1, the others are shown", async () => {
  const { spool } = spoolOf([entry(1)]);
  const { runtime, out, err } = commandLine([], { nowMs });
  assert.equal(await queueShow(runtime, spool, ["nope\x1b", "m1", "m1"], {}), 1);
  assert.equal(out().match(/^m1$/gm)?.length, 1);
  assert.equal(err(), 'smtpd: There is no message "nope\\x1b" in the queue.\n');
});
