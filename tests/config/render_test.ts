/** Diagnostics as text: frames, underlines that fit, nothing dangerous for a terminal. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Diagnostic, diagnostic, fileSpan, quote } from "../../src/config/diagnostic.ts";
import { renderConcise, renderDiagnostics, renderFinding, showLine } from "../../src/config/render.ts";
import { createSource, spanOf } from "../../src/config/source.ts";

function finding(text: string, marked: string, extras: Parameters<typeof diagnostic>[3] = {}) {
  const source = createSource("a.toml", text);
  const start = text.indexOf(marked);
  const primary = spanOf({ source, start, end: start + marked.length });
  return {
    value: diagnostic("SMTPD101", 'Unknown key "x"', primary, extras),
    sources: new Map([["a.toml", source]]),
    source,
  };
}

test("a finding shows its line, the underline, notes and help", () => {
  const { value, sources, source } = finding("one = 1\ntwo = 2\n", "two", {
    notes: ["A note"],
    help: "Do this:\nthen that",
  });
  const secondary = [{ ...spanOf({ source, start: 0, end: 3 }), label: "first here" }];
  const text = renderFinding({ ...value, secondary }, sources);
  assert.equal(
    text,
    [
      'error[SMTPD101]: Unknown key "x"',
      " --> a.toml:2:1",
      "  |",
      "2 | two = 2",
      "  | ^^^",
      " ::: a.toml:1:1",
      "  |",
      "1 | one = 1",
      "  | --- first here",
      "  = note: A note",
      "  = help: Do this:",
      "          then that",
    ].join("\n"),
  );
});

test("the end of a run counts errors and warnings", () => {
  const span = fileSpan("a.toml");
  const all: readonly Diagnostic[] = [
    diagnostic("SMTPD109", "None", span),
    diagnostic("SMTPD201", "Low", span),
    diagnostic("SMTPD201", "Low", span),
  ];
  assert.match(renderDiagnostics(all, new Map()), /\n\n1 error, 2 warnings\n$/u);
  assert.equal(renderDiagnostics([], new Map()), "");
});

test("concise is one line that editors understand", () => {
  const { value } = finding("one = 1\r\n  two = 2\r\n", "two");
  assert.equal(renderConcise(value), 'a.toml:2:3: error[SMTPD101]: Unknown key "x"');
  assert.equal(
    renderConcise({ ...value, message: "a\r\nb\x1b[2J" }),
    "a.toml:2:3: error[SMTPD101]: a\\u{d}\\u{a}b\\u{1b}[2J",
  );
});

test("colour only when asked for", () => {
  const { value, sources } = finding("one = 1\n", "one");
  assert.ok(!renderFinding(value, sources).includes("\x1b"));
  const coloured = renderFinding(value, sources, { colour: true });
  assert.ok(coloured.includes("\x1b[1;31merror[SMTPD101]\x1b[0m"));
  // deno-lint-ignore no-control-regex
  assert.equal(coloured.replace(/\x1b\[[\d;]*m/gu, ""), renderFinding(value, sources));
});

/** Text and underline of a line, as they stand below each other. */
function shown(line: string, marked: string, room = 100): readonly [string, string] {
  const start = line.indexOf(marked);
  const { text, before, length } = showLine(line, start, start + marked.length, room);
  return [text, `${" ".repeat(before)}${"^".repeat(length)}`];
}

test("underlines fit behind tabs, wide, combining and joined characters", () => {
  assert.deepEqual(shown("\ta\tbad", "bad"), ["    a   bad", "        ^^^"]);
  assert.deepEqual(shown("日本 bad", "bad"), ["日本 bad", "     ^^^"]);
  assert.deepEqual(shown('x = "日本"', '"日本"'), ['x = "日本"', "    ^^^^^^"]);
  assert.deepEqual(shown("e\u0301e\u0301 bad", "bad"), ["e\u0301e\u0301 bad", "   ^^^"]);
  assert.deepEqual(shown("👩‍👩‍👧 bad", "bad"), ["👩‍👩‍👧 bad", "   ^^^"]);
  assert.deepEqual(shown("é bad", "é"), ["é bad", "^"]);
});

test("control and direction characters are shown, not sent", () => {
  assert.deepEqual(shown("\x1b[31m bad", "bad"), ["␛[31m bad", "      ^^^"]);
  assert.deepEqual(shown("a\x00\x7fbad", "bad"), ["a␀␡bad", "   ^^^"]);
  assert.deepEqual(shown("a\u202ebad", "bad"), ["a\\u{202e}bad", "         ^^^"]);
  assert.deepEqual(shown("\u0085bad", "bad"), ["\\u{85}bad", "      ^^^"]);
  assert.deepEqual(shown("a\ud800bad", "bad"), ["a\\u{d800}bad", "         ^^^"]);
});

test("a long line is cut around the place, within the width", () => {
  const line = `${"a".repeat(5000)}BAD${"b".repeat(5000)}`;
  const [text, underline] = shown(line, "BAD", 40);
  assert.ok(text.length <= 40, text);
  assert.equal(text.slice(underline.indexOf("^"), underline.length), "BAD");
  assert.ok(text.startsWith("…") && text.endsWith("…"));
});

test("the underline stands below what it means, whatever the line holds", () => {
  const unit = fc.constantFrom("a", " ", "\t", "日", "e\u0301", "\x1b", "\u202e", "😀", "\0", "é");
  const part = fc.array(unit, { maxLength: 60 }).map((units) => units.join(""));
  fc.assert(fc.property(part, part, fc.integer({ min: 20, max: 80 }), (before, after, room) => {
    const { text, before: cells, length } = showLine(`${before}<XYZ>${after}`, before.length, before.length + 5, room);
    assert.equal(length, 5);
    const visible = [...new Intl.Segmenter().segment(text)].flatMap(({ segment }) =>
      /^[日😀]/u.test(segment) ? [segment, ""] : [segment]
    );
    assert.equal(visible.slice(cells, cells + 5).join(""), "<XYZ>");
    assert.ok(visible.length <= room);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(text, /[\x00-\x1f\x7f-\x9f\u202e]/u);
  }));
});

test("quote escapes and bounds", () => {
  assert.equal(quote("a\n\x1b\u202e"), '"a\\u{a}\\u{1b}\\u{202e}"');
  assert.equal(quote("x".repeat(1000)).length, 83);
});
