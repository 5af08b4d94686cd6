/**
 * How much memory the server takes for a large message and for sessions that do nothing, measured from outside on the
 * whole process. The bounds are promises of the project: a test that does not hold them is not to be made milder.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Program, programUnderTest, runCommand, ServerProcess } from "../helpers/server_process.ts";
import { makeMail } from "./mail.ts";
import { queuedId, RawClient, sendMail } from "./raw_client.ts";
import {
  isLinux,
  maildirConfig,
  maildirOf,
  memoryOf,
  mib,
  queueEmpty,
  resetPeak,
  skipUnless,
  until,
  wait,
} from "./setup.ts";

const MIB = 1024 * 1024;
const LARGE_BYTES = 100 * MIB;
const MAX_GROWTH_BYTES = 32 * MIB;
const SESSIONS = 10_000;
const FIRST_SESSIONS = 500;
const MAX_SESSION_BYTES = { binary: 6 * 1024, bun: 6 * 1024, deno: 12 * 1024 } as const;
/** What is over is given back within this. */
const SETTLE_MS = 3_000;

/** Lines of 76 characters, each piece different from the others; none begins with a dot. */
function* pieces(): Generator<Uint8Array> {
  const line = `${"abcdefghijklmnopqrstuvwxyz0123456789+/".repeat(2)}\r\n`;
  const piece = Buffer.from(line.repeat(Math.floor(MIB / line.length)));
  for (let sent = 0, number = 0; sent < LARGE_BYTES; sent += piece.length, number++) {
    const fresh = Buffer.from(piece);
    fresh.write(`piece ${number} `, "latin1");
    yield fresh;
  }
}

/** Sends it by DATA or in chunks; resolves with the hash of what was sent. */
async function sendLarge(port: number, by: "DATA" | "BDAT"): Promise<string> {
  const hash = createHash("sha256");
  const client = await RawClient.greet(port);
  await client.command("MAIL FROM:<large@example.org>", 250);
  await client.command("RCPT TO:<box@example.com>", 250);
  if (by === "DATA") await client.command("DATA", 354);
  for (const piece of pieces()) {
    hash.update(piece);
    if (by === "BDAT") await client.write(`BDAT ${piece.length}\r\n`);
    await client.write(piece);
    if (by === "BDAT") await client.expect(250);
  }
  queuedId(await client.command(by === "DATA" ? "." : "BDAT 0 LAST"));
  await client.quit();
  return hash.digest("hex");
}

/** The hash of the content of the only large file in the maildir, without the fields that were put above it. */
async function hashOfStored(maildir: string): Promise<string> {
  const names = await readdir(join(maildir, "new"));
  const large = names.filter((name) => Number(/,S=(\d+)/.exec(name)?.[1]) >= LARGE_BYTES);
  assert.equal(large.length, 1, names.join(" "));
  const hash = createHash("sha256");
  let seen = false;
  for await (const chunk of createReadStream(join(maildir, "new", large[0] ?? "")) as AsyncIterable<Buffer>) {
    const start: number = seen ? 0 : chunk.indexOf("piece 0 ", 0, "latin1");
    assert.ok(start >= 0, "The content does not begin in the first chunk of the file");
    seen = true;
    hash.update(chunk.subarray(start));
  }
  return hash.digest("hex");
}

