/**
 * The server under test as a child process, for tests that meet it from outside: which program it is, free ports, a
 * directory that goes away, its log, and its end. It must not know what is tested.
 *
 * Environment: SMTPD_BINARY is the path of a compiled executable; without it SMTPD_RUNTIME, "bun" or "deno", runs
 * src/main.ts; without either the runtime that runs the tests does.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate } from "selfsigned";

/** The project's directory. */
export const projectRoot: string = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Long enough for a cold start on a busy machine; only a server that hangs takes it. */
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 40_000;
const START_ATTEMPTS = 5;

export interface Program {
  /** What the reports of tests call it. */
  readonly name: "binary" | "bun" | "deno";
  readonly command: string;
  /** They come before the arguments of smtpd. */
  readonly args: readonly string[];
}

/** The program that the environment asks for. */
export function programUnderTest(): Program {
  const binary = process.env["SMTPD_BINARY"];
  if (binary !== undefined && binary !== "") return { name: "binary", command: binary, args: [] };
  const running = process.versions["bun"] === undefined ? "deno" : "bun";
  const wanted = process.env["SMTPD_RUNTIME"] ?? running;
  const command = wanted === running ? process.execPath : `${projectRoot}/node_modules/.bin/${wanted}`;
  const main = `${projectRoot}/src/main.ts`;
  if (wanted === "bun") return { name: wanted, command, args: [main] };
  const options = ["run", "--allow-all", "--no-check", "--quiet", "--config", `${projectRoot}/deno.json`];
  if (wanted === "deno") return { name: wanted, command, args: [...options, main] };
  throw new Error(`SMTPD_RUNTIME is "${wanted}"; it must be "bun" or "deno"`);
}

export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

let keyPair: Promise<KeyPair> | undefined;

/** A self-signed pair for localhost and 127.0.0.1, made once in a test process. */
export function testKeyPair(): Promise<KeyPair> {
  return keyPair ??= makeKeyPair();
}

async function makeKeyPair(): Promise<KeyPair> {
  const pems = await generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 3_600_000),
    notAfterDate: new Date(Date.now() + 86_400_000),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }, { type: 7, ip: "127.0.0.1" }] },
    ],
  });
  return { certificate: pems.cert, privateKey: pems.private };
}

/** A line of the server's log. */
export interface LogEntry {
  readonly time: string;
  readonly level: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface ServerOptions {
  /** A directory of the caller's, which stays; absent: one of its own, which is removed at the end. */
  readonly directory?: string;
  /** Further arguments of `serve`. */
  readonly args?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly program?: Program;
}

/**
 * A running `smtpd serve`. Its configuration is smtpd.toml in `directory`, beside cert.pem and key.pem (`testKeyPair`),
 * so a text may name them as they are. Each `port = 0` in the text is replaced by a free port.
 */
export class ServerProcess implements AsyncDisposable {
  readonly directory: string;
  readonly program: Program;
  readonly #text: string;
  readonly #options: ServerOptions;
  #run: Run;

  private constructor(directory: string, text: string, options: ServerOptions, program: Program, run: Run) {
    this.directory = directory;
    this.#text = text;
    this.#options = options;
    this.program = program;
    this.#run = run;
  }

  /** Resolves when all listeners listen; rejects with the server's own words when it ends instead. */
  static async start(text: string, options: ServerOptions = {}): Promise<ServerProcess> {
    const directory = options.directory ?? await makeDirectory();
    try {
      const pair = await testKeyPair();
      await writeFile(join(directory, "cert.pem"), pair.certificate);
      await writeFile(join(directory, "key.pem"), pair.privateKey, { mode: 0o600 });
      const program = options.program ?? programUnderTest();
      for (let attempt = 1;; attempt++) {
        const withPorts = await withFreePorts(text);
        try {
          const run = await Run.start(directory, withPorts, options, program);
          return new ServerProcess(directory, withPorts, options, program, run);
        } catch (error) {
          // Somebody else took the port between our look and the server's.
          const taken = error instanceof Error && error.message.includes("the port is in use");
          if (!taken || withPorts === text || attempt === START_ATTEMPTS) throw error;
        }
      }
    } catch (error) {
      if (options.directory === undefined) await removeDirectory(directory);
      throw error;
    }
  }

