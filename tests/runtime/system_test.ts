/** Clock, random numbers, processes, signals and workers of the runtime that executes the test. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { parseStat } from "../../src/runtime/processes.ts";
import { openPort } from "../../src/runtime/workers.ts";
import { settled } from "../contract/transport_contract.ts";
import { runtime } from "./socket_peer.ts";

const { clock, processes, random } = runtime;
const isLinux = process.platform === "linux";

/** Our timers keep no process alive, so a test that waits for one has to. */
async function keptAlive(wait: Promise<void>): Promise<void> {
  const timer = setInterval(() => {}, 1000);
  await wait;
  clearInterval(timer);
}

describe("clock", () => {
  test("after calls once, and not at all when disposed", async () => {
    let calls = 0;
    await keptAlive(new Promise((resolve) => clock.after(1, () => (calls++, resolve()))));
    const forgotten = clock.after(1, () => calls++);
    forgotten[Symbol.dispose]();
    await settled();
    assert.equal(calls, 1);
  });

  test("a delay too long for a timer does not fire at once", async () => {
    let calls = 0;
    const distant = clock.after(40 * 86_400_000, () => calls++);
    await settled();
    assert.equal(calls, 0);
    distant[Symbol.dispose]();
  });

  test("every calls until disposed", async () => {
    let calls = 0;
    let regular: Disposable | undefined;
    await keptAlive(
      new Promise((resolve) => {
        regular = clock.every(1, () => {
          if (++calls === 3) resolve();
        });
      }),
    );
    regular?.[Symbol.dispose]();
    const seen = calls;
    await settled();
    assert.equal(calls, seen);
  });

  test("monotonic time does not go back and wall time is the system's", () => {
    const first = clock.monotonicMs();
    assert.ok(clock.monotonicMs() >= first);
    assert.ok(Math.abs(clock.nowMs() - Date.now()) < 1000);
  });
});

test("random bytes have the length asked for, also beyond the system's limit, and differ", () => {
  assert.equal(random.bytes(0).length, 0);
  const many = random.bytes(200_000);
  assert.equal(many.length, 200_000);
  assert.notDeepEqual(many.subarray(0, 32), many.subarray(199_968));
  const fraction = random.fraction();
  assert.ok(fraction >= 0 && fraction < 1);
});

describe("processes", () => {
  test("know themselves", async () => {
    assert.equal(processes.pid, process.pid);
    assert.equal(processes.hostName, hostname());
    assert.equal(processes.environment("SMTPD_NO_SUCH_VARIABLE"), undefined);
    const identity = await processes.identity();
    assert.equal(identity?.pid, isLinux ? process.pid : undefined);
  });

  test("tell living from dead, and say nothing of other places", async () => {
    const own = await processes.identity();
    if (own === undefined) return assert.ok(!isLinux);
    assert.equal(await processes.alive(own), true);
    assert.equal(await processes.alive({ ...own, startedAt: "1" }), false);
    assert.equal(await processes.alive({ ...own, place: "elsewhere" }), undefined);
    const child = spawn("sleep", ["60"]);
    const ended = new Promise((resolve) => child.on("exit", resolve));
    const other = { ...own, pid: child.pid ?? 0, startedAt: await startOf(child.pid ?? 0) };
    assert.equal(await processes.alive(other), true);
    child.kill("SIGKILL");
    await keptAlive(ended.then(() => {}));
    assert.equal(await processes.alive(other), false);
  });

  test("read the start from /proc whatever the command is called, and see zombies as dead", () => {
    const rest = "1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 THREADS 0 START 9 9 9";
    const line = (command: string, state: string, threads: string): string =>
      `42 (${command}) ${state} ${rest}`.replace("THREADS", threads).replace("START", "777");
    assert.deepEqual(parseStat(line("a) R (b", "S", "3")), { startedAt: "777", isDead: false });
    assert.deepEqual(parseStat(line("x", "Z", "1")), { startedAt: "777", isDead: true });
    assert.deepEqual(parseStat(line("x", "Z", "4")), { startedAt: "777", isDead: false });
    assert.equal(parseStat("42 (x"), undefined);
  });

  test("hear signals until disposed", async () => {
    let calls = 0;
    const second = processes.onSignal("SIGHUP", () => {});
    const heard = new Promise<void>((resolve) => {
      const listening = processes.onSignal("SIGHUP", () => {
        calls++;
        listening[Symbol.dispose]();
        resolve();
      });
    });
    process.kill(process.pid, "SIGHUP");
    await keptAlive(heard);
    process.kill(process.pid, "SIGHUP");
    await settled();
    assert.equal(calls, 1);
    second[Symbol.dispose]();
  });
});

async function startOf(pid: number): Promise<string> {
  return parseStat(await runtime.files.readText(`/proc/${pid}/stat`))?.startedAt ?? "";
}

describe("workers", () => {
  async function withModule(source: string, call: (url: URL) => Promise<void>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), "smtpd-worker-"));
    try {
      await writeFile(join(directory, "worker.ts"), source);
      await call(pathToFileURL(join(directory, "worker.ts")));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  test("answer messages, with bytes in them, in order", () =>
    withModule(`self.onmessage = (event: MessageEvent) => self.postMessage(event.data);`, async (url) => {
      const port = openPort(url);
      const answers: unknown[] = [];
      const all = new Promise<void>((resolve) => {
        port.onMessage((message) => {
          answers.push(message);
          if (answers.length === 2) resolve();
        });
      });
      port.post({ bytes: new Uint8Array([1, 2, 3]) });
      port.post("second");
      await all;
      port.terminate();
      assert.deepEqual(answers, [{ bytes: new Uint8Array([1, 2, 3]) }, "second"]);
    }));

  test("tell when they throw, and the process lives on", () =>
    withModule(`self.onmessage = () => { throw new Error("Broken on purpose"); };`, async (url) => {
      const port = openPort(url);
      const failed = new Promise<Error>((resolve) => port.onError(resolve));
      port.post("go");
      assert.match((await failed).message, /Broken on purpose/);
      port.terminate();
    }));

  test("tell when their module cannot be loaded", async () => {
    const port = openPort(new URL("file:///missing/worker.ts"));
    const error = await new Promise<Error>((resolve) => port.onError(resolve));
    assert.ok(error instanceof Error);
    port.terminate();
  });
});
