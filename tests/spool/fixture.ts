/** What the spool's tests share: a clock that stands still, a directory of its own, messages to store. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Log } from "../../src/observe/log.ts";
import { silentLog } from "../../src/observe/log.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { nodeProcesses } from "../../src/runtime/processes.ts";
import type { Clock, Stdio } from "../../src/runtime/runtime.ts";
import { webWorkers } from "../../src/runtime/workers.ts";
import type {
  CommittedDelivery,
  Draft,
  Envelope,
  Lease,
  NewDelivery,
  NewMessage,
  Spool,
} from "../../src/spool/spool.ts";
import { openSqliteSpool, type SqliteOptions, type SqliteRuntime } from "../../src/spool/sqlite.ts";

/** A clock whose time of day moves only when a test says so. */
export class TestClock implements Clock {
  ms = 1_700_000_000_000;
  readonly #system = systemClock();
  readonly #periodic = new Set<() => void>();
  nowMs(): number {
    return this.ms;
  }
  monotonicMs(): number {
    return this.#system.monotonicMs();
  }
  after(delayMs: number, call: () => void): Disposable {
    return this.#system.after(delayMs, call);
  }
  every(_periodMs: number, call: () => void): Disposable {
    this.#periodic.add(call);
    return { [Symbol.dispose]: () => void this.#periodic.delete(call) };
  }
  /** Calls everything that is called again and again, once. */
  tick(): void {
    for (const call of this.#periodic) call();
  }
}

export function spoolRuntime(clock: Clock = systemClock()): SqliteRuntime {
  // The standard streams are no business of the spool's.
  const processes = nodeProcesses(undefined as unknown as Stdio);
  return { workers: webWorkers(), clock, files: nodeFiles(), processes };
}

/** A directory that is gone when it is disposed. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "smtpd-spool-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export function openSqlite(
  path: string,
  options: Partial<SqliteOptions & { runtime: SqliteRuntime; log: Log }> = {},
): Promise<Spool> {
  const { runtime = spoolRuntime(), log = silentLog, ...rest } = options;
  return openSqliteSpool({ path, minFreeSpaceBytes: 0, ...rest }, runtime, log);
}

export const envelope: Envelope = {
  reversePath: "sender@example.com",
  body: "8bitmime",
  smtputf8: true,
  ret: "headers",
  envid: "QQ314159",
  origin: {
    session: "s1",
    listener: "inbound",
    address: "192.0.2.1",
    helo: "client.example",
    protocol: "ESMTPS",
  },
};

export function delivery(channel = "archive", recipient = "user@example.com"): NewDelivery {
  return { recipient, channel, binding: "all" };
}

let messages = 0;

export function message(deliveries: readonly CommittedDelivery[] = [delivery()], id?: string): NewMessage {
  return { id: id ?? `m${String(++messages).padStart(8, "0")}`, receivedAtMs: 1_700_000_000_123, envelope, deliveries };
}

/** Writes all of it, waiting where the draft says so. */
export async function writeAll(draft: Draft, pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    const pending = draft.write(piece);
    if (pending !== undefined) await pending;
  }
}

export async function store(
  spool: Spool,
  content: Uint8Array | string = "Subject: x\r\n\r\nHello\r\n",
  what: NewMessage = message(),
  claimForMs?: number,
): Promise<readonly Lease[]> {
  await using draft = spool.begin();
  await writeAll(draft, [typeof content === "string" ? new TextEncoder().encode(content) : content]);
  return await draft.commit(what, claimForMs === undefined ? {} : { claimForMs });
}

export async function contentOf(spool: Spool, messageId: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of spool.content(messageId)) {
    pieces.push(piece.slice());
    size += piece.length;
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Removes messages with all their deliveries. */
export async function removeMessages(spool: Spool, messageIds: readonly string[]): Promise<void> {
  for (const messageId of messageIds) {
    const entries = await spool.list({ messageId, limit: 1000 });
    await spool.change(entries.map(({ deliveryId }) => deliveryId), { kind: "remove" });
  }
}

/** Bytes that repeat only after a long while, so that a lost, doubled or moved piece is noticed. */
export function noise(size: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed >>> 0 || 1;
  for (let at = 0; at < size; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

/** How to start a script of ours on the runtime that runs the tests. */
export function scriptCommand(script: string, args: readonly string[]): { command: string; args: string[] } {
  const prefix = "Deno" in globalThis ? ["run", "-A", script] : [script];
  return { command: process.execPath, args: [...prefix, ...args] };
}
