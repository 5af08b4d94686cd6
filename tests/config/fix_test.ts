/** Fixes and diffs: what is changed, that nothing else is, and that a diff says exactly that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { diagnostic } from "../../src/config/diagnostic.ts";
import { applyFixes } from "../../src/config/fix.ts";
import { createSource, spanOf } from "../../src/config/source.ts";
import { unifiedDiff } from "../../src/config/unified_diff.ts";

const source = createSource("a", "0123456789");
const sources = new Map([["a", source]]);

function finding(edits: readonly (readonly [start: number, end: number, text: string])[], isSafe = true) {
  const changes = edits.map(([start, end, text]) => ({ span: spanOf({ source, start, end }), text }));
  return diagnostic("SMTPD101", "x", changes[0]?.span ?? spanOf({ source, start: 0, end: 0 }), {
    fix: { title: "x", isSafe, edits: changes },
  });
}

function fixed(...findings: readonly ReturnType<typeof finding>[]) {
  const { texts, count } = applyFixes(findings, sources);
  return [texts.get("a"), count];
}

test("edits are applied together, whatever their order", () => {
  assert.deepEqual(fixed(finding([[8, 9, "x"], [2, 4, ""]]), finding([[0, 1, "abc"]])), ["abc14567x9", 2]);
});

test("a fix that touches an earlier one is left out, whole", () => {
  assert.deepEqual(fixed(finding([[2, 4, "x"]]), finding([[0, 1, "y"], [3, 5, "y"]])), ["01x456789", 1]);
  assert.deepEqual(fixed(finding([[2, 4, "x"]]), finding([[4, 5, "y"]])), ["01x456789", 1]);
  assert.deepEqual(
    fixed(finding([[2, 4, "x"]]), finding([[0, 1, "y"], [5, 6, "y"], [4, 4, "y"]]), finding([[5, 6, "z"]])),
    [
      "01x4z6789",
      2,
    ],
  );
});

test("a fix whose own edits touch is no fix; nor is one without edits", () => {
  assert.deepEqual(fixed(finding([[2, 4, "x"], [3, 5, "y"]])), [undefined, 0]);
  assert.deepEqual(fixed(finding([])), [undefined, 0]);
});

test("proposals are not applied", () => {
  assert.deepEqual(fixed(finding([[2, 4, "x"]], false)), [undefined, 0]);
});

test("a file that was not read is never changed", () => {
  const other = createSource("b", "text");
  const span = spanOf({ source: other, start: 0, end: 1 });
  const stray = diagnostic("SMTPD101", "x", span, { fix: { title: "x", isSafe: true, edits: [{ span, text: "y" }] } });
  assert.deepEqual(applyFixes([stray], sources), { texts: new Map(), count: 0 });
});

test("ten thousand fixes, and one of ten thousand edits, take no quadratic time", () => {
  const long = createSource("a", "x ".repeat(20_000));
  const edit = (at: number) => ({ span: spanOf({ source: long, start: at * 2, end: at * 2 + 1 }), text: "y" });
  const one = (edits: readonly ReturnType<typeof edit>[]) =>
    diagnostic("SMTPD101", "x", spanOf({ source: long, start: 0, end: 0 }), {
      fix: { title: "x", isSafe: true, edits },
    });
  const many = Array.from({ length: 10_000 }, (_, at) => one([edit(at)]));
  const big = one(Array.from({ length: 10_000 }, (_, at) => edit(at + 10_000)));
  const { texts, count } = applyFixes([...many, big], new Map([["a", long]]));
  assert.equal(count, 10_001);
  assert.equal(texts.get("a"), "y ".repeat(20_000));
});

test("unified diff: lines around, several hunks, a missing line end", () => {
  const before = Array.from({ length: 20 }, (_, at) => `${at + 1}\n`).join("");
  const after = before.replace("2\n", "two\n").replace("19\n20\n", "19\nend");
  assert.equal(
    unifiedDiff(before, after, "a/f", "b/f"),
    "--- a/f\n+++ b/f\n@@ -1,5 +1,5 @@\n 1\n-2\n+two\n 3\n 4\n 5\n" +
      "@@ -17,4 +17,4 @@\n 17\n 18\n 19\n-20\n+end\n\\ No newline at end of file\n",
  );
  assert.equal(unifiedDiff("a", "a", "x", "y"), "");
});

/** What `patch` does. */
function patched(before: string, diff: string): string {
  const lines = before.match(/[^\n]*\n|[^\n]+$/gu) ?? [];
  const out: string[] = [];
  let at = 0;
  const body = diff.split(/(?<=\n)/u).slice(2);
  body.forEach((line, index) => {
    const head = /^@@ -(\d+)(?:,(\d+))? /u.exec(line);
    const bare = body[index + 1]?.startsWith("\\") === true ? line.slice(1, -1) : line.slice(1);
    if (head !== null) {
      const start = Number(head[1]) - (head[2] === "0" ? 0 : 1);
      while (at < start) out.push(lines[at++] ?? "");
    } else if (line.startsWith("+")) out.push(bare);
    else if (!line.startsWith("\\")) {
      assert.equal(lines[at], bare);
      if (line.startsWith(" ")) out.push(bare);
      at++;
    }
  });
  return [...out, ...lines.slice(at)].join("");
}

test("unified diff: applied to the one text it gives the other", () => {
  const line = fc.constantFrom("a\n", "b\n", "c\n", "\n", "a\r\n");
  const text = fc.tuple(fc.array(line, { maxLength: 25 }), fc.constantFrom("", "end")).map(([lines, end]) =>
    lines.join("") + end
  );
  fc.assert(
    fc.property(text, text, (before, after) => {
      assert.equal(patched(before, unifiedDiff(before, after, "a", "b")), after);
    }),
    { numRuns: 500 },
  );
});

test("unified diff: large and entirely different texts end soon, and are right", () => {
  const before = Array.from({ length: 30_000 }, (_, at) => `a${at}\n`).join("");
  const after = Array.from({ length: 29_000 }, (_, at) => `b${at}\n`).join("");
  assert.equal(patched(before, unifiedDiff(before, after, "a", "b")), after);
});
