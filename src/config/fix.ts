/**
 * Applies fixes to texts: edits of spans that do not overlap, everything else untouched. It must not know where fixes come
 * from, nor write files.
 */
import type { Diagnostic, Edit, Fix } from "./diagnostic.ts";
import type { Source } from "./source.ts";

export interface Fixed {
  /** New texts by file, without byte order mark. Only files that change. */
  readonly texts: ReadonlyMap<string, string>;
  /** How many fixes were applied. */
  readonly count: number;
}

/**
 * Applies the safe fixes of the findings, in their order. A fix is applied whole or not at all; one that touches what an
 * earlier one changes waits for the next round.
 */
export function applyFixes(findings: readonly Diagnostic[], sources: ReadonlyMap<string, Source>): Fixed {
  const accepted = new Map<string, Edit[]>();
  let count = 0;
  for (const { fix } of findings) {
    if (fix?.isSafe === true && fix.edits.every((edit) => sources.has(edit.span.file)) && accept(fix, accepted)) {
      count++;
    }
  }
  const texts = new Map<string, string>();
  for (const [file, edits] of accepted) {
    const text = sources.get(file)?.text;
    if (text !== undefined && edits.length > 0) texts.set(file, edited(text, edits));
  }
  return { texts, count };
}

/** Adds the edits of a fix when none of them touches another one. */
function accept(fix: Fix, accepted: Map<string, Edit[]>): boolean {
  const added: Edit[] = [];
  for (const edit of fix.edits) {
    const edits = accepted.get(edit.span.file) ?? [];
    accepted.set(edit.span.file, edits);
    const at = placeFor(edit, edits);
    const [before, after] = [edits[at - 1], edits[at]];
    if ((before !== undefined && touches(before, edit)) || (after !== undefined && touches(after, edit))) {
      for (const taken of added) {
        const list = accepted.get(taken.span.file) ?? [];
        list.splice(list.indexOf(taken), 1);
      }
      return false;
    }
    edits.splice(at, 0, edit);
    added.push(edit);
  }
  return added.length > 0;
}

/** Where an edit belongs among those that are sorted by their start. */
function placeFor({ span }: Edit, edits: readonly Edit[]): number {
  let [low, high] = [0, edits.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((edits[middle]?.span.start.offset ?? 0) <= span.start.offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Edits that only meet at an offset touch as well: which of them comes first would be chance. */
function touches(left: Edit, right: Edit): boolean {
  return left.span.start.offset <= right.span.end.offset && right.span.start.offset <= left.span.end.offset;
}

function edited(text: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { span, text: replacement } of edits) {
    parts.push(text.slice(at, span.start.offset), replacement);
    at = span.end.offset;
  }
  return [...parts, text.slice(at)].join("");
}
