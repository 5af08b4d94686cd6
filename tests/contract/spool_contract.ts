/** What every spool must do, whatever it keeps its messages in. One suite; each store's test calls it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lease, Selection, Settlement, Spool } from "../../src/spool/spool.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { changing, counting, selecting } from "./spool_queue_contract.ts";
import { contentOf, delivery, envelope, message, noise, store, TestClock, writeAll } from "../spool/fixture.ts";

/** A store under test and, where several may share it, a way to open it once more. */
export interface SpoolFixture extends AsyncDisposable {
  readonly spool: Spool;
  readonly again?: () => Promise<Spool>;
}

export type OpenFixture = (clock: TestClock) => Promise<SpoolFixture>;

export type Check = (
  what: string,
  body: (spool: Spool, clock: TestClock, fixture: SpoolFixture) => Promise<void>,
) => void;

const RETRY_MS = 60_000;

function settleOne(spool: Spool, lease: Lease, settlement: Settlement): Promise<void> {
  return spool.settle([{ lease, settlement }]);
}

const done: Settlement = { kind: "done", detail: "250 OK" };

function coded(code: SpoolError["code"]): (error: unknown) => boolean {
  return (error) => error instanceof SpoolError && error.code === code;
}

/** Calls the suite for one store. */
export function spoolContract(name: string, open: OpenFixture): void {
  const check: Check = (what, body) => {
    test(`${name}: ${what}`, async () => {
      const clock = new TestClock();
      await using fixture = await open(clock);
      await body(fixture.spool, clock, fixture);
    });
  };
  storing(check);
  leasing(check);
  settling(check);
  looking(check);
  selecting(check);
  changing(check);
  counting(check);
  sharing(check);
}

function storing(check: Check): void {
  check("content comes back as it was written, whatever its size and pieces", async (spool) => {
    const chunk = 256 * 1024;
    for (const size of [0, 1, 4096, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 77]) {
      const content = noise(size, size + 1);
      for (const pieceSize of [size === 0 ? 1 : size, 65_536, 1000]) {
        const draft = spool.begin();
        // The same buffer for each piece: what a caller may do once `write` has returned.
        const reused = new Uint8Array(pieceSize);
        for (let at = 0; at < size; at += pieceSize) {
          const piece = content.subarray(at, at + pieceSize);
          reused.set(piece);
          const pending = draft.write(reused.subarray(0, piece.length));
          reused.fill(0xff);
          if (pending !== undefined) await pending;
        }
        const what = message();
        await draft.commit(what);
        assert.deepEqual(await contentOf(spool, what.id), content, `${size} bytes in pieces of ${pieceSize}`);
        const [entry] = await spool.list({ messageId: what.id });
        assert.equal(entry?.message.sizeBytes, size);
      }
    }
  });

  check("many drafts at a time do not mix their content", async (spool) => {
    const contents = Array.from({ length: 12 }, (_, index) => noise(index % 3 === 0 ? 700_000 : 5000, index + 1));
    const whats = contents.map(() => message());
    await Promise.all(contents.map(async (content, index) => {
      const draft = spool.begin();
      for (let at = 0; at < content.length; at += 50_000) await writeAll(draft, [content.subarray(at, at + 50_000)]);
      await draft.commit(whats[index]!);
    }));
    for (const [index, what] of whats.entries()) {
      assert.deepEqual(await contentOf(spool, what.id), contents[index], `message ${index}`);
    }
  });

  check("a draft that is disposed leaves nothing, and takes nothing more", async (spool) => {
    const draft = spool.begin();
    await writeAll(draft, [noise(600_000)]);
    await draft[Symbol.asyncDispose]();
    assert.deepEqual(await spool.list({}), []);
    await assert.rejects(async () => await draft.write(new Uint8Array(1)), coded("closed"));
    await assert.rejects(draft.commit(message()), coded("closed"));
  });

  check("an id that is taken is refused, and harms no other commit of the same moment", async (spool) => {
    const first = message();
    await store(spool, "first", first);
    const outcomes = await Promise.allSettled([
      store(spool, "a", message()),
      store(spool, "second", first),
      store(spool, noise(600_000), first),
      store(spool, "b", message()),
    ]);
    assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "rejected", "fulfilled"]);
    assert.ok(outcomes.every((outcome) => outcome.status === "fulfilled" || coded("broken")(outcome.reason)));
    assert.equal(new TextDecoder().decode(await contentOf(spool, first.id)), "first");
    assert.equal((await spool.list({})).length, 3);
  });

  check("a message without deliveries is refused", async (spool) => {
    await assert.rejects(store(spool, "x", message([])), coded("broken"));
  });

  check("a commit with a claim gives leases that hold what was stored", async (spool, clock) => {
    const what = message([
      delivery("a", "one@example.com"),
      { ...delivery("b", "two@example.com"), originalRecipient: "alias@example.com", notify: ["failure", "delay"] },
      { ...delivery("a", "drei@exämple.com"), orcpt: "rfc822;three@example.com" },
    ]);
    const leases = await store(spool, "content", what, 1000);
    assert.deepEqual(leases.map((lease) => lease.delivery), what.deliveries);
    for (const lease of leases) {
      assert.equal(lease.expiresAtMs, clock.ms + 1000);
      assert.equal(lease.attempts, 0);
      assert.deepEqual(lease.message, { id: what.id, receivedAtMs: what.receivedAtMs, sizeBytes: 7, envelope });
    }
    assert.equal(new Set(leases.map(({ deliveryId }) => deliveryId)).size, 3);
    assert.deepEqual(await spool.lease("a", { limit: 10, forMs: 1000, ignoreBackoff: true }), []);
    const entries = await spool.list({});
    assert.deepEqual(
      entries.map((entry) => [entry.deliveryId, entry.state]),
      leases.map((l) => [l.deliveryId, "leased"]),
    );
    assert.equal(new TextDecoder().decode(await contentOf(spool, what.id)), "content");
    await spool.settle(leases.map((lease) => ({ lease, settlement: done })));
    assert.deepEqual(await spool.list({}), []);
    await assert.rejects(contentOf(spool, what.id), coded("gone"));
  });

  check("nothing is refused while there is room, and a closed spool says that it is closed", async (spool) => {
    assert.equal(spool.refusal(), undefined);
    await spool[Symbol.asyncDispose]();
    assert.equal(spool.refusal()?.code, "closed");
    await assert.rejects(store(spool), coded("closed"));
    await assert.rejects(spool.lease("archive", { limit: 1, forMs: 1 }), coded("closed"));
    await assert.rejects(spool.list({}), coded("closed"));
    await spool[Symbol.asyncDispose]();
  });
}

