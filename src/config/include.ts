/**
 * Reads a configuration file and all it includes, and merges their trees into one. Included tables come before the
 * including file's own, as if they stood in place of the `include` line, which TOML wants at the top. It must not know any
 * key but `include`.
 */
import { dirname, isAbsolute, join, resolve, sep } from "node:path";
import type { Files } from "../runtime/runtime.ts";
import { type Diagnostic, diagnostic, fileSpan, quote } from "./diagnostic.ts";
import { readToml } from "./read.ts";
import { createSource, type Place, type Source, spanOf } from "./source.ts";
import { asText, describe, type Entry, isTables, newTable, type TableNode, type Text } from "./tree.ts";

/** What loading needs of the file system. */
export type ConfigFiles = Pick<Files, "readText" | "info" | "list">;

/** A configuration is written by people; more than this is a wrong file. 100,000 bindings take about 12 MiB. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_FILES = 1000;

export interface ReadConfig {
  readonly root: TableNode;
  readonly main: Source;
  readonly sources: ReadonlyMap<string, Source>;
  readonly diagnostics: readonly Diagnostic[];
  /** Comments `# smtpd: …` of all files. */
  readonly directives: readonly Place[];
  /** Every file was found and is TOML: what is missing in the tree is missing indeed. */
  readonly complete: boolean;
}

export async function readConfig(file: string, files: ConfigFiles): Promise<ReadConfig> {
  const reader = new Reader(files);
  const root = await reader.read(file, undefined);
  const main = reader.sources.get(file) ?? createSource(file, "");
  return {
    root: root ?? newTable({ source: main, start: 0, end: 0 }),
    main,
    sources: reader.sources,
    diagnostics: reader.diagnostics,
    directives: reader.directives,
    complete: !reader.diagnostics.some((finding) => finding.code !== "SMTPD005"),
  };
}

class Reader {
  readonly sources = new Map<string, Source>();
  readonly diagnostics: Diagnostic[] = [];
  readonly directives: Place[] = [];
  readonly #files: ConfigFiles;
  /** Files being read, the main one first. */
  readonly #open: string[] = [];
  /** Absolute paths of the files read: one file may be named in several ways. */
  readonly #paths = new Set<string>();

  constructor(files: ConfigFiles) {
    this.#files = files;
  }

  /** The tree of a file with its includes; undefined when it cannot be read, which is then reported. */
  async read(file: string, from: Place | undefined): Promise<TableNode | undefined> {
    const source = await this.#load(file, from);
    if (source === undefined) return undefined;
    const result = readToml(source);
    if (!result.ok) {
      this.diagnostics.push(result.diagnostic);
      return undefined;
    }
    for (const place of result.directives) this.directives.push(place);
    this.#open.push(file);
    const merged = newTable({ source, start: 0, end: 0 });
    for (const included of await this.#includes(source, result.root)) this.#merge(merged, included);
    this.#merge(merged, result.root);
    this.#open.pop();
    return merged;
  }

  async #load(file: string, from: Place | undefined): Promise<Source | undefined> {
    const place = from === undefined ? fileSpan(file) : spanOf(from);
    const report = (reason: string, help: string) => {
      this.diagnostics.push(diagnostic("SMTPD002", `Cannot read ${quote(file)}: ${reason}`, place, { help }));
      return undefined;
    };
    try {
      const info = await this.#files.info(file);
      if (info === undefined) return report("there is no such file", "Check the path, or name another file.");
      if (info.kind === "directory") return report("it is a directory", 'Name a file, or include "directory/*.toml".');
      if (info.sizeBytes > MAX_FILE_BYTES) {
        return report(`it has ${info.sizeBytes} bytes, more than ${MAX_FILE_BYTES}`, "Split the file with include.");
      }
      const source = createSource(file, await this.#files.readText(file), this.sources.size);
      this.sources.set(file, source);
      this.#paths.add(resolve(file));
      return source;
    } catch (error) {
      return report(reasonOf(error), "Check that this user may read the file.");
    }
  }

  async #includes(source: Source, root: TableNode): Promise<readonly TableNode[]> {
    const entry = root.entries.get("include");
    if (entry === undefined) return [];
    root.entries.delete("include");
    const trees: TableNode[] = [];
    for (const pattern of this.#patterns(entry)) {
      const path = isAbsolute(pattern.value) ? pattern.value : join(dirname(source.file), pattern.value);
      const names = await this.#expand(path, pattern);
      for (const name of names) {
        const tree = await this.#include(name, pattern.place);
        if (tree !== undefined) trees.push(tree);
      }
    }
    return trees;
  }

