/**
 * A set of text patterns for what is no address: HELO names, users, values of header fields. A pattern is the whole text,
 * a text with `*` and `?`, or `/RE2/flags`; case does not count. It must not know what the texts mean.
 */
import { compileGlob, type Glob, isGlob } from "./glob.ts";
import { isRegexText, parseRegex, type Regex } from "./regex.ts";

export type TextPattern =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "glob"; readonly glob: Glob }
  | { readonly kind: "regex"; readonly regex: Regex };

export type ParsedTextPattern =
  | { readonly ok: true; readonly pattern: TextPattern }
  | { readonly ok: false; readonly reason: string; readonly help: string };

/** The engine of regular expressions must be loaded when the text is one (`regex.ts`). */
export function parseTextPattern(text: string): ParsedTextPattern {
  if (isRegexText(text)) {
    const parsed = parseRegex(text);
    return parsed.ok ? { ok: true, pattern: { kind: "regex", regex: parsed.regex } } : parsed;
  }
  const folded = fold(text);
  return {
    ok: true,
    pattern: isGlob(text) ? { kind: "glob", glob: compileGlob(folded) } : { kind: "text", text: folded },
  };
}

function fold(text: string): string {
  return text.normalize("NFC").toLowerCase();
}

export class TextSet {
  readonly #texts = new Set<string>();
  readonly #globs: Glob[] = [];
  readonly #regexes: Regex[] = [];

  constructor(patterns: Iterable<TextPattern> = []) {
    for (const pattern of patterns) this.add(pattern);
  }

  add(pattern: TextPattern): void {
    if (pattern.kind === "text") this.#texts.add(pattern.text);
    else if (pattern.kind === "glob") this.#globs.push(pattern.glob);
    else this.#regexes.push(pattern.regex);
  }

  has(text: string): boolean {
    const folded = fold(text);
    if (this.#texts.has(folded)) return true;
    for (const glob of this.#globs) if (glob.matches(folded)) return true;
    for (const regex of this.#regexes) if (regex.test(text)) return true;
    return false;
  }

  /** What the first of the set's regular expressions that match captured. */
  captures(text: string): readonly string[] | undefined {
    for (const regex of this.#regexes) {
      const captured = regex.captures(text);
      if (captured !== undefined) return captured;
    }
    return undefined;
  }
}
