/** `smtpd queue bounce`: whom it tells, and that nothing is lost or told wrongly when something comes in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { QueueBouncer } from "../../src/cli/queue_bounce.ts";
import type { Notifications } from "../../src/controller/notification.ts";
import type { ReportedRecipient } from "../../src/message/dsn.ts";
import { queueChange } from "../../src/cli/queue_change.ts";
import { delivery } from "../spool/fixture.ts";
import { QueueWorld } from "./queue_world.ts";

function bouncer(world: QueueWorld, during?: () => Promise<void>) {
  const told: string[] = [];
  const notifications: Pick<Notifications, "tell"> = {
    async tell(message, sender, recipients: readonly ReportedRecipient[]) {
      await during?.();
      told.push(
        `${message.id} ${sender}: ${recipients.map(({ recipient, status }) => `${recipient} ${status}`).join(" ")}`,
      );
      return sender.endsWith("@nowhere.example") ? { kind: "nobody", why: "for a test" } : { kind: "told" };
    },
  };
  return { told, bouncer: new QueueBouncer(world.spool, notifications, world.clock) };
}

async function bounce(world: QueueWorld, chosen: ReturnType<typeof bouncer>, reason = "No") {
  const { runtime, out, err } = world.line();
  const options = { all: true, yes: true, reason };
  const code = await queueChange(runtime, world.spool, "bounce", [], options, undefined, chosen.bouncer);
  return { code, out: out(), err: err() };
}

test("queue bounce: each sender of a message is told once, unless there is none or it does not want to be", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [
    delivery("a", "one@example.com"),
    { ...delivery("b", "two@example.com"), held: true, originalRecipient: "given@example.com" },
    { ...delivery("a", "three@example.com"), notify: ["delay"] },
    { ...delivery("a", "four@example.com"), reversePath: "other@example.com" },
  ]);
  await world.queue("m0002", [delivery()], { envelope: { reversePath: "" } });
  await world.queue("m0003", [delivery()], { envelope: { reversePath: "x@nowhere.example" } });
  await world.settle(await world.add("m0004"), "failed");
  const chosen = bouncer(world);
  const { code, out, err } = await bounce(world, chosen, "550 5.7.0 Not wanted");
  assert.equal(code, 0);
  assert.deepEqual(chosen.told, [
    "m0001 alice@example.com: one@example.com 5.7.0 given@example.com 5.7.0",
    "m0001 other@example.com: four@example.com 5.7.0",
    "m0003 x@nowhere.example: user@example.com 5.7.0",
  ]);
  assert.equal(
    out,
    "Gave up 6 deliveries of 3 messages. They are kept as failed. 2 notifications are on the way to the senders.\n",
  );
  assert.equal(err, "smtpd: Left 1 delivery alone: failed already.\n");
  assert.deepEqual((await world.states()).filter((state) => !state.endsWith(" failed")), []);
  assert.equal((await world.spool.attempts("m0002"))[0]?.detail, "Given up by the operator: 550 5.7.0 Not wanted");
});

test("queue bounce: nobody delivers what its sender is being told of", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001");
  const chosen = bouncer(world, async () => {
    assert.deepEqual(await world.states(), ["m0001 held"]);
    assert.deepEqual(await world.spool.lease("archive", { limit: 9, forMs: 1_000, ignoreBackoff: true }), []);
  });
  await bounce(world, chosen);
  assert.equal(chosen.told.length, 1);
  assert.deepEqual(await world.states(), ["m0001 failed"]);
});

test("queue bounce: what is being delivered is left alone, and its sender hears nothing", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001");
  const chosen = bouncer(world);
  const entries = await world.spool.list({});
  await world.spool.lease("archive", { limit: 1, forMs: 60_000 });
  const outcomes = await chosen.bouncer.bounce(
    [...entries.map(({ deliveryId }) => ({ delivery: deliveryId, message: "m0001" })), {
      delivery: 999,
      message: "m9",
    }],
    "No",
  );
  assert.deepEqual([outcomes, chosen.told], [["leased", "gone"], []]);
});

test("queue bounce: when a notification cannot be stored, nothing is given up", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery(), { ...delivery("b"), held: true }]);
  const chosen = bouncer(world, () => Promise.reject(new Error("No space")));
  await assert.rejects(bounce(world, chosen), /No space/);
  assert.deepEqual(await world.states(), ["m0001 queued", "m0001 held"]);
});
