/**
 * What an import makes: tables of a configuration, and remarks about what has no equivalent, each with its place. It must
 * not know where they come from.
 */
import { escapeUnsafe, quote } from "../diagnostic.ts";
import { tomlComment, tomlKey, tomlValue } from "../toml_text.ts";

/** Something to tell about a line of an imported file. */
export interface Remark {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

export type Imported =
  | { readonly ok: true; readonly toml: string; readonly remarks: readonly Remark[] }
  /** The file cannot be translated; nothing came out. */
  | { readonly ok: false; readonly problems: readonly Remark[] };

/** More than any configuration; what is larger is another file. */
export const MAX_IMPORT_BYTES = 8 * 1024 * 1024;

export interface ImportFile {
  /** As it is called in remarks. */
  readonly name: string;
  readonly text: string;
}

/** One table of the result, written in the order it was made. */
export class ImportedTable {
  readonly header: string;
  readonly #comments: string[] = [];
  /** By key: what is said again replaces what was said before. */
  readonly #lines = new Map<string, string>();

  /** `header` is `[[listener]]`; empty for keys at the top. */
  constructor(header: string) {
    this.header = header;
  }

  /** A line above the table. */
  comment(text: string): this {
    this.#comments.push(...text.split(/\r\n|[\r\n\u2028\u2029]/u).map(tomlComment));
    return this;
  }

  set(key: string, value: unknown, comment?: string): this {
    const line = `${tomlKey(key)} = ${tomlValue(value)}`;
    this.#lines.set(key, comment === undefined ? line : `${line} ${tomlComment(comment)}`);
    return this;
  }

  get isEmpty(): boolean {
    return this.#lines.size === 0 && this.#comments.length === 0 && this.header === "";
  }

  text(): string {
    const header = this.header === "" ? [] : [this.header];
    return [...this.#comments, ...header, ...this.#lines.values()].join("\n");
  }
}

export function tomlDocument(tables: readonly ImportedTable[]): string {
  return `${tables.filter((table) => !table.isEmpty).map((table) => table.text()).join("\n\n")}\n`;
}

/** Names as configurations have them, each only once. */
export class Names {
  readonly #taken = new Set<string>();
  /** The number that was last put behind a name. */
  readonly #counts = new Map<string, number>();

  /** The wanted name if it can be had, else one like it. */
  take(wanted: string, otherwise: string): string {
    const cleaned = wanted.slice(0, 256).replace(/[^A-Za-z0-9._-]+/gu, "-").replace(/^[^A-Za-z0-9]+/u, "").slice(0, 56);
    const base = cleaned === "" ? otherwise : cleaned;
    let name = base;
    while (this.#taken.has(name)) {
      const count = (this.#counts.get(base) ?? 1) + 1;
      this.#counts.set(base, count);
      name = `${base}-${count}`;
    }
    this.#taken.add(name);
    return name;
  }
}

/** One line of description without control characters, as `description` takes it; undefined when nothing is left. */
export function describable(text: string): string | undefined {
  const line = text.replace(/[\p{Cc}\p{Cs}\u2028\u2029]+/gu, " ").trim().slice(0, 1000);
  return line === "" ? undefined : line;
}

/** `name="value"` for remarks; what may be a secret is not told. */
export function told(name: string, value: string): string {
  return `${escapeUnsafe(name.slice(0, 80))}=${toldText(name, value)}`;
}

/** The value of something with this name, in quotes. */
export function toldText(name: string, value: string): string {
  return /passw|passphrase|secret|token|credential|apikey/iu.test(name) ? '"(not shown)"' : quote(value);
}

/** A whole number within bounds, in digits. */
export function wholeNumber(text: string, minimum: number, maximum: number): number | undefined {
  if (!/^\d{1,15}$/u.test(text)) return undefined;
  const value = Number(text);
  return value >= minimum && value <= maximum ? value : undefined;
}
