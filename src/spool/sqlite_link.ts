/**
 * The main thread's end of the line to the SQLite thread: gathers requests into batches, sends content through shared
 * memory, and hands each answer to whoever waits for it. It must not know what requests mean.
 */
import type { WorkerPort } from "../runtime/runtime.ts";
import type { Answer, FromThread, OpenRequest, Operation, Operations, Payload, Request, ToThread } from "./protocol.ts";
import { Ring } from "./ring.ts";
import { SpoolError } from "./spool.ts";

/** Content under way to the thread, of all sessions together. */
const RING_BYTES = 8 * 1024 * 1024;
/** Batches sent and not yet answered; with more, requests gather for the next one. */
const MAX_BATCHES_UNDER_WAY = 2;

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: SpoolError) => void;
  /** Bytes of the ring that are free again after the answer. */
  readonly taken: number;
}

/** Opens once, then carries requests until it is closed or the thread dies. */
export class ThreadLink {
  readonly #port: WorkerPort;
  readonly #ring = new Ring(RING_BYTES);
  #outbox: Request[] = [];
  #waiting: Waiting[] = [];
  /** Bytes of the ring taken by the request that is about to be made. */
  #takenForNext = 0;
  #flushPlanned = false;
  /** Sizes of the batches under way; their answers may come in fewer or more pieces. */
  readonly #underWay: number[] = [];
  #roomWaiters: (() => void)[] = [];
  #opened: PromiseWithResolvers<number> | undefined;
  #failure: SpoolError | undefined;
  /** Set while the last request is under way. */
  #sealed: SpoolError | undefined;

  constructor(port: WorkerPort) {
    this.#port = port;
    port.onMessage((message) => this.#receive(message as FromThread));
    port.onError((error) => {
      this.fail(
        new SpoolError(
          `The spool's thread died: ${error.message}. Messages are refused until smtpd is started again`,
          "broken",
          error,
        ),
      );
    });
  }

  /** Why nothing can be asked any more, or undefined. */
  get failure(): SpoolError | undefined {
    return this.#failure ?? this.#sealed;
  }

  /** Opens the file in the thread; answers our id as an owner. */
  open(request: Omit<OpenRequest, "ring">): Promise<number> {
    this.#opened = Promise.withResolvers<number>();
    this.#post({ kind: "open", open: { ...request, ring: this.#ring.memory } });
    return this.#opened.promise;
  }

  /** Sends a request with the next batch. Rejects with `SpoolError`. */
  request<Op extends Operation>(request: Operations[Op]["request"] & { readonly op: Op }): Promise<Answer<Op>> {
    const taken = this.#takenForNext;
    this.#takenForNext = 0;
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return new Promise<Answer<Op>>((resolve, reject) => {
      this.#waiting.push({ resolve: resolve as (answer: unknown) => void, reject, taken });
      this.#outbox.push(request as Request);
      this.#planFlush();
    });
  }

  /** Prepares bytes for the request that is made next, at once; undefined when it is better to wait for `room`. */
  place(bytes: Uint8Array): Payload | undefined {
    const place = this.#ring.put(bytes);
    if (place === undefined) return undefined;
    this.#takenForNext += place.taken;
    return { at: place.at, size: place.size };
  }

  /** Resolves when some content has arrived on the other side, or never will. */
  room(): Promise<void> {
    if (this.failure !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /** What was asked for until now is still answered; everything later is rejected with `error`. */
  seal(error: SpoolError): void {
    this.#sealed ??= error;
    this.#wakeWaiters();
  }

  /** Rejects what is under way and everything later. */
  fail(error: SpoolError): void {
    this.#failure ??= error;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#outbox = [];
    this.#opened?.reject(this.#failure);
    for (const { reject } of waiting) reject(this.#failure);
    this.#wakeWaiters();
  }

  /** Ends the thread; what is under way is rejected with `error`. */
  terminate(error: SpoolError): void {
    this.fail(error);
    this.#port.terminate();
  }

  #planFlush(): void {
    if (this.#flushPlanned || this.#underWay.length >= MAX_BATCHES_UNDER_WAY) return;
    this.#flushPlanned = true;
    queueMicrotask(() => {
      this.#flushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#outbox.length === 0 || this.#failure !== undefined) return;
    const requests = this.#outbox;
    this.#outbox = [];
    this.#underWay.push(requests.length);
    this.#post({ kind: "batch", requests });
  }

  #post(message: ToThread): void {
    this.#port.post(message);
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case "opened":
        return this.#opened?.resolve(message.owner);
      case "refused":
        return this.fail(new SpoolError(message.failure.message, message.failure.code));
      case "results":
    }
    const { results } = message;
    const answered = this.#waiting.splice(0, results.length);
    this.#countAnswered(answered.length);
    for (const [index, { resolve, reject, taken }] of answered.entries()) {
      if (taken > 0) this.#ring.free(taken);
      const result = results[index]!;
      if ("failure" in result) reject(new SpoolError(result.failure.message, result.failure.code));
      else resolve(result.value);
    }
    this.#wakeWaiters();
    if (this.#outbox.length > 0) this.#planFlush();
  }

  #countAnswered(count: number): void {
    while (count > 0 && this.#underWay.length > 0) {
      const oldest = this.#underWay[0]!;
      if (oldest > count) {
        this.#underWay[0] = oldest - count;
        return;
      }
      this.#underWay.shift();
      count -= oldest;
    }
  }

  #wakeWaiters(): void {
    if (this.#roomWaiters.length === 0) return;
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}
