/**
 * Diagnostics as text for people: the source line with an underline, notes and help; or one line each. Nothing of a
 * configuration reaches the terminal as a control character. It must not know how findings are made.
 */
import { type Diagnostic, escapeUnsafe, type LabelledSpan, type Span } from "./diagnostic.ts";
import { filled } from "./fill.ts";
import type { Source } from "./source.ts";

export interface RenderOptions {
  readonly colour?: boolean;
  /** Columns of the terminal; longer source lines are cut around the place. */
  readonly width?: number;
}

/** `file:line:column: error[SMTPD101]: text`, without a line end. */
export function renderConcise(finding: Diagnostic): string {
  const { file, start } = finding.primary;
  const place = `${oneLine(file)}:${start.line}:${start.column}`;
  return `${place}: ${finding.severity}[${finding.code}]: ${oneLine(finding.message)}`;
}

/** All findings with their frames, then a count; empty when there are none. */
export function renderDiagnostics(
  findings: readonly Diagnostic[],
  sources: ReadonlyMap<string, Source>,
  options: RenderOptions = {},
): string {
  if (findings.length === 0) return "";
  const blocks = findings.map((finding) => renderFinding(finding, sources, options));
  return `${blocks.join("\n\n")}\n\n${renderCount(findings)}\n`;
}

