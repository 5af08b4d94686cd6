/** What kill_child.ts stores, so that kill_test.ts can tell whether it is still whole. */

export const SUBMITTERS = 8;

/** Every tenth is large enough to be written ahead of its commit. */
export function contentSize(number: number): number {
  return number % 10 === 9 ? 600_000 : 2000 + number % 5000;
}

export function idOf(number: number): string {
  return `k${String(number).padStart(10, "0")}`;
}