for (const by of ["DATA", "BDAT"] as const) {
  test(
    `A message of 100 MiB by ${by} makes the server grow by less than 32 MiB, and arrives as it was`,
    { timeout: 120_000, skip: skipUnless(isLinux, "memory of a large message", "it is read from /proc") },
    async () => {
      await using server = await ServerProcess.start(maildirConfig({ listener: 'max_message_size = "200MiB"' }));
      const small = await RawClient.greet(server.port());
      for (let number = 0; number < 20; number++) {
        await sendMail(small, { content: makeMail(`small-${number}`, 4_000) });
      }
      await small.quit();
      await queueEmpty(server);
      const before = resetPeak(server.pid);
      const sent = await sendLarge(server.port(), by);
      const received = memoryOf(server.pid, "VmHWM") - before;
      await queueEmpty(server);
      const delivered = memoryOf(server.pid, "VmHWM") - before;
      console.log(
        `memory: 100 MiB by ${by}: from ${mib(before)}, +${mib(received)} received, +${mib(delivered)} delivered`,
      );
      assert.equal(await hashOfStored(maildirOf(server)), sent);
      assert.ok(delivered < MAX_GROWTH_BYTES, `The resident memory's peak grew by ${mib(delivered)}`);
      assert.equal(await server.stop(), 0);
    },
  );
}

const FILES = FIRST_SESSIONS + SESSIONS + 500;
const raiseLimit = ["-c", `ulimit -n ${FILES} && exec "$@"`, "sh"] as const;

/** The program with room for all the sockets. */
function withFiles({ name, command, args }: Program): Program {
  return { name, command: "sh", args: [...raiseLimit, command, ...args] };
}

/** The idle clients in a process of their own. */
async function idleClients(port: number, count: number): Promise<{ readonly leave: () => Promise<void> }> {
  const script = fileURLToPath(new URL("./idle_clients.ts", import.meta.url));
  const run = process.versions["bun"] === undefined ? ["run", "--allow-all", "--no-check", script] : [script];
  const program = [process.execPath, ...run, String(port), String(count)];
  const child = spawn("sh", [...raiseLimit, ...program], { stdio: ["pipe", "pipe", "pipe"] });
  let errors = "";
  child.stderr.on("data", (bytes: Uint8Array) => errors += new TextDecoder().decode(bytes));
  const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    void exited.then(() => reject(new Error(`The idle clients failed: ${errors}`)));
  });
  return {
    leave: async () => {
      child.stdin.end();
      await exited;
    },
  };
}

const canOpen = isLinux && (await runCommand("sh", ["-c", `ulimit -n ${FILES}`])).code === 0;

test(
  `${SESSIONS} idle sessions stay within their bound of memory each`,
  { timeout: 120_000, skip: skipUnless(canOpen, "idle sessions", `the limit of open files is below ${FILES}`) },
  async () => {
    const program = programUnderTest();
    const bound = MAX_SESSION_BYTES[program.name];
    const config = maildirConfig({ listener: `max_concurrency = ${FIRST_SESSIONS + SESSIONS + 100}` });
    await using server = await ServerProcess.start(config, { program: withFiles(program) });
    const first = await RawClient.greet(server.port());
    await sendMail(first, { content: makeMail("first", 4_000) });
    // What the first sessions bring with them, such as compiled code, is not the price of a session.
    const others = await idleClients(server.port(), FIRST_SESSIONS);
    await wait(SETTLE_MS);
    const before = resetPeak(server.pid);
    const clients = await idleClients(server.port(), SESSIONS);
    await wait(SETTLE_MS);
    const grown = memoryOf(server.pid, "VmRSS") - before;
    const peak = memoryOf(server.pid, "VmHWM") - before;
    const each = grown / SESSIONS;
    console.log(
      `memory: ${SESSIONS} idle sessions on ${program.name}: ${(each / 1024).toFixed(2)} KiB each ` +
        `(+${mib(grown)}, peak +${mib(peak)}, from ${mib(before)})`,
    );
    // They are all there, and the server is still of use.
    await sendMail(first, { content: makeMail("second", 4_000) });
    await first.quit();
    await clients.leave();
    await others.leave();
    await until("every session has ended", () => {
      return server.log.filter(({ event }) => event === "session ended").length === FIRST_SESSIONS + SESSIONS + 1;
    });
    assert.ok(each <= bound, `An idle session takes ${Math.round(each)} octets; the bound is ${bound}`);
    assert.equal(await server.stop(), 0);
  },
);
