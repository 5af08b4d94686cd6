/**
 * The channel that throws messages away, for tests, measurements and addresses nobody reads. It never reads the content.
 */
import * as v from "valibot";
import type { Channel, ChannelDefinition, Job, Outcome } from "./channel.ts";

const schema = v.strictObject({});

/** Yields an outcome per recipient with plain promises: a generator would cost more than the delivery itself. */
class Discarded implements AsyncIterableIterator<Outcome> {
  readonly #job: Job;
  readonly #signal: AbortSignal;
  #next = 0;

  constructor(job: Job, signal: AbortSignal) {
    this.#job = job;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Outcome>> {
    const recipient = this.#signal.aborted ? undefined : this.#job.recipients[this.#next++];
    return Promise.resolve(
      recipient === undefined
        ? { done: true, value: undefined }
        : { done: false, value: { kind: "delivered", deliveryId: recipient.deliveryId, detail: "Discarded" } },
    );
  }
}

const channel: Channel = {
  deliver: (job, signal) => new Discarded(job, signal),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

export const discardChannel: ChannelDefinition<v.InferOutput<typeof schema>> = {
  type: "discard",
  summary: "Accepts messages and throws them away.",
  schema,
  open: () => channel,
};
