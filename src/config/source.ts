/**
 * The text of one configuration file, and the way from offsets to lines and columns. It must not know TOML.
 */
import type { Position, Span } from "./diagnostic.ts";

export interface Source {
  /** As it is shown and as paths within it are relative to. */
  readonly file: string;
  /** Without byte order mark. */
  readonly text: string;
  /** Whether a byte order mark stood before the text; whoever writes the file back keeps it. */
  readonly byteOrderMark: boolean;
  /** Order of reading: the main file is 0. Findings are sorted by it. */
  readonly order: number;
  position(offset: number): Position;
  /** Text of a line without its end; lines count from 1. */
  line(number: number): string;
}

/** A stretch of one source. Positions are computed when a finding needs them, not before. */
export interface Place {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
}

export function createSource(file: string, content: string, order = 0): Source {
  const byteOrderMark = content.startsWith("\ufeff");
  const text = byteOrderMark ? content.slice(1) : content;
  let starts: readonly number[] | undefined;
  return {
    file,
    text,
    byteOrderMark,
    order,
    position(offset) {
      starts ??= lineStarts(text);
      const bounded = Math.max(0, Math.min(offset, text.length));
      const line = lastNotAfter(starts, bounded);
      return { line: line + 1, column: bounded - (starts[line] ?? 0) + 1, offset: bounded };
    },
    line(number) {
      starts ??= lineStarts(text);
      const start = starts[number - 1];
      if (start === undefined) return "";
      const line = text.slice(start, starts[number] ?? text.length);
      return line.replace(/\r?\n$/u, "");
    },
  };
}

export function spanOf(place: Place): Span {
  return {
    file: place.source.file,
    start: place.source.position(place.start),
    end: place.source.position(place.end),
  };
}

function lineStarts(text: string): readonly number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** Index of the last start that is not behind `offset`. */
function lastNotAfter(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
