/** The thread's group commit, driven without a thread: what shares a transaction, what fails alone, what waits. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { GroupCommit } from "../../src/spool/group_commit.ts";
import type { CommitRequest, FromThread, Request, Result } from "../../src/spool/protocol.ts";
import { noise, temporaryDirectory } from "./fixture.ts";

/** The SQLite thread's work, done in this one: what is sent together is carried out together. */
function openHere(path: string, maxPages?: number) {
  const posted: FromThread[] = [];
  const planned: (() => void)[] = [];
  const thread = new GroupCommit({
    post: (message) => void posted.push(message),
    soon: (call) => void planned.push(call),
    after: (delayMs, call) => void (delayMs < 100 && planned.push(call)),
  });
  thread.receive({
    kind: "open",
    open: {
      path,
      ring: new SharedArrayBuffer(16),
      identity: "",
      nowMs: 0,
      expiresAtMs: 1000,
      busyTimeoutMs: 100,
      ...(maxPages === undefined ? {} : { maxPages }),
    },
  });
  assert.equal(posted.shift()?.kind, "opened");
  /** Sends batches without giving the thread a turn in between. */
  const send = (...batches: (readonly Request[])[]): readonly Result[] => {
    for (const requests of batches) thread.receive({ kind: "batch", requests });
    for (const call of planned.splice(0)) call();
    assert.equal(posted.length, 1, "one answer for all that came together");
    const answer = posted.shift();
    assert.ok(answer?.kind === "results");
    return answer.results;
  };
  return { send, close: () => send([{ op: "close", nowMs: 1 }]), waiting: () => planned.length, thread };
}

function commit(id: string, size: number, deliveries = 1): CommitRequest {
  const tail = noise(size);
  return {
    op: "commit",
    id,
    receivedAtMs: 0,
    sizeBytes: size,
    envelope: "{}",
    deliveries: Array.from({ length: deliveries }, () => ({ channel: "a", record: "{}" })),
    nowMs: 1,
    chunks: 0,
    tail,
  };
}

const listing: Request = { op: "list", nowMs: 1, limit: 10_000, selection: {} };

function storedIds(result: Result | undefined): readonly string[] {
  assert.ok(result !== undefined && "value" in result);
  return (result.value as { message: string }[]).map(({ message }) => message);
}

function codes(results: readonly Result[]): readonly string[] {
  return results.map((result) => "failure" in result ? result.failure.code : "ok");
}

test("group commit: one request that does not fit harms none of those it came with", async () => {
  await using directory = await temporaryDirectory();
  const { send, close } = openHere(join(directory.path, "spool.db"), 100);
  const results = send([commit("a", 1000), commit("b", 2_000_000)], [commit("a", 1000), commit("c", 1000)]);
  assert.deepEqual(codes(results), ["ok", "full", "broken", "ok"]);
  assert.deepEqual(storedIds(send([listing])[0]), ["a", "c"]);
  close();
});

test("group commit: a message of which only a part fits leaves nothing", async () => {
  await using directory = await temporaryDirectory();
  const { send, close } = openHere(join(directory.path, "spool.db"), 60);
  assert.deepEqual(codes(send([commit("a", 1000, 50_000)])), ["full"]);
  assert.deepEqual(storedIds(send([listing])[0]), []);
  assert.deepEqual(codes(send([{ op: "read", id: "a", index: 0 }])), ["ok"]);
  assert.deepEqual(send([{ op: "read", id: "a", index: 0 }])[0], { value: undefined });
  close();
});

test("group commit: two spools never use the same key, also after one reserved keys in vain", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const one = openHere(path, 400);
  // The second takes new keys from the file, and fails with them.
  assert.deepEqual(codes(one.send([commit("a", 10, 3000)])), ["ok"]);
  assert.deepEqual(codes(one.send([commit("b", 4_000_000, 2000)])), ["full"]);
  assert.deepEqual(codes(one.send([commit("c", 10)])), ["ok"]);
  const two = openHere(path, 400);
  assert.deepEqual(codes(two.send([commit("d", 10)])), ["ok"]);
  assert.deepEqual(codes(one.send([commit("e", 10)])), ["ok"]);
  assert.deepEqual(codes(two.send([commit("f", 10, 2500)])), ["ok"]);
  assert.deepEqual(new Set(storedIds(one.send([listing])[0])), new Set(["a", "c", "d", "e", "f"]));
  two.close();
  one.close();
});

test("group commit: answers keep the order of requests of every kind", async () => {
  await using directory = await temporaryDirectory();
  const { send, close } = openHere(join(directory.path, "spool.db"));
  const results = send(
    [{ op: "due", channels: ["a"] }, commit("a", 10)],
    // The first key is the owner's.
    [{ op: "due", channels: ["a"] }, { op: "change", nowMs: 1, ids: [2, 3], change: { kind: "remove" } }],
    [{ op: "due", channels: ["a"] }, { op: "attempts", id: "a" }],
  );
  assert.deepEqual(results.map((result) => "value" in result && Array.isArray(result.value) ? result.value : "other"), [
    [],
    "other",
    [["a", 1]],
    "other",
    [],
    [],
  ]);
  close();
});

test("group commit: settlements wait for the next message while messages come in, and not otherwise", async () => {
  await using directory = await temporaryDirectory();
  const { send, close, thread, waiting } = openHere(join(directory.path, "spool.db"));
  const settle: Request = { op: "settle", nowMs: 1, settlements: [] };
  send([commit("a", 10)]);
  thread.receive({ kind: "batch", requests: [settle] });
  thread.receive({ kind: "batch", requests: [settle] });
  assert.equal(waiting(), 1);
  // The message that comes calls for a drain at once; the waiting settlements are answered with it, before it.
  assert.deepEqual(codes(send([commit("b", 10)])), ["ok", "ok", "ok"]);
  send([listing]);
  assert.deepEqual(codes(send([settle])), ["ok"]);
  close();
});
