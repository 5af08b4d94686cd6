/**
 * A spool on a disk that fills up: new mail gets 452 and the server goes on, what was acknowledged is not lost, and once
 * there is room again, mail is taken again.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand, ServerProcess } from "../helpers/server_process.ts";
import { makeMail, readMaildir } from "./mail.ts";
import { RawClient, sendMail } from "./raw_client.ts";
import { isLinux, isRoot, maildirConfig, skipUnless, spoolState, TemporaryDirectory, until } from "./setup.ts";

const MIB = 1024 * 1024;
const ENLARGED_MIB = 96;

/** A small disk in memory, mounted at `path` until the end of the scope. */
async function mountDisk(path: string, sizeMiB: number): Promise<AsyncDisposable> {
  await mkdir(path, { recursive: true });
  const { code, err } = await runCommand("mount", ["-t", "tmpfs", "-o", `size=${sizeMiB}m,mode=700`, "tmpfs", path]);
  assert.equal(code, 0, err);
  return {
    [Symbol.asyncDispose]: async () => {
      await runCommand("umount", ["--lazy", path]);
    },
  };
}

async function canMount(): Promise<boolean> {
  if (!isLinux || !isRoot) return false;
  await using directory = await TemporaryDirectory.create();
  const disk = await mountDisk(join(directory.path, "disk"), 24).catch(() => undefined);
  await disk?.[Symbol.asyncDispose]();
  return disk !== undefined;
}

const skip = skipUnless(await canMount(), "disk full", "mounting a small disk needs root");

/** More room, as after somebody has tidied up. */
async function enlarge(path: string): Promise<void> {
  const { code, err } = await runCommand("mount", ["-o", `remount,size=${ENLARGED_MIB}m`, path]);
  assert.equal(code, 0, err);
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return Number(bavail) * Number(bsize);
}

/** Sends messages until one is refused; the refusal's line. Those acknowledged are added to `acknowledged`. */
async function sendUntilRefused(
  port: number,
  name: string,
  sizeBytes: number,
  acknowledged: string[],
): Promise<string> {
  for (let number = 0; number < 2_000; number++) {
    const id = `${name}-${number}`;
    const client = await RawClient.greet(port);
    try {
      await sendMail(client, { content: makeMail(id, sizeBytes), by: number % 2 === 0 ? "DATA" : "BDAT" });
      acknowledged.push(id);
      await client.quit();
    } catch (error) {
      const refusal = /got "(4\d\d [^"]*)"/.exec(error instanceof Error ? error.message : "")?.[1];
      if (refusal === undefined) throw error;
      return refusal;
    } finally {
      client.destroy();
    }
  }
  throw new Error("The disk never became full");
}

/** Resolves when the queue is empty; on a full disk the command that asks may have no room itself. */
async function drained(server: ServerProcess): Promise<void> {
  await until("the queue is empty", async () => {
    const { code, out, err } = await server.command("queue", "list", "--json");
    assert.ok(code === 0 || code === 75, err);
    return code === 0 && (JSON.parse(out) as unknown[]).length === 0;
  });
}

/** Resolves when a message is taken again. */
async function takenAgain(port: number, id: string): Promise<void> {
  await until("mail is taken again", async () => {
    const client = await RawClient.greet(port);
    try {
      await sendMail(client, { content: makeMail(id, 5_000) });
      return true;
    } catch {
      return false;
    } finally {
      client.destroy();
    }
  });
}

/** Deliveries fail as long as there is a file in the place of the maildir's `new`, so the spool keeps everything. */
const config = (minFreeSpace: string) =>
  maildirConfig({ spool: `min_free_space = ${minFreeSpace}` })
    .replace('"sqlite:spool/smtpd.db"', '"sqlite:disk/smtpd.db"')
    .concat('retry = { first_delay = "1s", max_delay = "1s" }\n');

async function blockDelivery(server: ServerProcess): Promise<() => Promise<void>> {
  const directory = join(server.directory, "mail/new");
  await rm(directory, { recursive: true });
  await writeFile(directory, "");
  return async () => {
    await rm(directory);
    await mkdir(directory, { mode: 0o700 });
  };
}

for (
  const [name, diskMiB, minFreeSpace, sizeBytes] of [
    ["min_free_space refuses before the disk is full", 96, '"48MiB"', 100_000],
    ["without min_free_space, the disk itself is full, with large messages", 24, "0", 400_000],
    ["without min_free_space, the disk itself is full, with small messages", 24, "0", 20_000],
  ] as const
) {
  test(`Disk full: ${name}`, { skip, timeout: 120_000 }, async () => {
    await using directory = await TemporaryDirectory.create();
    const disk = join(directory.path, "disk");
    await using _mounted = await mountDisk(disk, diskMiB);
    await using server = await ServerProcess.start(config(minFreeSpace), { directory: directory.path });
    const unblock = await blockDelivery(server);
    const acknowledged: string[] = [];
    const refusal = await sendUntilRefused(server.port(), "one", sizeBytes, acknowledged);
    assert.match(refusal, /^452 4\.3\.1 /);
    assert.ok(acknowledged.length > 5, `Only ${acknowledged.length} messages fitted`);
    const free = await freeBytes(disk);
    console.log(
      `disk full: ${acknowledged.length} messages of ${sizeBytes} taken, ${(free / MIB).toFixed(1)} MiB free`,
    );
    // It keeps refusing, and keeps answering.
    assert.match(await sendUntilRefused(server.port(), "two", sizeBytes, acknowledged), /^452 4\.3\.1 /);
    const client = await RawClient.greet(server.port());
    await client.command("NOOP", 250);
    await client.quit();
    assert.ok(server.running);

    // With a reserve that the write-ahead log fits into, the deliveries make room by themselves. Where nothing at all is
    // left, somebody has to.
    if (minFreeSpace === "0") await enlarge(disk);
    else assert.ok(free > 32 * MIB, `Only ${free} octets were left free`);
    await unblock();
    await drained(server);
    await takenAgain(server.port(), "again");
    acknowledged.push("again");
    await drained(server);
    assert.equal(await server.stop(), 0);
    const { copies, damaged } = await readMaildir(join(directory.path, "mail"));
    assert.deepEqual(damaged, []);
    assert.deepEqual(acknowledged.filter((id) => !copies.has(id)), []);
    assert.equal(spoolState(server, "disk/smtpd.db").integrity, "ok");
  });
}

test("Disk full: kill -9 on a full disk loses nothing that was acknowledged", { skip, timeout: 120_000 }, async () => {
  await using directory = await TemporaryDirectory.create();
  const disk = join(directory.path, "disk");
  await using _mounted = await mountDisk(disk, 24);
  await using server = await ServerProcess.start(config("0"), { directory: directory.path });
  const unblock = await blockDelivery(server);
  const acknowledged: string[] = [];
  await sendUntilRefused(server.port(), "one", 60_000, acknowledged);
  // Somebody else takes what is left.
  await writeFile(join(disk, "ballast"), new Uint8Array(Math.max(0, await freeBytes(disk)))).catch(() => {});
  await server.kill9();
  await enlarge(disk);
  assert.ok((await readdir(disk)).includes("smtpd.db"));
  await unblock();
  await server.restart();
  await drained(server);
  assert.equal(await server.stop(), 0);
  const { copies, damaged } = await readMaildir(join(directory.path, "mail"));
  assert.deepEqual(damaged, []);
  assert.deepEqual(acknowledged.filter((id) => !copies.has(id)), []);
});
