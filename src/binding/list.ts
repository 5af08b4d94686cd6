/**
 * Lists that stand in files of their own: one entry a line, `#` begins a comment. Each is read before the first message and
 * again when it has changed, in the background and at most once a second; while it cannot be read or has errors, the last
 * good content stays. It must not know what the entries mean.
 */
import { prepareRegex } from "./regex.ts";

/** What lists need of the world; the runtime's interfaces have it. */
export interface ListWorld {
  readonly files: {
    readText(path: string): Promise<string>;
    info(path: string): Promise<{ readonly modifiedMs: number; readonly sizeBytes: number } | undefined>;
  };
  readonly clock: { monotonicMs(): number };
  readonly log: {
    info(event: string, fields: Readonly<Record<string, string | number>>): void;
    warn(event: string, fields: Readonly<Record<string, string | number>>): void;
  };
}

export interface ListLine {
  /** Counts from 1. */
  readonly number: number;
  /** Trimmed, without comment, not empty. */
  readonly text: string;
  /** It was indented: a continuation where the format has them. */
  readonly indented: boolean;
}

export interface ListProblem {
  readonly line: number;
  readonly reason: string;
}

export interface ParsedList<Content> {
  readonly content: Content;
  readonly problems: readonly ListProblem[];
}

export type ListParser<Content> = (lines: readonly ListLine[]) => ParsedList<Content>;

/** A list cannot be used; the message names the file and the line. */
export class ListError extends Error {
  override readonly name = "ListError";
}

const LOOK_EVERY_MS = 1_000;

export function listLines(text: string): readonly ListLine[] {
  const lines: ListLine[] = [];
  for (const [index, line] of text.replace(/^\ufeff/u, "").split(/\r?\n/u).entries()) {
    const entry = line.replace(/(?:^|\s)#.*$/u, "").trim();
    if (entry !== "") lines.push({ number: index + 1, text: entry, indented: /^\s/u.test(line) });
  }
  return lines;
}

/** Parses a list of which each line is one entry. */
export function parseEntries<Entry>(
  lines: readonly ListLine[],
  parse: (
    text: string,
  ) => { readonly ok: true; readonly pattern: Entry } | { readonly ok: false; readonly reason: string },
): { readonly entries: readonly Entry[]; readonly problems: readonly ListProblem[] } {
  const entries: Entry[] = [];
  const problems: ListProblem[] = [];
  for (const line of lines) {
    const parsed = parse(line.text);
    if (parsed.ok) entries.push(parsed.pattern);
    else problems.push({ line: line.number, reason: parsed.reason });
  }
  return { entries, problems };
}

/** The lists of one server. A list is known from `list` on and has content from `load` on. */
export class ListFiles {
  readonly #world: ListWorld;
  readonly #lists: ListFile<unknown>[] = [];

  constructor(world: ListWorld) {
    this.#world = world;
  }

  list<Content>(path: string, parse: ListParser<Content>): ListFile<Content> {
    const list = new ListFile(path, parse, this.#world);
    this.#lists.push(list);
    return list;
  }

  /** Reads what was not read yet. Rejects with `ListError` or with what the file system said. */
  async load(): Promise<void> {
    for (const list of this.#lists) await list.load();
  }
}

export class ListFile<Content> {
  readonly path: string;
  readonly #parse: ListParser<Content>;
  readonly #world: ListWorld;
  #content: Content | undefined;
  /** Of the content, or of the last attempt to read it. */
  #version = "";
  #lookedMs = 0;
  #looking = false;

  constructor(path: string, parse: ListParser<Content>, world: ListWorld) {
    this.path = path;
    this.#parse = parse;
    this.#world = world;
  }

  /** The last good content; looks after a newer one in the background when it is time to. */
  get content(): Content {
    const content = this.#content;
    if (content === undefined) throw new Error(`The list "${this.path}" was not loaded`);
    if (!this.#looking && this.#world.clock.monotonicMs() - this.#lookedMs >= LOOK_EVERY_MS) void this.#look();
    return content;
  }

  async load(): Promise<void> {
    if (this.#content !== undefined) return;
    this.#version = await this.#currentVersion();
    this.#content = await this.#read();
    this.#lookedMs = this.#world.clock.monotonicMs();
  }

  async #currentVersion(): Promise<string> {
    const info = await this.#world.files.info(this.path);
    return info === undefined ? "absent" : `${info.modifiedMs} ${info.sizeBytes}`;
  }

  async #read(): Promise<Content> {
    const lines = listLines(await this.#world.files.readText(this.path));
    await prepareRegex(lines.map(({ text }) => text));
    const { content, problems } = this.#parse(lines);
    const [first] = problems;
    if (first === undefined) return content;
    const more = problems.length === 1 ? "" : `, and ${problems.length - 1} more lines`;
    throw new ListError(
      `Cannot use the list "${this.path}": line ${first.line}: ${first.reason}${more}. Correct the file`,
    );
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const { clock, log } = this.#world;
    try {
      const version = await this.#currentVersion();
      if (version !== this.#version) {
        this.#version = version;
        this.#content = await this.#read();
        log.info("list read again", { file: this.path });
      }
    } catch (error) {
      log.warn("list not read", { file: this.path, error: error instanceof Error ? error.message : String(error) });
    }
    this.#lookedMs = clock.monotonicMs();
    this.#looking = false;
  }
}
