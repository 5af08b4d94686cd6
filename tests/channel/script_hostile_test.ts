/** Scripts that misbehave: each costs a delivery another attempt, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { headersOf } from "../../src/channel/script/message.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, jobOf } from "./channel_world.ts";
import { ScriptWorld } from "./script_world.ts";

const GOOD = "Subject: Good\r\n\r\nText\r\n";
const BAD = "Subject: Bad\r\n\r\nText\r\n";

/** A module that does this to bad messages. */
const onBad = (what: string) =>
  `export default { async email(message, env, ctx) { if (message.headers.get("subject") === "Bad") { ${what} } } };`;

for (
  const [what, code, why, options] of [
    ["loops without end", "for (;;);", /took longer than 0\.5 s/, { time_limit: 0.5 }],
    ["waits without end", "await new Promise(() => {});", /took longer than 0\.5 s/, { time_limit: 0.5 }],
    [
      "eats memory",
      "const all = []; for (;;) all.push(new Array(1e5).fill(Math.random()));",
      /more memory than the 64 MiB/,
      {
        memory_limit: "64MiB",
      },
    ],
    [
      "eats buffers",
      "const all = []; for (;;) { all.push(new Uint8Array(4e6).fill(1)); await new Promise((go) => setTimeout(go, 2)); }",
      /more memory than the 64 MiB/,
      { memory_limit: "64MiB" },
    ],
    [
      "calls process.exit",
      "process.exit(0); await new Promise(() => {});",
      /ended its (?:thread|process) with code 0/,
      {},
    ],
    ["calls process.abort", "process.abort();", /ended its (?:thread|process) with/, {}],
    ["kills its process", 'process.kill(process.pid, "SIGKILL");', /ended its (?:thread|process) with/, {}],
    ["throws", 'throw new Error("Oh no");', /^The script failed: Error: Oh no/, {}],
    ["throws a text", 'throw "Oh no";', /^The script failed: Thrown: Oh no/, {}],
    ["rejects at the top of a promise chain", 'return Promise.reject(new Error("Oh no"));', /Oh no/, {}],
  ] as const
) {
  test(`script: a handler that ${what} is deferred; the one beside it and the next one are not`, async () => {
    await using world = await ScriptWorld.open(onBad(code), { options });
    const [bad, beside] = await Promise.all([world.deliver(BAD), world.deliver(GOOD)]);
    assert.equal(bad.kind, "deferred");
    assert.match(bad.detail, why);
    assert.equal(beside.kind, "delivered");
    assert.equal((await world.deliver(GOOD)).kind, "delivered");
  });
}

test("script: a module that loops while it loads is deferred", async () => {
  await using world = await ScriptWorld.open("for (;;);", { options: { time_limit: 0.5 } });
  assert.match((await world.deliver(GOOD)).detail, /took longer than 5 s/);
});

test("script: background work without end costs its thread, not the delivery", async () => {
  await using world = await ScriptWorld.open(onBad("ctx.waitUntil(new Promise(() => {}));"), {
    options: { time_limit: 0.5 },
  });
  assert.equal((await world.deliver(BAD)).kind, "delivered");
  assert.equal(world.events.filter(({ event }) => event === "script-background-ended").length, 1);
  assert.equal((await world.deliver(GOOD)).kind, "delivered");
});

test("script: what it still asks for after its end is refused there", async () => {
  await using world = await ScriptWorld.open(
    `let kept;
     export default { async email(m) {
       if (kept === undefined) return void (kept = m);
       await kept.forward("a@b.example").catch((error) => console.log(error.message));
     } };`,
    { options: { forward_channel: "relay" } },
  );
  assert.equal((await world.deliver(GOOD)).kind, "delivered");
  assert.equal((await world.deliver(GOOD)).kind, "delivered");
  assert.match(String(world.lines[0]), /has come to its end/);
  assert.deepEqual(world.sent, []);
});

