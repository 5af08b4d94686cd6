/** Durations, sizes and suggestions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, parseDuration } from "../../src/config/duration.ts";
import { formatSize, parseSize } from "../../src/config/size.ts";
import { editDistance, nearest } from "../../src/config/suggest.ts";

test("parseDuration reads seconds and units", () => {
  const cases: readonly (readonly [number | string, number])[] = [
    [60, 60_000],
    [0.5, 500],
    [0, 0],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["1h 30m", 5_400_000],
    ["1.5h", 5_400_000],
    ["250ms", 250],
    ["1w2d", 777_600_000],
    [" 10s ", 10_000],
  ];
  for (const [input, value] of cases) assert.deepEqual(parseDuration(input), { ok: true, value }, String(input));
});

test("parseDuration refuses what has no clear meaning, and says why", () => {
  const cases: readonly (readonly [number | string, RegExp])[] = [
    [-1, /must be a number of seconds/u],
    [Number.NaN, /must be/u],
    [Number.POSITIVE_INFINITY, /must be/u],
    ["", /must be/u],
    ["60", /has no unit; write 60/u],
    ["5 minutes", /must be/u],
    ["30m1h", /largest first/u],
    ["5m5m", /each unit once/u],
    ["-5m", /must be/u],
    ["5m!", /must be/u],
    ["1e3s", /must be/u],
  ];
  for (const [input, message] of cases) {
    const parsed = parseDuration(input);
    assert.equal(parsed.ok, false, String(input));
    if (!parsed.ok) assert.match(parsed.message, message);
  }
});

test("formatDuration is read back by parseDuration", () => {
  fc.assert(fc.property(fc.nat({ max: 10_000_000_000 }), (value) => {
    assert.deepEqual(parseDuration(formatDuration(value)), { ok: true, value });
  }));
});

test("parseSize reads bytes, powers of 1024 and of 1000", () => {
  const cases: readonly (readonly [number | string, number])[] = [
    [1024, 1024],
    ["25MiB", 26_214_400],
    ["25 mib", 26_214_400],
    ["10MB", 10_000_000],
    ["1kB", 1000],
    ["1KiB", 1024],
    ["1.5GiB", 1_610_612_736],
    ["7B", 7],
  ];
  for (const [input, value] of cases) assert.deepEqual(parseSize(input), { ok: true, value }, String(input));
});

test("parseSize refuses what has no clear meaning, and says why", () => {
  const cases: readonly (readonly [number | string, RegExp])[] = [
    [1.5, /must be/u],
    [-1, /must be/u],
    ["25", /has no unit/u],
    ["25M", /write "25MiB" \(1024\) or "25MB" \(1000\)/u],
    ["25XB", /must be/u],
    ["MiB", /must be/u],
    ["", /must be/u],
  ];
  for (const [input, message] of cases) {
    const parsed = parseSize(input);
    assert.equal(parsed.ok, false, String(input));
    if (!parsed.ok) assert.match(parsed.message, message);
  }
});

test("formatSize is read back by parseSize", () => {
  fc.assert(fc.property(fc.nat(), (value) => {
    assert.deepEqual(parseSize(formatSize(value)), { ok: true, value });
  }));
});

test("nearest finds misspelt, differently cased and synonymous names, and nothing far away", () => {
  const keys = ["port", "listen_ip", "host_name", "max_concurrency"];
  const synonyms = new Map([["portnum", "port"]]);
  assert.equal(nearest("prot", keys), "port");
  assert.equal(nearest("hostName", keys), "host_name");
  assert.equal(nearest("max-concurency", keys), "max_concurrency");
  assert.equal(nearest("portNum", keys, synonyms), "port");
  assert.equal(nearest("portNum", ["listen_ip"], synonyms), undefined);
  assert.equal(nearest("xyz", keys), undefined);
  assert.equal(nearest("", keys), undefined);
  assert.equal(nearest("p".repeat(100_000), keys), undefined);
});

test("editDistance agrees with its definition by recursion", () => {
  const slow = (from: string, to: string): number => {
    if (from === "" || to === "") return from.length + to.length;
    const last = from.at(-1) === to.at(-1) ? 0 : 1;
    const swap = from.length > 1 && from.at(-1) === to.at(-2) && from.at(-2) === to.at(-1)
      ? slow(from.slice(0, -2), to.slice(0, -2)) + 1
      : Number.POSITIVE_INFINITY;
    return Math.min(
      slow(from.slice(0, -1), to) + 1,
      slow(from, to.slice(0, -1)) + 1,
      slow(from.slice(0, -1), to.slice(0, -1)) + last,
      swap,
    );
  };
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });
  fc.assert(fc.property(word, word, fc.nat({ max: 5 }), (from, to, limit) => {
    assert.equal(editDistance(from, to, limit), Math.min(slow(from, to), limit + 1));
  }));
});
