/** What the tests of channels share: jobs, a context on real files, a folder that goes away, and Python as a second reader. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import type { ChannelContext, Job } from "../../src/channel/channel.ts";
import { silentLog } from "../../src/observe/log.ts";
import { systemDns } from "../../src/runtime/dns.ts";
import { nodeHttp } from "../../src/runtime/http.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import { connect } from "../../src/runtime/connect.ts";
import { systemResolver } from "../../src/runtime/resolver.ts";
import type { Files, Network, Processes, ProcessIdentity, SpawnOptions } from "../../src/runtime/runtime.ts";
import { scriptProcesses } from "../../src/runtime/script_processes.ts";
import { scriptThreads } from "../../src/runtime/script_threads.ts";
import { spawnProcess } from "../../src/runtime/spawn.ts";
import { webWorkers } from "../../src/runtime/workers.ts";
import type { Envelope } from "../../src/spool/spool.ts";

/** Saturday; the day is of one digit on purpose. */
export const RECEIVED_AT_MS = Date.UTC(2026, 7, 1, 9, 8, 7);

export const HERE: ProcessIdentity = { place: "machine/boot", pid: 4242, startedAt: "100" };

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A job of that content in pieces of `pieceBytes`, for r1@example.com, r2@example.com, … */
export function jobOf(
  content: string | Uint8Array,
  recipients = 1,
  firstId = 1,
  envelope: Partial<Envelope> = {},
  pieceBytes = 65_536,
): Job {
  const bytes = typeof content === "string" ? bytesOf(content) : content;
  return {
    message: {
      id: `message-${firstId}`,
      receivedAtMs: RECEIVED_AT_MS,
      sizeBytes: bytes.length,
      envelope: {
        reversePath: "sender@example.org",
        body: "8bitmime",
        smtputf8: false,
        origin: { session: "s1", listener: "in", address: "127.0.0.1", helo: "client", protocol: "ESMTP" },
        ...envelope,
      },
    },
    recipients: Array.from({ length: recipients }, (_, index) => ({
      deliveryId: firstId + index,
      delivery: { recipient: `r${index + 1}@example.com`, channel: "box", binding: "all" },
      attempts: 0,
    })),
    async *content() {
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        yield await Promise.resolve(bytes.subarray(at, at + pieceBytes));
      }
    },
  };
}

/** The job for other recipients. */
export function jobFor(recipients: readonly string[], content = "Subject: Hi\r\n\r\nText\r\n"): Job {
  const job = jobOf(content, recipients.length);
  return {
    ...job,
    recipients: job.recipients.map((each, index) => ({
      ...each,
      delivery: { ...each.delivery, recipient: recipients[index] ?? "" },
    })),
  };
}

/** Channels open connections; none listens. */
function systemNetwork(): Network {
  const never = (): never => {
    throw new Error("No channel listens");
  };
  return { connect, listen: never, tlsIdentity: never };
}

/** A context on this machine's files; `changes` replaces some of the operations. */
export function contextOf(changes: Partial<Files> = {}, processes: Partial<Processes> = {}): ChannelContext {
  let counter = 0;
  return {
    name: "box",
    hostName: "mail.example.com",
    log: silentLog,
    submitTo: () => undefined,
    runtime: {
      files: { ...nodeFiles(), ...changes },
      resolver: systemResolver(),
      dns: systemDns(),
      network: systemNetwork(),
      http: nodeHttp(),
      workers: webWorkers(),
      scripts: process.versions["bun"] === undefined ? scriptProcesses() : scriptThreads(),
      clock: {
        nowMs: () => Date.now(),
        monotonicMs: () => performance.now(),
        after: (delayMs, call) => {
          const timer = setTimeout(call, delayMs);
          return { [Symbol.dispose]: () => clearTimeout(timer) };
        },
        every: () => {
          throw new Error("No channel needs a ticker");
        },
      },
      random: {
        bytes: (count) => Uint8Array.from({ length: count }, () => counter++),
        fraction: () => 0.5,
      },
      processes: {
        pid: HERE.pid,
        identity: () => Promise.resolve(HERE),
        alive: (identity: ProcessIdentity) => Promise.resolve(identity.startedAt === HERE.startedAt),
        environment: () => undefined,
        spawn: (options: SpawnOptions) => spawnProcess(options),
        ...processes,
      } as Processes,
    },
  };
}

export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "smtpd-channel-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Runs a Python program with arguments and returns what it prints as JSON. */
export async function python(program: string, ...args: readonly string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)("python3", ["-c", program, ...args], { maxBuffer: 256 * 1_024 * 1_024 });
  return JSON.parse(stdout);
}