test("script: its output goes into the log, bounded in lines and length, and not to the server's streams", async () => {
  await using world = await ScriptWorld.open(onBad(`
    console.error("e".repeat(5000));
    process.stdout.write("to stdout\\n");
    for (let line = 0; line < 1000; line++) console.log("line", { line });
  `));
  assert.equal((await world.deliver(BAD)).kind, "delivered");
  const told = world.events.filter(({ event }) => event === "script");
  assert.equal(told.length, 101);
  assert.deepEqual([told[0]?.level, String(told[0]?.text).length], ["error", 1_000]);
  assert.deepEqual([told[1]?.level, told[1]?.text], ["info", "to stdout"]);
  assert.match(String(told[2]?.text), /^line \{ line: 0 \}$/);
  assert.equal(told.at(-1)?.text, "Further lines are left out");
});

test("script: it cannot speak in the thread's name by accident", async () => {
  await using world = await ScriptWorld.open(onBad(`
    postMessage({ kind: "verdict", invocation: 1, verdict: { kind: "handled" } });
    postMessage(123);
    throw new Error("Not handled");
  `));
  assert.equal((await world.deliver(BAD)).kind, "deferred");
});

test("script: content that breaks off is deferred, even when the script does not mind", async () => {
  await using world = await ScriptWorld.open(
    "export default { async email(m) { await new Response(m.raw).text().catch(() => {}); } };",
  );
  const job = {
    ...jobOf("", 1),
    async *content() {
      yield await Promise.resolve(new Uint8Array(300_000).fill(0x61));
      throw new Error("The store broke");
    },
  };
  const outcomes = await outcomesOf(world.channel, { ...job, message: { ...job.message, sizeBytes: 1_000_000 } });
  assert.deepEqual(outcomes.filter(({ kind }) => kind !== "deferred"), []);
});

test("script: a signal ends a handler at work, and its thread", async () => {
  await using world = await ScriptWorld.open(onBad("for (;;);"));
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("Stopped")), 300);
  assert.deepEqual(await outcomesOf(world.channel, jobOf(BAD), abort.signal), []);
  assert.equal((await world.deliver(GOOD)).kind, "delivered");
});

test("script: many more messages than threads, with some that loop, all end", async () => {
  await using world = await ScriptWorld.open(onBad("for (;;);"), { options: { time_limit: 0.3 } });
  const outcomes = await Promise.all(
    Array.from({ length: 24 }, (_, index) => world.deliver(index % 6 === 0 ? BAD : GOOD)),
  );
  assert.deepEqual(
    outcomes.map(({ kind }) => kind),
    outcomes.map((_, index) => index % 6 === 0 ? "deferred" : "delivered"),
  );
});

for (
  const [what, text, wanted] of [
    ["folded lines", "A: one\r\n two\r\n\tthree\r\n\r\nB: no\r\n", [["a", "one two\tthree"]]],
    ["repeated fields", "A: 1\r\na: 2\r\n\r\n", [["a", "1, 2"]]],
    ["no end of the section", "A: 1\r\nB: 2", [["a", "1"], ["b", "2"]]],
    ["lines that are no fields", "nonsense\r\n: x\r\nA B: 1\r\nC: 3\r\n\r\n", [["c", "3"]]],
    ["bare LF", "A: 1\nB: 2\n\nC: 3", [["a", "1"], ["b", "2"]]],
    ["NUL and 8-bit", "A: x\0y\r\nB: \u00e9\r\n\r\n", [["b", "\u00c3\u00a9"]]],
    ["nothing", "", []],
    ["an empty section", "\r\nA: 1\r\n", []],
    ["a continuation of nothing", " x\r\nA: 1\r\n\r\n", [["a", "1"]]],
  ] as const
) {
  test(`script: headers of a message with ${what}`, () => {
    assert.deepEqual([...headersOf(bytesOf(text))], wanted);
  });
}
