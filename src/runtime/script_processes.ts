/**
 * Scripts on Deno: each in a process of its own, because Deno cannot end a thread that is in an endless loop, and a thread
 * that runs out of memory takes the whole process with it. It must not know what the scripts do.
 *
 * The limit for memory is V8's for its heap; what lies outside of it is looked at where the system has /proc.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { memoryError } from "./script_memory.ts";
import type { ScriptPort, Scripts } from "./runtime.ts";
import { entryUrl } from "./workers.ts";

const LOOK_EVERY_MS = 100;
/** What the runtime itself takes, code that it shares with us included. */
const RUNTIME_BYTES = 128 * 1024 * 1024;
const PAGE_BYTES = 4_096;
/** How V8 ends a process without memory. */
const OUT_OF_MEMORY = new Set(["SIGTRAP", "SIGILL"]);

export function scriptProcesses(): Scripts {
  return { open: ({ memoryBytes }) => new ScriptProcess(memoryBytes) };
}

class ScriptProcess implements ScriptPort {
  readonly #memoryBytes: number;
  readonly #child: ChildProcess;
  #isOver = false;
  #onMessage: (message: unknown) => void = () => {};
  #onError: (error: Error) => void = () => {};

  constructor(memoryBytes: number) {
    this.#memoryBytes = memoryBytes;
    this.#child = fork(fileURLToPath(entryUrl("script")), [], {
      // The script's own output would end up in the server's streams, and those may be a protocol.
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      serialization: "advanced",
      execArgv: [`--max-old-space-size=${Math.ceil(memoryBytes / 1024 / 1024)}`],
    });
    this.#child.on("message", (message: unknown) => {
      if (!this.#isOver) this.#onMessage(message);
    });
    this.#child.on("error", (error: Error) => this.#end(error));
    this.#child.on("exit", (code: number | null, signal: string | null) => {
      if (signal !== null && OUT_OF_MEMORY.has(signal)) return this.#end(memoryError(this.#memoryBytes));
      this.#end(new Error(`It ended its process with ${signal === null ? `code ${code}` : signal}`));
    });
  }

  post(message: unknown): void {
    // One that has just ended is told of by its exit event.
    if (this.#child.connected) this.#child.send(message as Parameters<ChildProcess["send"]>[0], () => {});
  }

  onMessage(call: (message: unknown) => void): void {
    this.#onMessage = call;
  }

  onError(call: (error: Error) => void): void {
    this.#onError = call;
  }

  terminate(): void {
    this.#isOver = true;
    this.#child.kill("SIGKILL");
  }

  watch(): Disposable {
    const timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
    timer.unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  async #look(): Promise<void> {
    const text = await readFile(`/proc/${this.#child.pid}/statm`, "utf8").catch(() => "");
    const pages = Number(text.split(" ")[1] ?? 0);
    if (pages * PAGE_BYTES > this.#memoryBytes + RUNTIME_BYTES) this.#end(memoryError(this.#memoryBytes));
  }

  #end(error: Error): void {
    if (this.#isOver) return;
    this.terminate();
    this.#onError(error);
  }
}
