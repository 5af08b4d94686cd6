/**
 * Takes messages apart in a thread of its own: a large message, or one made to hurt, takes seconds in which the server must
 * go on answering. A thread that takes too long is ended. It must not know the formats.
 */
import type { Clock, WorkerPort, Workers } from "../../runtime/runtime.ts";
import { Mutex } from "../content.ts";
import type { ParsedFormat } from "../webhook.ts";
import { UnreadableMessageError } from "./error.ts";
import type { Dispatch, Payload } from "./payload.ts";
import type { FromThread, ToThread } from "./protocol.ts";

/** Honest messages of any size are done in a fraction of it. Shorter than most attempts may take, so that others get on. */
const FORMAT_MAX_MS = 20_000;

/** A message was not done in time, or the thread died. */
export class FormatError extends Error {
  override readonly name = "FormatError";
}

export class Formatter implements AsyncDisposable {
  readonly #workers: Pick<Workers, "open">;
  readonly #clock: Clock;
  readonly #turn = new Mutex();
  #port: WorkerPort | undefined;
  /** The message that the thread holds. */
  #loaded: Uint8Array | undefined;
  #answer: { readonly resolve: (answer: FromThread) => void; readonly reject: (error: Error) => void } | undefined;

  constructor(workers: Pick<Workers, "open">, clock: Clock) {
    this.#workers = workers;
    this.#clock = clock;
  }

  /** Rejects with `UnreadableMessageError`, `FormatError` or the signal's reason. */
  async payload(raw: Uint8Array, format: ParsedFormat, dispatch: Dispatch, signal: AbortSignal): Promise<Payload> {
    using _turn = await this.#turn.acquire(signal);
    signal.throwIfAborted();
    using _limit = this.#clock.after(FORMAT_MAX_MS, () => {
      this.#end(new FormatError(`The message could not be taken apart within ${FORMAT_MAX_MS / 1_000} s`));
    });
    const aborted = () => this.#end(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    try {
      if (this.#loaded !== raw) {
        await this.#ask({ kind: "load", raw });
        this.#loaded = raw;
      }
      const answer = await this.#ask({ kind: "format", format, dispatch });
      if (answer.kind !== "payload") throw new FormatError(`The thread answered "${answer.kind}"`);
      return answer.payload;
    } finally {
      signal.removeEventListener("abort", aborted);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#end(new FormatError("The channel was closed"));
    return Promise.resolve();
  }

  async #ask(question: ToThread): Promise<FromThread> {
    const port = this.#port ??= this.#start();
    const answer = await new Promise<FromThread>((resolve, reject) => {
      this.#answer = { resolve, reject };
      port.post(question);
    });
    this.#answer = undefined;
    if (answer.kind === "unreadable") throw new UnreadableMessageError(answer.message);
    if (answer.kind === "broken") throw new FormatError(answer.message);
    return answer;
  }

  #start(): WorkerPort {
    const port = this.#workers.open("webhook");
    port.onMessage((message) => {
      if (this.#port === port) this.#answer?.resolve(message as FromThread);
    });
    port.onError((error) => {
      if (this.#port === port) this.#end(new FormatError(`The thread for messages died: ${error.message}`));
    });
    return port;
  }

  /** The next message gets a thread of its own. */
  #end(reason: unknown): void {
    this.#port?.terminate();
    this.#port = undefined;
    this.#loaded = undefined;
    this.#answer?.reject(reason as Error);
    this.#answer = undefined;
  }
}
