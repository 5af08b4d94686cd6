/**
 * Opens the spool that a configuration names, for a command that looks at it or changes it from beside `serve`. It must
 * not create one: a spool that is not there is a mistake in the configuration, or a server that has never run.
 */
import type { Config } from "../config/config.ts";
import { silentLog } from "../observe/log.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { openSpool } from "../spool/open.ts";
import type { Spool } from "../spool/spool.ts";
import { loadConfiguration } from "./configuration.ts";
import { CommandError, exitCode } from "./exit.ts";

export async function withSpool(
  runtime: Runtime,
  configFile: string | undefined,
  work: (spool: Spool, config: Config) => Promise<number>,
): Promise<number> {
  const config = await loadConfiguration(runtime, configFile);
  const { store } = config.spool;
  if (store.kind === "memory") {
    throw new CommandError(
      'The configuration keeps the spool in memory, where only the running "smtpd serve" sees it. ' +
        "To look at a queue, name a file in [spool] url",
      exitCode.unavailable,
    );
  }
  if (await runtime.files.info(store.path) === undefined) {
    throw new CommandError(
      `There is no spool "${store.path}" yet: "smtpd serve" makes it when it first starts. ` +
        "If it has run, check [spool] url and --config",
      exitCode.unavailable,
    );
  }
  await using spool = await openSpool(config.spool, runtime, silentLog);
  return await work(spool, config);
}
