/** No input makes an examination throw, hang or lie about places: arbitrary texts, and the example with mistakes in it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { applyFixes } from "../../src/config/fix.ts";
import { FORMAT_NAMES, loadFormat } from "../../src/config/format/formats.ts";
import { pageOf } from "../../src/config/pages/pages.ts";
import { renderDiagnostics } from "../../src/config/render.ts";
import { examineExample } from "./example_world.ts";

const example = readFileSync(new URL("../../config.example.toml", import.meta.url), "utf8");
const formats = await Promise.all(FORMAT_NAMES.filter((name) => name !== "text").map((name) => loadFormat(name)));

async function assertSound(text: string, files: Readonly<Record<string, string>> = {}): Promise<void> {
  const { findings, loaded } = await examineExample({ text, files });
  const { sources } = loaded;
  const seen = new Set<string>();
  let last = -1;
  for (const { code, message, primary, secondary, fix } of findings) {
    for (const span of [primary, ...secondary, ...(fix?.edits ?? []).map((edit) => edit.span)]) {
      const length = sources.get(span.file)?.text.length ?? 0;
      assert.ok(span.start.offset >= 0 && span.start.offset <= span.end.offset && span.end.offset <= length);
    }
    const key = [code, primary.file, primary.start.offset, primary.end.offset, message].join("\0");
    assert.ok(!seen.has(key), key);
    seen.add(key);
    const place = (sources.get(primary.file)?.order ?? 0) * 1e9 + primary.start.offset;
    assert.ok(place >= last, "not sorted");
    last = place;
  }
  renderDiagnostics(findings, sources, { width: 60, colour: true });
  const report = { findings, sources, files: [...sources.keys()], version: "0", fails: () => true, page: pageOf };
  for (const format of formats) format(report);
  for (const fixed of applyFixes(findings, sources).texts.values()) await examineExample({ text: fixed });
}

test("arbitrary bytes as a file", async () => {
  const text = fc.uint8Array({ maxLength: 400 }).map((bytes) => new TextDecoder().decode(bytes));
  await fc.assert(fc.asyncProperty(text, text, (main, other) => assertSound(main, { "a.toml": other })), {
    numRuns: 300,
  });
});

test("arbitrary tokens of the language", async () => {
  const token = fc.constantFrom(
    ..."[ ] [[ ]] { } = , . \" ' \"\"\" ''' # \n \r\n \\ 1 -1 1e9 nan true 2026-01-01 include check severity".split(
      " ",
    ),
    ..."listener binding channel name type port tls auth mode retry deliver reject recipients [spool] url".split(" "),
    "# smtpd: allow SMTPD201 because x\n",
    '"off"',
    "SMTPD201",
    "{ env = 'X' }",
    "{ file = 'x' }",
    "\n\n",
  );
  const text = fc.array(token, { maxLength: 60 }).map((tokens) => tokens.join(" "));
  await fc.assert(fc.asyncProperty(text, (main) => assertSound(main)), { numRuns: 500 });
});

test("the example with stretches cut, doubled, moved, or replaced", async () => {
  const piece = fc.constantFrom(
    "",
    "x",
    '"',
    "[",
    "]]",
    "\n",
    "= 1",
    "= []",
    "= {}",
    "\0",
    "\ud800",
    "name",
    "9".repeat(400),
  );
  const change = fc.record({ at: fc.nat(example.length), length: fc.nat(60), piece, from: fc.nat(example.length) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), fc.boolean(), async (changes, copies) => {
      let text = example;
      for (const { at, length, piece, from } of changes) {
        const put = copies ? text.slice(from, from + length) : piece;
        text = text.slice(0, at) + put + text.slice(at + length);
      }
      await assertSound(text);
    }),
    { numRuns: 200 },
  );
});

test("depth and length that a file may have by malice", async () => {
  for (const text of ["[".repeat(100_000), "a.".repeat(50_000), "{a=".repeat(50_000), '"'.repeat(100_001)]) {
    await assertSound(text);
  }
  await assertSound("# smtpd: allow SMTPD201 because x\n".repeat(5000));
  await assertSound(`[[listener]]\nport = 1\n${"# smtpd: ".repeat(20_000)} allow SMTPD2\n`);
});
