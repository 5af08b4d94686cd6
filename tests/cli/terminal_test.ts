/** Text for terminals: nothing unprintable, colours where wanted, aligned tables, times and sizes for people. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  durationText,
  relativeTime,
  sizeText,
  styles,
  tableLines,
  textWidth,
  visible,
  wantsColour,
} from "../../src/cli/terminal.ts";
import { commandLine } from "./command_line.ts";

test("visible: every control, direction mark and lone surrogate is escaped, the rest kept", () => {
  assert.equal(
    visible("a\r\n\x1b[0m\x7f\x9b\u202eb\u2028\ud800c é 日本"),
    "a\\x0d\\x0a\\x1b[0m\\x7f\\x9b\\u{202e}b\\u{2028}\\u{d800}c é 日本",
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(visible(text))),
  );
});

test("colour: terminals only; NO_COLOR forbids, FORCE_COLOR demands, a dumb terminal has none", () => {
  const wants = (environment: Record<string, string>, terminal: boolean) =>
    wantsColour(commandLine([], { environment, terminal }).runtime, "out");
  assert.equal(wants({}, true), true);
  assert.equal(wants({}, false), false);
  assert.equal(wants({ NO_COLOR: "1" }, true), false);
  assert.equal(wants({ NO_COLOR: "" }, true), true);
  assert.equal(wants({ FORCE_COLOR: "1" }, false), true);
  assert.equal(wants({ FORCE_COLOR: "0" }, true), false);
  assert.equal(wants({ NO_COLOR: "1", FORCE_COLOR: "1" }, true), false);
  assert.equal(wants({ TERM: "dumb" }, true), false);
});

test("table: columns line up, numbers to the right, colours and wide characters do not shift them", () => {
  const lines = tableLines(
    [
      { title: "NAME", text: (row: readonly [string, number]) => row[0], paint: () => styles(true).red },
      { title: "N", align: "right", text: (row: readonly [string, number]) => String(row[1]) },
      { title: "END", text: () => "x" },
    ],
    [["a", 1], ["日本", 1000], ["b\n", 20]],
    styles(false),
    (row) => row[0] === "a" ? "more\x07" : undefined,
  );
  // deno-lint-ignore no-control-regex
  const bare = lines.map((line) => line.replace(/\x1b\[\d+m/g, ""));
  assert.deepEqual(bare, ["NAME      N  END", "a         1  x", "    more\\x07", "日本   1000  x", "b\\x0a    20  x"]);
});

test("texts: durations, moments, sizes, widths", () => {
  assert.deepEqual([0, 999, 1000, 61_000, 3_600_000, 7_500_000, 90_000_000, 999_999_999].map(durationText), [
    "0s",
    "0s",
    "1s",
    "1m 1s",
    "1h",
    "2h 5m",
    "1d 1h",
    "11d",
  ]);
  assert.equal(relativeTime(1500, 1000), "now");
  assert.equal(relativeTime(301_000, 1000), "in 5m");
  assert.equal(relativeTime(0, 3_600_000), "1h ago");
  assert.deepEqual([0, 1023, 1024, 25 * 1024 * 1024, 3 * 1024 ** 4].map(sizeText), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "25 MiB",
    "3.0 TiB",
  ]);
  assert.equal(textWidth("e\u0301日"), 3);
});
