/**
 * The corpus over standard input and output of a process of this runtime. A process for each dialog costs its start, so four
 * run at a time, as one buffer, which is how a pipe brings it.
 */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ProcessConnection } from "./connections.ts";
import { dialogFiles } from "./corpus.ts";
import type { Dialog } from "./dialog.ts";
import { latin1 } from "./play.ts";
import { playOver, suits } from "./play_over.ts";

const PROGRAM = fileURLToPath(new URL("stdio_server.ts", import.meta.url));
const AT_ONE_TIME = 4;

function start(dialog: Dialog): ChildProcessWithoutNullStreams {
  const { options, rules } = dialog;
  const runtimeArgs = "Deno" in globalThis ? ["run", "-A", PROGRAM] : [PROGRAM];
  return spawn(process.execPath, [...runtimeArgs, JSON.stringify({ options, rules })]);
}

async function play(dialog: Dialog): Promise<void> {
  const child = start(dialog);
  let report = "";
  child.stderr.on("data", (bytes: Uint8Array) => report += latin1(bytes));
  const ended = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)));
  await using connection = new ProcessConnection(child);
  await playOver(dialog, connection, "one buffer");
  await connection.end();
  assert.equal(await ended, 0, `${dialog.place}: ${report}`);
  const stored = new TextDecoder().decode(Uint8Array.from(report, (character) => character.charCodeAt(0)));
  const expected = dialog.events.filter((event) => event.kind === "stored").map((event) => event.message);
  assert.deepEqual(
    JSON.parse(stored),
    expected.map(({ envelope, body }) => [envelope, latin1(body)]),
    dialog.place,
  );
}

for (const file of dialogFiles()) {
  test(`over stdio: ${file.name}`, { timeout: 120_000 }, async () => {
    const stops = (dialog: Dialog) => dialog.events.some((event) => event.kind === "stop");
    const waiting = file.dialogs.filter((dialog) => suits(dialog, "one buffer", { tls: false }) && !stops(dialog));
    const work = async () => {
      for (let dialog = waiting.pop(); dialog !== undefined; dialog = waiting.pop()) await play(dialog);
    };
    await Promise.all(Array.from({ length: AT_ONE_TIME }, work));
  });
}
