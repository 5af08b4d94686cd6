/** Files of the runtime that executes the test. */
import assert from "node:assert/strict";
import { mkdtemp, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { FileError } from "../../src/runtime/runtime.ts";

const files = nodeFiles();
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const fails = (code: string) => (error: unknown): boolean => {
  assert.ok(error instanceof FileError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, /^Cannot [a-z ]+.*".*": /);
  return true;
};

async function inDirectory(call: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "smtpd-files-"));
  try {
    await call(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

describe("files", () => {
  test("create-new writes with the mode given, syncs, truncates, and refuses a name that is taken", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "message");
      {
        await using file = await files.open(path, "create-new", 0o600);
        await file.write(bytes("one two"));
        await file.write(bytes(" three"));
        await file.sync();
        assert.equal(await file.sizeBytes(), 13);
        await file.truncate(7);
        assert.equal(await file.sizeBytes(), 7);
        await file.close();
      }
      assert.equal(await files.readText(path), "one two");
      assert.deepEqual(await files.readBytes(path), bytes("one two"));
      assert.equal((await files.info(path))?.mode, 0o600);
      await assert.rejects(files.open(path, "create-new", 0o600), fails("EEXIST"));
    }));

  test("create-new does not follow a symbolic link to nowhere", () =>
    inDirectory(async (directory) => {
      await symlink(join(directory, "elsewhere"), join(directory, "link"));
      await assert.rejects(files.open(join(directory, "link"), "create-new", 0o600), fails("EEXIST"));
    }));

  test("append creates a missing file and always writes at its end", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "mbox");
      for (const line of ["a\n", "b\n"]) {
        await using file = await files.open(path, "append", 0o640);
        await file.write(bytes(line));
        await file.truncate(await file.sizeBytes());
        await file.write(bytes("."));
      }
      assert.equal(await files.readText(path), "a\n.b\n.");
      assert.equal((await stat(path)).mode & 0o777, 0o640);
    }));

  test("directories are made with their parents, listed, renamed into and made durable", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "mail", "new");
      await files.makeDirectory(path, 0o700);
      await files.makeDirectory(path, 0o700);
      assert.deepEqual(await files.info(path).then((info) => [info?.kind, info?.mode]), ["directory", 0o700]);
      const made = await files.open(join(directory, "x"), "create-new", 0o600);
      await made.close();
      await files.rename(join(directory, "x"), join(path, "y"));
      await files.syncDirectory(path);
      assert.deepEqual(await files.list(path), ["y"]);
      await files.remove(join(path, "y"));
      await files.remove(join(path, "y"));
      assert.deepEqual(await files.list(path), []);
    }));

  test("what is missing is undefined to info and an ENOENT to everything else", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "missing");
      assert.equal(await files.info(path), undefined);
      await assert.rejects(files.readText(path), fails("ENOENT"));
      await assert.rejects(files.list(path), fails("ENOENT"));
      await assert.rejects(files.rename(path, join(directory, "x")), fails("ENOENT"));
      await assert.rejects(files.syncDirectory(path), fails("ENOENT"));
      await assert.rejects(files.freeBytes(path), fails("ENOENT"));
      await assert.rejects(files.open(join(path, "below"), "append", 0o600), fails("ENOENT"));
    }));

  test("free space is told, and a full disk is ENOSPC", async () => {
    const free = await files.freeBytes(tmpdir());
    assert.ok(Number.isSafeInteger(free) && free > 0);
    if (await files.info("/dev/full") === undefined) return;
    await using file = await files.open("/dev/full", "append", 0o600);
    await assert.rejects(file.write(bytes("x")), fails("ENOSPC"));
  });

  test("paths with control characters are shown escaped", async () => {
    await assert.rejects(files.readText("/missing\r\n\x1b[31m"), (error: unknown) => {
      assert.ok(error instanceof FileError);
      // deno-lint-ignore no-control-regex -- their absence is the point
      assert.doesNotMatch(error.message, /[\x00-\x1f]/);
      return true;
    });
  });
});
