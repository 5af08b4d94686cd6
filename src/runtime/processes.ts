/**
 * This process and the question whether another one still lives, for both runtimes. It must not know why anybody asks.
 */
import * as fs from "node:fs/promises";
import os from "node:os";
import process from "node:process";
import type { Processes, ProcessIdentity, SignalName, Stdio } from "./runtime.ts";
import { errorCode } from "./failures.ts";

/** The process we are, with the standard streams that the adapter gives. */
export function nodeProcesses(stdio: Stdio): Processes {
  return {
    pid: process.pid,
    calledAs: (process.argv0 ?? "").replace(/^.*[/\\]/u, "").replace(/\.exe$/iu, ""),
    args: process.argv.slice(2),
    hostName: os.hostname(),
    identity,
    alive,
    environment: (name) => process.env[name],
    onSignal,
    exit: (code) => process.exit(code),
    // Few processes start others; those that do not need not load what it takes.
    spawn: async (options) => await (await import("./spawn.ts")).spawnProcess(options),
    stdio,
  };
}

let ownIdentity: Promise<ProcessIdentity | undefined> | undefined;

function identity(): Promise<ProcessIdentity | undefined> {
  return ownIdentity ??= readIdentity();
}

async function readIdentity(): Promise<ProcessIdentity | undefined> {
  try {
    const bootId = (await fs.readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    const namespace = await fs.readlink("/proc/self/ns/pid");
    const status = parseStat(await fs.readFile("/proc/self/stat", "utf8"));
    if (status === undefined) return undefined;
    return { place: `${bootId} ${namespace} ${os.hostname()}`, pid: process.pid, startedAt: status.startedAt };
  } catch {
    // Another system than Linux, or no /proc: then nobody can tell processes apart.
    return undefined;
  }
}

/** `false` is said only when it is certain, because then the process's work is given to others. */
async function alive(other: ProcessIdentity): Promise<boolean | undefined> {
  const own = await identity();
  if (own === undefined || own.place !== other.place) return undefined;
  if (!pidExists(other.pid)) return false;
  try {
    const status = parseStat(await fs.readFile(`/proc/${other.pid}/stat`, "utf8"));
    if (status === undefined) return undefined;
    return status.startedAt === other.startedAt && !status.isDead;
  } catch {
    // It ended between the two looks, or /proc hides the processes of other users.
    return pidExists(other.pid) ? undefined : false;
  }
}

function pidExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error, "EPERM") !== "ESRCH";
  }
}

/**
 * The fields of /proc/PID/stat behind the command, which stands in parentheses and may hold anything: state is field 3,
 * the number of threads 20, the start in clock ticks since boot 22 (proc(5)).
 */
export function parseStat(stat: string): { readonly startedAt: string; readonly isDead: boolean } | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).trimEnd().split(" ");
  const [state, threads, startedAt] = [fields[0], fields[17], fields[19]];
  if (state === undefined || threads === undefined || startedAt === undefined) return undefined;
  // A zombie without threads is dead though its parent has not noticed; with threads it still works.
  return { startedAt, isDead: state === "X" || (state === "Z" && Number(threads) <= 1) };
}

function onSignal(name: SignalName, call: () => void): Disposable {
  try {
    process.on(name, call);
  } catch {
    // Windows does not know every signal: such a one never comes.
    return { [Symbol.dispose]() {} };
  }
  return { [Symbol.dispose]: () => void process.off(name, call) };
}
