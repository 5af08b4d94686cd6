/**
 * The log as `serve` writes it: events with fields become one line each, JSON for machines or a short form for people,
 * on top of LogTape. The only file that knows LogTape. It must not know where the lines go (the caller gives `write`)
 * nor what time it is (the caller gives the clock).
 *
 * A busy server logs tens of thousands of events a second, so LogTape is given finished records (no message templates,
 * no snapshots), the fields bound by `with` are rendered once, and lines are gathered and written in batches.
 */
import { configureSync, getLogger, type LogRecord, type Sink } from "@logtape/logtape";
import type { Clock } from "../runtime/runtime.ts";
import { jsonLine, prettyLine, type Render, renderJsonFields, renderPrettyFields } from "./lines.ts";
import type { Log, LogFields, LogLevel } from "./log.ts";

export type LogFormat = "json" | "pretty";

export interface LogOptions {
  /** Events below this level go nowhere. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Colours in the pretty form. */
  readonly colour?: boolean;
  /** Gets whole lines, many at a time. Must not throw. */
  readonly write: (text: string) => void;
  readonly clock: Clock;
}

/** A log that holds lines back for a moment. */
export interface BufferedLog extends Log {
  /** Writes what is still held back; call it before the process ends. */
  flush(): void;
}

/** Held back at most this long, and at most this much; an event of level "error" is written at once. */
const maxDelayMs = 50;
const maxHeldCharacters = 64 * 1024;

const severity: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const logTapeLevel = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;

const category = ["smtpd"] as const;
/** LogTape copies each record for sinks that keep it; ours renders at once and says so. */
const immediateSink = Symbol.for("LogTape.sinkSnapshotPolicy.immediate");

/** A record that knows which log made it, so that several logs live in one process without disturbing each other. */
interface EventRecord extends LogRecord {
  readonly output: Output;
  readonly name: LogLevel;
  readonly bound: Bound;
}

/** Fields put on each event by `with`, rendered once. */
interface Bound {
  readonly fields: LogFields;
  readonly rendered: string;
}

const nothingBound: Bound = { fields: {}, rendered: "" };
const noFields: LogFields = {};
const noMessage: readonly unknown[] = [];

/** Starts a log of its own; the text reaches `write` within a twentieth of a second or at `flush`. */
export function createLog(options: LogOptions): BufferedLog {
  configureOnce();
  const output = new Output(options);
  const log = new EventLog(output, nothingBound);
  return Object.assign(log, { flush: () => output.flush() });
}

let configured = false;

function configureOnce(): void {
  if (configured) return;
  configured = true;
  const sink: Sink = (record) => (record as EventRecord).output?.take(record as EventRecord);
  Object.assign(sink, { [immediateSink]: true });
  configureSync({
    reset: true,
    sinks: { lines: sink },
    loggers: [
      { category: [...category], sinks: ["lines"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
}

class EventLog implements Log {
  readonly #output: Output;
  readonly #bound: Bound;
  readonly #logger = getLogger([...category]);

  constructor(output: Output, bound: Bound) {
    this.#output = output;
    this.#bound = bound;
  }

  debug(event: string, fields?: LogFields): void {
    this.#emit("debug", event, fields);
  }
  info(event: string, fields?: LogFields): void {
    this.#emit("info", event, fields);
  }
  warn(event: string, fields?: LogFields): void {
    this.#emit("warn", event, fields);
  }
  error(event: string, fields?: LogFields): void {
    this.#emit("error", event, fields);
  }

  enabled(level: LogLevel): boolean {
    return this.#output.enabled(level);
  }

  with(fields: LogFields): Log {
    return new EventLog(this.#output, this.#output.bind({ ...this.#bound.fields, ...fields }));
  }

  #emit(name: LogLevel, event: string, fields: LogFields = noFields): void {
    const output = this.#output;
    if (!output.enabled(name)) return;
    const record: EventRecord = {
      category,
      level: logTapeLevel[name],
      message: noMessage,
      rawMessage: event,
      timestamp: output.nowMs(),
      properties: fields,
      output,
      name,
      bound: this.#bound,
    };
    this.#logger.emit(record);
  }
}

/** Renders records and gathers the lines. */
class Output {
  readonly #write: (text: string) => void;
  readonly #clock: Clock;
  readonly #lowest: number;
  readonly #renderFields: Render;
  readonly #line: (timeMs: number, level: LogLevel, event: string, fields: string) => string;
  #held = "";
  #timer: Disposable | undefined;

  constructor(options: LogOptions) {
    this.#write = options.write;
    this.#clock = options.clock;
    this.#lowest = severity[options.level];
    const colour = options.colour === true;
    this.#renderFields = options.format === "json" ? renderJsonFields : (fields) => renderPrettyFields(fields, colour);
    this.#line = options.format === "json"
      ? jsonLine
      : (timeMs, level, event, fields) => prettyLine(timeMs, level, event, fields, colour);
  }

  enabled(level: LogLevel): boolean {
    return severity[level] >= this.#lowest;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  bind(fields: LogFields): Bound {
    return { fields, rendered: this.#renderFields(fields) };
  }

  take(record: EventRecord): void {
    const fields = record.properties as LogFields;
    const rendered = overlaps(record.bound.fields, fields)
      ? this.#renderFields({ ...record.bound.fields, ...fields })
      : record.bound.rendered + this.#renderFields(fields);
    this.#held += this.#line(record.timestamp, record.name, record.rawMessage as string, rendered);
    if (record.name === "error" || this.#held.length >= maxHeldCharacters) this.flush();
    else this.#timer ??= this.#clock.after(maxDelayMs, () => this.flush());
  }

  flush(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    const text = this.#held;
    if (text === "") return;
    this.#held = "";
    this.#write(text);
  }
}

/** Whether an event says again what `with` has said; then the event's own value counts, and the name appears once. */
function overlaps(bound: LogFields, fields: LogFields): boolean {
  for (const name in fields) if (name in bound) return true;
  return false;
}
