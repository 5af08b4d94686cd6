/** The gate's own instruments: counting tests in reports, reading sources for the conventions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { countTests } from "../../scripts/junit.ts";
import { functionSpans, sourceText } from "../../scripts/source_text.ts";

test("report: cases are counted one by one, whatever the sums in it say", () => {
  const xml = `<?xml version="1.0"?><testsuites tests="99" failures="0"><testsuite name="a &gt; b" tests="1">
    <testcase name="one" time="0.1"/><testcase name="a > b" classname="x" />
    <testcase name="two"></testcase>
    <testcase name="three"><failure message="no">text</failure></testcase>
    <testcase name="four"><error>text</error></testcase>
    <testcase name="five"><skipped/></testcase>
    <testsuite name="inner"><testcase name="six"><system-out><![CDATA[<failure> <testcase/>]]></system-out></testcase>
    </testsuite></testsuite></testsuites>`;
  assert.deepEqual(countTests(xml), { passed: 4, failed: 2, skipped: 1 });
  assert.deepEqual(countTests("<testsuites></testsuites>"), { passed: 0, failed: 0, skipped: 0 });
});

test("source: code, comments and texts are told apart, each on its own line and column", () => {
  const text = [
    'const a = "// no comment"; // Date.now() in a comment',
    "const b = `text ${ c({ d: `${e}` }) } }`; /* one",
    "two */ const f = /[/*]g'/.test(h); const i = j / k / l;",
    "",
  ].join("\n");
  const { code, comments } = sourceText(text);
  assert.equal(code.length, text.length);
  assert.equal(comments.length, text.length);
  assert.deepEqual(code.split("\n").map((line) => line.replace(/\s+/g, " ").trim()), [
    "const a = ;",
    "const b = c({ d: e }) ;",
    "const f = .test(h); const i = j / k / l;",
    "",
  ]);
  assert.deepEqual(comments.split("\n").map((line) => line.trim()), [
    "// Date.now() in a comment",
    "/* one",
    "two */",
    "",
  ]);
});

test("source: lengths of functions, methods and arrows; statements and types are none", () => {
  const code = [
    "function a(b: number): { c: string } {",
    "  if (b) {",
    "    return { c: d };",
    "  }",
    "}",
    "class E { f(): Promise<{ g: number }> {",
    "  for (const h of i) {",
    "  }",
    "} }",
    "const j = () => {",
    "};",
    "interface K {",
    "  l(): void;",
    "}",
  ].join("\n");
  assert.deepEqual(functionSpans(code), [
    { line: 1, lines: 5 },
    { line: 6, lines: 4 },
    { line: 10, lines: 2 },
  ]);
});
