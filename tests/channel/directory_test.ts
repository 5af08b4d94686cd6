/** The directory channel on real files: pairs, their order, what is left when something fails. */
import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { test } from "node:test";
import { directoryChannel } from "../../src/channel/directory.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { FileError, type Files } from "../../src/runtime/runtime.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, jobFor, jobOf, RECEIVED_AT_MS, temporaryFolder } from "./channel_world.ts";
import { messages } from "./messages.ts";

async function open(changes: Partial<Files> = {}, below = "deep/drop") {
  const folder = await temporaryFolder();
  const path = `${folder.path}/${below}`;
  const channel = await directoryChannel.open({ path }, contextOf(changes));
  return { path, folder: folder.path, channel, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

channelContract("directory", () => open(), { readsContent: true });
channelContract("directory with a path for each recipient", () => open({}, "${domain}/${local}"), {
  readsContent: true,
});

test("directory: an .eml with the bytes that were sent and the two fields, for every message", async () => {
  await using opened = await open();
  for (const [index, [name, content]] of (await messages()).entries()) {
    const [outcome] = await outcomesOf(opened.channel, jobOf(content, 1, index, {}, 1_000));
    assert.equal(outcome?.kind, "delivered", name);
    const path = `${opened.path}/message-${index}-${index}`;
    assert.equal(outcome?.detail, `Stored as "${path}"`);
    const fields = bytesOf("Return-Path: <sender@example.org>\r\nDelivered-To: r1@example.com\r\n");
    assert.equal(Buffer.compare(await readFile(`${path}.eml`), Buffer.concat([fields, content])), 0, name);
    assert.equal((await stat(`${path}.eml`)).mode & 0o777, 0o600);
  }
});

test("directory: the .json has the whole envelope", async () => {
  await using opened = await open();
  const job = jobOf("Hi\r\n", 1, 7, { smtputf8: true, ret: "headers", envid: "x y", reversePath: "ä\u0001@x" });
  const [recipient] = job.recipients;
  assert.ok(recipient);
  const delivery = {
    ...recipient.delivery,
    originalRecipient: "old@example.com",
    notify: ["failure", "delay"] as const,
    orcpt: "rfc822;old@example.com",
  };
  await outcomesOf(opened.channel, { ...job, recipients: [{ ...recipient, delivery, attempts: 2 }] });
  assert.deepEqual(JSON.parse(await readFile(`${opened.path}/message-7-7.json`, "utf8")), {
    version: 1,
    messageId: "message-7",
    deliveryId: 7,
    file: "message-7-7.eml",
    receivedAt: new Date(RECEIVED_AT_MS).toISOString(),
    size: 4,
    reversePath: "ä\u0001@x",
    recipient: "r1@example.com",
    originalRecipient: "old@example.com",
    hostName: "mail.example.com",
    channel: "box",
    binding: "all",
    attempts: 2,
    body: "8bitmime",
    smtputf8: true,
    ret: "headers",
    envid: "x y",
    notify: ["failure", "delay"],
    orcpt: "rfc822;old@example.com",
    origin: { session: "s1", listener: "in", address: "127.0.0.1", helo: "client", protocol: "ESMTP" },
  });
});

test("directory: both files are on the disk before they have their names, the .json last", async () => {
  const order: string[] = [];
  const files = nodeFiles();
  await using opened = await open({
    open: async (path, how, mode) => {
      const file = await files.open(path, how, mode);
      const ending = path.slice(path.lastIndexOf("."));
      assert.match(path, /\/\.message-1-1\.[^/]*$/);
      return new Proxy(file, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== "function") return value;
          return (...args: unknown[]) => {
            order.push(`${String(name)} ${ending}`);
            return Reflect.apply(value, target, args);
          };
        },
      });
    },
    rename: (from, to) => {
      order.push(`rename ${to.split("/").at(-1)}`);
      return files.rename(from, to);
    },
    syncDirectory: async (path) => {
      await files.syncDirectory(path);
      order.push(`sync ${path.split("/").at(-1)}`);
    },
  });
  for await (const { kind } of opened.channel.deliver(jobOf("Hi\r\n"), new AbortController().signal)) order.push(kind);
  assert.deepEqual(order.slice(order.indexOf("write .eml")), [
    "write .eml",
    "sync .eml",
    "close .eml",
    "write .json",
    "sync .json",
    "close .json",
    "rename message-1-1.eml",
    "rename message-1-1.json",
    "sync drop",
    "delivered",
  ]);
});

test("directory: an attempt that is repeated replaces its own files", async () => {
  await using opened = await open();
  for (let attempt = 0; attempt < 3; attempt++) {
    assert.equal((await outcomesOf(opened.channel, jobOf("Hi\r\n")))[0]?.kind, "delivered");
  }
  assert.deepEqual((await readdir(opened.path)).sort(), ["message-1-1.eml", "message-1-1.json"]);
});

for (const [operation, code] of [["rename", "ENOSPC"], ["open", "EACCES"], ["syncDirectory", "EIO"]] as const) {
  test(`directory: ${code} at ${operation} defers with the reason and leaves no temporary file`, async () => {
    let broken = false;
    const files = nodeFiles();
    await using opened = await open({
      [operation]: async (path: string, ...rest: unknown[]) => {
        if (broken) throw new FileError(`Cannot ${operation} "${path}": ${code}`, code, path);
        return await Reflect.apply(files[operation], files, [path, ...rest]);
      },
    });
    await outcomesOf(opened.channel, jobOf("First\r\n", 1, 100));
    broken = true;
    const outcomes = await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n", 2));
    assert.deepEqual(outcomes.map(({ kind }) => kind), ["deferred", "deferred"]);
    assert.match(outcomes[0]?.detail ?? "", new RegExp(code));
    assert.deepEqual((await readdir(opened.path)).filter((name) => name.startsWith(".")), []);
    broken = false;
    assert.equal((await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n")))[0]?.kind, "delivered");
  });
}

test("directory: hostile recipients and message ids stay below the root", async () => {
  await using opened = await open({}, "drop/${local}/${domain}");
  const job = jobFor(['"../../../x"@../..', "..@..", '"/etc/passwd"@example.com', "\u0000@x", "@"]);
  const outcomes = await outcomesOf(opened.channel, { ...job, message: { ...job.message, id: "../../escape" } });
  assert.deepEqual(outcomes.map(({ kind }) => kind), Array(5).fill("delivered"));
  assert.deepEqual(await readdir(opened.folder), ["drop"]);
  for (const { detail } of outcomes) assert.ok(detail.startsWith(`Stored as "${opened.folder}/drop/`), detail);
});