function renderCount(findings: readonly Diagnostic[]): string {
  const errors = findings.filter((finding) => finding.severity === "error").length;
  const counts = [[errors, "error"], [findings.length - errors, "warning"]] as const;
  return counts.filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word}${count === 1 ? "" : "s"}`).join(", ");
}

/** One finding, without a line end at its end. */
export function renderFinding(
  finding: Diagnostic,
  sources: ReadonlyMap<string, Source>,
  options: RenderOptions = {},
): string {
  const paint = options.colour === true ? coloured : plain;
  const tone = finding.severity === "error" ? RED : YELLOW;
  const spans = [finding.primary, ...finding.secondary];
  const gutter = Math.max(...spans.map((span) => String(span.start.line).length));
  const margin = " ".repeat(gutter);
  const lines = [
    `${paint(tone, `${finding.severity}[${finding.code}]`)}${paint(BOLD, `: ${oneLine(finding.message)}`)}`,
    ...frame(finding.primary, "-->", "^", tone, { ...options, paint, gutter, sources }),
  ];
  for (const span of finding.secondary) {
    lines.push(...frame(span, ":::", "-", BLUE, { ...options, paint, gutter, sources }));
  }
  const remarks = [
    ...finding.notes.map((note) => ["note", note] as const),
    ...(finding.help === undefined ? [] : [["help", finding.help] as const]),
  ];
  for (const [kind, text] of remarks) {
    const indent = gutter + 3 + kind.length + 2;
    const room = options.width === undefined ? Infinity : Math.max(20, options.width - indent);
    const [first = "", ...rest] = text.split("\n").flatMap((line) => filled(escapeUnsafe(line), room).split("\n"));
    lines.push(`${margin} ${paint(BLUE, "=")} ${paint(BOLD, kind)}: ${first}`);
    for (const line of rest) lines.push(`${margin}         ${line}`);
  }
  return lines.join("\n");
}

interface FrameOptions extends RenderOptions {
  readonly paint: Paint;
  readonly gutter: number;
  readonly sources: ReadonlyMap<string, Source>;
}

function frame(
  span: Span | LabelledSpan,
  arrow: string,
  mark: string,
  tone: string,
  options: FrameOptions,
): readonly string[] {
  const { paint, gutter } = options;
  const margin = " ".repeat(gutter);
  const bar = paint(BLUE, "|");
  const { line, column } = span.start;
  const head = `${margin}${paint(BLUE, arrow)} ${oneLine(span.file)}:${line}:${column}`;
  const source = options.sources.get(span.file);
  if (source === undefined || source.text === "") return [head];
  const room = Math.max(20, (options.width ?? DEFAULT_WIDTH) - gutter - 3);
  const shown = showLine(source.line(line), column - 1, lastColumn(span), room);
  const label = "label" in span ? ` ${oneLine(span.label)}` : "";
  const underline = paint(tone, `${mark.repeat(shown.length)}${label}`);
  return [
    head,
    `${margin} ${bar}`,
    `${paint(BLUE, String(line).padStart(gutter))} ${bar} ${shown.text}`,
    `${margin} ${bar} ${" ".repeat(shown.before)}${underline}`,
  ];
}

/** Where the underline ends, as an index into the first line: what goes over several lines is underlined on the first. */
function lastColumn(span: Span): number {
  return span.end.line > span.start.line ? Number.POSITIVE_INFINITY : span.end.column - 1;
}

const DEFAULT_WIDTH = 120;
const TAB_STOP = 4;
const CUT = "…";
/** Characters looked at before and behind the place. A line may be megabytes long. */
const CONTEXT = 1000;

interface ShownLine {
  readonly text: string;
  /** Cells before the underline, and its length: at least one. */
  readonly before: number;
  readonly length: number;
}

interface Cell {
  readonly text: string;
  readonly width: number;
  /** Whether it belongs to the underlined stretch. */
  readonly marked: boolean;
}

/** A line as a terminal may show it, with the place of the underline in cells. Columns are indices into `line`. */
export function showLine(line: string, start: number, end: number, room: number): ShownLine {
  const from = Math.max(0, start - CONTEXT);
  const cells = cellsOf(line.slice(from, start + CONTEXT), start - from, end - from);
  let first = cells.findIndex((cell) => cell.marked);
  if (first < 0) first = cells.length;
  let last = first;
  while (last < cells.length && cells[last]?.marked === true) last++;
  // The window grows from the place to both sides while there is room, to the left first: what is before it explains it.
  const inner = room - 2;
  let [low, high, used] = [first, first, 0];
  const width = (index: number) => cells[index]?.width ?? 0;
  while (high < last && used + width(high) <= inner) used += width(high++);
  while (low > 0 && used + width(low - 1) <= inner) used += width(--low);
  while (high < cells.length && used + width(high) <= inner) used += width(high++);
  const cutLeft = low > 0 || from > 0;
  const cutRight = high < cells.length || start + CONTEXT < line.length;
  const text = cells.slice(low, high).map((cell) => cell.text).join("");
  const before = sum(cells.slice(low, first)) + (cutLeft ? 1 : 0);
  const length = Math.max(1, sum(cells.slice(first, Math.min(last, high))));
  return { text: `${cutLeft ? CUT : ""}${text.trimEnd()}${cutRight ? CUT : ""}`, before, length };
}

function sum(cells: readonly Cell[]): number {
  return cells.reduce((total, cell) => total + cell.width, 0);
}

function cellsOf(text: string, start: number, end: number): readonly Cell[] {
  const cells: Cell[] = [];
  let column = 0;
  for (const { segment, index } of graphemes(text)) {
    const shown = segment === "\t" ? " ".repeat(TAB_STOP - (column % TAB_STOP)) : safe(segment);
    const width = shown === segment ? graphemeWidth(segment) : shown.length;
    cells.push({ text: shown, width, marked: index + segment.length > start && index < end });
    column += width;
  }
  return cells;
}

let segmenter: Intl.Segmenter | undefined;

/** Plain ASCII needs no segmenter, whose tables take their time to load. */
function graphemes(text: string): Iterable<{ readonly segment: string; readonly index: number }> {
  if (/^[\t -~]*$/u.test(text)) return Array.from(text, (segment, index) => ({ segment, index }));
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  return segmenter.segment(text);
}

/** Control characters as their pictures, those that change direction or show nothing as their code. */
function safe(segment: string): string {
  if (/^[!-~ ]$/u.test(segment)) return segment;
  // Joiners within an emoji or a script are part of what is shown.
  if (
    /^\P{Cc}[\u200c\u200d]?/u.test(segment) && segment.length > 1 &&
    !/[\p{Cs}\u202a-\u202e\u2066-\u2069]/u.test(segment)
  ) {
    return segment;
  }
  const pictured = [...segment].map((character) => {
    const code = character.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : character;
  });
  return escapeUnsafe(pictured.join(""));
}

const WIDE =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;

/** Cells a terminal gives to a grapheme: two for East Asian wide ones and emoji, none for a mark alone. */
function graphemeWidth(segment: string): number {
  if (segment.length === 1 && segment <= "~") return 1;
  if (WIDE.test(segment)) return 2;
  return /^\p{M}+$/u.test(segment) ? 0 : 1;
}

function oneLine(text: string): string {
  return escapeUnsafe(text);
}

type Paint = (tone: string, text: string) => string;

const BOLD = "1";
const RED = "1;31";
const YELLOW = "1;33";
const BLUE = "1;34";

function coloured(tone: string, text: string): string {
  return `\x1b[${tone}m${text}\x1b[0m`;
}

function plain(_tone: string, text: string): string {
  return text;
}