  #patterns(entry: Entry): readonly Text[] {
    const nodes = entry.node.kind === "array" ? entry.node.items : [entry.node];
    return nodes.flatMap((node) => {
      const text = asText(node);
      if (text !== undefined && text.value !== "" && !text.value.includes("\0")) return [text];
      const message = `Expected a path or a pattern in "include", found ${describe(node)}`;
      const help = 'For example include = ["conf.d/*.toml"].';
      this.diagnostics.push(diagnostic("SMTPD102", message, spanOf(node.place), { help }));
      return [];
    });
  }

  async #include(name: string, place: Place): Promise<TableNode | undefined> {
    const path = resolve(name);
    const depth = this.#open.findIndex((file) => resolve(file) === path);
    if (depth >= 0) {
      const chain = [...this.#open.slice(depth), name].map(quote).join(" includes ");
      const extras = { notes: [chain], help: "Remove one of these includes." };
      this.diagnostics.push(diagnostic("SMTPD004", `${quote(name)} includes itself`, spanOf(place), extras));
      return undefined;
    }
    // Named by two patterns: its tables count once.
    if (this.#paths.has(path)) return undefined;
    if (this.sources.size >= MAX_FILES) {
      const message = `More than ${MAX_FILES} files are included`;
      this.diagnostics.push(diagnostic("SMTPD003", message, spanOf(place), { help: "Join some of them." }));
      return undefined;
    }
    return await this.read(name, place);
  }

  /** The files a pattern stands for, in the order of their names. A name without wildcards stands for itself. */
  async #expand(path: string, pattern: Text): Promise<readonly string[]> {
    if (!/[*?]/u.test(pattern.value)) return [path];
    let found: string[] = [""];
    for (const part of path.split(sep)) {
      const isFirst = found.length === 1 && found[0] === "";
      if (!/[*?]/u.test(part)) found = found.map((base) => isFirst ? `${part}${sep}` : join(base, part));
      else found = (await Promise.all(found.map((base) => this.#matches(base, part)))).flat();
    }
    const files: string[] = [];
    for (const name of found) {
      if ((await this.#files.info(name).catch(() => undefined))?.kind === "file") files.push(name);
    }
    if (files.length === 0) {
      const message = `No file matches the include ${quote(pattern.value)}`;
      const help =
        "Check the pattern: * stands for any characters but the path separator, ? for one. Remove it if unused.";
      this.diagnostics.push(diagnostic("SMTPD003", message, spanOf(pattern.place), { help }));
    }
    return files;
  }

  async #matches(directory: string, part: string): Promise<readonly string[]> {
    const names = await this.#files.list(directory === "" ? "." : directory).catch(() => []);
    return names
      .filter((name) => (part.startsWith(".") || !name.startsWith(".")) && matchesWildcards(name, part))
      .sort((left, right) => (left < right ? -1 : 1))
      .map((name) => join(directory, name));
  }

  /** Adds `from` to `into`: tables by their keys, arrays of tables one behind the other, anything else only once. */
  #merge(into: TableNode, from: TableNode): void {
    for (const [name, entry] of from.entries) {
      const existing = into.entries.get(name);
      if (existing === undefined) into.entries.set(name, copyEntry(entry));
      else if (existing.node.kind === "table" && entry.node.kind === "table") {
        this.#merge(existing.node, entry.node);
        for (const place of [entry.key, ...entry.again]) existing.again.push(place);
      } else if (isTables(existing.node) && isTables(entry.node)) {
        for (const item of entry.node.items) existing.node.items.push(item);
        for (const place of [entry.key, ...entry.again]) existing.again.push(place);
      } else {
        const message = `${quote(name)} is already set in another file`;
        const secondary = [{ ...spanOf(existing.key), label: "first set here" }];
        const help = "Keep one of the two: files that include each other have no order of precedence.";
        this.diagnostics.push(diagnostic("SMTPD005", message, spanOf(entry.key), { secondary, help }));
      }
    }
  }
}

/** Merging adds to tables and arrays; the trees merged stay as they were read. */
function copyEntry(entry: Entry): Entry {
  const node = entry.node;
  if (node.kind === "table") {
    const table = newTable(node.place);
    for (const [key, inner] of node.entries) table.entries.set(key, copyEntry(inner));
    return { key: entry.key, again: [...entry.again], node: table };
  }
  if (isTables(node)) return { key: entry.key, again: [...entry.again], node: { ...node, items: [...node.items] } };
  return entry;
}

/** `*` and `?` in one part of a path. Two pointers and one way back, so the time is bounded by the product of lengths. */
export function matchesWildcards(name: string, pattern: string): boolean {
  let at = 0;
  let position = 0;
  let star = -1;
  let starAt = 0;
  while (at < name.length) {
    const expected = pattern.charAt(position);
    if (expected === "*") {
      star = position++;
      starAt = at;
    } else if (position < pattern.length && (expected === "?" || expected === name.charAt(at))) {
      position++;
      at++;
    } else if (star >= 0) {
      position = star + 1;
      at = ++starAt;
    } else return false;
  }
  while (pattern.charAt(position) === "*") position++;
  return position === pattern.length;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such file"],
  ["EACCES", "permission denied"],
  ["EPERM", "permission denied"],
  ["EISDIR", "it is a directory"],
]);

/** Why a file operation failed, in words. */
export function reasonOf(error: unknown): string {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  return REASONS.get(code) ?? (code === "" ? "the system refused it" : code);
}
