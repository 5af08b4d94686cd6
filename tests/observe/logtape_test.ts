/** The log on LogTape: one safe line per event, bound fields, levels, batches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createLog, type LogFormat } from "../../src/observe/logtape.ts";
import type { LogLevel } from "../../src/observe/log.ts";
import type { Clock } from "../../src/runtime/runtime.ts";

/** A clock that stands still; `fire` makes what was asked for happen. */
function stoppedClock(nowMs: number) {
  const waiting = new Map<number, () => void>();
  let next = 0;
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    after(_delayMs, call) {
      const id = next++;
      waiting.set(id, call);
      return { [Symbol.dispose]: () => void waiting.delete(id) };
    },
    every: () => ({ [Symbol.dispose]() {} }),
  };
  const fire = () => {
    const calls = [...waiting.values()];
    waiting.clear();
    for (const call of calls) call();
  };
  return { clock, fire, waiting };
}

function start(level: LogLevel = "debug", format: LogFormat = "json", colour = false) {
  const written: string[] = [];
  const time = stoppedClock(Date.UTC(2026, 0, 2, 3, 4, 5, 6));
  const log = createLog({ level, format, colour, clock: time.clock, write: (text) => written.push(text) });
  return { log, written, ...time };
}

test("log: an event is one line of JSON with time, level, event and fields in order", () => {
  const { log, written } = start();
  log.info("session.opened", { peer: "192.0.2.1", port: 25, tls: false, tags: ["a", "b"], helo: undefined });
  log.flush();
  assert.deepEqual(written, [
    '{"time":"2026-01-02T03:04:05.006Z","level":"info","event":"session.opened",' +
    '"peer":"192.0.2.1","port":25,"tls":false,"tags":["a","b"]}\n',
  ]);
});

test("log: fields bound by with come first, nest, and give way to the event's own", () => {
  const { log, written } = start();
  log.with({ session: "s1" }).with({ listener: "in" }).warn("odd", { session: "s2", count: 1 });
  log.with({ session: "s1" }).warn("plain", { count: 2 });
  log.flush();
  assert.deepEqual(written.join("").trim().split("\n").map((line) => JSON.parse(line)), [
    { time: "2026-01-02T03:04:05.006Z", level: "warn", event: "odd", session: "s2", listener: "in", count: 1 },
    { time: "2026-01-02T03:04:05.006Z", level: "warn", event: "plain", session: "s1", count: 2 },
  ]);
  assert.equal(written.join("").match(/"session":/g)?.length, 2);
});

test("log: a field cannot take the place of time, level or event", () => {
  const { log, written } = start();
  log.info("real", { event: "forged", level: "debug", time: "never" });
  log.flush();
  const line = JSON.parse(written.join(""));
  assert.equal(line.event, "real");
  assert.equal(line.level, "info");
  assert.equal(line.event_, "forged");
});

test("log: numbers that JSON has no form for are texts", () => {
  const { log, written } = start();
  log.info("odd", { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: -0.5 });
  log.flush();
  const line = JSON.parse(written.join(""));
  assert.deepEqual([line.a, line.b, line.c], ["NaN", "Infinity", -0.5]);
});

test("log: events below the level go nowhere, and enabled says so", () => {
  const { log, written } = start("warn");
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  log.flush();
  const events = written.join("").trim().split("\n").map((line) => JSON.parse(line).event);
  assert.deepEqual(events, ["c", "d"]);
  assert.deepEqual((["debug", "info", "warn", "error"] as const).map((level) => log.enabled(level)), [
    false,
    false,
    true,
    true,
  ]);
  assert.equal(log.with({ a: 1 }).enabled("info"), false);
});

test("log: two logs in one process do not disturb each other", () => {
  const first = start("debug");
  const second = start("error");
  first.log.debug("one");
  second.log.error("two");
  first.log.flush();
  assert.match(first.written.join(""), /"event":"one"/);
  assert.equal(first.written.length, 1);
  assert.match(second.written.join(""), /"event":"two"/);
  assert.doesNotMatch(second.written.join(""), /"one"/);
});

test("log: lines wait for the timer, for 64 KiB, for an error or for flush, whichever is first", () => {
  const { log, written, fire, waiting } = start();
  log.info("a");
  log.info("b");
  assert.equal(written.length, 0);
  assert.equal(waiting.size, 1);
  fire();
  assert.equal(written.length, 1);
  assert.equal(written[0]?.split("\n").length, 3);
  fire();
  assert.equal(written.length, 1);

  for (let count = 0; count < 70; count++) log.info("c", { text: "x".repeat(1000) });
  assert.equal(written.length, 2);
  assert.equal(waiting.size, 1);
  log.error("d");
  assert.equal(written.length, 3);
  assert.equal(waiting.size, 0);
  log.flush();
  assert.equal(written.length, 3);
});

test("log: the pretty form quotes what is not one plain word", () => {
  const { log, written } = start("debug", "pretty");
  log.with({ session: "s1" }).info("session opened", { peer: "a b", list: ["x", "y z"], text: "" });
  log.flush();
  assert.equal(
    written.join(""),
    '03:04:05.006Z INFO  session opened session=s1 peer="a b" list=x,"y z" text=""\n',
  );
});

/** Characters that end lines, drive terminals or turn text around; plain and pretty lines may hold none of them. */
const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\p{Cs}/u;

const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("\x1b[2J", "a\r\nb", '","level":"error', "\u202egnp.exe", "\x9b31m", "\ud800", "\u2028", "\\", '"'),
);

test("log: whatever a field holds, a JSON line is one line, printable, and gives the text back", () => {
  fc.assert(
    fc.property(anyText, anyText, fc.array(anyText, { maxLength: 3 }), (event, text, list) => {
      const { log, written } = start();
      log.with({ bound: text }).info(event, { text, list });
      log.flush();
      const line = written.join("");
      assert.equal(line.indexOf("\n"), line.length - 1);
      assert.doesNotMatch(line.slice(0, -1), unsafe);
      const parsed = JSON.parse(line);
      assert.equal(parsed.event, event);
      assert.equal(parsed.bound, text);
      assert.equal(parsed.text, text);
      assert.deepEqual(parsed.list, list);
    }),
    { numRuns: 300 },
  );
});

test("log: whatever a field holds, a pretty line without colours is one line and printable", () => {
  fc.assert(
    fc.property(anyText, anyText, anyText, (event, name, text) => {
      const { log, written } = start("debug", "pretty");
      log.info(event, { [name]: text });
      log.flush();
      const line = written.join("");
      assert.equal(line.indexOf("\n"), line.length - 1);
      assert.doesNotMatch(line.slice(0, -1), unsafe);
    }),
    { numRuns: 300 },
  );
});

test("log: colours appear only when they are asked for", () => {
  const plain = start("debug", "pretty", false);
  const coloured = start("debug", "pretty", true);
  for (const { log } of [plain, coloured]) {
    log.info("a", { b: 1 });
    log.flush();
  }
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(plain.written.join(""), /\x1b/);
  assert.match(coloured.written.join(""), /INFO/);
  assert.ok(coloured.written.join("").includes("\x1b[32m"));
});
