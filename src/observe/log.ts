/**
 * The log as the rest of the program sees it: events with fields. How they are rendered is decided where the program
 * starts. Never put message content or credentials into a field.
 */
export type LogLevel = "debug" | "info" | "warn" | "error";

export type LogFields = Readonly<Record<string, string | number | boolean | undefined | readonly string[]>>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** Whether events of that level go anywhere; ask before building costly fields. */
  enabled(level: LogLevel): boolean;
  /** A log that puts these fields on each of its events. */
  with(fields: LogFields): Log;
}

/** Drops everything: for tests and tools. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  enabled: () => false,
  with: () => silentLog,
};
