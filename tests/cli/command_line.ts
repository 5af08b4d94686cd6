/** A runtime that has a command line and nothing else: what a command printed, and the code it ended with. */
import { run } from "../../src/cli/cli.ts";
import type { Runtime } from "../../src/runtime/runtime.ts";

export interface World {
  readonly environment?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
  readonly nowMs?: number;
  /** Standard output fails with this. */
  readonly outFails?: Error;
}

export function commandLine(args: readonly string[], world: World = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const absent = new Proxy({}, {
    get(_, name) {
      throw new Error(`A command used "${String(name)}" of a part of the runtime that it should not need`);
    },
  });
  const runtime: Runtime = {
    name: "bun",
    version: "0.0.0",
    network: absent as Runtime["network"],
    resolver: absent as Runtime["resolver"],
    dns: absent as Runtime["dns"],
    http: absent as Runtime["http"],
    files: {
      ...absent,
      readText: () => Promise.reject(new Error("There are no files here")),
    } as unknown as Runtime["files"],
    workers: absent as Runtime["workers"],
    scripts: absent as Runtime["scripts"],
    random: absent as Runtime["random"],
    clock: { ...absent, nowMs: () => world.nowMs ?? 0 } as unknown as Runtime["clock"],
    processes: {
      args,
      environment: (name: string) => world.environment?.[name],
      stdio: {
        writeOut: (text: string) => {
          if (world.outFails !== undefined) throw world.outFails;
          out.push(text);
        },
        writeErr: (text: string) => err.push(text),
        outIsTerminal: world.terminal === true,
        errIsTerminal: world.terminal === true,
        columns: () => undefined,
      },
    } as unknown as Runtime["processes"],
  };
  return { runtime, out: () => out.join(""), err: () => err.join("") };
}

/** Runs a whole command line. */
export async function smtpd(args: readonly string[], world: World = {}) {
  const line = commandLine(args, world);
  const code = await run(line.runtime);
  return { code, out: line.out(), err: line.err() };
}
