/** Opens the store that the configuration names. The one place that knows all stores. */
import type { SpoolConfig } from "../config/config.ts";
import type { Log } from "../observe/log.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { openMemorySpool } from "./memory.ts";
import type { Spool } from "./spool.ts";

/** Rejects with `SpoolError` when it cannot be opened; the text says which file and what to do. */
export async function openSpool(
  config: SpoolConfig,
  runtime: Pick<Runtime, "workers" | "clock" | "random" | "files" | "processes">,
  log: Log,
): Promise<Spool> {
  const { store, minFreeSpaceBytes } = config;
  switch (store.kind) {
    case "memory":
      return openMemorySpool({}, runtime.clock, log);
    case "sqlite": {
      // Loaded when it is needed: commands that keep no spool start faster without.
      const { openSqliteSpool } = await import("./sqlite.ts");
      return await openSqliteSpool({ path: store.path, minFreeSpaceBytes }, runtime, log);
    }
  }
}
