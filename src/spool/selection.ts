/** The bounds that every store puts on what it is asked for. Knows nothing of how a store works. */
import type { Selection } from "./spool.ts";

const DEFAULT_LIST_LIMIT = 100;
const MAX_LIST_LIMIT = 10_000;
/** Characters of a settlement's detail that are kept: a reply of many lines is told by its beginning. */
const MAX_DETAIL_CHARACTERS = 1000;

/** How many entries a selection gives at most. */
export function listLimit(selection: Selection): number {
  const limit = Math.floor(selection.limit ?? DEFAULT_LIST_LIMIT);
  return Number.isNaN(limit) ? DEFAULT_LIST_LIMIT : Math.min(MAX_LIST_LIMIT, Math.max(0, limit));
}

/** A detail as it is stored. */
export function boundedDetail(detail: string): string {
  return detail.length > MAX_DETAIL_CHARACTERS ? detail.slice(0, MAX_DETAIL_CHARACTERS) : detail;
}
