/** The store in memory: the contract, and its bound. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../../src/observe/log.ts";
import { openMemorySpool } from "../../src/spool/memory.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { spoolContract } from "../contract/spool_contract.ts";
import { message, noise, removeMessages, store, TestClock } from "./fixture.ts";

spoolContract("memory", (clock) => {
  const spool = openMemorySpool({}, clock, silentLog);
  return Promise.resolve({ spool, [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose]() });
});

test("memory: content beyond the bound is refused as full, and room comes back", async () => {
  await using spool = openMemorySpool({ maxBytes: 10_000 }, new TestClock(), silentLog);
  const first = message();
  await store(spool, noise(6000), first);
  const full = (error: unknown) => error instanceof SpoolError && error.code === "full";
  await assert.rejects(store(spool, noise(6000)), full);
  {
    await using draft = spool.begin();
    await draft.write(noise(4000));
    assert.equal(spool.refusal()?.code, "full");
  }
  assert.equal(spool.refusal(), undefined);
  await removeMessages(spool, [first.id]);
  await store(spool, noise(9000));
});
