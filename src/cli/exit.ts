/**
 * How a command ends: the exit codes of sysexits.h that smtpd uses, and which of them an error stands for. It must not
 * print anything.
 */
import { FileError, TlsIdentityError, TransportError } from "../runtime/runtime.ts";
import { SpoolError } from "../spool/spool.ts";

export const exitCode = {
  ok: 0,
  /** The command worked and the answer is no: an unknown id, a finding. */
  no: 1,
  /** `check` could not do its work, whatever the reason. */
  notRun: 2,
  /** The command line is wrong. */
  usage: 64,
  /** Input that cannot be understood. */
  data: 65,
  /** A service that is needed is not there. */
  unavailable: 69,
  /** A mistake in smtpd itself. */
  software: 70,
  /** The operating system said no: a port in use, a permission, a missing file. */
  system: 71,
  /** Reading or writing failed. */
  input: 74,
  /** May work later: try again. */
  temporary: 75,
  /** The configuration is wrong. */
  configuration: 78,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** A command cannot go on, and `message` tells the person who started it why and what to do. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: ExitCode;
  constructor(message: string, code: ExitCode, cause?: unknown) {
    super(message, { cause });
    this.exitCode = code;
  }
}

/**
 * The exit code an error stands for, or undefined for an error nobody foresaw. Configuration errors are recognised by
 * name, so that a command that reads no configuration does not load its reader.
 */
export function exitCodeOf(error: unknown): ExitCode | undefined {
  if (error instanceof CommandError) return error.exitCode;
  if (error instanceof TlsIdentityError) return exitCode.configuration;
  if (error instanceof Error && error.name === "ConfigError") return exitCode.configuration;
  if (error instanceof TransportError || error instanceof FileError) return exitCode.system;
  if (error instanceof SpoolError) {
    return error.code === "busy" || error.code === "full" ? exitCode.temporary : exitCode.input;
  }
  return undefined;
}
