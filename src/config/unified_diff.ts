/**
 * The difference of two texts in the unified format that `patch` and `git apply` read. It must not know what the texts are.
 */

const CONTEXT_LINES = 3;
/** Texts that differ in more places are shown as one replaced block: the search takes quadratic time. */
const MAX_DISTANCE = 1000;

/** Empty when the texts are equal. Line ends are part of the lines. */
export function unifiedDiff(before: string, after: string, beforeName: string, afterName: string): string {
  if (before === after) return "";
  const changes = changesOf(linesOf(before), linesOf(after));
  const parts = [`--- ${beforeName}\n`, `+++ ${afterName}\n`];
  for (const [first, last] of hunksOf(changes)) parts.push(hunk(changes.slice(first, last)));
  return parts.join("");
}

interface Change {
  readonly kind: " " | "-" | "+";
  readonly text: string;
  /** Index of the line that it is, or stands before, in either text. */
  readonly before: number;
  readonly after: number;
}

function linesOf(text: string): readonly string[] {
  return text.match(/[^\n]*\n|[^\n]+$/gu) ?? [];
}

/** Stretches of changes with the lines around them, as indices. */
function hunksOf(changes: readonly Change[]): readonly (readonly [number, number])[] {
  const hunks: [number, number][] = [];
  changes.forEach(({ kind }, index) => {
    if (kind === " ") return;
    const first = Math.max(0, index - CONTEXT_LINES);
    const last = Math.min(changes.length, index + 1 + CONTEXT_LINES);
    const open = hunks.at(-1);
    if (open !== undefined && first <= open[1]) open[1] = last;
    else hunks.push([first, last]);
  });
  return hunks;
}

function hunk(changes: readonly Change[]): string {
  const count = (not: "-" | "+") => changes.filter((change) => change.kind !== not).length;
  const range = (start: number, length: number) =>
    `${length === 0 ? start : start + 1}${length === 1 ? "" : `,${length}`}`;
  const [first] = changes;
  const head = `@@ -${range(first?.before ?? 0, count("+"))} +${range(first?.after ?? 0, count("-"))} @@\n`;
  const body = changes.map(({ kind, text }) =>
    `${kind}${text}${text.endsWith("\n") ? "" : "\n\\ No newline at end of file\n"}`
  );
  return head + body.join("");
}

function changesOf(before: readonly string[], after: readonly string[]): readonly Change[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  while (
    end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end)
  ) end++;
  const middle = edits(before.slice(start, before.length - end), after.slice(start, after.length - end));
  const kinds = [...same(start), ...middle, ...same(end)];
  let [left, right] = [0, 0];
  return kinds.map((kind) => {
    const change: Change = {
      kind,
      text: (kind === "+" ? after[right] : before[left]) ?? "",
      before: left,
      after: right,
    };
    if (kind !== "+") left++;
    if (kind !== "-") right++;
    return change;
  });
}

type Kind = Change["kind"];

function same(count: number): readonly Kind[] {
  return new Array<Kind>(count).fill(" ");
}

/** The shortest way from one text to the other (Myers, "An O(ND) Difference Algorithm", 1986), deletions first. */
function edits(before: readonly string[], after: readonly string[]): readonly Kind[] {
  // Fixes rename within lines, so that most often the lines pair up.
  if (before.length === after.length) return paired(before, after);
  const furthest = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let distance = 0; distance <= Math.min(MAX_DISTANCE, before.length + after.length); distance++) {
    trace.push(new Map(furthest));
    for (let diagonal = -distance; diagonal <= distance; diagonal += 2) {
      let x = down(furthest, diagonal, distance)
        ? furthest.get(diagonal + 1) ?? 0
        : (furthest.get(diagonal - 1) ?? 0) + 1;
      let y = x - diagonal;
      while (x < before.length && y < after.length && before[x] === after[y]) x++, y++;
      furthest.set(diagonal, x);
      if (x >= before.length && y >= after.length) return backtrack(trace, before.length, after.length);
    }
  }
  return [...before.map((): Kind => "-"), ...after.map((): Kind => "+")];
}

function paired(before: readonly string[], after: readonly string[]): readonly Kind[] {
  const kinds: Kind[] = [];
  for (let index = 0; index < before.length;) {
    let last = index;
    while (last < before.length && before[last] !== after[last]) last++;
    if (last === index) kinds.push(" ");
    for (const kind of ["-", "+"] as const) for (let at = index; at < last; at++) kinds.push(kind);
    index = Math.max(last, index + 1);
  }
  return kinds;
}

/** Whether the best way onto a diagonal is an insertion. */
function down(furthest: ReadonlyMap<number, number>, diagonal: number, distance: number): boolean {
  if (diagonal === -distance) return true;
  return diagonal !== distance && (furthest.get(diagonal - 1) ?? 0) < (furthest.get(diagonal + 1) ?? 0);
}

function backtrack(trace: readonly ReadonlyMap<number, number>[], width: number, height: number): readonly Kind[] {
  const kinds: Kind[] = [];
  let [x, y] = [width, height];
  for (let distance = trace.length - 1; distance > 0; distance--) {
    const furthest = trace[distance] ?? new Map<number, number>();
    const diagonal = x - y;
    const isDown = down(furthest, diagonal, distance);
    const previous = diagonal + (isDown ? 1 : -1);
    const fromX = furthest.get(previous) ?? 0;
    const fromY = fromX - previous;
    for (; x > fromX && y > fromY; x--, y--) kinds.push(" ");
    kinds.push(isDown ? "+" : "-");
    [x, y] = [fromX, fromY];
  }
  return [...kinds, ...same(x)].reverse();
}
