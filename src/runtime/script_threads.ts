/**
 * Scripts on Bun: each in a thread, which Bun can end even in the middle of an endless loop. It must not know what the
 * scripts do.
 *
 * A thread has no limit of its own for memory, so the process is watched while a script works: when it has grown by more than
 * the limit, each script is asked how much it has, and one that has too much, or cannot answer, is ended. It may take half
 * a second more than it should.
 */
import process from "node:process";
import { Worker } from "node:worker_threads";
import { MEMORY_QUESTION, memoryError } from "./script_memory.ts";
import type { ScriptPort, Scripts } from "./runtime.ts";
import { entryUrl } from "./workers.ts";

const LOOK_EVERY_MS = 100;
/** Long enough for a collection of garbage; a script that is busy for longer while memory grows is the one that takes it. */
const ANSWER_MS = 500;

export function scriptThreads(): Scripts {
  return { open: ({ memoryBytes }) => new ScriptThread(memoryBytes) };
}

class ScriptThread implements ScriptPort {
  readonly #memoryBytes: number;
  readonly #worker: Worker;
  #isOver = false;
  #onMessage: (message: unknown) => void = () => {};
  #onError: (error: Error) => void = () => {};
  /** Resident memory of the process when it was last known to be in order. */
  #baselineBytes = 0;
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(memoryBytes: number) {
    this.#memoryBytes = memoryBytes;
    this.#worker = new Worker(entryUrl("script"));
    this.#worker.on("message", (message: unknown) => this.#receive(message));
    this.#worker.on("error", (error: unknown) => {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    });
    this.#worker.on("exit", (code: number) => this.#end(new Error(`It ended its thread with code ${code}`)));
  }

  post(message: unknown): void {
    this.#worker.postMessage(message);
  }

  onMessage(call: (message: unknown) => void): void {
    this.#onMessage = call;
  }

  onError(call: (error: Error) => void): void {
    this.#onError = call;
  }

  terminate(): void {
    this.#isOver = true;
    clearTimeout(this.#late);
    void this.#worker.terminate();
  }

  watch(): Disposable {
    this.#baselineBytes = process.memoryUsage.rss();
    const timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
    timer.unref();
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer);
        clearTimeout(this.#late);
        this.#late = undefined;
      },
    };
  }

  #look(): void {
    if (this.#isOver || this.#late !== undefined) return;
    if (process.memoryUsage.rss() - this.#baselineBytes <= this.#memoryBytes) return;
    this.post(MEMORY_QUESTION);
    this.#late = setTimeout(() => this.#end(memoryError(this.#memoryBytes)), ANSWER_MS);
  }

  #receive(message: unknown): void {
    if (typeof message !== "number") return this.#onMessage(message);
    if (this.#late === undefined) return;
    clearTimeout(this.#late);
    this.#late = undefined;
    if (message > this.#memoryBytes) return this.#end(memoryError(this.#memoryBytes));
    // Somebody else grew.
    this.#baselineBytes = process.memoryUsage.rss();
  }

  #end(error: Error): void {
    if (this.#isOver) return;
    this.terminate();
    this.#onError(error);
  }
}
