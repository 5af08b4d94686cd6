/**
 * Watches the server's system calls: the message is on the disk before anybody reads that it was queued. What it must
 * not do is believe the server's own words about that.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { programUnderTest, ServerProcess } from "../helpers/server_process.ts";
import { RawClient, sendMail } from "./raw_client.ts";
import { has, isLinux, maildirConfig, skipUnless, TemporaryDirectory } from "./setup.ts";

const canTrace = isLinux && await has("strace", "-f", "-o", "/dev/null", "true");
const skip = skipUnless(canTrace, "strace", "strace is missing, or the kernel does not let it trace");

const SYSTEM_CALLS = "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg,read,readv,recvfrom,recvmsg";

/** The program under strace, which is detached (-D) so that signals and exit codes are the program's own. */
function traced(trace: string) {
  const { name, command, args } = programUnderTest();
  const options = ["-D", "-f", "-y", "-s", "8192", "-e", SYSTEM_CALLS, "-o", trace];
  return { name, command: "strace", args: [...options, command, ...args] };
}

/** Three times its mark at the end, since a mark may be divided between two pages of the log. */
function markedMail(mark: string, sizeBytes: number): Uint8Array {
  return new TextEncoder().encode(`Subject: ${mark}\r\n\r\n${"x".repeat(sizeBytes)}\r\n${`${mark}\r\n`.repeat(3)}`);
}

/** Where the write-ahead log was synced with success: the end of the call, not its beginning. */
function syncEnds(lines: readonly string[]): readonly number[] {
  const syncing = new Set<string>();
  return lines.flatMap((line, at) => {
    const [, thread = "", rest = ""] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (/^f(?:data)?sync\(\d+<[^>]*\/smtpd\.db-wal>\s+<unfinished/.test(rest)) syncing.add(thread);
    if (/^f(?:data)?sync\(\d+<[^>]*\/smtpd\.db-wal>\)\s+= 0$/.test(rest)) return [at];
    const resumed = /^<\.\.\. f(?:data)?sync resumed>.*= 0$/.test(rest) && syncing.delete(thread);
    return resumed ? [at] : [];
  });
}

/** The end of the message goes into the log, the log is synced, the answer is sent: in this order. */
function assertSyncedBeforeAnswer(lines: readonly string[], mark: string, id: string): void {
  const written = lines.findIndex((line) =>
    /^\d+\s+pwrite\w*\(\d+<[^>]*\/smtpd\.db-wal>/.test(line) && line.includes(mark)
  );
  const answered = lines.findIndex((line) =>
    /^\d+\s+(?:send|write)\w*\(/.test(line) && line.includes(`Queued as ${id}`)
  );
  assert.ok(answered > 0, `The trace has no 250 for ${id}`);
  assert.ok(written > 0 && written < answered, `The end of ${id} was not written to the log before its 250`);
  assert.ok(
    syncEnds(lines).some((at) => at > written && at < answered),
    `No sync of the log ended between its write (line ${written}) and the 250 (line ${answered}) of ${id}`,
  );
}

test("The spool is synced before the 250 is sent, for each message", { skip, timeout: 60_000 }, async () => {
  await using directory = await TemporaryDirectory.create();
  const trace = join(directory.path, "trace");
  const sent: { readonly mark: string; readonly id: string }[] = [];
  await using server = await ServerProcess.start(maildirConfig(), { program: traced(trace) });
  const client = await RawClient.greet(server.port());
  for (const [number, size] of [300, 20_000, 200_000, 60_000, 300, 300].entries()) {
    const mark = `the-mark-of-${number}-`;
    const id = await sendMail(client, { content: markedMail(mark, size), by: number % 2 === 0 ? "DATA" : "BDAT" });
    sent.push({ mark, id });
  }
  await client.quit();
  assert.equal(await server.stop(), 0);
  const lines = (await readFile(trace, "utf8")).split("\n");
  for (const { mark, id } of sent) assertSyncedBeforeAnswer(lines, mark, id);
});
