/**
 * `smtpd channel slave` under test: a directory with its configuration, whole sessions from a text, and processes to talk
 * with. It must not know what is tested.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type CommandResult, type Program, programUnderTest, runCommand } from "./server_process.ts";

const REPLY_TIMEOUT_MS = 30_000;

/** Variables of whoever runs the tests must not tell the slave who its client is. */
const SILENT: Readonly<Record<string, string>> = Object.fromEntries(
  ["PMDF_CHANNEL", "PMDF_CHANNEL_OPTION", "TRANSPORTINFO", "APPLICATIONINFO", "PROTO", "TCPREMOTEIP", "SMTPD_CONFIG"]
    .concat(["SOCAT_PEERADDR", "NCAT_REMOTE_ADDR", "REMOTE_ADDR", "SSH_CONNECTION", "GATEWAY_INTERFACE"])
    .map((name) => [name, ""]),
);

export interface SessionOptions {
  readonly args?: readonly string[];
  readonly input?: string | Uint8Array;
  readonly environment?: Readonly<Record<string, string>>;
  /** In place of `channel slave --channel uplink`. */
  readonly command?: readonly string[];
  readonly program?: Program;
}

/** A directory with smtpd.toml. */
export class SlaveWorld implements AsyncDisposable {
  readonly directory: string;
  readonly configFile: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.configFile = join(directory, "smtpd.toml");
  }

  static async create(text: string, files: Readonly<Record<string, string>> = {}): Promise<SlaveWorld> {
    const world = new SlaveWorld(await mkdtemp(join(tmpdir(), "smtpd-slave-")));
    await writeFile(world.configFile, text);
    for (const [name, content] of Object.entries(files)) {
      await writeFile(join(world.directory, name), content, { mode: 0o600 });
    }
    return world;
  }

  /** Sends the input and ends it. */
  run(options: SessionOptions = {}): Promise<CommandResult> {
    const { command, args } = this.commandLine(options);
    return runCommand(command, args, {
      input: options.input ?? "",
      environment: { ...SILENT, ...options.environment },
      directory: this.directory,
    });
  }

  start(options: SessionOptions = {}): SlaveProcess {
    const { command, args } = this.commandLine(options);
    const env = { ...process.env, ...SILENT, ...options.environment };
    return new SlaveProcess(spawn(command, [...args], { cwd: this.directory, env }));
  }

  commandLine(options: SessionOptions = {}): { readonly command: string; readonly args: readonly string[] } {
    const program = options.program ?? programUnderTest();
    const words = options.command ?? ["channel", "slave", "--channel", "uplink"];
    return {
      command: program.command,
      args: [...program.args, ...words, "--config", this.configFile, ...options.args ?? []],
    };
  }

  /** What `smtpd queue list --json` shows. */
  async queue(): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const { command, args } = programUnderTest();
    const { code, out, err } = await runCommand(command, [
      ...args,
      "queue",
      "list",
      "--json",
      "--config",
      this.configFile,
    ]);
    if (code !== 0) throw new Error(`queue list ended with ${code}: ${err}`);
    return JSON.parse(out);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A session to talk with. */
export class SlaveProcess implements AsyncDisposable {
  readonly child: ChildProcessWithoutNullStreams;
  /** -1: a signal ended it. */
  readonly exited: Promise<number>;
  out = "";
  err = "";
  #isOver = false;
  #seen = 0;
  #wake: () => void = () => {};

  constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      this.out += text;
      this.#wake();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.err += text);
    child.stdin.on("error", () => {});
    this.exited = new Promise((resolve) => {
      child.on("close", (code) => {
        this.#isOver = true;
        this.#wake();
        resolve(code ?? -1);
      });
    });
  }

  write(text: string): void {
    this.child.stdin.write(text, "latin1");
  }

  /** The next whole reply. */
  async reply(): Promise<string> {
    for (;;) {
      const found = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.out.slice(this.#seen))?.[0];
      if (found !== undefined) {
        this.#seen += found.length;
        return found;
      }
      if (this.#isOver) throw new Error(`It ended in place of a reply: ${this.out} ${this.err}`);
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`No reply: ${this.out} ${this.err}`)), REPLY_TIMEOUT_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async command(line: string, code: number): Promise<string> {
    this.write(`${line}\r\n`);
    return await this.expect(code);
  }

  async expect(code: number): Promise<string> {
    const reply = await this.reply();
    if (!reply.startsWith(String(code))) throw new Error(`Expected ${code}, got "${reply}"`);
    return reply;
  }

  /** Not by the child's own method: on Deno that hides the exit code of a process that ends in order. */
  signal(name: NodeJS.Signals): void {
    if (this.child.pid !== undefined) process.kill(this.child.pid, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) this.child.kill("SIGKILL");
    await this.exited;
  }
}
