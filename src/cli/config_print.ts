/**
 * `smtpd config print`: the configuration with its includes, and with --effective all defaults, each value with its
 * origin. It must not show a secret.
 */
import { channelTypes } from "../channel/registry.ts";
import { effectiveConfiguration, writtenConfiguration } from "../config/effective.ts";
import { printJson, printToml } from "../config/print.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { loadConfigurationResult } from "./configuration.ts";
import { styles, wantsColour } from "./terminal.ts";

export interface ConfigPrintOptions {
  readonly config?: string;
  readonly effective?: boolean;
  readonly json?: boolean;
}

export async function configPrint(runtime: Runtime, options: ConfigPrintOptions): Promise<number> {
  const { config, result } = await loadConfigurationResult(runtime, options.config);
  const isEffective = options.effective === true;
  const shown = isEffective
    ? effectiveConfiguration(result, config, channelTypes)
    : writtenConfiguration(result, channelTypes);
  const files = [...result.sources.keys()];
  const text = options.json === true
    ? printJson(shown, { files, effective: isEffective })
    : printToml(shown, { dim: styles(wantsColour(runtime, "out")).dim });
  runtime.processes.stdio.writeOut(text);
  return 0;
}
