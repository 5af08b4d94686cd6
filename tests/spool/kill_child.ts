/** Stores messages until it is killed; prints the number of each one that was acknowledged. Started by kill_test.ts. */
import { writeSync } from "node:fs";
import process from "node:process";
import { message, noise, openSqlite, store } from "./fixture.ts";
import { contentSize, idOf, SUBMITTERS } from "./kill_messages.ts";

const [path = "", round = "0"] = process.argv.slice(2);
const spool = await openSqlite(path);
let next = Number(round) * 1_000_000;

async function submit(): Promise<never> {
  for (;;) {
    const number = next++;
    const leases = await store(spool, noise(contentSize(number), number + 1), message(undefined, idOf(number)), 60_000);
    writeSync(1, `${number}\n`);
    // Some are delivered, so that the file also shrinks while it is torn away.
    if (number % 4 === 3) {
      await spool.settle(leases.map((lease) => ({ lease, settlement: { kind: "done", detail: "" } })));
    }
  }
}

await Promise.all(Array.from({ length: SUBMITTERS }, submit));
