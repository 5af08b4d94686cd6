/**
 * Wildcards: `*` is any text, `?` any one character. Matching looks for one fixed part after the other and never goes
 * back over a `*`, so its time is bounded by the lengths of text and pattern. It must not know what the texts are.
 */

export interface Glob {
  readonly text: string;
  matches(text: string): boolean;
}

export function isGlob(text: string): boolean {
  return /[*?]/u.test(text);
}

/** Pattern and texts must be in the same canonical form; case counts here. */
export function compileGlob(pattern: string): Glob {
  const parts = pattern.split(/\*+/u).map(compilePart);
  const first = parts[0] as Part;
  const last = parts.at(-1) as Part;
  if (parts.length === 1) {
    return { text: pattern, matches: (text) => text.length === first.length && first.at(text, 0) };
  }
  const middle = parts.slice(1, -1);
  const matches = (text: string): boolean => {
    const end = text.length - last.length;
    if (first.length > end || !first.at(text, 0) || !last.at(text, end)) return false;
    let from = first.length;
    for (const part of middle) {
      const found = part.find(text, from);
      if (found < 0) return false;
      from = found + part.length;
    }
    return from <= end;
  };
  return { text: pattern, matches };
}

/** Text between two `*`: as long as it is written, `?` included. */
interface Part {
  readonly length: number;
  at(text: string, index: number): boolean;
  find(text: string, from: number): number;
}

function compilePart(part: string): Part {
  const { length } = part;
  if (!part.includes("?")) {
    return {
      length,
      at: (text, index) => text.startsWith(part, index),
      find: (text, from) => text.indexOf(part, from),
    };
  }
  const at = (text: string, index: number): boolean => {
    if (index + length > text.length) return false;
    for (let offset = 0; offset < length; offset++) {
      const code = part.charCodeAt(offset);
      if (code !== 0x3f && code !== text.charCodeAt(index + offset)) return false;
    }
    return true;
  };
  const find = (text: string, from: number): number => {
    for (let index = from; index + length <= text.length; index++) if (at(text, index)) return index;
    return -1;
  };
  return { length, at, find };
}
