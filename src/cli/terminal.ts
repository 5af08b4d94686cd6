/**
 * What a terminal gets to see: text without control characters, colours only where they are wanted, aligned tables,
 * times and sizes for people. It must not know what it shows, and must not write it.
 */
import type { Runtime } from "../runtime/runtime.ts";

/** Controls, line and paragraph separators, marks that turn the direction of text, zero width characters, lone surrogates. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text with everything unprintable written as an escape; a backslash stays as it is. */
export function visible(text: string): string {
  return text.replace(unprintable, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

/** Whether to colour a stream: NO_COLOR forbids, FORCE_COLOR demands, otherwise only a terminal that can. */
export function wantsColour(runtime: Runtime, stream: "out" | "err"): boolean {
  const { processes } = runtime;
  if ((processes.environment("NO_COLOR") ?? "") !== "") return false;
  const force = processes.environment("FORCE_COLOR") ?? "";
  if (force !== "") return force !== "0" && force !== "false";
  if (processes.environment("TERM") === "dumb") return false;
  return stream === "out" ? processes.stdio.outIsTerminal : processes.stdio.errIsTerminal;
}

export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly yellow: (text: string) => string;
}

/** Functions that colour a text, or leave it alone. */
export function styles(colour: boolean): Style {
  const style = (code: number) => (text: string) => colour && text !== "" ? `\x1b[${code}m${text}\x1b[0m` : text;
  return { bold: style(1), dim: style(2), red: style(31), yellow: style(33) };
}

export interface Column<Row> {
  readonly title: string;
  readonly align?: "left" | "right";
  readonly text: (row: Row) => string;
  readonly paint?: (row: Row) => ((text: string) => string) | undefined;
}

/** Lines of an aligned table with a title line; every cell made visible. `below` adds a line under a row. */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  style: Style,
  below?: (row: Row) => string | undefined,
): readonly string[] {
  const cells = rows.map((row) => columns.map((column) => visible(column.text(row))));
  const widths = columns.map((column, at) =>
    cells.reduce((widest, line) => Math.max(widest, textWidth(line[at] ?? "")), column.title.length)
  );
  const line = (texts: readonly string[], paint: (at: number) => ((text: string) => string) | undefined) =>
    columns.map((column, at) => {
      const text = texts[at] ?? "";
      const space = " ".repeat(Math.max(0, (widths[at] ?? 0) - textWidth(text)));
      const painted = paint(at)?.(text) ?? text;
      if (column.align === "right") return space + painted;
      return at === columns.length - 1 ? painted : painted + space;
    }).join("  ");
  const lines = [line(columns.map((column) => column.title), () => style.bold)];
  rows.forEach((row, index) => {
    lines.push(line(cells[index] ?? [], (at) => columns[at]?.paint?.(row)));
    const more = below?.(row);
    if (more !== undefined) lines.push(style.dim(`    ${visible(more)}`));
  });
  return lines;
}

/** East Asian wide characters and emoji, roughly: they take two columns. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/gu;
const combining = /\p{M}/gu;

/** Columns that a printable text takes on a terminal. */
export function textWidth(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  const bare = text.replace(combining, "");
  return [...bare].length + (bare.match(wide)?.length ?? 0);
}

const units = [
  { name: "d", ms: 86_400_000 },
  { name: "h", ms: 3_600_000 },
  { name: "m", ms: 60_000 },
  { name: "s", ms: 1_000 },
] as const;

/** A duration in one or two units: `45s`, `3m`, `2h 5m`, `4d`. */
export function durationText(durationMs: number): string {
  const at = units.findIndex((unit) => durationMs >= unit.ms);
  const unit = units[at];
  if (unit === undefined) return "0s";
  const whole = Math.floor(durationMs / unit.ms);
  const smaller = units[at + 1];
  if (smaller === undefined || whole >= 10) return `${whole}${unit.name}`;
  const rest = Math.floor((durationMs - whole * unit.ms) / smaller.ms);
  return rest === 0 ? `${whole}${unit.name}` : `${whole}${unit.name} ${rest}${smaller.name}`;
}

/** `in 5m`, `now`, `2h ago`. */
export function relativeTime(thenMs: number, nowMs: number): string {
  const ms = thenMs - nowMs;
  if (Math.abs(ms) < 1000) return "now";
  return ms > 0 ? `in ${durationText(ms)}` : `${durationText(-ms)} ago`;
}

/** `812 B`, `4.0 KiB`, `25 MiB`. */
export function sizeText(sizeBytes: number): string {
  if (sizeBytes < 1024) return `${sizeBytes} B`;
  let value = sizeBytes;
  let name = "";
  for (name of ["KiB", "MiB", "GiB", "TiB"]) {
    value /= 1024;
    if (value < 1024) break;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${name}`;
}