function leasing(check: Check): void {
  check("a lease takes the oldest due first, of its channel only, up to its limit", async (spool, clock) => {
    const ids: string[] = [];
    for (let index = 0; index < 4; index++) {
      const what = message([delivery("a"), delivery("b")]);
      ids.push(what.id);
      await store(spool, "x", what);
      clock.ms += 10;
    }
    const leases = await spool.lease("a", { limit: 3, forMs: 1000 });
    assert.deepEqual(leases.map((lease) => lease.message.id), ids.slice(0, 3));
    assert.ok(leases.every((lease) => lease.delivery.channel === "a" && lease.expiresAtMs === clock.ms + 1000));
    assert.deepEqual((await spool.lease("a", { limit: 3, forMs: 1000 })).map((l) => l.message.id), ids.slice(3));
    assert.deepEqual(await spool.lease("a", { limit: 3, forMs: 1000 }), []);
    assert.deepEqual(await spool.lease("nobody", { limit: 3, forMs: 1000 }), []);
    assert.deepEqual(await spool.lease("b", { limit: 0, forMs: 1000 }), []);
    assert.equal((await spool.lease("b", { limit: 100, forMs: 1000 })).length, 4);
  });

  check("a lease that expired is lent again, and what its first holder says is ignored", async (spool, clock) => {
    const [old] = await store(spool, "x", message(), 1000);
    clock.ms += 999;
    assert.deepEqual(await spool.lease("archive", { limit: 1, forMs: 1000 }), []);
    clock.ms += 1;
    assert.equal((await spool.list({ state: "queued" })).length, 1);
    assert.equal((await spool.list({ state: "leased" })).length, 0);
    const [fresh] = await spool.lease("archive", { limit: 1, forMs: 1000 });
    assert.equal(fresh?.deliveryId, old?.deliveryId);
    assert.notEqual(fresh?.token, old?.token);
    assert.equal(fresh?.attempts, 0);
    for (const kind of ["done", "retry", "failed", "returned"] as const) {
      await settleOne(spool, old!, { kind, detail: "late", dueAtMs: 0 });
    }
    await spool.renew([old!], 999_999);
    const [entry] = await spool.list({});
    assert.deepEqual([entry?.state, entry?.attempts, entry?.dueAtMs], ["leased", 0, clock.ms + 1000]);
    assert.deepEqual(await spool.attempts(fresh!.message.id), []);
    await settleOne(spool, fresh!, done);
    assert.deepEqual(await spool.list({}), []);
    await settleOne(spool, fresh!, done);
  });

  check("a lease whose time ran out still settles while nobody else has it", async (spool, clock) => {
    const [lease] = await store(spool, "x", message(), 1000);
    clock.ms += 5000;
    await settleOne(spool, lease!, done);
    assert.deepEqual(await spool.list({}), []);
  });

  check("renew keeps a lease from others", async (spool, clock) => {
    const leases = await store(spool, "x", message(), 1000);
    clock.ms += 900;
    await spool.renew(leases, 1000);
    clock.ms += 900;
    assert.deepEqual(await spool.lease("archive", { limit: 1, forMs: 1000 }), []);
    assert.equal((await spool.nextDue(["archive"])).get("archive"), clock.ms + 100);
    await spool.renew([], 1000);
  });

  check("ignoreBackoff takes what is queued for later, but nothing leased", async (spool, clock) => {
    const [later] = await store(spool, "x", message(), 1000);
    await settleOne(spool, later!, { kind: "retry", detail: "451", dueAtMs: clock.ms + RETRY_MS });
    await store(spool, "y", message(), 1000);
    const leases = await spool.lease("archive", { limit: 10, forMs: 1000, ignoreBackoff: true });
    assert.deepEqual(leases.map(({ deliveryId }) => deliveryId), [later!.deliveryId]);
    assert.equal(leases[0]?.attempts, 1);
  });

  check("nextDue tells the first time of each channel that has any", async (spool, clock) => {
    const start = clock.ms;
    assert.equal((await spool.nextDue(["archive", "other"])).size, 0);
    const [lease] = await store(spool, "x", message(), 7000);
    assert.deepEqual([...await spool.nextDue(["archive", "other"])], [["archive", start + 7000]]);
    await settleOne(spool, lease!, { kind: "retry", detail: "451", dueAtMs: start + RETRY_MS });
    assert.deepEqual([...await spool.nextDue(["archive"])], [["archive", start + RETRY_MS]]);
    await store(spool, "x", message([delivery("other")]));
    assert.deepEqual(
      await spool.nextDue(["archive", "other"]),
      new Map([["archive", start + RETRY_MS], ["other", start]]),
    );
    assert.equal((await spool.nextDue([])).size, 0);
  });
}

