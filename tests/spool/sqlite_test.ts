/** What the SQLite store owes beyond the contract: files, full disks, locks, dead owners, a thread that dies. */
import assert from "node:assert/strict";
import { chmod, mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { test } from "node:test";
import type { Log } from "../../src/observe/log.ts";
import { silentLog } from "../../src/observe/log.ts";
import type { ProcessIdentity, WorkerPort } from "../../src/runtime/runtime.ts";
import { openSpool } from "../../src/spool/open.ts";
import { type Selection, SpoolError } from "../../src/spool/spool.ts";
import type { SqliteRuntime } from "../../src/spool/sqlite.ts";
import { openDatabase } from "../../src/spool/sqlite_schema.ts";
import { SqliteQueue } from "../../src/spool/sqlite_queue.ts";
import { type Row, Statements } from "../../src/spool/sqlite_statements.ts";
import { SQL } from "../../src/spool/sqlite_store.ts";
import {
  contentOf,
  message,
  noise,
  openSqlite,
  removeMessages,
  spoolRuntime,
  store,
  temporaryDirectory,
  TestClock,
  writeAll,
} from "./fixture.ts";

function refusing(code: SpoolError["code"], text: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SpoolError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    return true;
  };
}

function remembering(events: string[]): Log {
  const log: Log = { ...silentLog, info: note, warn: note, error: note, with: () => log };
  function note(event: string): void {
    events.push(event);
  }
  return log;
}

/** Another life of this machine's processes: each spool is a process of its own, and the test says who lives. */
function asProcess(clock: TestClock, identity: ProcessIdentity | undefined, dead: Set<number>): SqliteRuntime {
  return {
    ...spoolRuntime(clock),
    processes: {
      identity: () => Promise.resolve(identity),
      alive: (other) => Promise.resolve(other.place === identity?.place ? !dead.has(other.pid) : undefined),
    },
  };
}

/** Waits until something that happens in the background has happened. */
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail("It did not happen within five seconds");
}

function count(path: string, table: string): number {
  const database = new DatabaseSync(path);
  const row = database.prepare(`SELECT count(*) AS n FROM ${table}`).get();
  database.close();
  return Number(row?.["n"]);
}

test("sqlite: what was stored is there after closing, and leases are given back", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const small = message();
  const large = message();
  const content = noise(1_000_000);
  {
    await using spool = await openSqlite(path);
    await Promise.all([store(spool, "small", small, 60_000), store(spool, content, large)]);
  }
  assert.equal(count(path, "owner"), 0);
  await using spool = await openSqlite(path);
  assert.deepEqual(await contentOf(spool, large.id), content);
  assert.equal(new TextDecoder().decode(await contentOf(spool, small.id)), "small");
  const leases = await spool.lease("archive", { limit: 10, forMs: 1000 });
  assert.deepEqual(leases.map((lease) => lease.message.id).sort(), [small.id, large.id].sort());
  assert.deepEqual(leases[0]?.message.envelope, small.envelope);
});

test("sqlite: what closing finds under way is finished first", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const spool = await openSqlite(path);
  const drafts = Array.from({ length: 50 }, () => spool.begin());
  for (const draft of drafts) await writeAll(draft, [noise(5000)]);
  const storing = drafts.map((draft) => draft.commit(message()));
  const closing = spool[Symbol.asyncDispose]();
  const late = store(spool);
  await Promise.all([...storing, closing, assert.rejects(late, refusing("closed", /closed/))]);
  assert.equal(count(path, "message"), 50);
});

test("sqlite: file and directory belong to us alone", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "deep/er/spool.db");
  const events: string[] = [];
  {
    await using spool = await openSqlite(path, { log: remembering(events) });
    await store(spool);
    assert.equal((await stat(join(directory.path, "deep/er"))).mode & 0o777, 0o700);
    for (const name of [path, `${path}-wal`, `${path}-shm`]) assert.equal((await stat(name)).mode & 0o777, 0o600, name);
    assert.deepEqual(events, []);
  }
  await chmod(path, 0o644);
  await using _spool = await openSqlite(path, { log: remembering(events) });
  assert.deepEqual(events, ["spool.readable_by_others"]);
});

