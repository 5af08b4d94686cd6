/**
 * A world for configuration tests: files in memory, channel types with options of every kind, and short ways to load a
 * configuration and to name its findings.
 */
import * as v from "valibot";
import { type ChannelKind, loadConfig, type LoadResult } from "../../src/config/load.ts";
import type { ConfigFiles } from "../../src/config/include.ts";
import { durationOption, pathOption } from "../../src/config/option.ts";
import { FileError } from "../../src/runtime/runtime.ts";

/** Files by path; directories follow from them. Counts what is read. */
export class MemoryFiles implements ConfigFiles {
  readonly #texts: ReadonlyMap<string, string>;
  readonly reads: string[] = [];

  constructor(texts: Readonly<Record<string, string>>) {
    this.#texts = new Map(Object.entries(texts));
  }

  readText(path: string): Promise<string> {
    this.reads.push(path);
    const text = this.#texts.get(path);
    if (text === undefined) return Promise.reject(new FileError(`Cannot read "${path}"`, "ENOENT", path));
    if (text === "forbidden") return Promise.reject(new FileError(`Cannot read "${path}"`, "EACCES", path));
    return Promise.resolve(text);
  }

  info(path: string) {
    const text = this.#texts.get(path);
    const kind = text !== undefined ? "file" as const : this.#names(path).length > 0 ? "directory" as const : undefined;
    if (kind === undefined) return Promise.resolve(undefined);
    return Promise.resolve({ kind, sizeBytes: text?.length ?? 0, modifiedMs: 0, mode: 0o600 });
  }

  list(directory: string): Promise<readonly string[]> {
    const names = this.#names(directory.replace(/\/$/u, ""));
    if (names.length > 0) return Promise.resolve(names);
    return Promise.reject(new FileError(`Cannot list "${directory}"`, "ENOENT", directory));
  }

  #names(directory: string): readonly string[] {
    const prefix = `${directory}/`;
    const inside = [...this.#texts.keys()].filter((path) => path.startsWith(prefix));
    return [...new Set(inside.map((path) => path.slice(prefix.length).split("/")[0] ?? ""))];
  }
}

const kinds: readonly ChannelKind[] = [
  {
    type: "maildir",
    summary: "One file for each message.",
    schema: v.strictObject({ path: pathOption("Directory.") }),
  },
  {
    type: "hook",
    summary: "Tells an application.",
    schema: v.object({
      script: v.optional(pathOption("Script.")),
      wait: v.optional(durationOption("Wait.", "5s", { minimum: 0, maximum: 60_000 }), "5s"),
    }),
  },
  { type: "discard", summary: "Keeps nothing.", schema: v.strictObject({}) },
];

export const channelKinds: ReadonlyMap<string, ChannelKind> = new Map(kinds.map((kind) => [kind.type, kind]));

export const MAIN = "/etc/smtpd/smtpd.toml";

/** Loads `text` as the main file, with further files beside it. */
export function load(text: string, others: Readonly<Record<string, string>> = {}): Promise<LoadResult> {
  return loadConfig(MAIN, {
    files: new MemoryFiles({ [MAIN]: text, ...others }),
    channels: channelKinds,
    hostName: "box.example.net",
  });
}

/** `SMTPD101 3:1 Unknown key "x"`, in order; the file's name is given where it is not the main one. */
export function findings(result: LoadResult): readonly string[] {
  return result.diagnostics.map(({ code, primary, message }) => {
    const file = primary.file === MAIN ? "" : `${primary.file.split("/").at(-1)}:`;
    return `${code} ${file}${primary.start.line}:${primary.start.column} ${message}`;
  });
}

export const LISTENER = '[[listener]]\nname = "in"\nport = 2525\n';
export const ARCHIVE = '[[channel]]\nname = "archive"\ntype = "maildir"\npath = "mail"\n';