function settling(check: Check): void {
  check("a retry is due when it says, counts the attempt and keeps its reason", async (spool, clock) => {
    const [first] = await store(spool, "x", message(), 1000);
    const dueAtMs = clock.ms + RETRY_MS;
    await settleOne(spool, first!, { kind: "retry", detail: "451 4.3.0 Later", dueAtMs });
    const [entry] = await spool.list({});
    assert.deepEqual([entry?.state, entry?.attempts, entry?.dueAtMs, entry?.lastDetail], [
      "queued",
      1,
      dueAtMs,
      "451 4.3.0 Later",
    ]);
    clock.ms = dueAtMs - 1;
    assert.deepEqual(await spool.lease("archive", { limit: 1, forMs: 1000 }), []);
    clock.ms = dueAtMs;
    const [second] = await spool.lease("archive", { limit: 1, forMs: 1000 });
    assert.equal(second?.attempts, 1);
    await settleOne(spool, second!, { kind: "failed", detail: "550 5.1.1 Nobody" });
    assert.deepEqual(await spool.attempts(first!.message.id), [
      { deliveryId: first!.deliveryId, atMs: dueAtMs - RETRY_MS, kind: "retry", detail: "451 4.3.0 Later" },
      { deliveryId: first!.deliveryId, atMs: dueAtMs, kind: "failed", detail: "550 5.1.1 Nobody" },
    ]);
  });

  check("a failed delivery is kept with its content, and lent to nobody", async (spool, clock) => {
    const what = message([delivery("a"), delivery("b")]);
    const [a, b] = await store(spool, "kept", what, 1000);
    await spool.settle([
      { lease: a!, settlement: { kind: "failed", detail: "550 No" } },
      { lease: b!, settlement: done },
    ]);
    clock.ms += 10 * RETRY_MS;
    assert.deepEqual(await spool.lease("a", { limit: 1, forMs: 1000, ignoreBackoff: true }), []);
    assert.equal((await spool.nextDue(["a", "b"])).size, 0);
    const [entry] = await spool.list({ state: "failed" });
    assert.deepEqual([entry?.deliveryId, entry?.lastDetail, entry?.attempts], [a!.deliveryId, "550 No", 1]);
    assert.deepEqual(await spool.list({ state: "held" }), []);
    assert.equal(new TextDecoder().decode(await contentOf(spool, what.id)), "kept");
  });

  check("what is returned is due at once and its attempt does not count", async (spool, clock) => {
    const [lease] = await store(spool, "x", message(), 1000);
    await settleOne(spool, lease!, { kind: "returned" });
    const [entry] = await spool.list({});
    assert.deepEqual([entry?.state, entry?.attempts, entry?.dueAtMs], ["queued", 0, clock.ms]);
    assert.deepEqual(await spool.attempts(lease!.message.id), []);
    const [again] = await spool.lease("archive", { limit: 1, forMs: 1000 });
    assert.equal(again?.deliveryId, lease!.deliveryId);
  });

  check("a message stays until its last delivery is done", async (spool) => {
    const content = noise(600_000);
    const what = message([delivery("a"), delivery("a"), delivery("b")]);
    const leases = await store(spool, content, what, 1000);
    await settleOne(spool, leases[0]!, { kind: "retry", detail: "451", dueAtMs: 0 });
    await settleOne(spool, leases[1]!, done);
    await settleOne(spool, leases[2]!, done);
    assert.deepEqual(await contentOf(spool, what.id), content);
    assert.equal((await spool.attempts(what.id)).length, 1);
    const [last] = await spool.lease("a", { limit: 1, forMs: 1000 });
    await settleOne(spool, last!, done);
    await assert.rejects(contentOf(spool, what.id), coded("gone"));
    assert.deepEqual(await spool.attempts(what.id), []);
    await spool.settle([]);
  });

  check("a detail of any length is kept bounded", async (spool) => {
    const [lease] = await store(spool, "x", message(), 1000);
    await settleOne(spool, lease!, { kind: "failed", detail: "x".repeat(100_000) });
    assert.equal((await spool.list({}))[0]?.lastDetail?.length, 1000);
  });
}

