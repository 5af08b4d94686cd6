/**
 * What every channel must do, whatever its type: one outcome for each recipient and no other, an end when its signal
 * aborts, a disposal that ends. Called with each implementation.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Channel, Job, Outcome } from "../../src/channel/channel.ts";
import { jobOf } from "../channel/channel_world.ts";

export interface OpenedChannel extends AsyncDisposable {
  readonly channel: Channel;
}

/** `open` makes a channel whose deliveries succeed; `readsContent` is false for one that never looks at the message. */
export function channelContract(
  name: string,
  open: () => Promise<OpenedChannel>,
  options: { readonly readsContent: boolean },
): void {
  for (const recipients of [1, 2, 7]) {
    test(`${name}: one outcome for each of ${recipients} recipients`, async () => {
      await using opened = await open();
      const job = jobOf("Subject: Hi\r\n\r\nText\r\n", recipients);
      const outcomes = await outcomesOf(opened.channel, job);
      assert.deepEqual(
        outcomes.map((outcome) => outcome.deliveryId).sort((one, other) => one - other),
        job.recipients.map((recipient) => recipient.deliveryId),
      );
      for (const { kind, detail } of outcomes) {
        assert.equal(kind, "delivered");
        assert.match(detail, /^[^\p{Cc}]{1,500}$/u);
      }
    });
  }

  test(`${name}: many jobs at one time all end, each with its own outcomes`, async () => {
    await using opened = await open();
    const jobs = Array.from({ length: 20 }, (_, index) => jobOf(`Subject: ${index}\r\n\r\n`, 2, index * 10));
    const outcomes = await Promise.all(jobs.map((job) => outcomesOf(opened.channel, job)));
    for (const [index, job] of jobs.entries()) {
      assert.deepEqual(
        outcomes[index]?.map((outcome) => [outcome.deliveryId, outcome.kind]),
        job.recipients.map((recipient) => [recipient.deliveryId, "delivered"]),
      );
    }
  });

  test(`${name}: a signal that aborted before leaves nothing delivered`, async () => {
    await using opened = await open();
    const job = jobOf("Subject: Hi\r\n\r\nText\r\n", 2);
    const outcomes = await outcomesOf(opened.channel, job, AbortSignal.abort(new Error("Stopped")));
    assert.deepEqual(outcomes.filter((outcome) => outcome.kind === "delivered"), []);
  });

  if (!options.readsContent) return;

  test(`${name}: a signal that aborts in mid-content ends the attempt, and the next job is delivered`, async () => {
    await using opened = await open();
    const abort = new AbortController();
    const endless: Job = {
      ...jobOf("", 2),
      async *content() {
        for (let piece = 0;; piece++) {
          if (piece === 5) abort.abort(new Error("Stopped"));
          yield await Promise.resolve(new TextEncoder().encode("Text\r\n"));
        }
      },
    };
    // Too large to be kept, so that it is read piece by piece.
    const job = { ...endless, message: { ...endless.message, sizeBytes: 1e9 } };
    assert.deepEqual((await outcomesOf(opened.channel, job, abort.signal)).map(({ kind }) => kind), []);
    assert.equal((await outcomesOf(opened.channel, jobOf("Subject: Next\r\n\r\n", 1)))[0]?.kind, "delivered");
  });

  test(`${name}: content that cannot be read is not delivered, and the next job is`, async () => {
    await using opened = await open();
    const job: Job = {
      ...jobOf("", 2),
      async *content() {
        yield await Promise.resolve(new TextEncoder().encode("Subject: Half"));
        throw new Error("The store broke");
      },
    };
    const outcomes = await outcomesOf(opened.channel, job);
    assert.deepEqual(outcomes.filter((outcome) => outcome.kind !== "deferred"), []);
    assert.equal((await outcomesOf(opened.channel, jobOf("Subject: Next\r\n\r\n", 1)))[0]?.kind, "delivered");
  });
}

/** Everything the channel says about the job; that it throws is an answer as well. */
export async function outcomesOf(
  channel: Channel,
  job: Job,
  signal: AbortSignal = new AbortController().signal,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  try {
    for await (const outcome of channel.deliver(job, signal)) outcomes.push(outcome);
  } catch (error) {
    assert.ok(error instanceof Error);
  }
  return outcomes;
}
