/**
 * Starts programs, for both runtimes over `node:child_process`: a process group of its own, the three standard streams as
 * byte streams with back-pressure, an end that is told once. It must not know what is said over the streams.
 *
 * Bun gives programs sockets in place of pipes, as Node.js does: they read and write them as usual, but cannot open them a
 * second time by a name such as /dev/stdin.
 */
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { clearTimeout, setTimeout } from "node:timers";
import { BufferedReading } from "./buffered_reading.ts";
import { errorCode, transportError } from "./failures.ts";
import { LINGER_MS } from "./lingering.ts";
import {
  type Endpoint,
  type ProcessExit,
  type SpawnedProcess,
  SpawnError,
  type SpawnOptions,
  type Transport,
  TransportError,
} from "./runtime.ts";

export async function spawnProcess(options: SpawnOptions): Promise<SpawnedProcess> {
  const [name = "", ...args] = options.command;
  const { environment, directory } = options;
  const program = await findProgram(name, environment["PATH"]);
  const { spawn } = await import("node:child_process");
  try {
    const child = spawn(program, args, {
      env: { ...environment },
      stdio: ["pipe", "pipe", "pipe"],
      // A session and a process group of its own, so that the group can be killed and no terminal signal reaches it.
      detached: true,
      windowsHide: true,
      ...(directory === undefined ? {} : { cwd: directory }),
    });
    const spawned = new Spawned(child);
    await started(child);
    return spawned;
  } catch (error) {
    throw await spawnError(name, program, directory, error);
  }
}

/** Names are looked for here, so that what is missing can be said, and said alike on both runtimes. */
async function findProgram(name: string, path: string | undefined): Promise<string> {
  if (name === "") throw new SpawnError("Cannot start a program without a name.", "ENOENT");
  // On Windows, endings are tried as well; that is left to the system.
  if (name.includes("/") || process.platform === "win32") return name;
  for (const directory of (path ?? "").split(delimiter)) {
    if (directory === "") continue;
    const candidate = join(directory, name);
    try {
      await fs.access(candidate, constants.X_OK);
      if ((await fs.stat(candidate)).isFile()) return candidate;
    } catch {
      // The next directory may have it.
    }
  }
  throw new SpawnError(
    `Cannot start ${JSON.stringify(name)}: no directory of PATH has an executable of that name; ` +
      `install it, or give its full path (PATH is ${JSON.stringify(path ?? "")}).`,
    "ENOENT",
  );
}

function started(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    // The listener stays: an error that comes later has nobody else who hears it.
    child.on("error", reject);
  });
}

async function spawnError(
  name: string,
  program: string,
  directory: string | undefined,
  error: unknown,
): Promise<SpawnError> {
  const code = errorCode(error, "EIO");
  const reason = await missing(program, directory, code) ?? ADVICE[code] ?? `The system says ${code}.`;
  return new SpawnError(`Cannot start ${JSON.stringify(name)}. ${reason}`, code, error);
}

/** The system says ENOENT for three different things. */
async function missing(program: string, directory: string | undefined, code: string): Promise<string | undefined> {
  if (directory !== undefined && !(await isDirectory(directory))) {
    return `Its working directory ${JSON.stringify(directory)} cannot be used; create it, or name another (${code}).`;
  }
  if (code !== "ENOENT") return undefined;
  const exists = await fs.access(program).then(() => true, () => false);
  return exists
    ? 'The interpreter that its first line names does not exist; correct the line that begins with "#!" (ENOENT).'
    : "There is no such file; correct the path, or install the program (ENOENT).";
}

function isDirectory(path: string): Promise<boolean> {
  return fs.stat(path).then((stats) => stats.isDirectory(), () => false);
}

const ADVICE: Readonly<Record<string, string>> = {
  E2BIG: "Its arguments and environment are too long for the system (E2BIG).",
  EACCES: "This user may not execute it; check its mode and that of its directories (EACCES).",
  EAGAIN: "The system has no room for another process; raise the limit (ulimit -u) (EAGAIN).",
  EMFILE: "Too many files are open; raise the limit (ulimit -n) (EMFILE).",
  ENOEXEC: 'It is neither a program of this machine nor a script with a first line that begins with "#!" (ENOEXEC).',
  ENOMEM: "There is not enough memory (ENOMEM).",
  ERR_INVALID_ARG_VALUE: "An argument or a variable has a NUL character in it.",
};

