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
    if (fix === undefined || fix.isSafe !== true || !fits(fix, accepted, sources)) continue;
    for (const edit of fix.edits) accepted.set(edit.span.file, [...accepted.get(edit.span.file) ?? [], edit]);
    count++;
  }
  const texts = new Map<string, string>();
  for (const [file, edits] of accepted) {
    const source = sources.get(file);
    if (source !== undefined) texts.set(file, edited(source.text, edits));
  }
  return { texts, count };
}

function fits(fix: Fix, accepted: ReadonlyMap<string, readonly Edit[]>, sources: ReadonlyMap<string, Source>): boolean {
  return fix.edits.length > 0 && fix.edits.every((edit, index) => {
    const others = [...accepted.get(edit.span.file) ?? [], ...fix.edits.slice(0, index)];
    return sources.has(edit.span.file) && !others.some((other) => touches(edit, other));
  });
}

/** Edits that only meet at an offset touch as well: which of them comes first would be chance. */
function touches(left: Edit, right: Edit): boolean {
  return left.span.file === right.span.file && left.span.start.offset <= right.span.end.offset &&
    right.span.start.offset <= left.span.end.offset;
}

function edited(text: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { span, text: replacement } of edits.toSorted((a, b) => a.span.start.offset - b.span.start.offset)) {
    parts.push(text.slice(at, span.start.offset), replacement);
    at = span.end.offset;
  }
  return [...parts, text.slice(at)].join("");
}
