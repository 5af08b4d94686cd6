/**
 * The configuration of `serve --capture`: one listener on the loopback address that accepts every recipient and keeps
 * every message in a maildir of the user's. It must not read files.
 */
import { join } from "node:path";
import type { Config } from "../config/config.ts";
import type { Processes } from "../runtime/runtime.ts";
import { DEFAULT_MAX_ERRORS, DEFAULT_MAX_RECIPIENTS } from "../smtp/limits.ts";
import { CommandError, exitCode } from "./exit.ts";

const CAPTURE_ADDRESS = "127.0.0.1";
const CAPTURE_PORT = 2525;
/** Tests send anything; what is larger is a mistake on the way to filling the disk. */
const MAX_CAPTURED_SIZE_BYTES = 100 * 1024 * 1024;

export function captureConfig(processes: Processes): Config {
  const directory = join(stateDirectory(processes), "smtpd", "capture");
  return {
    hostName: processes.hostName,
    spool: {
      store: { kind: "sqlite", path: join(directory, "spool", "smtpd.db") },
      minFreeSpaceBytes: 64 * 1024 * 1024,
    },
    shutdownGraceMs: 5_000,
    listeners: [{
      name: "capture",
      tags: [],
      protocol: "smtp",
      listenIp: CAPTURE_ADDRESS,
      port: CAPTURE_PORT,
      hostName: processes.hostName,
      banner: "ESMTP smtpd capture",
      maxConcurrency: 200,
      maxMessageSizeBytes: MAX_CAPTURED_SIZE_BYTES,
      maxRecipients: DEFAULT_MAX_RECIPIENTS,
      maxErrors: DEFAULT_MAX_ERRORS,
      lineEndings: "strict",
      tls: { mode: "off" },
      bindings: [],
    }],
    bindings: [{
      name: "everything",
      tags: [],
      recipients: ["*"],
      outcome: { kind: "deliver", channels: ["captured"] },
    }],
    channels: [{
      name: "captured",
      tags: [],
      type: "maildir",
      maxConcurrency: 4,
      timeoutMs: 60_000,
      retry: { firstDelayMs: 5_000, maxDelayMs: 60_000, maxAgeMs: 7 * 24 * 3600_000 },
      options: { path: join(directory, "mail") },
    }],
  };
}

/** $XDG_STATE_HOME, or its default. */
function stateDirectory(processes: Processes): string {
  const state = processes.environment("XDG_STATE_HOME");
  if (state !== undefined && state.startsWith("/")) return state;
  const home = processes.environment("HOME") ?? processes.environment("USERPROFILE");
  if (home !== undefined && home !== "") return join(home, ".local", "state");
  throw new CommandError("Cannot tell where to keep captured mail: set HOME or XDG_STATE_HOME", exitCode.system);
}
