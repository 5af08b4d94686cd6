/**
 * Regular expressions of a configuration: RE2 syntax and linear time, so that no sender can stall the server with a text
 * that suits a pattern badly. The one file that knows the engine, which is loaded only when a pattern needs it.
 */
import type { RE2JS } from "re2js";

export interface Regex {
  /** How many groups it has that capture. */
  readonly groups: number;
  /** Whether it matches anywhere in the text. */
  test(text: string): boolean;
  /** What the whole match and its groups captured, "" for groups that took no part; undefined without a match. */
  captures(text: string): readonly string[] | undefined;
}

export type ParsedRegex =
  | { readonly ok: true; readonly regex: Regex }
  | { readonly ok: false; readonly reason: string; readonly help: string };

let engine: typeof RE2JS | undefined;

/** Texts that begin with a slash are regular expressions wherever patterns stand. */
export function isRegexText(text: string): boolean {
  return text.startsWith("/");
}

/** Must have resolved before the first `parseRegex`. */
export async function loadRegexEngine(): Promise<void> {
  engine ??= (await import("re2js")).RE2JS;
}

/** Loads the engine only when one of the texts is a regular expression. */
export async function prepareRegex(texts: Iterable<string>): Promise<void> {
  if (engine !== undefined) return;
  for (const text of texts) if (isRegexText(text)) return await loadRegexEngine();
}

const HELP = 'Write /pattern/ or /pattern/flags in RE2 syntax, such as "/^case-(\\\\d+)@/". Flags: i, m, s.';

/** `/pattern/flags`. Case does not count; `(?-i)` makes it count. */
export function parseRegex(text: string): ParsedRegex {
  if (engine === undefined) throw new Error("The engine of regular expressions was not loaded");
  const end = text.lastIndexOf("/");
  if (end <= 0) return { ok: false, reason: "the closing / is missing", help: HELP };
  const flags = text.slice(end + 1);
  if (!/^[ims]*$/u.test(flags)) {
    return { ok: false, reason: `there are no flags ${JSON.stringify(flags.slice(0, 20))}`, help: HELP };
  }
  const body = text.slice(1, end);
  if (body === "") return { ok: false, reason: "the regular expression is empty", help: HELP };
  let mode = engine.CASE_INSENSITIVE;
  if (flags.includes("m")) mode |= engine.MULTILINE;
  if (flags.includes("s")) mode |= engine.DOTALL;
  try {
    return { ok: true, regex: new CompiledRegex(engine.compile(body, mode)) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      ok: false,
      reason: reason.replace(/^error parsing regexp: /u, "").replace(/`\(\?[ims]+\)/u, "`"),
      help: HELP,
    };
  }
}

class CompiledRegex implements Regex {
  readonly groups: number;
  readonly #pattern: RE2JS;

  constructor(pattern: RE2JS) {
    this.#pattern = pattern;
    this.groups = pattern.groupCount();
  }

  test(text: string): boolean {
    return this.#pattern.test(text);
  }

  captures(text: string): readonly string[] | undefined {
    const matcher = this.#pattern.matcher(text);
    if (!matcher.find()) return undefined;
    return Array.from({ length: this.groups + 1 }, (_, index) => matcher.group(index) ?? "");
  }
}
