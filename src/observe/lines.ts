/**
 * What one event looks like as a line: JSON for machines, a short form for people. Everything that is not printable is
 * escaped, so that nothing a peer sent can end a line, forge an event or drive a terminal. It must not know where the
 * lines go, nor how they are gathered.
 */
import type { LogFields, LogLevel } from "./log.ts";

/** Fields as text that `jsonLine` or `prettyLine` puts behind the event; starts with its separator, "" for none. */
export type Render = (fields: LogFields) => string;

type Value = LogFields[string];

/** What stands in a JSON string as it is. */
const plainJson = /^[ !#-[\]-~]*$/;
/** JSON leaves these alone, terminals do not: DEL, C1 controls, line separators, marks that turn the direction of text. */
const unsafeInJson = /[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

/** A value as JSON without anything unprintable in it. */
export function jsonText(value: unknown, indent?: number): string {
  // Such characters stand only inside of strings, where an escape means the same.
  return JSON.stringify(value, undefined, indent)
    .replace(unsafeInJson, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A JSON string literal without anything unprintable in it. */
export function jsonString(text: string): string {
  return plainJson.test(text) ? `"${text}"` : jsonText(text);
}

/** Names are few and constant, so each is quoted once; the bound only guards against a caller who invents names. */
const quotedNames = new Map<string, string>();
const maxQuotedNames = 1000;
const reservedNames: ReadonlySet<string> = new Set(["time", "level", "event"]);

function quotedName(name: string): string {
  const known = quotedNames.get(name);
  if (known !== undefined) return known;
  const quoted = `,${jsonString(reservedNames.has(name) ? `${name}_` : name)}:`;
  if (quotedNames.size < maxQuotedNames) quotedNames.set(name, quoted);
  return quoted;
}

function jsonValue(value: Exclude<Value, undefined>): string {
  switch (typeof value) {
    case "string":
      return jsonString(value);
    case "number":
      return Number.isFinite(value) ? String(value) : `"${value}"`;
    case "boolean":
      return value ? "true" : "false";
    default:
      return `[${value.map(jsonString).join(",")}]`;
  }
}

/** `,"name":value` for each field that has a value. A field cannot take the place of time, level or event. */
export function renderJsonFields(fields: LogFields): string {
  let text = "";
  for (const name in fields) {
    const value = fields[name];
    if (value !== undefined) text += quotedName(name) + jsonValue(value);
  }
  return text;
}

/** One line of JSON. `fields` as `renderJsonFields` gives them. */
export function jsonLine(timeMs: number, level: LogLevel, event: string, fields: string): string {
  return `{"time":"${utcTime(timeMs)}","level":"${level}","event":${jsonString(event)}${fields}}\n`;
}

const dim = "\x1b[2m";
const reset = "\x1b[0m";
const levelColour: Readonly<Record<LogLevel, string>> = {
  debug: dim,
  info: "\x1b[32m",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/** What may stand in the short form without quotes. */
const plainWord = /^[!#-<>-[\]-~]+$/;

function prettyValue(value: Exclude<Value, undefined>): string {
  if (typeof value === "object") return value.map(prettyValue).join(",");
  const text = String(value);
  return plainWord.test(text) ? text : jsonString(text);
}

/** ` name=value` for each field that has a value. */
export function renderPrettyFields(fields: LogFields, colour: boolean): string {
  let text = "";
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    const label = plainWord.test(name) ? name : jsonString(name);
    text += colour ? ` ${dim}${label}=${reset}${prettyValue(value)}` : ` ${label}=${prettyValue(value)}`;
  }
  return text;
}

/** One line for people: time of day (UTC), level, event, fields as `renderPrettyFields` gives them. */
export function prettyLine(timeMs: number, level: LogLevel, event: string, fields: string, colour: boolean): string {
  const time = utcTime(timeMs).slice(11);
  const label = level.toUpperCase().padEnd(5);
  const name = plainJson.test(event) ? event : jsonString(event);
  if (!colour) return `${time} ${label} ${name}${fields}\n`;
  return `${dim}${time}${reset} ${levelColour[level]}${label}${reset} ${name}${fields}\n`;
}

let knownSecond = Number.NaN;
let knownSecondText = "";

/** `2026-01-02T03:04:05.678Z`. The text of the second is kept: most events share it with the one before. */
export function utcTime(timeMs: number): string {
  const wholeMs = Math.floor(timeMs);
  const second = Math.floor(wholeMs / 1000);
  if (second !== knownSecond) {
    knownSecondText = new Date(second * 1000).toISOString().slice(0, -4);
    knownSecond = second;
  }
  return `${knownSecondText}${String(wholeMs - second * 1000).padStart(3, "0")}Z`;
}
