/** A connection that could write on and on without waiting leaves the others their turn. */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { setImmediate } from "node:timers";
import { currentRuntime } from "../../src/runtime/current.ts";
import type { Transport } from "../../src/runtime/runtime.ts";

test("Large writes that the system takes at once let other events come between", async () => {
  const { network } = await currentRuntime();
  const { promise: accepted, resolve: accept } = Promise.withResolvers<Transport>();
  await using listening = await network.listen({ address: "127.0.0.1", port: 0 }, accept);
  assert.ok(listening.local.kind === "ip");
  const client = net.connect({ host: "127.0.0.1", port: listening.local.port });
  client.resume();
  await using transport = await accepted;
  let turns = 0;
  let counting = true;
  const count = () => {
    turns++;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  // Little enough for the buffers of the system.
  for (let write = 0; write < 3; write++) await transport.write(new Uint8Array(16 * 1024).fill(0x2e));
  assert.ok(turns > 0, "Three writes were over before anything else could happen");
  counting = false;
  client.end();
});
