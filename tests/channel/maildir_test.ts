/** The maildir channel on real files, read back by Python's implementation. */
import assert from "node:assert/strict";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { maildirChannel } from "../../src/channel/maildir.ts";
import { FileError } from "../../src/runtime/runtime.ts";
import type { Files } from "../../src/runtime/runtime.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, jobOf, python, temporaryFolder } from "./channel_world.ts";
import { messages } from "./messages.ts";

async function open(changes: Partial<Files> = {}, hostName = "mail.example.com") {
  const folder = await temporaryFolder();
  const path = `${folder.path}/deep/box`;
  const channel = await maildirChannel.open({ path }, { ...contextOf(changes), hostName });
  return { path, channel, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

channelContract("maildir", open, { readsContent: true });

const READ_MAILDIR = `
import base64, json, mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=False)
print(json.dumps([base64.b64encode(box.get_bytes(key)).decode() for key in sorted(box.keys())]))
`;

test("maildir: Python's reader finds the bytes that were sent, with the two fields above them", async () => {
  await using opened = await open();
  const all = await messages();
  const expected: string[] = [];
  for (const [index, [name, content]] of all.entries()) {
    const outcomes = await outcomesOf(opened.channel, jobOf(content, 1, index, {}, 1_000));
    assert.equal(outcomes[0]?.kind, "delivered", name);
    const fields = bytesOf("Return-Path: <sender@example.org>\r\nDelivered-To: r1@example.com\r\n");
    expected.push(Buffer.concat([fields, content]).toString("base64"));
  }
  const found = await python(READ_MAILDIR, opened.path) as string[];
  assert.equal(found.length, all.length);
  assert.deepEqual(found.sort(), expected.sort());
});

test("maildir: names follow the convention, tell the size, and differ", async () => {
  await using opened = await open({}, "bad/host:name here");
  await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n", 5));
  const names = await readdir(`${opened.path}/new`);
  assert.equal(names.length, 5);
  for (const name of names) {
    assert.match(name, /^\d{10}\.M\d{1,6}P4242Q\d+R[0-9a-f]{12}\.bad\\057host\\072name_here,S=\d+$/);
    const { size, mode } = await stat(`${opened.path}/new/${name}`);
    assert.equal(Number(name.split(",S=")[1]), size);
    assert.equal(mode & 0o777, 0o600);
  }
  assert.deepEqual(await readdir(`${opened.path}/tmp`), []);
  for (const folder of ["cur", "new", "tmp"]) {
    assert.equal((await stat(`${opened.path}/${folder}`)).mode & 0o777, 0o700);
  }
});

test("maildir: each recipient has a file of its own that names it", async () => {
  await using opened = await open();
  await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n", 3));
  const files = await readdir(`${opened.path}/new`);
  const texts = await Promise.all(files.map((name) => readFile(`${opened.path}/new/${name}`, "utf8")));
  assert.deepEqual(texts.map((text) => /Delivered-To: (.*)\r\n/.exec(text)?.[1]).sort(), [
    "r1@example.com",
    "r2@example.com",
    "r3@example.com",
  ]);
});

test("maildir: nothing is said to be delivered before file, name and folder are on the disk", async () => {
  const order: string[] = [];
  const files = nodeFiles();
  await using opened = await open({
    open: async (path, how, mode) => {
      const file = await files.open(path, how, mode);
      order.push(`open ${path.split("/").at(-2)}`);
      return new Proxy(file, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== "function") return value;
          return (...args: unknown[]) => {
            order.push(String(name));
            return Reflect.apply(value, target, args);
          };
        },
      });
    },
    rename: (from, to) => {
      order.push("rename");
      return files.rename(from, to);
    },
    syncDirectory: async (path) => {
      await files.syncDirectory(path);
      order.push(`sync ${path.split("/").at(-1)}`);
    },
  });
  order.length = 0;
  for await (const { kind } of opened.channel.deliver(jobOf("Hi\r\n"), new AbortController().signal)) order.push(kind);
  assert.deepEqual(order, ["open tmp", "write", "sync", "close", "rename", "sync new", "delivered"]);
});

for (const [operation, code] of [["rename", "ENOSPC"], ["syncDirectory", "EIO"], ["open", "EACCES"]] as const) {
  test(`maildir: ${code} at ${operation} defers with the reason and leaves no file behind`, async () => {
    let broken = false;
    const files = nodeFiles();
    const fail = (path: string) => {
      if (broken) throw new FileError(`Cannot ${operation} "${path}": ${code}`, code, path);
    };
    await using opened = await open({
      [operation]: async (path: string, ...rest: unknown[]) => {
        fail(path);
        return await Reflect.apply(files[operation], files, [path, ...rest]);
      },
    });
    broken = true;
    const outcomes = await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n", 2));
    assert.deepEqual(outcomes.map(({ kind }) => kind), ["deferred", "deferred"]);
    assert.match(outcomes[0]?.detail ?? "", new RegExp(code));
    assert.deepEqual([await readdir(`${opened.path}/tmp`), await readdir(`${opened.path}/new`)], [[], []]);
    broken = false;
    assert.equal((await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n")))[0]?.kind, "delivered");
  });
}

test("maildir: a full disk in mid-content defers and removes the temporary file", async () => {
  const files = nodeFiles();
  await using opened = await open({
    open: async (path, how, mode) => {
      const file = await files.open(path, how, mode);
      let writes = 0;
      return {
        write: (bytes) => {
          if (writes++ === 2) throw new FileError(`Cannot write "${path}": no space left`, "ENOSPC", path);
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
  const outcomes = await outcomesOf(opened.channel, jobOf("x".repeat(400_000)));
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["deferred"]);
  assert.deepEqual(await readdir(`${opened.path}/tmp`), []);
});

test("maildir: a Maildir that was removed is made again", async () => {
  await using opened = await open();
  await rm(opened.path, { recursive: true });
  assert.equal((await outcomesOf(opened.channel, jobOf("Subject: Hi\r\n\r\n")))[0]?.kind, "delivered");
  assert.equal((await readdir(`${opened.path}/new`)).length, 1);
});

test("maildir: opening where a file is in the way is refused", async () => {
  await using folder = await temporaryFolder();
  await writeFile(`${folder.path}/file`, "");
  const options = { path: `${folder.path}/file/box` };
  await assert.rejects(async () => await maildirChannel.open(options, contextOf()), FileError);
});
