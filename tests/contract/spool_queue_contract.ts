/** What every spool owes an operator: selections, changes to single deliveries, counts. Part of the spool's contract. */
import assert from "node:assert/strict";
import type { Change, ChangeOutcome, DeliveryState, NewMessage, Selection, Spool } from "../../src/spool/spool.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { contentOf, delivery, envelope, message, noise, store } from "../spool/fixture.ts";
import type { Check } from "./spool_contract.ts";

const RETRY_MS = 60_000;

async function ids(spool: Spool, selection: Selection): Promise<readonly number[]> {
  return (await spool.list(selection)).map(({ deliveryId }) => deliveryId);
}

/** A message with a delivery in each state, in the order of `states`; the failed one has one attempt. */
async function oneOfEach(
  spool: Spool,
): Promise<{ readonly message: NewMessage; readonly of: Record<DeliveryState, number> }> {
  const what = message([
    delivery("a", "q@x"),
    delivery("a", "l@x"),
    { ...delivery("a", "h@x"), held: true },
    delivery("a", "f@x"),
  ]);
  const [queued, leased, failed] = await store(spool, "kept", what, 1000);
  await spool.settle([
    { lease: queued!, settlement: { kind: "returned" } },
    { lease: failed!, settlement: { kind: "failed", detail: "550 No" } },
  ]);
  const all = await ids(spool, {});
  return {
    message: what,
    of: { queued: queued!.deliveryId, leased: leased!.deliveryId, held: all[2]!, failed: failed!.deliveryId },
  };
}

export function selecting(check: Check): void {
  check("a selection by sender and recipient: exact or a pattern, whatever the case of its letters", async (spool) => {
    const from = (reversePath: string) => ({ ...envelope, reversePath });
    await store(spool, "x", {
      ...message([
        delivery("a", "Anna@Example.com"),
        { ...delivery("a", "bert@example.org"), reversePath: "changed@example.net" },
        delivery("a", 'odd[1]"@example.com'),
      ]),
      envelope: from("News@Example.net"),
    });
    await store(spool, "x", { ...message([delivery("b", "anna@example.com")]), envelope: from("") });
    const [a, b, odd, nobody] = await ids(spool, {});
    assert.deepEqual(await ids(spool, { recipient: "anna@example.COM" }), [a, nobody]);
    assert.deepEqual(await ids(spool, { recipient: "anna@example" }), []);
    assert.deepEqual(await ids(spool, { recipient: "*@EXAMPLE.com" }), [a, odd, nobody]);
    assert.deepEqual(await ids(spool, { recipient: "?ert@*.org" }), [b]);
    assert.deepEqual(await ids(spool, { recipient: "odd[1]*" }), [odd]);
    assert.deepEqual(await ids(spool, { sender: "news@example.net" }), [a, odd]);
    assert.deepEqual(await ids(spool, { sender: "changed@*" }), [b]);
    assert.deepEqual(await ids(spool, { sender: "" }), [nobody]);
    assert.deepEqual(await ids(spool, { sender: "*", channel: "b" }), [nobody]);
    assert.deepEqual(await ids(spool, { sender: "'; DROP TABLE delivery; --" }), []);
  });

  check("a selection by age, binding and ids; everything that is named must hold", async (spool) => {
    for (
      const [id, receivedAtMs, binding] of [["k3", 300, "one"], ["k1", 100, "two"], ["k2", 200, "two"], [
        "m",
        400,
        "two",
      ]] as const
    ) {
      await store(spool, "x", { ...message([{ ...delivery(), binding }, delivery("b")], id), receivedAtMs });
    }
    const found = async (selection: Selection) =>
      (await spool.list({ channel: "archive", ...selection })).map((entry) => entry.message.id);
    assert.deepEqual(await found({ receivedBeforeMs: 200 }), ["k1"]);
    assert.deepEqual(await found({ receivedAfterMs: 200 }), ["k3", "m"]);
    assert.deepEqual(await found({ receivedAfterMs: 100, receivedBeforeMs: 300 }), ["k2"]);
    assert.deepEqual(await found({ binding: "two" }), ["k1", "k2", "m"]);
    assert.deepEqual(await found({ messageIds: { from: "k1", to: "k2" } }), ["k1", "k2"]);
    assert.deepEqual(await found({ messageIds: { from: "k", to: "k~" } }), ["k3", "k1", "k2"]);
    assert.deepEqual(await found({ messageIds: { from: "n", to: "z" } }), []);
    assert.deepEqual(await found({ messageIds: { from: "k2", to: "k1" } }), []);
    assert.deepEqual(await found({ messageIds: { from: "k2", to: "m" }, binding: "two", limit: 1 }), ["k2"]);
    assert.deepEqual(await found({ messageId: "k3", binding: "two" }), []);
    assert.equal((await spool.list({ messageIds: { from: "m", to: "m" } })).length, 2);
  });
}

