/**
 * The files of Messaging Server and PMDF as their parts: rewrite rules and channel blocks of an `imta.cnf`, lines
 * `NAME=value` of a channel's option file. It must not know what keywords and options mean.
 */

export interface Line {
  readonly text: string;
  readonly line: number;
}

export interface ChannelBlock {
  readonly name: string;
  readonly line: number;
  /** Words behind the name, quotes removed; each with the line it stands on. */
  readonly words: readonly Line[];
  /** The second line and those behind it. */
  readonly hosts: readonly Line[];
  /** Comments before and in the block. */
  readonly comments: readonly Line[];
}

export interface ImtaFile {
  readonly rules: readonly Line[];
  readonly blocks: readonly ChannelBlock[];
  /** `<file`: lines that include another file. */
  readonly includes: readonly Line[];
  /** Comments that stand with no block. */
  readonly comments: readonly Line[];
}

export interface OptionLine {
  readonly name: string;
  readonly value: string;
  readonly line: number;
}

/** Lines without their ends; those that end in a backslash are joined with the next. */
function linesOf(text: string): readonly Line[] {
  const lines: Line[] = [];
  let joined: { text: string; line: number } | undefined;
  for (const [index, raw] of text.replace(/^\ufeff/u, "").split(/\r\n|[\r\n]/u).entries()) {
    const isOpen = raw.endsWith("\\") && !raw.startsWith("!");
    const part = isOpen ? raw.slice(0, -1) : raw;
    if (joined === undefined) joined = { text: part, line: index + 1 };
    else joined.text += ` ${part}`;
    if (isOpen) continue;
    lines.push(joined);
    joined = undefined;
  }
  if (joined !== undefined) lines.push(joined);
  return lines;
}

/** Whether every line that says something has the form `NAME=value`. */
export function isOptionFile(text: string): boolean {
  const lines = linesOf(text).filter((line) => isSignificant(line.text));
  return lines.length > 0 && lines.every((line) => /^\s*\w+\s*=/u.test(line.text));
}

function isSignificant(text: string): boolean {
  return text.trim() !== "" && !text.startsWith("!");
}

export function readOptionFile(
  text: string,
): { readonly options: readonly OptionLine[]; readonly comments: readonly Line[] } {
  const options: OptionLine[] = [];
  const comments: Line[] = [];
  for (const { text: raw, line } of linesOf(text)) {
    const match = /^\s*(\w+)\s*=(.*)$/su.exec(raw);
    if (raw.startsWith("!")) comments.push({ text: raw.slice(1).trim(), line });
    else if (match !== null) options.push({ name: match[1] ?? "", value: (match[2] ?? "").trim(), line });
  }
  return { options, comments };
}

/** `pattern template`, where a template has `$`, `@` or `%`; nothing in a channel block looks like that. */
const RULE = /^\S+\s+\S*[$@%]/u;

export function readImta(text: string): ImtaFile {
  const rules: Line[] = [];
  const blocks: ChannelBlock[] = [];
  const includes: Line[] = [];
  const loose: Line[] = [];
  let section: Line[] = [];
  let comments: Line[] = [];
  const close = () => {
    if (section.length === 0) return;
    // Rules come first; some files have blank lines among them.
    if (blocks.length === 0 && section.every((line) => RULE.test(line.text))) {
      rules.push(...section);
      loose.push(...comments);
    } else blocks.push(blockOf(section, comments));
    section = [];
    comments = [];
  };
  for (const { text: raw, line } of linesOf(text)) {
    if (raw.startsWith("!")) comments.push({ text: raw.slice(1).trim(), line });
    else if (raw.startsWith("<")) includes.push({ text: raw.slice(1).trim(), line });
    else if (raw.trim() === "") close();
    else section.push({ text: raw, line });
  }
  close();
  return { rules, blocks, includes, comments: [...loose, ...comments] };
}

function blockOf(section: readonly Line[], comments: readonly Line[]): ChannelBlock {
  const [first = { text: "", line: 1 }, ...hosts] = section;
  const [name = "", ...words] = wordsOf(first.text);
  return { name, line: first.line, words: words.map((text) => ({ text, line: first.line })), hosts, comments };
}

/** Words separated by white space; quotes hold one together. */
export function wordsOf(text: string): readonly string[] {
  return [...text.matchAll(/"([^"]*)"?|[^\s"]+/gu)].map((match) => match[1] ?? match[0]);
}
