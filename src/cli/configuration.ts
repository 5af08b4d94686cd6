/**
 * Loads the configuration for a command and tells what is wrong with it. It must not know what the command does with it.
 */
import { channelTypes } from "../channel/registry.ts";
import type { Config } from "../config/config.ts";
import type { Diagnostic } from "../config/diagnostic.ts";
import { findConfigFile, loadConfig, type LoadResult } from "../config/load.ts";
import { renderDiagnostics } from "../config/render.ts";
import { applySeverities, severitiesOf, silence } from "../config/severity.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";
import { wantsColour } from "./terminal.ts";

/** Findings go to stderr; errors end the command with exit code 78. */
export async function loadConfiguration(runtime: Runtime, given: string | undefined): Promise<Config> {
  return (await loadConfigurationResult(runtime, given)).config;
}

/** The same, with what it was made from. */
export async function loadConfigurationResult(
  runtime: Runtime,
  given: string | undefined,
): Promise<{ readonly config: Config; readonly result: LoadResult }> {
  const { files, processes } = runtime;
  const found = await findConfigFile(given, { files, environment: (name) => processes.environment(name) });
  if ("tried" in found) {
    throw new CommandError(
      `No configuration: none of ${found.tried.join(", ")} exists; name one with --config FILE or $SMTPD_CONFIG`,
      exitCode.configuration,
    );
  }
  const result = await loadConfig(found.file, { files, channels: channelTypes, hostName: processes.hostName });
  const findings = judged(result);
  if (findings.length > 0) {
    const colour = wantsColour(runtime, "err");
    const columns = processes.stdio.columns();
    const width = columns === undefined ? {} : { width: columns };
    processes.stdio.writeErr(renderDiagnostics(findings, result.sources, { colour, ...width }));
  }
  if (result.config === undefined) {
    throw new CommandError(`The configuration "${found.file}" has errors, see above`, exitCode.configuration);
  }
  return { config: result.config, result };
}

/** What the configuration itself turns off or silences is not told at every start. It never turns an error into a start. */
function judged({ diagnostics, directives, root }: LoadResult): readonly Diagnostic[] {
  return applySeverities(silence(diagnostics, directives, () => false).findings, severitiesOf(root));
}
