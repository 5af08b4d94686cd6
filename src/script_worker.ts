/**
 * Entry point of a script's thread, or of its process: ties the host to its port, gives the script the module that it
 * expects, and keeps it from ending or disturbing the server by accident. It must not know what a message is.
 */
import * as loader from "node:module";
import { dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { format } from "node:util";
import { isMainThread, parentPort } from "node:worker_threads";
import { errorText, ScriptHost } from "./channel/script/host.ts";
import { EmailMessage } from "./channel/script/message.ts";
import type { ConsoleLevel, FromScript, ToScript } from "./channel/script/protocol.ts";
import { MEMORY_QUESTION } from "./runtime/script_memory.ts";

const EMAIL_MODULE = "cloudflare:email";
/** How the module finds the class on Deno, where it has to be one of text. */
const SHARED_CLASS = "smtpd.EmailMessage";
const MAX_FILES = 100;

const isBun = process.versions["bun"] !== undefined;
const files = new Set<string>();

const post = portOf();
const host = new ScriptHost({
  post,
  load: (url) => import(url),
  files: () => [...files].slice(0, MAX_FILES),
});

/** Takes the port away from the script, so that it cannot speak in our name without meaning to. */
function portOf(): (message: FromScript | number) => void {
  const scope = globalThis as unknown as Record<string, unknown>;
  scope["postMessage"] = () => {};
  if (!isMainThread) {
    const port = parentPort;
    port?.on("message", receive);
    return (message) => port?.postMessage(message);
  }
  const send = process.send?.bind(process);
  Object.defineProperty(process, "send", { value: undefined, configurable: true });
  process.on("message", receive);
  // The server decides when it ends, and does not outlive it.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  return (message) => void send?.(message);
}

function receive(message: unknown): void {
  if (message === MEMORY_QUESTION) return void memoryBytes().then(post);
  host.receive(message as ToScript);
}

/** What this thread alone holds, without what is garbage already. */
async function memoryBytes(): Promise<number> {
  if (!isBun) return process.memoryUsage().heapUsed;
  const { heapStats } = await import("bun:jsc");
  Bun.gc(true);
  const { heapSize, extraMemorySize } = heapStats();
  return heapSize + extraMemorySize;
}

/** The script's output goes into the log: standard output may be a protocol. */
function takeOutput(): void {
  const levels: Readonly<Record<string, ConsoleLevel>> = {
    debug: "debug",
    trace: "debug",
    warn: "warn",
    error: "error",
  };
  const quiet = /^(?:assert|clear|count|group|profile|time)/u;
  const methods = console as unknown as Record<string, unknown>;
  for (const name of Object.keys(methods)) {
    if (typeof methods[name] !== "function") continue;
    methods[name] = quiet.test(name) ? () => {} : (...values: readonly unknown[]) => {
      host.say(levels[name] ?? "info", format(...values));
    };
  }
  for (const [stream, level] of [[process.stdout, "info"], [process.stderr, "warn"]] as const) {
    stream.write = (chunk: string | Uint8Array, ...rest: readonly unknown[]) => {
      host.say(level, typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk));
      const done = rest.at(-1);
      if (typeof done === "function") done();
      return true;
    };
  }
}

/** What fails outside of the handler is told and harms nothing. */
function takeFailures(): void {
  const say = (error: unknown) => host.say("error", `Failed outside of the handler: ${errorText(error)}`);
  if (isBun) {
    process.on("uncaughtException", say);
    process.on("unhandledRejection", say);
    return;
  }
  for (const type of ["error", "unhandledrejection"]) {
    globalThis.addEventListener(type, (event) => {
      event.preventDefault();
      const { error, reason } = event as { readonly error?: unknown; readonly reason?: unknown };
      say(type === "error" ? error : reason);
    });
  }
}

/** In a thread, what is meant for the process would end the server. */
function keepProcess(): void {
  const end = () => process.exit(134);
  process.abort = end;
  const kill = process.kill.bind(process);
  process.kill = (pid, signal) => pid === process.pid ? end() : kill(pid, signal);
}

/** Makes `cloudflare:email` known and notes which files are imported. */
function takeLoader(): void {
  if (isBun) {
    Bun.plugin({
      name: "smtpd",
      setup(build) {
        build.module(EMAIL_MODULE, () => ({ exports: { EmailMessage }, loader: "object" }));
        build.onResolve({ filter: /^\.\.?\// }, ({ path, importer }) => {
          try {
            files.add(Bun.resolveSync(path, dirname(importer)));
          } catch {
            // The import itself will say that there is no such file.
          }
          return undefined;
        });
      },
    });
    return;
  }
  const symbol = `globalThis[Symbol.for(${JSON.stringify(SHARED_CLASS)})]`;
  Object.defineProperty(globalThis, Symbol.for(SHARED_CLASS), { value: EmailMessage });
  const url = `data:text/javascript,export const EmailMessage = ${encodeURIComponent(symbol)};`;
  loader.registerHooks({
    resolve(specifier, context, next) {
      if (specifier === EMAIL_MODULE) return { url, format: "module", shortCircuit: true };
      const resolved = next(specifier, context);
      if (resolved.url.startsWith("file:") && !resolved.url.includes("/node_modules/")) {
        files.add(fileURLToPath(resolved.url));
      }
      return resolved;
    },
  });
}

takeOutput();
takeFailures();
if (!isMainThread) keepProcess();
takeLoader();