export function changing(check: Check): void {
  const states = ["queued", "leased", "held", "failed"] as const;
  const expected: readonly (readonly [Change, readonly ChangeOutcome[], readonly DeliveryState[]])[] = [
    [{ kind: "hold" }, ["changed", "leased", "unsuitable", "unsuitable"], ["held", "leased", "held", "failed"]],
    [{ kind: "release" }, ["unsuitable", "leased", "changed", "unsuitable"], ["queued", "leased", "queued", "failed"]],
    [{ kind: "retry" }, ["changed", "leased", "unsuitable", "changed"], ["queued", "leased", "held", "queued"]],
    [
      { kind: "fail", detail: "Enough" },
      ["changed", "leased", "changed", "unsuitable"],
      ["failed", "leased", "failed", "failed"],
    ],
  ];
  for (const [change, outcomes, after] of expected) {
    check(`${change.kind} is for some states, and leaves what is leased alone`, async (spool) => {
      const { of } = await oneOfEach(spool);
      assert.deepEqual(await spool.change(states.map((state) => of[state]), change), outcomes);
      const entries = new Map((await spool.list({})).map((entry) => [entry.deliveryId, entry.state]));
      assert.deepEqual(states.map((state) => entries.get(of[state])), after);
    });
  }

  check("what is held is lent to nobody, and is due at once when released", async (spool, clock) => {
    const [first] = await store(spool, "x", message(), 1000);
    await spool.settle([{ lease: first!, settlement: { kind: "retry", detail: "451", dueAtMs: clock.ms + RETRY_MS } }]);
    assert.deepEqual(await spool.change([first!.deliveryId], { kind: "hold" }), ["changed"]);
    clock.ms += 2 * RETRY_MS;
    assert.deepEqual(await spool.lease("archive", { limit: 1, forMs: 1000, ignoreBackoff: true }), []);
    assert.equal((await spool.nextDue(["archive"])).size, 0);
    assert.deepEqual(await spool.change([first!.deliveryId], { kind: "release" }), ["changed"]);
    assert.deepEqual([...await spool.nextDue(["archive"])], [["archive", clock.ms]]);
    const [again] = await spool.lease("archive", { limit: 1, forMs: 1000 });
    assert.deepEqual([again?.deliveryId, again?.attempts], [first!.deliveryId, 1]);
    const [entry] = await spool.list({});
    assert.equal(entry?.lastDetail, "451");
  });

  check("retry makes due what waits or was given up; what is due already keeps its place", async (spool, clock) => {
    const [old] = await store(spool, "x", message());
    assert.equal(old, undefined);
    const [waiting, failed] = await store(spool, "x", message([delivery(), delivery()]), 1000);
    await spool.settle([
      { lease: waiting!, settlement: { kind: "retry", detail: "451", dueAtMs: clock.ms + RETRY_MS } },
      { lease: failed!, settlement: { kind: "failed", detail: "550" } },
    ]);
    const [first, ...others] = await ids(spool, {});
    clock.ms += 1;
    assert.deepEqual(await spool.change([...others, first!], { kind: "retry" }), ["changed", "changed", "changed"]);
    assert.deepEqual((await spool.list({})).map((entry) => clock.ms - entry.dueAtMs), [1, 0, 0]);
    const leases = await spool.lease("archive", { limit: 3, forMs: 1000 });
    assert.deepEqual(leases.map((lease) => lease.attempts), [0, 1, 1]);
    assert.equal((await spool.attempts(waiting!.message.id)).length, 2);
  });

  check("fail keeps the delivery with its content and an attempt that says why", async (spool, clock) => {
    const what = message();
    await store(spool, "kept", what);
    const [id] = await ids(spool, {});
    await spool.change([id!], { kind: "fail", detail: "x".repeat(5000) });
    const [entry] = await spool.list({ state: "failed" });
    const detail = "x".repeat(1000);
    assert.deepEqual([entry?.deliveryId, entry?.attempts, entry?.lastDetail], [id, 1, detail]);
    assert.deepEqual(await spool.attempts(what.id), [{ deliveryId: id, atMs: clock.ms, kind: "failed", detail }]);
    assert.equal(new TextDecoder().decode(await contentOf(spool, what.id)), "kept");
    assert.deepEqual(await spool.lease("archive", { limit: 1, forMs: 1000, ignoreBackoff: true }), []);
    // It can be tried again, and the history goes on.
    await spool.change([id!], { kind: "retry" });
    const [lease] = await spool.lease("archive", { limit: 1, forMs: 1000 });
    await spool.settle([{ lease: lease!, settlement: { kind: "retry", detail: "451", dueAtMs: 0 } }]);
    assert.deepEqual((await spool.attempts(what.id)).map(({ kind }) => kind), ["failed", "retry"]);
  });

  check("a lease that ran out binds nobody, and what its holder says late is ignored", async (spool, clock) => {
    const [lease] = await store(spool, "x", message(), 1000);
    assert.deepEqual(await spool.change([lease!.deliveryId], { kind: "hold" }), ["leased"]);
    clock.ms += 1000;
    assert.deepEqual(await spool.change([lease!.deliveryId], { kind: "hold" }), ["changed"]);
    await spool.settle([{ lease: lease!, settlement: { kind: "done", detail: "late" } }]);
    await spool.renew([lease!], RETRY_MS);
    assert.deepEqual((await spool.list({})).map((entry) => entry.state), ["held"]);
  });

  check(
    "remove takes single deliveries away, and with the last one message, content and attempts",
    async (spool, clock) => {
      const { message: what, of } = await oneOfEach(spool);
      const kept = message();
      await store(spool, "kept", kept);
      const remove = (...which: number[]) => spool.change(which, { kind: "remove" });
      assert.deepEqual(await remove(of.queued, of.leased, of.queued, 999_999), ["changed", "leased", "gone", "gone"]);
      assert.deepEqual(await remove(of.held, of.failed), ["changed", "changed"]);
      assert.deepEqual(await spool.attempts(what.id), []);
      assert.equal(new TextDecoder().decode(await contentOf(spool, what.id)), "kept");
      clock.ms += 1000;
      assert.deepEqual(await remove(of.leased), ["changed"]);
      await assert.rejects(contentOf(spool, what.id), (error) => error instanceof SpoolError && error.code === "gone");
      assert.deepEqual((await spool.list({})).map((entry) => entry.message.id), [kept.id]);
      assert.deepEqual(await remove(), []);
      // Its id is free again.
      await store(spool, noise(600_000), what);
      assert.deepEqual(await contentOf(spool, what.id), noise(600_000));
      await remove(...await ids(spool, { messageId: what.id }));
      assert.deepEqual((await spool.list({})).map((entry) => entry.message.id), [kept.id]);
    },
  );

  check("changes and leases at the same time never meet on one delivery", async (spool, _clock, fixture) => {
    const other = fixture.again === undefined ? spool : await fixture.again();
    try {
      await store(spool, "x", message(Array.from({ length: 300 }, () => delivery())));
      const all = await ids(spool, { limit: 1000 });
      const seen = new Set<number>();
      const note = (id: number) => {
        assert.ok(!seen.has(id), `delivery ${id} was both lent and held`);
        seen.add(id);
      };
      await Promise.all([
        (async () => {
          for (let at = 0; at < all.length; at += 10) {
            const some = all.slice(at, at + 10);
            const outcomes = await other.change(some, { kind: "hold" });
            some.forEach((id, index) => outcomes[index] === "changed" && note(id));
          }
        })(),
        (async () => {
          for (let turn = 0; turn < 30; turn++) {
            for (const lease of await spool.lease("archive", { limit: 7, forMs: RETRY_MS })) note(lease.deliveryId);
          }
        })(),
      ]);
      assert.equal(seen.size, 300);
    } finally {
      if (other !== spool) await other[Symbol.asyncDispose]();
    }
  });
}

