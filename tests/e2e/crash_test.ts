/**
 * Kills the server in the middle of its work, many times, and then looks whether every message that got its 250 is there
 * and whole. SMTPD_KILLS says how many times; SMTPD_SEED repeats the random choices of a run.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runCommand, ServerProcess } from "../helpers/server_process.ts";
import { type MaildirContents, makeMail, readMaildir, seededRandom } from "./mail.ts";
import { ConnectionLost, RawClient, sendMail } from "./raw_client.ts";
import { maildirConfig, maildirOf, numberFrom, queueEmpty, spoolState, until, wait } from "./setup.ts";

const kills = numberFrom("SMTPD_KILLS", 5);
const seed = numberFrom("SMTPD_SEED", Math.floor(Math.random() * 1_000_000_000));
const CLIENTS = 8;
const MAX_LIFE_MS = 900;

/** What the clients know: it survives all crashes. */
class Ledger {
  readonly sent = new Set<string>();
  readonly acknowledged = new Set<string>();
  readonly refusals: string[] = [];
}

/** Sends until the server is gone. */
async function client(port: number, name: string, random: () => number, ledger: Ledger): Promise<void> {
  for (let connection = 0;; connection++) {
    let smtp: RawClient | undefined;
    try {
      smtp = await RawClient.greet(port);
      const messages = 1 + Math.floor(random() * 20);
      for (let number = 0; number < messages; number++) {
        const id = `${name}-${connection}-${number}`;
        const by = random() < 0.4 ? "BDAT" : "DATA";
        const content = makeMail(id, sizeBytes(random));
        const chunkBytes = 1_000 + Math.floor(random() * 100_000);
        ledger.sent.add(id);
        await sendMail(smtp, { content, by, chunkBytes });
        ledger.acknowledged.add(id);
      }
      await smtp.quit();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const gone = error instanceof ConnectionLost || code === "ECONNREFUSED" || code === "ECONNRESET";
      // A server that still lives has no reason to refuse or to hang up.
      if (!gone) ledger.refusals.push(error instanceof Error ? error.message : String(error));
      return;
    } finally {
      smtp?.destroy();
    }
  }
}

/** Mostly small, sometimes several chunks of the spool, up to 600 KiB. */
function sizeBytes(random: () => number): number {
  const kind = random();
  if (kind < 0.7) return 200 + Math.floor(random() * 8_000);
  if (kind < 0.92) return 8_000 + Math.floor(random() * 120_000);
  return 128_000 + Math.floor(random() * 486_400);
}

/** A start that is cut off too: what the last crash left is half repaired then. */
async function startAndKill(server: ServerProcess, lifeMs: number): Promise<void> {
  const { command, args } = server.program;
  await runCommand(command, [...args, "serve", "--config", server.configFile], { timeoutMs: lifeMs });
}

async function killRepeatedly(server: ServerProcess, random: () => number, ledger: Ledger): Promise<void> {
  for (let round = 1; round <= kills; round++) {
    const clients = Array.from({ length: CLIENTS }, (_, number) => {
      return client(server.port(), `r${round}c${number}`, seededRandom(Math.floor(random() * 2 ** 32)), ledger);
    });
    // Most kills hit a server at work, some one that has just begun.
    await wait(Math.floor(random() * random() * MAX_LIFE_MS));
    await server.kill9();
    await Promise.all(clients);
    if (random() < 0.2) await startAndKill(server, 1 + Math.floor(random() * 150));
    await server.restart();
  }
}

function report(ledger: Ledger, { copies }: MaildirContents): void {
  const extra = [...copies.values()].reduce((sum, count) => sum + count - 1, 0);
  const unacknowledged = [...copies.keys()].filter((id) => !ledger.acknowledged.has(id)).length;
  console.log(
    `crash: ${kills} kills, seed ${seed}: ${ledger.sent.size} messages begun, ${ledger.acknowledged.size} acknowledged, ` +
      `${copies.size} stored, of them ${unacknowledged} without a 250; ${extra} duplicates`,
  );
}

test(
  `A message that got its 250 survives kill -9: ${kills} kills under load`,
  { timeout: 60_000 + kills * 10_000 },
  async () => {
    const random = seededRandom(seed);
    const ledger = new Ledger();
    await using server = await ServerProcess.start(maildirConfig());
    await killRepeatedly(server, random, ledger);
    await queueEmpty(server);
    await until("nothing is left of unfinished messages", () => spoolState(server).rows === 0);
    assert.equal(await server.stop(), 0);
    const stored = await readMaildir(maildirOf(server));
    report(ledger, stored);
    assert.deepEqual(ledger.refusals, [], `seed ${seed}`);
    assert.ok(ledger.acknowledged.size >= kills, `The clients hardly got anything through; seed ${seed}`);
    assert.deepEqual(stored.damaged, [], `Files that are not whole; seed ${seed}`);
    const missing = [...ledger.acknowledged].filter((id) => !stored.copies.has(id));
    assert.deepEqual(missing, [], `Acknowledged and lost; seed ${seed}`);
    const invented = [...stored.copies.keys()].filter((id) => !ledger.sent.has(id));
    assert.deepEqual(invented, [], `Stored and never sent; seed ${seed}`);
    assert.deepEqual(spoolState(server), { integrity: "ok", rows: 0 }, `seed ${seed}`);
  },
);
