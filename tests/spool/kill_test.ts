/** Kills a process that stores messages, again and again, and looks whether all it acknowledged is there and whole. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { contentOf, noise, openSqlite, scriptCommand, temporaryDirectory } from "./fixture.ts";
import { contentSize, idOf, SUBMITTERS } from "./kill_messages.ts";

const ROUNDS = 10;
const CHILD = fileURLToPath(new URL("./kill_child.ts", import.meta.url));

/** Runs the child and kills it a random while after its first acknowledgement; gives the numbers it printed in whole. */
function runAndKill(path: string, round: number): Promise<number[]> {
  const { command, args } = scriptCommand(CHILD, [path, String(round)]);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  child.stdout.on("data", (data) => {
    out += data;
    timer ??= setTimeout(() => child.kill("SIGKILL"), 20 + Math.random() * 250);
  });
  child.stderr.on("data", (data) => err += data);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (signal !== "SIGKILL") return reject(new Error(`The child ended by itself (${code}, ${signal}): ${err}`));
      resolve(out.slice(0, out.lastIndexOf("\n") + 1).split("\n").filter((line) => line !== "").map(Number));
    });
  });
}

test("sqlite: nothing acknowledged is lost when the process is killed", { timeout: 120_000 }, async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "spool.db");
  const expected = new Set<number>();
  for (let round = 0; round < ROUNDS; round++) {
    const acknowledged = await runAndKill(path, round);
    assert.ok(acknowledged.length > 0);
    await using spool = await openSqlite(path);
    const entries = await spool.list({ limit: 10_000 });
    const present = new Set(entries.map((entry) => entry.message.id));
    for (const number of acknowledged) {
      // Of those that were being delivered, nobody knows whether their settlement was in time.
      if (number % 4 !== 3) expected.add(number);
    }
    for (const number of expected) {
      assert.ok(present.has(idOf(number)), `message ${number} is lost after round ${round}`);
    }
    // Whole, also those whose acknowledgement was not read any more. What the dead process held is anybody's again.
    for (const entry of entries) {
      assert.equal(entry.state, "queued");
      const number = Number(entry.message.id.slice(1));
      if (Math.floor(number / 1_000_000) < round) continue;
      assert.equal(entry.message.sizeBytes, contentSize(number));
      const same =
        Buffer.compare(await contentOf(spool, entry.message.id), noise(contentSize(number), number + 1)) === 0;
      assert.ok(same, `message ${number} is damaged after round ${round}`);
    }
    // All but a few per submitter: what was settled is gone, and no more than was acknowledged has come up.
    const unexpected = entries.filter((entry) => !expected.has(Number(entry.message.id.slice(1))));
    assert.ok(unexpected.length <= 2 * SUBMITTERS * (round + 1), `${unexpected.length} messages too many`);
  }
  const database = new DatabaseSync(path);
  assert.deepEqual({ ...database.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
  assert.equal(database.prepare("SELECT count(*) AS n FROM draft").get()?.["n"], 0);
  const chunks = database.prepare("SELECT count(*) AS n FROM chunk").get()?.["n"];
  assert.equal(chunks, database.prepare("SELECT sum(chunks) AS n FROM message").get()?.["n"]);
  database.close();
});
