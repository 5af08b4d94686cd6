/** Counts tests in the JUnit reports that `bun test` and `deno test` write: by test case, not by anybody's sums. */

export interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Cases with a failure or an error in them failed, cases that say so were skipped, all others passed. */
export function countTests(xml: string): Count {
  const count = { passed: 0, failed: 0, skipped: 0 };
  // Texts of failures are escaped or in CDATA sections, so once those are gone a tag is a tag.
  const tags = xml.replace(/<!\[CDATA\[.*?\]\]>/gs, "");
  for (const match of tags.matchAll(/<testcase\b(?:[^>"]|"[^"]*")*?(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const inside = match[1] ?? "";
    if (/<(?:failure|error)\b/.test(inside)) count.failed++;
    else if (/<skipped\b/.test(inside)) count.skipped++;
    else count.passed++;
  }
  return count;
}