function looking(check: Check): void {
  check("list selects by message, channel and state, and continues behind a delivery", async (spool) => {
    const first = message([delivery("a"), delivery("b")]);
    const second = message([delivery("a"), delivery("c")]);
    const [lease] = await store(spool, "x", first, 1000);
    await store(spool, "x", second);
    const ids = async (selection: Selection) => (await spool.list(selection)).map(({ deliveryId }) => deliveryId);
    const all = await ids({});
    const [a, b, c, d] = all;
    assert.equal(all.length, 4);
    assert.deepEqual(await ids({ messageId: first.id }), [a, b]);
    assert.deepEqual(await ids({ messageId: "unknown" }), []);
    assert.deepEqual(await ids({ channel: "a" }), [a, c]);
    assert.deepEqual(await ids({ state: "leased" }), [a, b]);
    assert.deepEqual(await ids({ state: "queued", channel: "c" }), [d]);
    assert.deepEqual(await ids({ limit: 2 }), [a, b]);
    assert.deepEqual(await ids({ limit: 2, afterDeliveryId: b! }), [c, d]);
    assert.deepEqual(await ids({ afterDeliveryId: d! }), []);
    assert.deepEqual(await ids({ limit: 0 }), []);
    const [entry] = await spool.list({ messageId: first.id });
    assert.deepEqual(entry?.message, lease?.message);
    assert.deepEqual(entry?.delivery, first.deliveries[0]);
  });

  check("list gives 100 entries unless it is asked for more, and 10,000 at most", async (spool) => {
    await store(spool, "x", message(Array.from({ length: 10_050 }, () => delivery())));
    assert.equal((await spool.list({})).length, 100);
    assert.equal((await spool.list({ limit: 1_000_000 })).length, 10_000);
  });

  check("content of an unknown message is gone", async (spool) => {
    await assert.rejects(contentOf(spool, "unknown"), coded("gone"));
  });
}

function sharing(check: Check): void {
  check("a delivery is never lent twice, however many ask at a time", async (spool, _clock, fixture) => {
    const other = fixture.again === undefined ? spool : await fixture.again();
    try {
      const stored = Promise.all(
        Array.from({ length: 200 }, (_, index) => store(index % 2 === 0 ? spool : other, `content ${index}`)),
      );
      const seen = new Set<number>();
      const take = async (from: Spool) => {
        for (;;) {
          const leases = await from.lease("archive", { limit: 7, forMs: 60_000 });
          for (const lease of leases) {
            assert.ok(!seen.has(lease.deliveryId), `delivery ${lease.deliveryId} was lent twice`);
            seen.add(lease.deliveryId);
          }
          await from.settle(leases.map((lease) => ({ lease, settlement: done })));
          if (leases.length === 0 && (await from.list({})).length === 0 && seen.size === 200) return;
        }
      };
      await Promise.all([stored, take(spool), take(other), take(spool), take(other)]);
      assert.equal(seen.size, 200);
    } finally {
      if (other !== spool) await other[Symbol.asyncDispose]();
    }
  });
}
