/** Chooses the adapter of the runtime that executes this program and loads that one alone. */
import type { Runtime } from "./runtime.ts";

/** The runtime we run on. Called once, by `main.ts` and by tests. */
export async function currentRuntime(): Promise<Runtime> {
  if ("Deno" in globalThis) return (await import("./deno.ts")).denoRuntime();
  return (await import("./bun.ts")).bunRuntime();
}
