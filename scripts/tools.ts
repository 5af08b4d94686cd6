/** What the scripts share: where the project is, and running other programs. */
import { spawn } from "node:child_process";

/** The project's directory. */
export const root: string = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

export interface Captured {
  /** Exit code; 128 and more when it was ended by a signal or by the time limit. */
  readonly code: number;
  /** Standard output and standard error as they came. */
  readonly output: string;
}

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** After this, it and what it started are killed. */
  readonly timeoutMs?: number;
  /** Also gets the output while it comes. */
  readonly onOutput?: (text: string) => void;
}

/** Groups started by `capture` that have not ended. They do not get the terminal's signals, so we pass them on. */
const running = new Set<number>();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const pid of running) endGroup(pid);
    process.exit(signal === "SIGINT" ? 130 : 143);
  });
}

/** Runs a program in the project's directory and gathers what it prints. */
export async function capture(program: string, args: readonly string[], options: RunOptions = {}): Promise<Captured> {
  const child = spawn(program, [...args], {
    cwd: root,
    env: { ...process.env, ...options.environment },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  if (child.pid !== undefined) running.add(child.pid);
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      chunks.push(text);
      options.onOutput?.(text);
    });
  }
  let late = false;
  const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => {
    late = true;
    endGroup(child.pid);
  }, options.timeoutMs);
  const code = await new Promise<number>((resolve) => {
    child.on("error", (error) => {
      chunks.push(`${error.message}\n`);
      resolve(127);
    });
    child.on("close", (status) => resolve(status ?? 128));
  });
  clearTimeout(timer);
  if (child.pid !== undefined) running.delete(child.pid);
  if (late) chunks.push(`\nStopped after ${(options.timeoutMs ?? 0) / 1000} s.\n`);
  return { code: late ? 124 : code, output: chunks.join("") };
}

/** Ends the process group that `capture` started, and that one alone. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

/** Runs a program with our own standard streams. */
export async function run(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, [...args], { cwd: root, stdio: "inherit" });
  return await new Promise((resolve) => {
    child.on("error", () => resolve(127));
    child.on("close", (status) => resolve(status ?? 128));
  });
}

/** The output of a program without the last line end, or undefined when it failed. */
export async function lineOf(program: string, args: readonly string[]): Promise<string | undefined> {
  const { code, output } = await capture(program, args);
  return code === 0 ? output.trimEnd() : undefined;
}
