/** The mbox channel on real files, read back by Python's implementation, and its lock. */
import assert from "node:assert/strict";
import { appendFile, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { test } from "node:test";
import fc from "fast-check";
import { lockText, takeLock } from "../../src/channel/dot_lock.ts";
import { mboxChannel } from "../../src/channel/mbox.ts";
import { asctime, MboxEncoder, separatorLine } from "../../src/channel/mbox_format.ts";
import { FileError } from "../../src/runtime/runtime.ts";
import type { Files, Processes } from "../../src/runtime/runtime.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, HERE, jobOf, python, RECEIVED_AT_MS, temporaryFolder } from "./channel_world.ts";
import { messages } from "./messages.ts";

const FIELDS = "Return-Path: <sender@example.org>\nDelivered-To: r1@example.com\n";

async function open(changes: Partial<Files> = {}, processes: Partial<Processes> = {}) {
  const folder = await temporaryFolder();
  const path = `${folder.path}/mail/box`;
  const channel = await mboxChannel.open({ path }, contextOf(changes, processes));
  return { path, channel, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

channelContract("mbox", open, { readsContent: true });

const READ_MBOX = `
import base64, json, mailbox, re, sys
box = mailbox.mbox(sys.argv[1], create=False)
unquote = lambda text: re.sub(rb'(?m)^>(>*From )', rb'\\1', text)
print(json.dumps([[message.get_from(), base64.b64encode(unquote(box.get_bytes(key))).decode()]
  for key, message in box.items()]))
`;

test("mbox: Python's reader finds each message as sent, but for line ends and the two fields", async () => {
  await using opened = await open();
  const all = await messages();
  for (const [index, [name, content]] of all.entries()) {
    const outcomes = await outcomesOf(opened.channel, jobOf(content, 1, index, {}, 777));
    assert.equal(outcomes[0]?.kind, "delivered", name);
  }
  const found = await python(READ_MBOX, opened.path) as [string, string][];
  assert.equal(found.length, all.length);
  for (const [index, [name, content]] of all.entries()) {
    const [from, stored] = found[index] ?? ["", ""];
    assert.equal(from, "sender@example.org Sat Aug  1 09:08:07 2026", name);
    const sent = Buffer.from(content).toString("latin1").replaceAll("\r\n", "\n");
    const expected = FIELDS + (sent === "" || sent.endsWith("\n") ? sent : `${sent}\n`);
    assert.equal(Buffer.from(stored, "base64").toString("latin1"), expected, name);
  }
  assert.deepEqual(await readdir(opened.path.replace(/\/box$/, "")), ["box"]);
  assert.equal((await stat(opened.path)).mode & 0o777, 0o600);
});

/** The format stated again, plainly: what the encoder must give for any cut of the text. */
function encodedPlainly(text: string): string {
  const lines = text.replaceAll("\r\n", "\n").replace(/^(>*)(?=From )/gm, "$1>");
  return `${lines}${lines === "" || lines.endsWith("\n") ? "" : "\n"}\n`;
}

test("mbox: the encoding is the same however the content is cut", () => {
  const pieces = fc.array(
    fc.constantFrom("From ", "From", "F", "Fro", "m ", ">", ">>", "\r", "\n", "\r\n", "\r\r\n", "x", "Fr From ", "ü"),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(pieces, fc.array(fc.nat(6), { minLength: 1, maxLength: 10 }), (texts, cuts) => {
      const text = texts.join("");
      const bytes = bytesOf(text);
      const encoder = new MboxEncoder();
      const out: Uint8Array[] = [];
      for (let at = 0, cut = 0; at < bytes.length; cut++) {
        const length = cuts[cut % cuts.length] ?? 1;
        out.push(encoder.encode(bytes.subarray(at, at + length)).slice());
        at += length;
        if (length === 0) at += 1, out.push(encoder.encode(bytes.subarray(at - 1, at)).slice());
      }
      out.push(encoder.end());
      // "^" of a regular expression follows a lone CR too, which is not a line end here.
      const expected = encodedPlainly(text.replace(/\r(?!\n)/g, "\u0001")).replaceAll("\u0001", "\r");
      assert.equal(Buffer.concat(out).toString("utf8"), expected);
    }),
    { numRuns: 2_000 },
  );
});

test("mbox: the separator has a sender without spaces and the date as asctime writes it", () => {
  assert.equal(asctime(0), "Thu Jan  1 00:00:00 1970");
  assert.equal(asctime(RECEIVED_AT_MS), "Sat Aug  1 09:08:07 2026");
  const line = (reversePath: string) => separatorLine(jobOf("", 1, 1, { reversePath }).message);
  assert.equal(line(""), "From MAILER-DAEMON Sat Aug  1 09:08:07 2026\n");
  assert.equal(line('"a b\r\nFrom x"@example.com'), 'From "a-bFrom-x"@example.com Sat Aug  1 09:08:07 2026\n');
});

test("mbox: several recipients have an entry each", async () => {
  await using opened = await open();
  await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\nText\r\n", 3));
  const text = await readFile(opened.path, "utf8");
  assert.deepEqual(text.match(/^Delivered-To: .*$/gm), [1, 2, 3].map((index) => `Delivered-To: r${index}@example.com`));
  assert.equal(text.match(/^From /gm)?.length, 3);
});

test("mbox: an append that fails is taken back, and the next one stands alone", async () => {
  const files = nodeFiles();
  let failAt = "";
  await using opened = await open({
    open: async (path, how, mode) => {
      const file = await files.open(path, how, mode);
      const isLock = path.endsWith(".lock");
      let writes = 0;
      const fail = (what: string) => {
        if (isLock || what !== failAt) return;
        if (what === "write" && writes++ < 2) return;
        failAt = "";
        throw new FileError(`Cannot ${what} "${path}": no space left`, "ENOSPC", path);
      };
      return {
        write: async (bytes) => {
          fail("write");
          await file.write(bytes);
        },
        sync: async () => {
          fail("sync");
          await file.sync();
        },
        truncate: (sizeBytes) => file.truncate(sizeBytes),
        sizeBytes: () => file.sizeBytes(),
        close: () => file.close(),
        [Symbol.asyncDispose]: () => file.close(),
      };
    },
  });
  await outcomesOf(opened.channel, jobOf("Subject: First\r\n\r\n"));
  const before = await readFile(opened.path);
  for (const what of ["write", "sync"]) {
    failAt = what;
    const outcomes = await outcomesOf(opened.channel, jobOf("x".repeat(500_000), 2));
    assert.deepEqual(outcomes.map(({ kind }) => kind), ["deferred", "deferred"]);
    assert.match(outcomes[0]?.detail ?? "", /no space left/);
    assert.deepEqual(await readFile(opened.path), before);
  }
  await outcomesOf(opened.channel, jobOf("Subject: Second\r\n\r\n"));
  assert.equal((await python(READ_MBOX, opened.path) as unknown[]).length, 2);
});

test("mbox: two channels on one file do not mix their messages", async () => {
  await using folder = await temporaryFolder();
  const path = `${folder.path}/box`;
  const channels = await Promise.all([1, 2].map(() => mboxChannel.open({ path }, contextOf())));
  const body = "line\r\n".repeat(20_000);
  await Promise.all(channels.flatMap((channel) =>
    [1, 2, 3].map(async (id) => {
      const outcomes = await outcomesOf(channel, jobOf(`Subject: x\r\n\r\n${body}`, 1, id, {}, 5_000));
      assert.deepEqual(outcomes.map(({ kind }) => kind), ["delivered"]);
    })
  ));
  const found = await python(READ_MBOX, path) as [string, string][];
  assert.equal(found.length, 6);
  assert.equal(new Set(found.map(([, stored]) => stored)).size, 1);
});

test("mbox: the lock of a dead process is broken at once, and its torn message separated from the next", async () => {
  await using opened = await open();
  await writeFile(opened.path, "From x Thu Jan  1 00:00:00 1970\nSubject: Torn\n\nhalf a li");
  await writeFile(`${opened.path}.lock`, lockText({ ...HERE, startedAt: "other" }));
  const outcomes = await outcomesOf(opened.channel, jobOf("Subject: Whole\r\n\r\nText\r\n"));
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["delivered"]);
  const found = await python(READ_MBOX, opened.path) as [string, string][];
  assert.equal(found.length, 2);
  assert.equal(Buffer.from(found[1]?.[1] ?? "", "base64").toString(), `${FIELDS}Subject: Whole\n\nText\n`);
  assert.deepEqual(await readdir(opened.path.replace(/\/box$/, "")), ["box"]);
});

/** A context whose waits take no time, so that waiting for a lock to the end is instant. */
function impatient(processes: Partial<Processes> = {}) {
  const context = contextOf({}, processes);
  let passedMs = 0;
  const clock = {
    ...context.runtime.clock,
    monotonicMs: () => passedMs,
    after: (delayMs: number, call: () => void) => {
      passedMs += delayMs;
      const timer = setImmediate(call);
      return { [Symbol.dispose]: () => clearImmediate(timer) };
    },
  };
  return { ...context, runtime: { ...context.runtime, clock } };
}

test("mbox: a living holder's lock is respected however old, an unknown one's only while it is young", async () => {
  await using folder = await temporaryFolder();
  const path = `${folder.path}/box`;
  const lock = `${path}.lock`;
  const old = new Date(Date.now() - 3_600_000);
  const attempt = async (text: string, age: Date | undefined, processes: Partial<Processes> = {}) => {
    await writeFile(lock, text);
    if (age !== undefined) await utimes(lock, age, age);
    const channel = await mboxChannel.open({ path }, impatient(processes));
    return (await outcomesOf(channel, jobOf("Subject: x\r\n\r\n")))[0];
  };
  const living = await attempt(lockText(HERE), old);
  assert.equal(living?.kind, "deferred");
  assert.match(living?.detail ?? "", /box\.lock": it has been held/);
  assert.equal(await readFile(lock, "utf8"), lockText(HERE));
  const unknown = { alive: () => Promise.resolve(undefined) };
  assert.equal((await attempt(lockText(HERE), undefined, unknown))?.kind, "deferred");
  assert.equal((await attempt(lockText(HERE), old, unknown))?.kind, "delivered");
  for (const foreign of ["", "17\n", "0", "17\n{}\n", "17\n[[[\n", "x".repeat(5_000)]) {
    assert.equal((await attempt(foreign, undefined))?.kind, "deferred", foreign);
    assert.equal((await attempt(foreign, old))?.kind, "delivered", foreign);
  }
  assert.deepEqual(await readdir(folder.path), ["box"]);
});

test("mbox: a forgotten lock is broken by one, though another judged it at the same moment", async () => {
  await using folder = await temporaryFolder();
  const lock = `${folder.path}/box.lock`;
  await writeFile(lock, lockText({ ...HERE, startedAt: "other" }));
  const abort = new AbortController();
  let judged = 0;
  let otherIsDone = () => {};
  const done = new Promise<void>((resolve) => otherIsDone = resolve);
  const isAlive = (identity: { readonly startedAt: string }) => identity.startedAt === HERE.startedAt;
  // The slow one has judged for the second time, under the right to break, and sleeps before it acts on its verdict.
  const slow = impatient({
    alive: async (identity) => {
      if (++judged === 2) await done;
      return isAlive(identity);
    },
  });
  const slowTake = takeLock(slow.runtime, lock, abort.signal);
  while (judged < 2) await new Promise((resolve) => setImmediate(resolve));
  // The other gets the lock now, or waits until it gives up.
  const otherTake = takeLock(impatient().runtime, lock, abort.signal);
  const other = await otherTake.then(() => "held", () => "waited");
  otherIsDone();
  const first = await slowTake.then(() => "held", () => "waited");
  assert.deepEqual([first, other].sort(), ["held", "waited"]);
  assert.deepEqual(await readdir(folder.path), ["box.lock"]);
});

test("mbox: the right to break a lock is itself taken over from a dead process", async () => {
  await using opened = await open();
  await writeFile(`${opened.path}.lock`, lockText({ ...HERE, startedAt: "other" }));
  await writeFile(`${opened.path}.lock.break`, lockText({ ...HERE, startedAt: "other" }));
  assert.equal((await outcomesOf(opened.channel, jobOf("Hi\r\n")))[0]?.kind, "delivered");
  assert.deepEqual(await readdir(opened.path.replace(/\/box$/, "")), ["box"]);
});

test("mbox: waiting for the lock and for the turn ends when the signal does", async () => {
  await using opened = await open();
  await writeFile(`${opened.path}.lock`, lockText(HERE));
  const abort = new AbortController();
  const attempts = [1, 2].map((id) => outcomesOf(opened.channel, jobOf("Hi\r\n", 1, id), abort.signal));
  await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort(new Error("Stopped"));
  assert.deepEqual(await Promise.all(attempts), [[], []]);
});

test("mbox: memory does not grow with the message", async () => {
  let largest = 0;
  const files = nodeFiles();
  await using opened = await open({
    open: async (path, how, mode) => {
      const file = await files.open(path, how, mode);
      return {
        write: (bytes) => {
          largest = Math.max(largest, bytes.length);
          return file.write(bytes);
        },
        sync: () => file.sync(),
        truncate: (sizeBytes) => file.truncate(sizeBytes),
        sizeBytes: () => file.sizeBytes(),
        close: () => file.close(),
        [Symbol.asyncDispose]: () => file.close(),
      };
    },
  });
  await appendFile(opened.path, "");
  const outcomes = await outcomesOf(opened.channel, jobOf(new Uint8Array(8_000_000).fill(0x3e), 2));
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["delivered", "delivered"]);
  assert.ok(largest <= 128 * 1_024, `${largest} bytes in one write`);
  assert.ok((await stat(opened.path)).size > 16_000_000);
});
