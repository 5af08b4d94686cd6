/**
 * The threads of one script: as many as messages are handled at one time, within a bound, each with one message; replaced when
 * they broke or when the module has changed. It must not know what happens in them.
 */
import { pathToFileURL } from "node:url";
import { readSecret, SecretError } from "../../config/secret.ts";
import type { FileInfo } from "../../runtime/runtime.ts";
import type { ChannelContext } from "../channel.ts";
import { oneLine } from "../content.ts";
import type { ScriptOptions } from "../script.ts";
import { ScriptError, ScriptThread } from "./thread.ts";

/** A thread takes some ten MiB and, on Deno, a process. */
const THREADS_MAX = 4;
/** How often files are looked at for changes. */
const LOOK_EVERY_MS = 1_000;
/** The least time for loading: a machine that is busy takes long to start a thread. */
const LOAD_LIMIT_MS = 5_000;
/** How long a module that does not load is not tried again while it stays as it is. */
const FAILURE_KEPT_MS = 5_000;

interface Waiting {
  readonly wake: () => void;
}

export class ScriptPool {
  readonly #options: ScriptOptions;
  readonly #context: ChannelContext;
  /** All there are, each with what was the `#stamps` when it was started: it is out of date when they are others. */
  readonly #threads = new Map<ScriptThread, ReadonlyMap<string, string>>();
  readonly #idle: ScriptThread[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #closing = new AbortController();
  /** Threads that are being started. */
  #starting = 0;
  /** The module as it is has been loaded before; until then only one thread tries. */
  #isProven = false;
  /** What the files were when the threads loaded them, by path. */
  #stamps = new Map<string, string>();
  #lastLookMs = -Infinity;
  #looking: Promise<void> | undefined;
  #failure: { readonly error: ScriptError; readonly untilMs: number } | undefined;

  constructor(options: ScriptOptions, context: ChannelContext) {
    this.#options = options;
    this.#context = context;
  }

  /** Calls with a thread that no other message has. Rejects with `ScriptError`, or with the signal's reason. */
  async with<Result>(signal: AbortSignal, call: (thread: ScriptThread) => Promise<Result>): Promise<Result> {
    const thread = await this.#take(signal);
    try {
      return await call(thread);
    } finally {
      this.#give(thread);
    }
  }

  close(): void {
    this.#closing.abort(new ScriptError("The channel is closed"));
    for (const thread of this.#threads.keys()) this.#drop(thread);
    this.#wakeAll();
  }

  async #take(signal: AbortSignal): Promise<ScriptThread> {
    for (;;) {
      signal.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      await this.#look();
      for (let thread = this.#idle.pop(); thread !== undefined; thread = this.#idle.pop()) {
        if (thread.isAlive) return thread;
        this.#drop(thread);
      }
      const mayStart = this.#isProven ? this.#threads.size + this.#starting < THREADS_MAX : this.#starting === 0;
      if (mayStart) return await this.#start(signal);
      await this.#turn(signal);
    }
  }

  #give(thread: ScriptThread): void {
    if (thread.isAlive && this.#threads.get(thread) === this.#stamps) this.#idle.push(thread);
    else this.#drop(thread);
    this.#waiting.shift()?.wake();
  }

  #drop(thread: ScriptThread): void {
    this.#threads.delete(thread);
    thread.terminate();
  }

  /** Waits until a thread may be free; ends early with the signal. */
  async #turn(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting: Waiting = { wake: resolve };
    this.#waiting.push(waiting);
    const aborted = () => resolve();
    signal.addEventListener("abort", aborted, { once: true });
    await promise;
    signal.removeEventListener("abort", aborted);
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
    // A turn that cannot be used passes on.
    else if (signal.aborted) this.#waiting.shift()?.wake();
  }

  async #start(signal: AbortSignal): Promise<ScriptThread> {
    const { clock } = this.#context.runtime;
    if (this.#failure !== undefined && clock.monotonicMs() < this.#failure.untilMs) throw this.#failure.error;
    this.#failure = undefined;
    this.#starting++;
    const { module, time_limit: timeMs, memory_limit: memoryBytes } = this.#options;
    const loadMs = Math.max(timeMs, LOAD_LIMIT_MS);
    const stamps = this.#stamps;
    try {
      if (!stamps.has(module)) stamps.set(module, await this.#stampOf(module));
      const env = await this.#environment();
      const both = AbortSignal.any([signal, this.#closing.signal]);
      const url = pathToFileURL(module).href;
      const thread = await ScriptThread.start(url, env, this.#context, { timeMs, loadMs, memoryBytes }, both);
      for (const file of thread.files) if (!stamps.has(file)) stamps.set(file, await this.#stampOf(file));
      this.#threads.set(thread, stamps);
      this.#isProven ||= stamps === this.#stamps;
      return thread;
    } catch (error) {
      // What was begun before a change says nothing about what is there now, and what was loaded before can be loaded again.
      if (error instanceof ScriptError && stamps === this.#stamps && !this.#isProven) this.#failed(error);
      throw error;
    } finally {
      this.#starting--;
      // They may start threads of their own now, or fail in the same way.
      this.#wakeAll();
    }
  }

  #failed(error: ScriptError): void {
    if (this.#closing.signal.aborted) return;
    this.#context.log.error("script-not-loaded", { module: this.#options.module, error: oneLine(error.message) });
    this.#failure = { error, untilMs: this.#context.runtime.clock.monotonicMs() + FAILURE_KEPT_MS };
  }

  async #environment(): Promise<Readonly<Record<string, string>>> {
    const { files, processes } = this.#context.runtime;
    const environment = (name: string) => processes.environment(name);
    const env: Record<string, string> = {};
    for (const [name, secret] of Object.entries(this.#options.env)) {
      try {
        env[name] = await readSecret(secret, { files, environment });
      } catch (error) {
        if (error instanceof SecretError) throw new ScriptError(error.message, { cause: error });
        throw error;
      }
    }
    return env;
  }

  /** Lets go of the threads when a file is not what it was; looks at most once in a while. */
  #look(): Promise<void> | undefined {
    if (this.#looking !== undefined) return this.#looking;
    const nowMs = this.#context.runtime.clock.monotonicMs();
    if (nowMs - this.#lastLookMs < LOOK_EVERY_MS) return undefined;
    this.#lastLookMs = nowMs;
    this.#looking = this.#compare().finally(() => this.#looking = undefined);
    return this.#looking;
  }

  async #compare(): Promise<void> {
    for (const [file, stamp] of this.#stamps) {
      if (await this.#stampOf(file) === stamp) continue;
      this.#context.log.info("script-changed", { file });
      this.#stamps = new Map();
      this.#isProven = false;
      this.#failure = undefined;
      // Those at work are ended when they are given back.
      for (const thread of this.#idle.splice(0)) this.#drop(thread);
      return;
    }
  }

  async #stampOf(file: string): Promise<string> {
    const info: FileInfo | undefined = await this.#context.runtime.files.info(file).catch(() => undefined);
    return info === undefined ? "absent" : `${info.modifiedMs} ${info.sizeBytes}`;
  }

  #wakeAll(): void {
    for (const { wake } of this.#waiting.splice(0)) wake();
  }
}
