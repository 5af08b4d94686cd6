/**
 * A finding about a configuration, as data: what, where, why, and what to do. Renderers turn it into text and other
 * formats; this file must not know them, nor where findings come from.
 */
import { type Code, CODES, type Severity } from "./codes.ts";

export type { Code, Severity } from "./codes.ts";

export interface Position {
  /** From 1. Lines end with LF or CRLF. */
  readonly line: number;
  /** From 1, in UTF-16 code units. A byte order mark is no column. */
  readonly column: number;
  /** From 0, in UTF-16 code units, a byte order mark left out. */
  readonly offset: number;
}

export interface Span {
  readonly file: string;
  readonly start: Position;
  /** Behind the last character; equal to `start` for a place between characters. */
  readonly end: Position;
}

/** A further place that belongs to the finding, with a few words: `first defined here`. */
export interface LabelledSpan extends Span {
  readonly label: string;
}

export interface Edit {
  readonly span: Span;
  /** What stands there afterwards. */
  readonly text: string;
}

export interface Fix {
  /** An imperative: `Rename "portNum" to "port"`. */
  readonly title: string;
  readonly edits: readonly Edit[];
  /** Cannot change what the author meant, so that `check --fix` applies it unasked. Anything else is a proposal. */
  readonly isSafe?: boolean;
}

export interface Diagnostic {
  readonly code: Code;
  readonly severity: Severity;
  /** One line, without control characters. */
  readonly message: string;
  readonly primary: Span;
  readonly secondary: readonly LabelledSpan[];
  /** Facts that explain the finding. */
  readonly notes: readonly string[];
  /** What to do about it. */
  readonly help?: string;
  readonly fix?: Fix;
}

export interface DiagnosticExtras {
  readonly secondary?: readonly LabelledSpan[];
  readonly notes?: readonly string[];
  readonly help?: string | undefined;
  readonly fix?: Fix | undefined;
}

/** A diagnostic with its code's default severity. */
export function diagnostic(code: Code, message: string, primary: Span, extras: DiagnosticExtras = {}): Diagnostic {
  return {
    code,
    severity: CODES[code].severity,
    message,
    primary,
    secondary: extras.secondary ?? [],
    notes: extras.notes ?? [],
    ...(extras.help === undefined ? {} : { help: extras.help }),
    ...(extras.fix === undefined ? {} : { fix: extras.fix }),
  };
}

/** The place of a finding about a file as a whole. */
export function fileSpan(file: string): Span {
  const start = { line: 1, column: 1, offset: 0 };
  return { file, start, end: start };
}

const QUOTED_LIMIT = 80;

/** A value from a configuration, in quotes, for messages: control and direction characters escaped, long ones cut. */
export function quote(text: string): string {
  const cut = text.length > QUOTED_LIMIT ? `${text.slice(0, QUOTED_LIMIT)}…` : text;
  return `"${escapeUnsafe(cut)}"`;
}

const UNSAFE = /[\p{Cc}\p{Cs}\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

/** Characters that could change what a terminal shows become `\u{1b}`. */
export function escapeUnsafe(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
