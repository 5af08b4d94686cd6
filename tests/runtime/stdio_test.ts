/** Standard streams of the runtime that executes the test, seen from the process at the other end. */
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { test } from "node:test";
import { pattern, settled } from "../contract/transport_contract.ts";

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

const current = new URL("../../src/runtime/current.ts", import.meta.url).href;

/** Runs a program with `runtime` and `transport` in scope on the runtime that we run on. */
async function withProgram(source: string, call: (child: Child) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "smtpd-stdio-"));
  const file = join(directory, "program.ts");
  await writeFile(
    file,
    `const { currentRuntime } = await import(${JSON.stringify(current)});
    const runtime = await currentRuntime();
    const { stdio } = runtime.processes;
    const transport = stdio.transport();
    ${source}`,
  );
  const args = "Deno" in globalThis ? ["run", "-A", "--no-check", file] : [file];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => {});
  try {
    await call(child);
  } finally {
    child.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
}

async function collect(stream: Readable): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

function exitCode(child: Child): Promise<number | null> {
  return new Promise((resolve) => child.on("exit", resolve));
}

const ECHO = `
  for (let bytes = await transport.read(); bytes !== undefined; bytes = await transport.read()) await transport.write(bytes);
  await transport.close();
  runtime.processes.exit(7);`;

test("stdio transport passes bytes both ways under back-pressure, sees the end, and closes", async () => {
  await withProgram(ECHO, async (child) => {
    const sent = pattern(3 * 1024 * 1024);
    const exited = exitCode(child);
    child.stdin.write(sent);
    child.stdin.end();
    await settled(300);
    assert.deepEqual(Buffer.from(await collect(child.stdout)), Buffer.from(sent));
    assert.equal(await exited, 7);
  });
});

test("stdio transport rejects with EPIPE when nobody reads any more", async () => {
  await withProgram(
    `try { for (;;) await transport.write(new Uint8Array(65536)); }
     catch (error) { stdio.writeErr(error.name + " " + error.code); runtime.processes.exit(3); }`,
    async (child) => {
      const exited = exitCode(child);
      const said = collect(child.stderr);
      child.stdout.once("data", () => child.stdout.destroy());
      assert.equal(await exited, 3);
      assert.equal(String(Buffer.from(await said)), "TransportError EPIPE");
    },
  );
});

test("stdio transport: interrupt ends a pending read, abort a pending write", async () => {
  await withProgram(
    `const reading = transport.read();
     setTimeout(() => transport.interrupt(), 20);
     const read = await reading;
     setTimeout(() => transport.abort(), 50);
     let code = "none";
     try { for (;;) await transport.write(new Uint8Array(262144)); } catch (error) { code = error.code; }
     stdio.writeErr(String(read) + " " + code);
     runtime.processes.exit(0);`,
    async (child) => {
      assert.equal(String(Buffer.from(await collect(child.stderr))), "undefined ECONNABORTED");
    },
  );
});

test("writeOut and writeErr are complete though the pipe is slow, and ignore a closed one", async () => {
  await withProgram(
    `stdio.writeOut("x".repeat(2_000_000) + "end");
     stdio.writeErr("said\\n");
     stdio.writeOut("nobody hears this");
     runtime.processes.exit(0);`,
    async (child) => {
      const exited = exitCode(child);
      await settled(300);
      const text = String(Buffer.from(await collect(child.stdout)));
      assert.ok(text.startsWith("x".repeat(2_000_000) + "end"));
      assert.equal(String(Buffer.from(await collect(child.stderr))), "said\n");
      assert.equal(await exited, 0);
    },
  );
  await withProgram(`stdio.writeOut("x".repeat(2_000_000)); runtime.processes.exit(4);`, async (child) => {
    const exited = exitCode(child);
    child.stdout.destroy();
    assert.equal(await exited, 4);
  });
});
