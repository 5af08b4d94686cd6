/**
 * `smtpd serve`: runs the server until a signal ends it, and tells people what it listens on and where mail goes. It must
 * not know how the server works.
 */
import { channelTypes } from "../channel/registry.ts";
import type { Config, ListenerConfig } from "../config/config.ts";
import { type BufferedLog, createLog } from "../observe/logtape.ts";
import { endpointText, type Runtime } from "../runtime/runtime.ts";
import type { Listener } from "../server/listener.ts";
import { Server } from "../server/server.ts";
import { StartError } from "../server/start_error.ts";
import { captureConfig } from "./capture.ts";
import { channelPlace } from "./channel_place.ts";
import { loadConfiguration } from "./configuration.ts";
import { CommandError, exitCode } from "./exit.ts";
import type { ServeOptions } from "./options.ts";
import { visible, wantsColour } from "./terminal.ts";

export async function serveCommand(runtime: Runtime, options: ServeOptions): Promise<number> {
  if (options.capture && options.config !== undefined) {
    throw new CommandError(
      "--capture needs no configuration: leave out --config, or leave out --capture",
      exitCode.usage,
    );
  }
  const { processes, clock } = runtime;
  const config = options.capture ? captureConfig(processes) : await loadConfiguration(runtime, options.config);
  const log = createLog({
    level: options.logLevel,
    format: options.logFormat,
    colour: wantsColour(runtime, "err"),
    write: (text) => processes.stdio.writeErr(text),
    clock,
  });
  try {
    const server = await start(runtime, options, config, log);
    announce(runtime, options, config, server.listeners, log);
    runtime.processes.onSignal("SIGHUP", () => void reload(runtime, options, server, log));
    await untilStopped(runtime, server, log);
    return exitCode.ok;
  } finally {
    log.flush();
  }
}

async function start(runtime: Runtime, options: ServeOptions, config: Config, log: BufferedLog): Promise<Server> {
  try {
    return await Server.start({ config, listeners: options.listener, channelTypes, runtime, log });
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    const code = error.kind === "configuration" ? exitCode.configuration : exitCode.system;
    throw new CommandError(error.message, code, error);
  }
}

/** A configuration that is not right changes nothing; what is wrong with it is told as at the start. */
async function reload(runtime: Runtime, options: ServeOptions, server: Server, log: BufferedLog): Promise<void> {
  if (options.capture) return log.warn("reload refused", { error: "--capture has no configuration to load" });
  try {
    await server.reload(await loadConfiguration(runtime, options.config));
    log.info("reloaded", { listeners: server.listeners.map((listener) => listener.config.name) });
  } catch (error) {
    log.error("reload refused", { error: error instanceof Error ? error.message : String(error) });
  }
}

/** The first signal stops in order, the second ends the grace, the third ends the process. */
async function untilStopped(runtime: Runtime, server: Server, log: BufferedLog): Promise<void> {
  let signals = 0;
  await new Promise<void>((resolve) => {
    const stop = (signal: string) => {
      signals += 1;
      log.info("stopping", { signal, count: signals });
      if (signals === 3) {
        log.flush();
        runtime.processes.exit(exitCode.software);
      }
      server.stop().then(resolve, (error: unknown) => {
        log.error("stop failed", { error: error instanceof Error ? error.message : String(error) });
        resolve();
      });
    };
    runtime.processes.onSignal("SIGTERM", () => stop("SIGTERM"));
    runtime.processes.onSignal("SIGINT", () => stop("SIGINT"));
  });
  log.info("stopped");
}

/** For people a summary on stdout, for machines an event for each listener in the log. */
function announce(
  runtime: Runtime,
  options: ServeOptions,
  config: Config,
  listeners: readonly Listener[],
  log: BufferedLog,
): void {
  for (const listener of listeners) {
    const { name, protocol, tls, tags } = listener.config;
    log.info("listening", { listener: name, endpoint: endpointText(listener.local), protocol, tls: tls.mode, tags });
  }
  const rows = listeners.map((listener) => [
    visible(listener.config.name),
    endpointText(listener.local),
    protocolText(listener.config),
  ]);
  const channels = config.channels.map((
    channel,
  ) => [visible(channel.name), channel.type, visible(channelPlace(channel))]);
  const lines = ["Listening:", ...indented(rows), "Mail goes to:", ...indented(channels)];
  if (options.capture) {
    const [first] = listeners;
    const url = `smtp://${first === undefined ? "" : endpointText(first.local)}`;
    lines.push("Try it:", `  curl --url ${url} --mail-from me@example.org --mail-rcpt you@example.com -T message.eml`);
  }
  runtime.processes.stdio.writeOut(`${lines.join("\n")}\n`);
}

function indented(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()}`);
}

function protocolText(listener: ListenerConfig): string {
  const texts = {
    off: "no TLS",
    starttls: "STARTTLS offered",
    required: "STARTTLS required",
    implicit: "implicit TLS",
  };
  return `${listener.protocol.toUpperCase()}, ${texts[listener.tls.mode]}`;
}