test("sqlite: a file that is not ours is refused and left alone", async () => {
  await using directory = await temporaryDirectory();
  const text = join(directory.path, "text");
  await writeFile(text, "Dear diary, ".repeat(1000));
  await assert.rejects(openSqlite(text), refusing("broken", /text".*not an SQLite database.*\[spool\] url/));

  const other = join(directory.path, "other.db");
  const database = new DatabaseSync(other);
  database.exec("CREATE TABLE diary (text TEXT)");
  database.close();
  await assert.rejects(openSqlite(other), refusing("broken", /another program/));
  assert.equal(count(other, "sqlite_schema"), 1);

  await mkdir(join(directory.path, "folder"));
  await assert.rejects(openSqlite(join(directory.path, "folder")), refusing("broken", /not a file/));
  await assert.rejects(openSqlite(join(text, "spool.db")), refusing("broken", /Cannot create the spool/));
});

test("sqlite: a file of a newer program is refused", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  await (await openSqlite(path))[Symbol.asyncDispose]();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 99");
  database.close();
  await assert.rejects(openSqlite(path), refusing("broken", /version 99 .* version 1/));
});

test("sqlite: a damaged file is refused with its name and what to do", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  {
    await using spool = await openSqlite(path);
    await Promise.all(Array.from({ length: 20 }, () => store(spool, noise(3000))));
  }
  const { size } = await stat(path);
  const { open } = await import("node:fs/promises");
  const file = await open(path, "r+");
  await file.write(noise(size - 4096), 0, size - 4096, 4096);
  await file.close();
  await assert.rejects(openSqlite(path), refusing("broken", /spool\.db".*damaged.*\.recover/));
});

test("sqlite: the cost of finding due work does not depend on how much is queued", () => {
  const database = openDatabase(":memory:", { busyTimeoutMs: 0 });
  const plan = (sql: string) =>
    database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all().map((row) => String(row["detail"])).join("; ");
  for (const sql of [SQL.due, SQL.nextDue]) {
    assert.match(plan(sql), /SEARCH (d|delivery) USING (COVERING )?INDEX delivery_due \(channel=\?/);
  }
  assert.match(plan(SQL.due), /channel=\? AND due_ms<\?/);
  for (const [name, sql] of Object.entries(SQL)) {
    if (!/^\s*(SELECT|UPDATE|DELETE)/.test(sql)) continue;
    // Scanned are: what has one row for each process, draft or file; and, when a process died, the index of due work.
    if (["others", "orphan", "orphanDrafts", "orphanLostDrafts", "reserve"].includes(name)) continue;
    if (name === "takeBack") assert.match(plan(sql), /SCAN delivery USING INDEX delivery_due/);
    else assert.doesNotMatch(plan(sql), /SCAN|TEMP B-TREE FOR ORDER BY (?!LAST)/, name);
  }
  database.close();
});

test("sqlite: a page of a list comes in the order of the file, whatever is selected", () => {
  const database = openDatabase(":memory:", { busyTimeoutMs: 0 });
  const plans: string[] = [];
  class Explaining extends Statements {
    override once(sql: string, ...values: SQLInputValue[]): Row[] {
      const rows = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values);
      plans.push(rows.map((row) => String(row["detail"])).join("; "));
      return [];
    }
  }
  const queue = new SqliteQueue(new Explaining(database), () => {});
  const selections: readonly Selection[] = [
    {},
    { channel: "a", sender: "*", recipient: "*", binding: "b", receivedAfterMs: 1, receivedBeforeMs: 2 },
    ...(["queued", "leased", "held", "failed"] as const).map((state) => ({ channel: "a", state, afterDeliveryId: 7 })),
  ];
  for (const selection of selections) {
    queue.list({ op: "list", nowMs: 1, limit: 10, selection });
    queue.summary({ op: "summary", nowMs: 1, limit: 10, selection });
  }
  assert.equal(plans.length, 2 * selections.length);
  for (const plan of plans) assert.doesNotMatch(plan, /TEMP B-TREE|SCAN m\b/);
  assert.match(plans.at(-1) ?? "", /delivery_parked \(state=\? AND rowid>\?\)/);
  database.close();
});

test("sqlite: a full file refuses a commit, keeps nothing of it, and works again when there is room", async () => {
  await using directory = await temporaryDirectory();
  await using spool = await openSqlite(join(directory.path, "spool.db"), { maxPages: 400 });
  const small = message();
  await store(spool, "small", small);
  const full = refusing("full", /no space is left.*Free some/);
  const outcomes = await Promise.allSettled([
    store(spool, noise(10_000)),
    store(spool, noise(3_000_000)),
    store(spool, noise(10_000)),
  ]);
  assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  assert.ok(outcomes[1]?.status === "rejected" && full(outcomes[1].reason));
  let stored = 0;
  await assert.rejects(async () => {
    for (; stored < 1000; stored++) await store(spool, noise(50_000));
  }, full);
  assert.ok(stored > 5, `${stored} messages fitted`);
  const entries = await spool.list({ limit: 1000 });
  assert.equal(entries.length, 3 + stored);
  await removeMessages(spool, entries.map((entry) => entry.message.id).filter((id) => id !== small.id));
  await store(spool, noise(50_000));
  assert.equal(new TextDecoder().decode(await contentOf(spool, small.id)), "small");
});

test("sqlite: a disk that is really full refuses a commit and nothing else", async (context) => {
  await using directory = await temporaryDirectory();
  const { spawnSync } = await import("node:child_process");
  const mount = join(directory.path, "small");
  await mkdir(mount);
  const mounted = process.platform === "linux" &&
    spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", mount]).status === 0;
  if (!mounted) return context.diagnostic("Mounting a small file system is not permitted here");
  try {
    const path = join(mount, "spool.db");
    const spool = await openSqlite(path);
    await writeFile(join(mount, "ballast"), noise(5_000_000));
    const kept: string[] = [];
    await assert.rejects(async () => {
      for (let index = 0; index < 100; index++) {
        const what = message();
        await store(spool, noise(100_000), what);
        kept.push(what.id);
      }
    }, refusing("full", /no space is left/));
    assert.ok(kept.length > 0);
    // Reading goes on, and so does delivering, which is what makes room.
    const entries = await spool.list({});
    assert.deepEqual(entries.map((entry) => entry.message.id), kept);
    assert.deepEqual(await contentOf(spool, kept[0]!), noise(100_000));
    await writeFile(join(mount, "ballast"), "");
    const again = message();
    await store(spool, noise(100_000), again);
    await spool[Symbol.asyncDispose]();
    await using reopened = await openSqlite(path);
    assert.deepEqual((await reopened.list({})).map((entry) => entry.message.id), [...kept, again.id]);
  } finally {
    spawnSync("umount", ["-l", mount]);
  }
});

test("sqlite: a lock that another program holds too long is told as such, and stops nothing for good", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  await using spool = await openSqlite(path, { busyTimeoutMs: 20 });
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  const outcomes = await Promise.allSettled([store(spool), store(spool)]);
  for (const outcome of outcomes) {
    assert.ok(outcome.status === "rejected" && refusing("busy", /another process has locked it/)(outcome.reason));
  }
  assert.deepEqual(await spool.list({}), []);
  await assert.rejects(openSqlite(path, { busyTimeoutMs: 20 }), refusing("busy", /spool\.db".*another process/));
  other.exec("ROLLBACK");
  other.close();
  await store(spool);
  assert.equal((await spool.list({})).length, 1);
});

test("sqlite: too little free space is refused before it is too late", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const runtime = spoolRuntime();
  let free = 1000;
  let monotonicMs = 0;
  const clock = { ...runtime.clock, monotonicMs: () => monotonicMs };
  const files = { ...runtime.files, freeBytes: () => Promise.resolve(free) };
  const config = { store: { kind: "sqlite", path }, minFreeSpaceBytes: 1001 } as const;
  const random = { bytes: (size: number) => noise(size), fraction: () => 0.5 };
  // The rest of `Processes` is not asked for by a spool.
  const processes = runtime.processes as Parameters<typeof openSpool>[1]["processes"];
  await using spool = await openSpool(config, { ...runtime, processes, clock, files, random }, silentLog);
  assert.ok(refusing("full", /1000 bytes left.*min_free_space is 1001/)(spool.refusal()));
  free = 1001;
  assert.equal(spool.refusal()?.code, "full");
  monotonicMs += 1000;
  spool.refusal();
  await until(() => spool.refusal() === undefined);
});

test("sqlite: what is taken between two looks at the disk counts against the free space", async () => {
  await using directory = await temporaryDirectory();
  const runtime = spoolRuntime();
  let looks = 0;
  const files = {
    ...runtime.files,
    freeBytes: () => {
      looks++;
      // The disk as it was at the first look, and then no more answer: nothing but counting helps.
      return looks === 1 ? Promise.resolve(4_000_000) : new Promise<number>(() => {});
    },
  };
  const config = {
    store: { kind: "sqlite", path: join(directory.path, "spool.db") },
    minFreeSpaceBytes: 2_000_000,
  } as const;
  const random = { bytes: (size: number) => noise(size), fraction: () => 0.5 };
  // The rest of `Processes` is not asked for by a spool.
  const processes = runtime.processes as Parameters<typeof openSpool>[1]["processes"];
  await using spool = await openSpool(config, { ...runtime, processes, files, random }, silentLog);
  await store(spool, noise(900_000));
  assert.equal(spool.refusal(), undefined);
  const full = refusing("full", /about to fall below the 2000000 bytes of min_free_space/);
  await assert.rejects(store(spool, noise(900_000)), full);
  assert.ok(full(spool.refusal()));
  assert.equal(looks, 2);
});

test("sqlite: leases and drafts of a dead process are taken back at once", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const clock = new TestClock();
  const dead = new Set<number>();
  const identity = (pid: number): ProcessIdentity => ({ place: "here", pid, startedAt: "1" });
  await using one = await openSqlite(path, { runtime: asProcess(clock, identity(1), dead) });
  const [lease] = await store(one, "x", message(), 600_000);
  const draft = one.begin();
  await writeAll(draft, [noise(2_000_000)]);
  const events: string[] = [];
  await using two = await openSqlite(path, { runtime: asProcess(clock, identity(2), dead), log: remembering(events) });
  assert.deepEqual(await two.lease("archive", { limit: 1, forMs: 1000 }), []);
  dead.add(1);
  clock.tick();
  await until(async () => (await two.list({ state: "queued" })).length === 1);
  const [again] = await two.lease("archive", { limit: 1, forMs: 1000 });
  assert.deepEqual([again?.deliveryId, again?.attempts], [lease!.deliveryId, 0]);
  assert.deepEqual(events, ["spool.took_back"]);
  await until(() => count(path, "chunk") === 0);
  // It was not dead after all: what it still says harms nobody, and it may go on with new work.
  await one.settle([{ lease: lease!, settlement: { kind: "done", detail: "late" } }]);
  assert.equal((await two.list({ state: "leased" })).length, 1);
  await assert.rejects(draft.commit(message()), refusing("broken", /showed no life/));
  await store(one, noise(600_000));
});

test("sqlite: an owner elsewhere counts as dead when its heartbeat is missing", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const clocks = [new TestClock(), new TestClock()] as const;
  await using one = await openSqlite(path, { runtime: asProcess(clocks[0], undefined, new Set()) });
  await store(one, "x", message(), 600_000);
  await using two = await openSqlite(path, { runtime: asProcess(clocks[1], undefined, new Set()) });
  clocks[1].ms += 29_000;
  clocks[1].tick();
  // The heartbeat comes before this in the thread's order.
  assert.deepEqual(await two.list({ state: "queued" }), []);
  clocks[1].ms += 2000;
  clocks[1].tick();
  await until(async () => (await two.list({ state: "queued" })).length === 1);
});

