/**
 * Durations as people write them: a number of seconds, or text such as `5m` or `1h30m`. It must not know what is timed.
 */
import { quote } from "./diagnostic.ts";

export type Parsed = { readonly ok: true; readonly value: number } | { readonly ok: false; readonly message: string };

const UNITS: readonly (readonly [name: string, milliseconds: number])[] = [
  ["w", 604_800_000],
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

const FORM = 'a number of seconds, or a number with w, d, h, m, s or ms, such as "5m" or "1h30m"';

/** Milliseconds. The message of a failure continues a sentence: `must be …`. */
export function parseDuration(input: number | string): Parsed {
  if (typeof input === "number") {
    if (!Number.isFinite(input) || input < 0) return { ok: false, message: `must be ${FORM}` };
    return { ok: true, value: Math.round(input * 1000) };
  }
  const text = input.trim();
  if (/^\d+(?:\.\d+)?$/u.test(text)) {
    return {
      ok: false,
      message: `has no unit; write ${text} for seconds, or ${quote(`${text}s`)}, ${quote(`${text}m`)}`,
    };
  }
  const part = /(\d{1,15}(?:\.\d{1,9})?)(ms|w|d|h|m|s) ?/uy;
  let total = 0;
  let previousUnit = Number.POSITIVE_INFINITY;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) return { ok: false, message: `must be ${FORM}` };
    const unit = UNITS.find(([name]) => name === match[2])?.[1] ?? 0;
    // "30m1h" is more likely a slip than a wish.
    if (unit >= previousUnit) return { ok: false, message: "must name each unit once, the largest first" };
    previousUnit = unit;
    total += Number(match[1]) * unit;
  }
  return text === "" ? { ok: false, message: `must be ${FORM}` } : { ok: true, value: Math.round(total) };
}

/** `90_000` is `1m30s`. */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = "";
  for (const [name, unit] of UNITS) {
    const count = Math.floor(rest / unit);
    if (count > 0) text += `${count}${name}`;
    rest -= count * unit;
  }
  return text === "" ? "0s" : text;
}
