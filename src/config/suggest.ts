/**
 * "Did you mean": the nearest of a few known names. It must not know what the names stand for.
 */

/** Longer names are not compared: nobody mistypes them into one of ours. */
const MAX_NAME_CHARACTERS = 64;

/**
 * The candidate that `name` most likely meant, or undefined. Case, `-` and `_` do not count, so `hostName` is `host_name`;
 * `synonyms` maps names in that reduced form (`portnum`) to candidates; otherwise about every third character may be wrong.
 */
export function nearest(
  name: string,
  candidates: Iterable<string>,
  synonyms: ReadonlyMap<string, string> = new Map(),
): string | undefined {
  if (name.length > MAX_NAME_CHARACTERS) return undefined;
  const wanted = reduced(name);
  const synonym = synonyms.get(wanted);
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    if (candidate === synonym) return candidate;
    if (candidate.length > MAX_NAME_CHARACTERS) continue;
    const distance = editDistance(wanted, reduced(candidate), bestDistance - 1);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function reduced(name: string): string {
  return name.replace(/[-_ ]/gu, "").toLowerCase();
}

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn `from` into `to`; `limit + 1` when more than
 * `limit` are needed.
 */
export function editDistance(from: string, to: string, limit: number): number {
  if (Math.abs(from.length - to.length) > limit) return limit + 1;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    let smallest = row;
    for (let column = 1; column <= to.length; column++) {
      const same = from.charCodeAt(row - 1) === to.charCodeAt(column - 1);
      let cost = Math.min(
        at(previous, column) + 1,
        at(current, column - 1) + 1,
        at(previous, column - 1) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && from.charCodeAt(row - 1) === to.charCodeAt(column - 2) &&
        from.charCodeAt(row - 2) === to.charCodeAt(column - 1);
      if (swapped) cost = Math.min(cost, at(beforePrevious, column - 2) + 1);
      current.push(cost);
      smallest = Math.min(smallest, cost);
    }
    if (smallest > limit) return limit + 1;
    beforePrevious = previous;
    previous = current;
  }
  return Math.min(at(previous, to.length), limit + 1);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? 0;
}
