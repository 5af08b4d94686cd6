/** What is kept open by path: opened once, bounded, never let go in use; and channels whose paths depend on the recipient. */
import assert from "node:assert/strict";
import { readdir, readFile, rm } from "node:fs/promises";
import { test } from "node:test";
import { maildirChannel } from "../../src/channel/maildir.ts";
import { mboxChannel } from "../../src/channel/mbox.ts";
import { makeDurableDirectory, Opened } from "../../src/channel/opened.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { FileError } from "../../src/runtime/runtime.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobFor, jobOf, temporaryFolder } from "./channel_world.ts";

test("opened: one path is opened once, also when many ask at the same moment", async () => {
  let opens = 0;
  const opened = new Opened((path) => Promise.resolve(`${path}${opens++}`));
  const found = await Promise.all(Array.from({ length: 5 }, () => opened.with("a", (box) => Promise.resolve(box))));
  assert.deepEqual(found, Array(5).fill("a0"));
});

test("opened: the bound holds, the least recently used goes first, one in use or worth keeping stays", async () => {
  const opens: string[] = [];
  const opened = new Opened(
    (path) => {
      opens.push(path);
      return Promise.resolve(path);
    },
    (box) => box === "kept",
    3,
  );
  const use = (path: string) => opened.with(path, () => Promise.resolve());
  const hold = Promise.withResolvers<void>();
  const held = opened.with("held", () => hold.promise);
  for (const path of ["kept", "a", "b", "c", "d"]) await use(path);
  assert.equal(opened.size, 3);
  opens.length = 0;
  for (const path of ["held", "kept", "d", "a"]) await use(path);
  assert.deepEqual(opens, ["a"]);
  hold.resolve();
  await held;
  await use("x");
  await use("y");
  opens.length = 0;
  await use("held");
  assert.deepEqual(opens, ["held"]);
});

test("opened: what cannot be opened, or has gone, is opened anew", async () => {
  let opens = 0;
  const opened = new Opened((path) => {
    if (++opens === 1) return Promise.reject(new FileError("No", "EACCES", path));
    return Promise.resolve(path);
  });
  await assert.rejects(opened.with("a", () => Promise.resolve()), /No/);
  await opened.with("a", () => Promise.resolve());
  await assert.rejects(opened.with("a", () => Promise.reject(new FileError("Gone", "ENOENT", "a"))), /Gone/);
  await assert.rejects(opened.with("a", () => Promise.reject(new FileError("Full", "ENOSPC", "a"))), /Full/);
  await opened.with("a", () => Promise.resolve());
  assert.equal(opens, 3);
});

test("opened: a new directory's name is made durable, and every name above it up to the root's own", async () => {
  await using folder = await temporaryFolder();
  const synced: string[] = [];
  const files = nodeFiles();
  const context = contextOf({
    syncDirectory: (path) => {
      synced.push(path.slice(folder.path.length));
      return files.syncDirectory(path);
    },
  });
  await makeDurableDirectory(context, `${folder.path}/root/a/b`, `${folder.path}/root`);
  assert.deepEqual(synced, ["/root/a", "/root", ""]);
});

async function open(type: "maildir" | "mbox", path: string) {
  const folder = await temporaryFolder();
  const definition = type === "maildir" ? maildirChannel : mboxChannel;
  const channel = await definition.open({ path: `${folder.path}/${path}` }, contextOf());
  return { path: folder.path, channel, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

channelContract("maildir with a path for each recipient", () => open("maildir", "mail/${domain}/${local}"), {
  readsContent: true,
});
channelContract("mbox with a path for each recipient", () => open("mbox", "mail/${domain}/${local}.mbox"), {
  readsContent: true,
});

test("maildir: each recipient has a Maildir of its own; sub-addresses and case lead to the same", async () => {
  await using opened = await open("maildir", "mail/${domain}/${local}");
  const job = jobFor(["bob@example.com", "BOB+lists@Example.com", "ann@example.com", '"../../x"@example.com']);
  const outcomes = await outcomesOf(opened.channel, job);
  assert.deepEqual(outcomes.map(({ kind }) => kind), Array(4).fill("delivered"));
  assert.deepEqual(await readdir(opened.path), ["mail"]);
  assert.deepEqual((await readdir(`${opened.path}/mail/example.com`)).sort(), ["%2e.%2f..%2fx", "ann", "bob"]);
  assert.equal((await readdir(`${opened.path}/mail/example.com/bob/new`)).length, 2);
  assert.match(outcomes[2]?.detail ?? "", /mail\/example\.com\/ann\/new\//);
});

test("mbox: each recipient has a file of its own, and nobody's is another one's lock", async () => {
  await using opened = await open("mbox", "${local}");
  const job = jobFor(["bob@example.com", "bob.lock@example.com", "bob+x@example.com", "bob.lock.break@example.com"]);
  for (let round = 0; round < 2; round++) {
    assert.deepEqual((await outcomesOf(opened.channel, job)).map(({ kind }) => kind), Array(4).fill("delivered"));
  }
  assert.deepEqual((await readdir(opened.path)).sort(), ["bob", "bob%2elock", "bob%2elock.break"]);
  const text = await readFile(`${opened.path}/bob`, "utf8");
  assert.deepEqual([...text.matchAll(/^Delivered-To: (.*)$/gm)].map((match) => match[1]), [
    "bob@example.com",
    "bob+x@example.com",
    "bob@example.com",
    "bob+x@example.com",
  ]);
});

test("mbox: a folder that was removed is made again at the next attempt but one", async () => {
  await using opened = await open("mbox", "mail/${local}/box");
  assert.equal((await outcomesOf(opened.channel, jobOf("Hi\r\n")))[0]?.kind, "delivered");
  await rm(`${opened.path}/mail`, { recursive: true });
  assert.equal((await outcomesOf(opened.channel, jobOf("Hi\r\n")))[0]?.kind, "deferred");
  assert.equal((await outcomesOf(opened.channel, jobOf("Hi\r\n")))[0]?.kind, "delivered");
});
