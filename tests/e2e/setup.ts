/**
 * What the end-to-end tests have in common: a configuration that stores everything in a maildir, the queue from outside,
 * the memory of a process, and the reasons why a test cannot run here. It must not know what is tested.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { runCommand, type ServerProcess } from "../helpers/server_process.ts";

export interface ConfigParts {
  /** Lines of the table of the listener "inbound". */
  readonly listener?: string;
  /** Lines of the table of the spool. */
  readonly spool?: string;
  /** Lines above all tables. */
  readonly head?: string;
  /** Further tables. */
  readonly more?: string;
}

/** One listener on a free port; every recipient's mail goes to the maildir "mail". */
export function maildirConfig(parts: ConfigParts = {}): string {
  return `host_name = "mx.example.com"
${parts.head ?? ""}
[spool]
url = "sqlite:spool/smtpd.db"
${parts.spool ?? ""}
[[listener]]
name = "inbound"
listen_ip = "127.0.0.1"
port = 0
${parts.listener ?? ""}
${parts.more ?? ""}
[[binding]]
name = "everything"
recipients = ["*"]
deliver = ["box"]
[[channel]]
name = "box"
type = "maildir"
path = "mail"
`;
}

export function maildirOf(server: ServerProcess): string {
  return join(server.directory, "mail");
}

/** A directory that goes away with its scope. */
export class TemporaryDirectory implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<TemporaryDirectory> {
    return new TemporaryDirectory(await mkdtemp(join(tmpdir(), "smtpd-test-")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

export function wait(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs));
}

/** Asks again until the answer is yes; rejects with `what` when it never is. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!await holds()) {
    if (performance.now() > endMs) throw new Error(`After ${timeoutMs} ms still not so: ${what}`);
    await wait(25);
  }
}

/** Resolves when `smtpd queue list` shows nothing any more. */
export async function queueEmpty(server: ServerProcess): Promise<void> {
  await until("the queue is empty", async () => (await queueLength(server)) === 0);
}

export async function queueLength(server: ServerProcess): Promise<number> {
  const { code, out, err } = await server.command("queue", "list", "--json");
  assert.equal(code, 0, err);
  return (JSON.parse(out) as unknown[]).length;
}

/** SQLite's own opinion on the spool's file, and what is left in its tables. */
export function spoolState(
  server: ServerProcess,
  path = "spool/smtpd.db",
): { readonly integrity: string; readonly rows: number } {
  const database = new DatabaseSync(join(server.directory, path), { readOnly: true });
  try {
    const integrity = database.prepare("PRAGMA integrity_check").all().map((row) => String(row["integrity_check"]));
    const rows = ["message", "chunk", "delivery", "draft"].map((table) => {
      return Number(database.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"]);
    });
    return { integrity: integrity.join("; "), rows: rows.reduce((sum, count) => sum + count, 0) };
  } finally {
    database.close();
  }
}

/** A field of /proc/PID/status in octets: VmRSS now, VmHWM the highest since the last reset. */
export function memoryOf(pid: number, field: "VmRSS" | "VmHWM"): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (found === null) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(found[1]) * 1024;
}

/** From here on VmHWM is the highest since now; what it was, that is VmRSS. */
export function resetPeak(pid: number): number {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  return memoryOf(pid, "VmRSS");
}

export function mib(octets: number): string {
  return `${(octets / 1024 / 1024).toFixed(1)} MiB`;
}

export const isLinux: boolean = process.platform === "linux";
export const isRoot: boolean = process.getuid?.() === 0;

/** For the `skip` of a test: the reason, shown where the gate looks for it, or false. */
export function skipUnless(condition: boolean, test: string, reason: string): string | false {
  if (condition) return false;
  console.log(`skipped: ${test}: ${reason}`);
  return reason;
}

export async function has(program: string, ...args: readonly string[]): Promise<boolean> {
  return (await runCommand(program, args)).code === 0;
}

/** A whole number from the environment. */
export function numberFrom(variable: string, otherwise: number): number {
  const text = process.env[variable] ?? "";
  if (text === "") return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${variable} is "${text}"; it must be a whole number`);
  return Number(text);
}