export function counting(check: Check): void {
  check("a summary counts by channel and domain, the largest group first", async (spool, clock) => {
    assert.deepEqual(await spool.summary({}), {
      groups: [],
      groupCount: 0,
      total: { queued: 0, leased: 0, held: 0, failed: 0 },
    });
    const { message: what } = await oneOfEach(spool);
    const start = clock.ms;
    clock.ms += 50;
    const at = (receivedAtMs: number, ...recipients: readonly string[]) =>
      store(spool, "x", { ...message(recipients.map((each) => delivery("b", each))), receivedAtMs });
    await at(500, "one@Example.com", '"a@b"@example.COM', "postmaster");
    await at(400, "three@example.com");
    const later = await store(spool, "x", message([delivery("c", "z@x")]), 1000);
    await spool.settle([{ lease: later[0]!, settlement: { kind: "retry", detail: "451", dueAtMs: start + RETRY_MS } }]);
    const none = { queued: 0, leased: 0, held: 0, failed: 0 };
    const groups = [
      {
        ...{ channel: "a", domain: "x", queued: 1, leased: 1, held: 1, failed: 1 },
        ...{ oldestAtMs: what.receivedAtMs, nextDueAtMs: start },
      },
      { channel: "b", domain: "example.com", ...none, queued: 3, oldestAtMs: 500, nextDueAtMs: start + 50 },
      { channel: "b", domain: "", ...none, queued: 1, oldestAtMs: 500, nextDueAtMs: start + 50 },
      { channel: "c", domain: "x", ...none, queued: 1, oldestAtMs: what.receivedAtMs, nextDueAtMs: start + RETRY_MS },
    ];
    const total = { queued: 6, leased: 1, held: 1, failed: 1 };
    assert.deepEqual(await spool.summary({}), { groups, groupCount: 4, total });
    assert.deepEqual(await spool.summary({ limit: 1 }), { groups: groups.slice(0, 1), groupCount: 4, total });
    assert.deepEqual(await spool.summary({ limit: 0 }), { groups: [], groupCount: 4, total });
    const { nextDueAtMs: _, ...held } = { ...groups[0]!, queued: 0, leased: 0, failed: 0 };
    assert.deepEqual((await spool.summary({ state: "held" })).groups, [held]);
    assert.deepEqual((await spool.summary({ receivedBeforeMs: 500 })).total, { ...none, queued: 1 });
    assert.deepEqual((await spool.summary({ messageId: "unknown" })).groupCount, 0);
    // Of those leased, the ones whose time is over count as queued.
    clock.ms = start + 1000;
    assert.deepEqual((await spool.summary({ channel: "a" })).total, { queued: 2, leased: 0, held: 1, failed: 1 });
  });
}