  get pid(): number {
    return this.#run.pid;
  }

  get running(): boolean {
    return this.#run.running;
  }

  get configFile(): string {
    return join(this.directory, "smtpd.toml");
  }

  /** The port of a listener; without a name that of the only one, or of the first. */
  port(listener?: string): number {
    const { ports } = this.#run;
    const port = listener === undefined ? [...ports.values()][0] : ports.get(listener);
    if (port === undefined) throw new Error(`The server has no listener "${listener}"`);
    return port;
  }

  /** The log so far, of this run. */
  get log(): readonly LogEntry[] {
    return this.#run.entries();
  }

  /** What stood on stderr and was not a line of the log. */
  get stderr(): string {
    return this.#run.otherLines();
  }

  /** Resolves with the first entry that fits, already logged or still to come. */
  logged(fits: (entry: LogEntry) => boolean, timeoutMs = START_TIMEOUT_MS): Promise<LogEntry> {
    return this.#run.logged(fits, timeoutMs);
  }

  /** Sends the signal and waits for the end; the exit code. A server that does not end is killed, and that rejects. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    return await this.#run.end(signal);
  }

  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#run.kill(signal);
  }

  /** Resolves with the exit code when the process has ended; -1 when a signal ended it. */
  get exited(): Promise<number> {
    return this.#run.exited;
  }

  /** Ends it as a power cut would, for the process. */
  async kill9(): Promise<void> {
    this.#run.kill("SIGKILL");
    await this.#run.exited;
  }

  /** Starts it again after its end: same directory, same ports, an empty log. */
  async restart(): Promise<void> {
    await this.#run.exited;
    this.#run = await Run.start(this.directory, this.#text, this.#options, this.program);
  }

