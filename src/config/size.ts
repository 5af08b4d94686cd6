/**
 * Sizes as people write them: a number of bytes, or text such as `25MiB` (powers of 1024) or `10MB` (powers of 1000). It
 * must not know what is measured.
 */
import type { Parsed } from "./duration.ts";
import { quote } from "./diagnostic.ts";

const UNITS: ReadonlyMap<string, number> = new Map([
  ["b", 1],
  ["kb", 1e3],
  ["mb", 1e6],
  ["gb", 1e9],
  ["tb", 1e12],
  ["kib", 1024],
  ["mib", 1024 ** 2],
  ["gib", 1024 ** 3],
  ["tib", 1024 ** 4],
]);

const FORM = 'a number of bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB, such as "25MiB"';

/** Bytes. The message of a failure continues a sentence: `must be …`. */
export function parseSize(input: number | string): Parsed {
  if (typeof input === "number") {
    if (!Number.isFinite(input) || input < 0 || !Number.isInteger(input)) {
      return { ok: false, message: `must be ${FORM}` };
    }
    return { ok: true, value: input };
  }
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]{0,3})$/u.exec(input.trim());
  const [, count, name] = match ?? [];
  if (count === undefined || name === undefined) return { ok: false, message: `must be ${FORM}` };
  if (name === "") return { ok: false, message: `has no unit; write ${count} for bytes, or ${quote(`${count}MiB`)}` };
  const unit = UNITS.get(name.toLowerCase());
  if (unit === undefined) {
    const letter = name.toUpperCase();
    if (/^[KMGT]$/u.test(letter)) {
      const text = `has an unclear unit; write ${quote(`${count}${letter}iB`)} (1024) or ${
        quote(`${count}${letter}B`)
      } (1000)`;
      return { ok: false, message: text };
    }
    return { ok: false, message: `must be ${FORM}` };
  }
  return { ok: true, value: Math.round(Number(count) * unit) };
}

/** `26_214_400` is `25MiB`. */
export function formatSize(bytes: number): string {
  for (const [name, unit] of [["TiB", 1024 ** 4], ["GiB", 1024 ** 3], ["MiB", 1024 ** 2], ["KiB", 1024]] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${name}`;
  }
  return `${bytes}B`;
}
