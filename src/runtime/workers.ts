/**
 * Threads by name, through the Web `Worker` of both runtimes. The one place that knows which file a name stands for,
 * in a source tree and inside an executable. It must not know what the threads do.
 */
import type { WorkerPort, Workers } from "./runtime.ts";

/** Entry points beside `main.ts`, without their extension. The executable is built with the same files. */
const ENTRIES = { spool: "spool_worker", script: "script_worker", webhook: "webhook_worker" } as const;

/**
 * Where a thread's module is. In an executable made by `bun build --compile` all entry points lie side by side as
 * bundles in a virtual folder: "/$bunfs/root/", on Windows "B:/~BUN/root/".
 */
export function entryUrl(name: keyof typeof ENTRIES): URL {
  const file = ENTRIES[name];
  const here = import.meta.url;
  return /\/(\$bunfs|(~|%7E)BUN)\//.test(here) ? new URL(`./${file}.js`, here) : new URL(`../${file}.ts`, here);
}

/** The threads of this program. */
export function webWorkers(): Workers {
  return { open: (name) => openPort(entryUrl(name)) };
}

/** Starts the module at `url` as a thread. */
export function openPort(url: URL): WorkerPort {
  const worker = new Worker(url, { type: "module" });
  return {
    post: (message) => worker.postMessage(message),
    onMessage(call) {
      worker.onmessage = (event: MessageEvent) => call(event.data);
    },
    onError(call) {
      worker.onerror = (event: ErrorEvent) => {
        // Deno ends the whole process when nobody takes the blame for a thread's error.
        event.preventDefault();
        call(event.error instanceof Error ? event.error : new Error(`A worker thread died: ${event.message}`));
      };
    },
    terminate: () => worker.terminate(),
  };
}