  /** Runs another command of smtpd to its end, with this server's configuration. */
  async command(...args: readonly string[]): Promise<CommandResult> {
    return await runSmtpd([...args, "--config", this.configFile], this.program);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill9();
    if (this.#options.directory === undefined) await removeDirectory(this.directory);
  }
}

/** Servers that run, and their directories: when the test process ends early, they must not stay behind. */
const alive = new Set<ChildProcess>();
const directories = new Set<string>();
process.on("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "smtpd-test-"));
  directories.add(directory);
  return directory;
}

async function removeDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  directories.delete(directory);
}

/** One life of the process. */
class Run {
  readonly #child: ChildProcess;
  readonly ports = new Map<string, number>();
  readonly exited: Promise<number>;
  readonly #lines: string[] = [];
  #rest = "";
  #ended = false;
  #waiting: (() => void)[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    alive.add(child);
    child.stderr?.setEncoding("utf8");
    child.stderr?.on("data", (text: string) => this.#gather(text));
    const stderrEnded = new Promise<void>((resolve) => child.stderr?.on("close", () => resolve()));
    this.exited = new Promise<number>((resolve) => {
      child.on("error", (error) => {
        this.#gather(`${error.message}\n`);
        this.#end(resolve, -1);
      });
      child.on("exit", (code) => void stderrEnded.then(() => this.#end(resolve, code ?? -1)));
    });
  }

  static async start(directory: string, text: string, options: ServerOptions, program: Program): Promise<Run> {
    const file = join(directory, "smtpd.toml");
    await writeFile(file, text);
    const args = [...program.args, "serve", "--config", file, "--log-format", "json", ...options.args ?? []];
    const child = spawn(program.command, args, {
      cwd: directory,
      env: { ...process.env, ...options.environment },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const run = new Run(child);
    try {
      await run.#listening(listenersIn(text, options.args ?? []));
      return run;
    } catch (error) {
      run.kill("SIGKILL");
      await run.exited;
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** Not by the child's own method: on Deno that hides the exit code of a process that ends in order. */
  kill(signal: NodeJS.Signals): void {
    if (this.#ended || this.#child.pid === undefined) return;
    try {
      process.kill(this.#child.pid, signal);
    } catch {
      // It has just ended, and its exit event is on the way.
    }
  }

  async end(signal: NodeJS.Signals): Promise<number> {
    this.kill(signal);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.kill("SIGKILL");
    }, STOP_TIMEOUT_MS);
    const code = await this.exited;
    clearTimeout(timer);
    if (late) throw new Error(`The server did not end on ${signal} within ${STOP_TIMEOUT_MS} ms`);
    return code;
  }

  entries(): readonly LogEntry[] {
    return this.#lines.flatMap((line) => entryOf(line) ?? []);
  }

  otherLines(): string {
    return this.#lines.filter((line) => entryOf(line) === undefined).join("\n");
  }

  async logged(fits: (entry: LogEntry) => boolean, timeoutMs: number): Promise<LogEntry> {
    let seen = 0;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeoutMs);
    try {
      for (;;) {
        while (seen < this.#lines.length) {
          const entry = entryOf(this.#lines[seen++] ?? "");
          if (entry !== undefined && fits(entry)) return entry;
        }
        if (this.#ended) throw new Error(`The server ended before it logged what was awaited:\n${this.#tail()}`);
        if (late) throw new Error(`The server did not log what was awaited in ${timeoutMs} ms:\n${this.#tail()}`);
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #listening(count: number): Promise<void> {
    for (let seen = 0; seen < count; seen++) {
      const { listener, endpoint } = await this.logged((entry) => {
        return entry.event === "listening" && !this.ports.has(String(entry["listener"]));
      }, START_TIMEOUT_MS);
      this.ports.set(String(listener), Number(/:(\d+)$/.exec(String(endpoint))?.[1]));
    }
  }

  #gather(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#lines.push(line);
    this.#wake();
  }

  #end(resolve: (code: number) => void, code: number): void {
    if (this.#rest !== "") this.#lines.push(this.#rest);
    this.#rest = "";
    this.#ended = true;
    alive.delete(this.#child);
    resolve(code);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #tail(): string {
    return this.#lines.slice(-20).join("\n");
  }
}

function entryOf(line: string): LogEntry | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as LogEntry;
  } catch {
    return undefined;
  }
}

/** How many listeners will say that they listen. */
function listenersIn(text: string, args: readonly string[]): number {
  const chosen = args.filter((argument) => argument === "--listener").length;
  return chosen > 0 ? chosen : text.split("\n").filter((line) => line.trim() === "[[listener]]").length;
}

async function withFreePorts(text: string): Promise<string> {
  const ports = await freePorts(text.match(/^port = 0$/gm)?.length ?? 0);
  return text.replace(/^port = 0$/gm, () => `port = ${ports.shift()}`);
}

/** Different ports of 127.0.0.1 that nobody listens on at this moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map((server) =>
    new Promise<number>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: "127.0.0.1", port: 0 }, () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    })
  ));
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  return ports;
}

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command of smtpd to its end. */
export function runSmtpd(args: readonly string[], program: Program = programUnderTest()): Promise<CommandResult> {
  return runCommand(program.command, [...program.args, ...args]);
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly environment?: Readonly<Record<string, string>>;
  readonly directory?: string;
  readonly timeoutMs?: number;
}

/** Runs a program to its end. One that cannot be started has the code 127, one that is ended by a signal or is late -1. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { input = "", environment, directory, timeoutMs = 60_000 } = options;
  return new Promise((resolve) => {
    const child = execFile(command, [...args], {
      env: { ...process.env, ...environment },
      ...(directory === undefined ? {} : { cwd: directory }),
      timeout: timeoutMs,
      killSignal: "SIGKILL",
      maxBuffer: 256 * 1024 * 1024,
    }, (error, out, err) => {
      const code: unknown = error === null ? 0 : error.code;
      resolve({ code: typeof code === "number" ? code : code === "ENOENT" ? 127 : -1, out, err });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}