test("sqlite: chunks of removed messages go away and the file gives their space back", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  await using spool = await openSqlite(path);
  const what = message();
  await store(spool, noise(30_000_000), what);
  {
    await using draft = spool.begin();
    await writeAll(draft, [noise(5_000_000)]);
  }
  await removeMessages(spool, [what.id]);
  await until(() => count(path, "chunk") === 0 && count(path, "draft") === 0);
  await until(async () => (await stat(path)).size < 20_000_000);
});

test("sqlite: a thread that dies rejects what is under way and refuses what comes", async () => {
  await using directory = await temporaryDirectory();
  const runtime = spoolRuntime();
  let kill: ((error: Error) => void) | undefined;
  const open = (): WorkerPort => {
    const port = runtime.workers.open("spool");
    return { ...port, onError: (call) => void (kill = call) };
  };
  await using spool = await openSqlite(join(directory.path, "spool.db"), {
    runtime: { ...runtime, workers: { open } },
  });
  const storing = store(spool, noise(10_000));
  const writing = spool.begin();
  const waiting = writeAll(writing, [noise(20_000_000)]);
  kill?.(new Error("Out of memory"));
  const broken = refusing("broken", /thread died: Out of memory/);
  await assert.rejects(storing, broken);
  await assert.rejects(waiting, broken);
  await assert.rejects(store(spool), broken);
  assert.ok(broken(spool.refusal()));
});
