/**
 * One thread of a script, from the outside: starts the module, hands it one message at a time, bounds its time and memory,
 * and ends it when it does not obey. It must not know why a message is handed over or what is done with what is sent.
 */
import type { ChannelContext } from "../channel.ts";
import type {
  ConsoleLevel,
  ForwardRequest,
  FromScript,
  Invoke,
  ReplyRequest,
  ScriptVerdict,
  ToScript,
} from "./protocol.ts";
import type { ScriptPort } from "../../runtime/runtime.ts";

/** The script, or its thread, failed: another attempt may succeed. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}

/** What one message needs of the channel while the script has it. */
export interface Conversation {
  /** The next piece of the message; undefined at the end. */
  pull(): Promise<Uint8Array | undefined>;
  /** Gives the new message's id; throws an error for the script. */
  send(request: ForwardRequest | ReplyRequest): string;
}

interface Limits {
  /** For one message. */
  readonly timeMs: number;
  readonly loadMs: number;
  readonly memoryBytes: number;
}

export class ScriptThread {
  /** Files whose change makes the thread out of date. */
  files: readonly string[] = [];
  readonly #context: ChannelContext;
  readonly #limits: Limits;
  readonly #port: ScriptPort;
  #failure: Error | undefined;
  /** Fails what is under way. */
  #fail: (error: Error) => void = () => {};
  #onMessage: (message: FromScript) => void = () => {};
  #lastInvocation = 0;

  private constructor(context: ChannelContext, limits: Limits) {
    this.#context = context;
    this.#limits = limits;
    this.#port = context.runtime.scripts.open({ memoryBytes: limits.memoryBytes });
    this.#port.onError((error) =>
      this.#break(new ScriptError(`The script ended before its handler did: ${error.message}`))
    );
    this.#port.onMessage((message) => this.#receive(message));
  }

  /** Rejects with `ScriptError`, or with the signal's reason; then nothing is left. */
  static async start(
    module: string,
    env: Readonly<Record<string, string>>,
    context: ChannelContext,
    limits: Limits,
    signal: AbortSignal,
  ): Promise<ScriptThread> {
    const thread = new ScriptThread(context, limits);
    await thread.#bounded(limits.loadMs, signal, (resolve, reject) => {
      thread.#onMessage = (message) => {
        if (message.kind === "not-started") reject(new ScriptError(`The module cannot be loaded: ${message.error}`));
        if (message.kind !== "started") return;
        thread.files = message.files.filter((file) => typeof file === "string");
        resolve();
      };
      thread.#post({ kind: "start", module, env });
    }).catch((error: unknown) => {
      thread.terminate();
      throw error;
    });
    return thread;
  }

  get isAlive(): boolean {
    return this.#failure === undefined;
  }

  terminate(): void {
    this.#break(new ScriptError("The thread was ended"));
  }

  /**
   * Hands over a message and resolves when the script and its background work have come to their end. When they do not,
   * the thread is ended; then the verdict counts that the handler had given by that time, and without one this rejects.
   */
  async invoke(
    request: Omit<Invoke, "kind" | "invocation">,
    conversation: Conversation,
    signal: AbortSignal,
  ): Promise<ScriptVerdict> {
    const invocation = ++this.#lastInvocation;
    let verdict: ScriptVerdict | undefined;
    try {
      await this.#bounded(this.#limits.timeMs, signal, (resolve) => {
        this.#onMessage = (message) => {
          if (!("invocation" in message) || message.invocation !== invocation) return;
          if (message.kind === "verdict") verdict = message.verdict;
          else if (message.kind === "pull") void this.#pass(invocation, conversation);
          else if (message.kind === "forward" || message.kind === "reply") this.#answer(message, conversation);
          else resolve();
        };
        this.#post({ kind: "invoke", invocation, ...request });
      });
    } catch (error) {
      this.terminate();
      if (verdict === undefined) throw error;
      this.#context.log.warn("script-background-ended", { error: String(error) });
    }
    if (verdict === undefined) throw new ScriptError("The script ended without a verdict");
    return verdict;
  }

  /** Runs within the limits of time and memory; what breaks the thread rejects. */
  async #bounded(
    timeMs: number,
    signal: AbortSignal,
    work: (resolve: () => void, reject: (error: unknown) => void) => void,
  ): Promise<void> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    using _memory = this.#port.watch();
    using _time = this.#context.runtime.clock.after(timeMs, () => {
      reject(new ScriptError(`The script took longer than ${timeMs / 1_000} s and was ended`));
    });
    const aborted = () => reject(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    this.#fail = reject;
    try {
      work(resolve, reject);
      await promise;
    } finally {
      signal.removeEventListener("abort", aborted);
      this.#fail = () => {};
      this.#onMessage = () => {};
    }
  }

  async #pass(invocation: number, conversation: Conversation): Promise<void> {
    try {
      const bytes = await conversation.pull();
      this.#post({ kind: "piece", invocation, ...(bytes === undefined ? {} : { bytes }) });
    } catch (error) {
      this.#post({ kind: "piece", invocation, error: error instanceof Error ? error.message : String(error) });
    }
  }

  #answer(message: ForwardRequest | ReplyRequest, conversation: Conversation): void {
    const { invocation, request } = message;
    try {
      this.#post({ kind: "answer", invocation, request, messageId: conversation.send(message) });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#post({ kind: "answer", invocation, request, error: text });
    }
  }

  #post(message: ToScript): void {
    if (this.#failure === undefined) this.#port.post(message);
  }

  #receive(message: unknown): void {
    if (typeof message !== "object" || message === null || !("kind" in message) || !this.isAlive) return;
    const known = message as FromScript;
    if (known.kind === "line") return this.#say(known.level, known.text);
    this.#onMessage(known);
  }

  #say(level: ConsoleLevel, text: string): void {
    const log = this.#context.log;
    if (log.enabled(level)) log[level]("script", { text: text.trimEnd() });
  }

  #break(error: ScriptError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#port.terminate();
    this.#fail(error);
  }
}