class Spawned implements SpawnedProcess {
  readonly transport: ChildTransport;
  readonly errors: StreamReading;
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcessWithoutNullStreams;
  #hasExited = false;

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        this.#hasExited = true;
        resolve(signal === null ? { kind: "code", code: code ?? 0 } : { kind: "signal", signal });
      });
    });
    this.transport = new ChildTransport(child.stdin, child.stdout);
    this.errors = new StreamReading(child.stderr, "standard error");
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  endInput(): Promise<void> {
    return this.transport.endInput();
  }

  kill(signal: "SIGTERM" | "SIGKILL"): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      // Windows has no groups.
      if (process.platform === "win32") this.#child.kill(signal);
      else process.kill(-pid, signal);
    } catch {
      // Nobody is left, or nobody whom we may kill.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasExited) this.kill("SIGKILL");
    this.transport.abort();
    this.errors.destroy();
    await this.exited;
  }
}

/** One of the program's output streams. */
class StreamReading extends BufferedReading {
  readonly #stream: Readable;

  constructor(stream: Readable, name: string) {
    super();
    this.#stream = stream;
    stream.on("data", (bytes: Uint8Array) => this.receive(bytes));
    stream.on("end", () => this.endReading());
    stream.on("close", () => this.endReading());
    stream.on("error", (error) => this.failReading(transportError(`Cannot read the program's ${name}`, error, "EIO")));
  }

  destroy(): void {
    this.stopReading();
    this.#stream.destroy();
  }

  protected override pauseSource(): void {
    this.#stream.pause();
  }

  protected override resumeSource(): void {
    this.#stream.resume();
  }
}

const UNKNOWN: Endpoint = { kind: "unknown" };

class ChildTransport extends StreamReading implements Transport {
  readonly peer = UNKNOWN;
  readonly local = UNKNOWN;
  readonly #input: Writable;
  #failure: TransportError | undefined;
  /** Of the write under way; there is one at a time. */
  #rejectWrite: ((error: TransportError) => void) | undefined;
  #writing: Promise<void> | undefined;
  #ending: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(input: Writable, output: Readable) {
    super(output, "standard output");
    this.#input = input;
    input.on("error", (error) => this.#breakWriting(inputError(error)));
    input.on("close", () => this.#breakWriting(new TransportError("The program's standard input is closed.", "EPIPE")));
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ending !== undefined || this.#closing !== undefined) {
      return Promise.reject(new TransportError("The program's standard input is closed already.", "EPIPE"));
    }
    if (bytes.length === 0) return;
    const writing = new Promise<void>((resolve, reject) => {
      this.#rejectWrite = reject;
      this.#input.write(bytes, (error) => {
        if (error === undefined || error === null) resolve();
        else this.#breakWriting(inputError(error));
      });
    });
    this.#writing = writing;
    return writing;
  }

  endInput(): Promise<void> {
    return this.#ending ??= new Promise((resolve) => {
      if (this.#failure !== undefined) return resolve();
      this.#input.once("close", resolve);
      this.#input.end(() => resolve());
    });
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  abort(): void {
    const error = new TransportError("The connection to the program was aborted.", "ECONNABORTED");
    this.#breakWriting(error);
    this.discardQueued();
    this.failReading(error);
    this.#input.destroy();
    this.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The output is read on and thrown away until the input is gone: a program that waits with writing reads nothing. */
  async #close(): Promise<void> {
    this.stopReading();
    const timer = setTimeout(() => this.abort(), LINGER_MS);
    timer.unref();
    await this.#writing?.catch(() => {});
    await this.endInput();
    clearTimeout(timer);
    this.destroy();
  }

  #breakWriting(error: TransportError): void {
    this.#failure ??= error;
    const reject = this.#rejectWrite;
    this.#rejectWrite = undefined;
    reject?.(this.#failure);
  }
}

function inputError(error: unknown): TransportError {
  return transportError("Cannot write to the program's standard input", error, "EPIPE");
}
