/** `smtpd queue hold|release|retry|bounce|remove`: what is chosen, what is asked, what is told, and what becomes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError } from "../../src/cli/exit.ts";
import { checkChange, queueChange, type QueueChangeOptions } from "../../src/cli/queue_change.ts";
import { Progress, progressText } from "../../src/cli/queue_progress.ts";
import type { Clock } from "../../src/runtime/runtime.ts";
import { delivery } from "../spool/fixture.ts";
import { smtpd } from "./command_line.ts";
import { QueueWorld } from "./queue_world.ts";

type Asks = Parameters<typeof queueChange>[5];

async function change(
  world: QueueWorld,
  action: Parameters<typeof queueChange>[2],
  ids: readonly string[],
  options: QueueChangeOptions = {},
  ask: Asks = undefined,
) {
  const { runtime, out, err } = world.line();
  checkChange(action, ids, options, ask);
  const code = await queueChange(runtime, world.spool, action, ids, options, ask);
  return { code, out: out(), err: err() };
}

test("queue hold, release: by id, with what they say, and nothing left to do is exit 1", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery("a"), delivery("b")]);
  await world.queue("m0002");
  assert.deepEqual(await change(world, "hold", ["m0001"]), {
    code: 0,
    out: "Held 2 deliveries of 1 message.\n",
    err: "",
  });
  assert.deepEqual(await world.states(), ["m0001 held", "m0001 held", "m0002 queued"]);
  assert.deepEqual(await change(world, "hold", ["m0001"]), {
    code: 1,
    out: "",
    err: "smtpd: Left 2 deliveries alone: not queued: held already, or failed.\n",
  });
  assert.deepEqual(await change(world, "release", [], { channel: "b" }), {
    code: 0,
    out: "Released 1 delivery of 1 message. A running server attempts them within 5 seconds.\n",
    err: "",
  });
  assert.deepEqual(await world.states(), ["m0001 held", "m0001 queued", "m0002 queued"]);
});

test("queue retry: what failed and what waits is due now; what is leased is left alone and said so", async () => {
  await using world = new QueueWorld();
  await world.settle(await world.add("m0001"), "failed");
  await world.settle(await world.add("m0002"), "retry");
  await world.add("m0003");
  await world.queue("m0004", [{ ...delivery(), held: true }]);
  const { code, out, err } = await change(world, "retry", [], { binding: "all" });
  assert.equal(code, 0);
  assert.match(out, /^Made due 2 deliveries of 2 messages\. A running server/);
  assert.equal(
    err,
    "smtpd: Left 1 delivery alone: being attempted right now; try again in a moment.\n" +
      'smtpd: Left 1 delivery alone: held: use "smtpd queue release".\n',
  );
  assert.deepEqual((await world.spool.list({ state: "queued" })).map((entry) => entry.dueAtMs - world.clock.ms), [
    0,
    0,
  ]);
});

test("queue bounce: gives up with a reason in the history, keeps the message, says whom it told", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001");
  const { code, out } = await change(world, "bounce", ["m0001"], { reason: "Wrong domain" });
  assert.equal(code, 0);
  assert.equal(
    out,
    "Gave up 1 delivery of 1 message. They are kept as failed. Nobody is told: no sender can be, or wants to be.\n",
  );
  assert.deepEqual(await world.states(), ["m0001 failed"]);
  assert.equal((await world.spool.attempts("m0001"))[0]?.detail, "Given up by the operator: Wrong domain");
});

test("queue remove: ids, beginnings and ranges; an unknown one is exit 1 and the others are removed", async () => {
  await using world = new QueueWorld();
  for (const id of ["ab0001", "ab0002", "ab0003", "cd0001", "ce0001"]) await world.queue(id);
  const { code, out, err } = await change(world, "remove", [
    "ab0001..ab0002",
    "ab0002",
    "cd00",
    "zz\x1b",
    "zy..zz",
    "ce",
  ]);
  assert.equal(code, 1);
  assert.equal(out, "Removed 3 deliveries of 3 messages.\n");
  assert.equal(
    err,
    'smtpd: There is no message "zz\\x1b" in the queue.\n' +
      'smtpd: There is no message of the range "zy..zz" in the queue.\n' +
      'smtpd: There is no message "ce" in the queue.\n',
  );
  assert.deepEqual(await world.states(), ["ab0003 queued", "ce0001 queued"]);
});

test("queue remove: a beginning that fits several messages changes nothing", async () => {
  await using world = new QueueWorld();
  for (const id of ["abcd2", "abcd1", "abcd"]) await world.queue(id, [delivery(), delivery()]);
  await world.queue("abce9");
  for (const text of ["abcd", "abce"]) {
    // An id of its own is not the beginning of others.
    assert.equal((await change(world, "hold", [text], { dryRun: true })).code, 0);
  }
  await world.queue("abcf21");
  await world.queue("abcf12");
  await assert.rejects(change(world, "remove", ["abce9", "abcf"]), (error) => {
    assert.ok(error instanceof CommandError && error.exitCode === 64);
    assert.match(error.message, /^"abcf" is the beginning of several ids, such as "abcf21" and "abcf12"/);
    return true;
  });
  assert.equal((await world.states()).length, 9);
});

test("queue remove --json: what was changed, what was left alone and why, what is unknown", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001");
  await world.add("m0002");
  const { code, out } = await change(world, "remove", ["m0001", "m0002", "m0009"], { json: true });
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(out), {
    action: "remove",
    dryRun: false,
    changed: [{ delivery: 1, message: "m0001" }],
    skipped: [{ delivery: 2, message: "m0002", why: "leased" }],
    unknown: ["m0009"],
  });
  const none = await change(world, "hold", [], { channel: "none", json: true });
  assert.equal(none.code, 1);
  assert.deepEqual(JSON.parse(none.out), { action: "hold", dryRun: false, changed: [], skipped: [], unknown: [] });
  assert.equal(none.err, "smtpd: Nothing in the queue matches.\n");
});

test("queue remove --dry-run: shows what it would do and does nothing", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery("a", "x\x1b@example.com")]);
  const { code, out } = await change(world, "remove", [], { all: true, dryRun: true });
  assert.equal(code, 0);
  assert.match(
    out,
    /^MESSAGE.*\nm0001 .*x\\x1b@example\.com\nWould remove 1 delivery of 1 message\. Nothing was changed\.\n$/,
  );
  assert.deepEqual(await world.states(), ["m0001 queued"]);
});

test("queue: each filter chooses, and all of them must hold", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery("a", "bob@example.net")], {
    subject: "=?utf-8?q?Gr=C3=BC=C3=9Fe?= from\r\n far away",
  });
  world.clock.ms += 3_600_000;
  await world.queue("m0002", [delivery("b", "Bob@Example.net")], { envelope: { reversePath: "" } });
  await world.queue("m0003", [{ ...delivery("b", "eve@example.net"), binding: "special" }], {
    content: `X: ${"y".repeat(300_000)}\r\nSubject: beyond\r\n\r\n`,
  });
  const chosen = async (options: QueueChangeOptions) => {
    const { out } = await change(world, "hold", [], { ...options, dryRun: true, json: true });
    return JSON.parse(out).changed.map(({ message }: { readonly message: string }) => message);
  };
  assert.deepEqual(await chosen({ subject: "GRÜSSE FROM FAR" }), []);
  assert.deepEqual(await chosen({ subject: "grüße FROM far" }), ["m0001"]);
  assert.deepEqual(await chosen({ subject: "beyond" }), []);
  assert.deepEqual(await chosen({ recipient: "bob@example.net" }), ["m0001", "m0002"]);
  assert.deepEqual(await chosen({ recipient: "<*@example.net>", channel: "b" }), ["m0002", "m0003"]);
  assert.deepEqual(await chosen({ sender: "<>" }), ["m0002"]);
  assert.deepEqual(await chosen({ sender: "alice@*", olderThan: 60_000 }), ["m0001"]);
  assert.deepEqual(await chosen({ newerThan: 60_000 }), ["m0002", "m0003"]);
  assert.deepEqual(await chosen({ binding: "special", state: "queued" }), ["m0003"]);
  assert.deepEqual(await chosen({ binding: "special", state: "held" }), []);
});

test("queue --all: asks with the number of deliveries, and anything but yes changes nothing", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", [delivery("a"), delivery("b")]);
  await world.add("m0002");
  const questions: string[] = [];
  const answer = (text: string) => (question: string) => {
    questions.push(question);
    return Promise.resolve(text);
  };
  for (const text of ["", "n", "yess", "no"]) {
    const { code, err } = await change(world, "remove", [], { all: true }, answer(text));
    assert.deepEqual([code, err], [1, "smtpd: Nothing was changed.\n"]);
  }
  assert.equal((await world.states()).length, 3);
  const { code, out } = await change(world, "remove", [], { all: true }, answer(" Y\n"));
  assert.deepEqual([code, out], [0, "Removed 2 deliveries of 1 message.\n"]);
  assert.deepEqual(await world.states(), ["m0002 leased"]);
  assert.equal(questions.length, 5);
  assert.equal(questions[0], "Remove 2 deliveries of 1 message: the whole queue? [y/N] ");
  await world.queue("m0003");
  assert.equal((await change(world, "hold", [], { all: true, yes: true }, answer("n"))).code, 0);
  assert.equal(questions.length, 5);
});

test("queue: what to change must be said clearly, and --all needs a terminal or --yes", async () => {
  for (const action of ["retry", "hold", "release", "bounce", "remove"]) {
    const none = await smtpd(["queue", action]);
    assert.deepEqual([none.code, none.out], [64, ""]);
    assert.match(none.err, new RegExp(`^smtpd: Say what to ${action}: .*"smtpd queue ${action} --help"\n$`));
    const both = await smtpd(["queue", action, "--all", "--yes", "--channel", "a"]);
    assert.equal(both.code, 64);
    assert.match(both.err, /--all takes the whole queue: leave it out, or the ids and filters/);
    const all = await smtpd(["queue", action, "--all"]);
    assert.equal(all.code, 64);
    assert.match(all.err, /no terminal to ask at\. Add --yes/);
  }
});

test("queue: wrong filters are one line with a way out", async () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [["list", "--older-than", "5"], /"5" is invalid\. It has no unit; write 5 for seconds|has no unit/],
    [["hold", "--newer-than", "soon"], /"soon" is invalid\. It must be a number of seconds/],
    [["hold", "--state", "lost"], /Allowed choices are queued, leased, held, failed/],
    [["bounce", "m1", "--reason", "a\nb"], /It has control characters/],
    [["hold", "m1", "--reason", "x"], /Unknown option "--reason"/],
    [["summary", "--subject", "x"], /Unknown option "--subject"/],
    [["cat"], /Missing required argument "id"/],
    [["cat", "a", "b"], /Too many arguments/],
  ];
  for (const [args, expected] of wrong) {
    const { code, out, err } = await smtpd(["queue", ...args]);
    assert.deepEqual([code, out], [64, ""], args.join(" "));
    assert.match(err, expected);
  }
});

test("queue: what changes between the look and the change is counted as the spool says", async () => {
  await using world = new QueueWorld();
  for (const id of ["m0001", "m0002", "m0003"]) await world.queue(id);
  const ask = async () => {
    const [lease] = await world.spool.lease("archive", { limit: 1, forMs: 60_000 });
    assert.equal(lease?.message.id, "m0001");
    await world.spool.change([2], { kind: "remove" });
    return "y";
  };
  const { code, out, err } = await change(world, "hold", [], { all: true }, ask);
  assert.equal(code, 0);
  assert.equal(out, "Held 1 delivery of 1 message.\n");
  assert.match(err, /Left 1 delivery alone: being attempted.*\n.*Left 1 delivery alone: finished in the meantime/);
});

test("queue: thousands are changed in pieces, each once", async () => {
  await using world = new QueueWorld();
  await world.queue("m0001", Array.from({ length: 2600 }, () => delivery()));
  const sizes: number[] = [];
  const { spool } = world;
  const watched = new Proxy(spool, {
    get: (target, name) => {
      const value = Reflect.get(target, name);
      if (name === "change") {
        return (ids: readonly number[], what: Parameters<typeof spool.change>[1]) => {
          sizes.push(ids.length);
          return target.change(ids, what);
        };
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const { runtime, out } = world.line();
  assert.equal(await queueChange(runtime, watched, "hold", [], { channel: "archive" }, undefined), 0);
  assert.equal(out(), "Held 2,600 deliveries of 1 message.\n");
  assert.deepEqual(sizes, [500, 500, 500, 500, 500, 100]);
});

test("queue: the progress line comes after a second, on a terminal only, and is erased", async () => {
  await using world = new QueueWorld();
  const shown = (terminal: boolean) => {
    let ms = 0;
    const ticks: (() => void)[] = [];
    const clock: Clock = {
      nowMs: () => ms,
      monotonicMs: () => ms,
      after: () => assert.fail("No timer but the periodic one"),
      every: (_period, call) => {
        ticks.push(call);
        return { [Symbol.dispose]: () => void ticks.pop() };
      },
    };
    const { runtime, err } = world.line({ terminal });
    {
      using progress = new Progress({ ...runtime, clock }, "Removing", 10_000);
      progress.add(4000);
      for (ms of [999, 1000]) ticks.forEach((tick) => tick());
    }
    assert.deepEqual(ticks, []);
    return err();
  };
  assert.equal(shown(false), "");
  assert.equal(shown(true), "\r\x1b[KRemoving [########............] 40% 4,000 of 10,000, 1 s\r\x1b[K");
  assert.equal(progressText("Looking", 1234567, undefined, 61_000), "Looking: 1,234,567, 61 s");
});
