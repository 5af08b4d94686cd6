/** The discard channel: it says "delivered" and never looks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job } from "../../src/channel/channel.ts";
import { discardChannel } from "../../src/channel/discard.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobOf } from "./channel_world.ts";

async function open() {
  const channel = await discardChannel.open({}, contextOf());
  return { channel, [Symbol.asyncDispose]: () => channel[Symbol.asyncDispose]() };
}

channelContract("discard", open, { readsContent: false });

test("discard: the content is not read", async () => {
  await using opened = await open();
  const job: Job = {
    ...jobOf("", 3),
    content() {
      throw new Error("Read");
    },
  };
  assert.deepEqual((await outcomesOf(opened.channel, job)).map(({ kind }) => kind), Array(3).fill("delivered"));
});
