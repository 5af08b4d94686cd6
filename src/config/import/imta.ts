/**
 * Translates Messaging Server and PMDF: the channel blocks and simple rewrite rules of an `imta.cnf`, and channels' option
 * files. Channels that receive by SMTP become listeners, the local ones channels, domains that are routed to them bindings;
 * whatever else there is is told with its line.
 */
import { parsePattern } from "../../binding/match.ts";
import { formatDuration } from "../duration.ts";
import { escapeUnsafe, quote } from "../diagnostic.ts";
import { canonicalHostName } from "../schema.ts";
import { nearest } from "../suggest.ts";
import {
  describable,
  type Imported,
  ImportedTable,
  type ImportFile,
  Names,
  type Remark,
  toldText,
  tomlDocument,
  wholeNumber,
} from "./imported.ts";
import {
  type ChannelBlock,
  isOptionFile,
  type Line,
  type OptionLine,
  readImta,
  readOptionFile,
  wordsOf,
} from "./imta_file.ts";
import { ImtaListener, type Keyword, type Outcome } from "./imta_listener.ts";
import { KEYWORDS, OPTIONS, type Term } from "./imta_terms.ts";

export function importImta(files: readonly ImportFile[]): Imported {
  return new Importer().run(files);
}

interface Block extends ChannelBlock {
  readonly file: string;
  readonly keywords: readonly Keyword[];
  /** What the `defaults` block before it says; its own keywords win. */
  readonly defaults: readonly Keyword[];
}

interface OptionFile {
  readonly file: string;
  readonly channel: string;
  readonly options: readonly OptionLine[];
}

/** Ports that the Dispatcher's usual configuration gives to these channels. */
const PORTS: ReadonlyMap<string, number> = new Map([["tcp_local", 25], ["tcp_submit", 587], ["tcp_lmtpss", 225]]);
const FIRST_OTHER_PORT = 2525;
const DAY_MS = 86_400_000;
/** Suggestions for unknown names; a file that has more of them is no such file. */
const MAX_SUGGESTIONS = 100;

class Importer {
  readonly #remarks: Remark[] = [];
  readonly #problems: Remark[] = [];
  readonly #names = new Names();
  readonly #head = new ImportedTable("");
  readonly #listeners: ImportedTable[] = [];
  readonly #channels: ImportedTable[] = [];
  /** Official host names of translated local channels, and the channels' names in the result. */
  readonly #local = new Map<string, string>();
  readonly #recipients = new Map<string, string[]>();
  readonly #ports = new Set<number>();
  #nextPort = FIRST_OTHER_PORT;
  /** Keywords of `defaults` that some channel has taken, and those that none has. */
  readonly #usedDefaults = new Set<Keyword>();
  readonly #unusedDefaults = new Map<Keyword, string>();
  #suggestions = 0;
  #listenerCount = 0;

  run(files: readonly ImportFile[]): Imported {
    this.#head.comment(
      `Translated from ${files.map((file) => file.name).join(", ")}. Look through it before it is used.`,
    );
    const options = files.filter((file) => isOptionFile(file.text)).map((file) => this.#optionFile(file));
    const blocks: Block[] = [];
    const rules: (readonly [string, Line])[] = [];
    for (const file of files) {
      if (isOptionFile(file.text)) continue;
      const { rules: found, blocks: own } = this.#imtaFile(file);
      blocks.push(...own);
      rules.push(...found.map((rule) => [file.name, rule] as const));
    }
    this.#translate(blocks, options, blocks.length === 0);
    for (const [file, rule] of rules) this.#rule(file, rule);
    if (this.#listenerCount === 0 && this.#problems.length === 0) {
      const text = "No channel here receives by SMTP without authentication, so there is nothing to listen on";
      this.#problem(files[0]?.name ?? "", 1, text);
    }
    const names = files.map((file) => file.name);
    if (this.#problems.length > 0) return { ok: false, problems: sorted(this.#problems, names) };
    const tables = [this.#head, ...this.#listeners, ...this.#bindings(), ...this.#channels];
    return { ok: true, toml: tomlDocument(tables), remarks: sorted(this.#remarks, names) };
  }

  #optionFile({ name, text }: ImportFile): OptionFile {
    const { options, comments } = readOptionFile(text);
    const base = /[^/\\]*$/u.exec(name)?.[0].toLowerCase() ?? "";
    const channel = base.replace(/\.[a-z]*$/u, "").replace(/_options?$/u, "");
    if (base === "option.dat" || base === "job_controller.cnf" || base === "dispatcher.cnf") {
      this.#problem(name, 1, "This file does not belong to a channel: give imta.cnf and files named CHANNEL_option");
    }
    this.#comments(name, comments);
    return { file: name, channel, options };
  }

  #imtaFile({ name: file, text }: ImportFile): { readonly rules: readonly Line[]; readonly blocks: readonly Block[] } {
    const read = readImta(text);
    for (const { text: path, line } of read.includes) {
      this.#remark(file, line, `The included file ${quote(path)} is not read: put it in place of this line`);
    }
    this.#comments(file, read.comments);
    const blocks: Block[] = [];
    let defaults: readonly Keyword[] = [];
    for (const block of read.blocks) {
      const keywords = keywordsOf(block.words);
      if (block.name === "defaults") {
        defaults = keywords;
        this.#comments(file, block.comments);
        for (const host of block.hosts) {
          this.#remark(file, host.line, `${quote(host.text)} behind "defaults" means nothing`);
        }
      } else if (block.name === "nodefaults") defaults = [];
      else blocks.push({ ...block, file, keywords, defaults });
    }
    return { rules: read.rules, blocks };
  }

  #translate(blocks: readonly Block[], files: readonly OptionFile[], isAlone: boolean): void {
    const targets = new Set(blocks.flatMap((block) => {
      const switches = [...block.defaults, ...block.keywords].filter(({ name }) => name.endsWith("switchchannel"));
      return switches.flatMap((keyword) => keyword.arguments);
    }));
    const used = new Set<string>();
    for (const block of blocks) {
      const options = files.filter((file) => file.channel === block.name.toLowerCase());
      const why = notListening(block, targets);
      if (why === undefined) {
        this.#listener(block, options);
        for (const file of options) used.add(file.file);
      } else if (isLocal(block.name)) this.#localChannel(block);
      else this.#other(block, why);
    }
    for (const [keyword, file] of this.#unusedDefaults) {
      if (!this.#usedDefaults.has(keyword)) this.#withoutEquivalent(file, [keyword], 'of "defaults"');
    }
    for (const file of files) {
      if (used.has(file.file)) continue;
      if (isAlone) this.#listener(undefined, [file]);
      else {
        for (const { name, value, line } of file.options) {
          const text = `${name}=${toldText(name, value)}: no listener is made of the channel ${quote(file.channel)}`;
          this.#remark(file.file, line, text);
        }
      }
    }
  }

  #listener(block: Block | undefined, options: readonly OptionFile[]): void {
    const listener = new ImtaListener();
    const wanted = block?.name ?? options[0]?.channel ?? "";
    const [file, line] = block === undefined ? [options[0]?.file ?? "", 1] : [block.file, block.line];
    if (block !== undefined) {
      this.#keywords(block, (keyword) => listener.keyword(keyword));
      this.#hosts(block, listener);
    }
    for (const from of options) {
      for (const option of from.options) {
        const told = `${option.name}=${toldText(option.name, option.value)}`;
        const outcome = listener.option(option);
        if (outcome.kind === "unknown") this.#unknownOption(from.file, option, told);
        else this.#outcome(from.file, option.line, told, outcome);
      }
    }
    const name = this.#names.take(wanted, "listener");
    this.#renamed(file, line, wanted, name);
    const port = this.#port(wanted.toLowerCase());
    if (port > 65_535) return this.#problem(file, line, "There are more channels than ports");
    this.#remark(file, line, `The port of ${quote(wanted)} stands in dispatcher.cnf; ${port} is assumed`);
    if (!listener.hasLineEndings) {
      this.#remark(
        file,
        line,
        `${quote(wanted)} takes any line end there; here only CRLF, unless line_endings = "normalize"`,
      );
    }
    if (listener.hasTls) {
      this.#remark(file, line, `Certificate and key of ${quote(wanted)} are placeholders: set their paths`);
    }
    const [first, ...more] = listener.table(name, port);
    for (const { text } of block?.comments ?? []) first?.comment(text);
    this.#listeners.push(...(first === undefined ? [] : [first]), ...more);
    this.#listenerCount++;
  }

  #port(channel: string): number {
    const usual = PORTS.get(channel);
    const port = usual === undefined || this.#ports.has(usual) ? this.#nextPort++ : usual;
    this.#ports.add(port);
    return port;
  }

  /** The second line: the official host, and behind it the name for one's own host. Further lines name other hosts. */
  #hosts(block: Block, listener: ImtaListener): void {
    for (const [index, host] of block.hosts.entries()) {
      const [official = "", alias] = wordsOf(host.text);
      this.#remark(
        block.file,
        host.line,
        `The host name ${quote(official)} serves routing within Messaging Server only`,
      );
      if (alias === undefined) continue;
      if (index === 0) this.#outcome(block.file, host.line, quote(alias), listener.host(alias));
      else this.#remark(block.file, host.line, `The name ${quote(alias)} has no equivalent`);
    }
  }

  /** A channel that delivers on this machine. */
  #localChannel(block: Block): void {
    const name = this.#names.take(block.name, "local");
    this.#renamed(block.file, block.line, block.name, name);
    const table = new ImportedTable("[[channel]]");
    for (const { text } of block.comments) table.comment(text);
    table.set("name", name).set("type", block.name === "bitbucket" ? "discard" : "maildir");
    if (block.name !== "bitbucket") {
      table.set("path", `mail/${name}`);
      this.#remark(
        block.file,
        block.line,
        `Mail for ${quote(block.name)} is kept in the maildir ${quote(`mail/${name}`)}`,
      );
    }
    const retry = new ImportedTable("[channel.retry]");
    let hasRetry = false;
    this.#keywords(block, (keyword) => {
      if (keyword.name !== "backoff") return channelKeyword(keyword, table);
      hasRetry = true;
      return backoff(keyword.arguments, retry);
    });
    this.#channels.push(table, ...(hasRetry ? [retry] : []));
    for (const [index, host] of block.hosts.entries()) {
      const [official = "", alias] = wordsOf(host.text);
      this.#local.set(official.toLowerCase(), name);
      const canonical = canonicalHostName(official);
      if (index === 0 && block.name === "l" && canonical?.includes(".") === true) {
        this.#head.set("host_name", canonical);
      } else {this.#remark(
          block.file,
          host.line,
          `The host name ${quote(official)} serves routing within Messaging Server only`,
        );}
      if (alias !== undefined) this.#remark(block.file, host.line, `The name ${quote(alias)} has no equivalent`);
    }
  }

  #other(block: Block, why: string): void {
    const words = block.words.map(({ text }) => text).join(" ");
    const keywords = words === "" ? "" : `; its keywords: ${quoteAll(words)}`;
    this.#remark(block.file, block.line, `The channel ${quote(block.name)} has no equivalent: ${why}${keywords}`);
    for (const host of block.hosts) {
      this.#remark(block.file, host.line, `The line ${quote(host.text)} belongs to it`);
    }
    this.#comments(block.file, block.comments);
  }

  /** Applies keywords; those that stand on the same line and have the same reason are told of together. */
  #keywords(block: Block, apply: (keyword: Keyword) => Outcome): void {
    for (const keyword of block.defaults) {
      const outcome = apply(keyword);
      if (outcome.kind === "unknown") {
        this.#unusedDefaults.set(keyword, block.file);
        continue;
      }
      // Told once, not for each channel.
      if (!this.#usedDefaults.has(keyword)) this.#outcome(block.file, keyword.line, quote(keyword.text), outcome);
      this.#usedDefaults.add(keyword);
    }
    const unknown = block.keywords.filter((keyword) => {
      const outcome = apply(keyword);
      this.#outcome(block.file, keyword.line, quote(keyword.text), outcome);
      return outcome.kind === "unknown";
    });
    this.#withoutEquivalent(block.file, unknown, `of the channel ${quote(block.name)}`);
  }

  #withoutEquivalent(file: string, keywords: readonly Keyword[], of: string): void {
    const groups = new Map<string, { readonly line: number; readonly why: string; readonly texts: string[] }>();
    for (const { name, text, line } of keywords) {
      const why = this.#whyKeyword(name);
      const group = groups.get(`${line} ${why}`) ?? { line, why, texts: [] };
      group.texts.push(quote(text));
      groups.set(`${line} ${why}`, group);
    }
    for (const { line, why, texts } of groups.values()) this.#remark(file, line, `${texts.join(", ")} ${of}: ${why}`);
  }

  #whyKeyword(name: string): string {
    const term = KEYWORDS.get(name);
    if (term !== undefined) return whyText(term);
    return `unknown keyword${this.#suggest(name, KEYWORDS.keys())}`;
  }

  #unknownOption(file: string, { name, line }: OptionLine, told: string): void {
    const term = OPTIONS.get(name.toUpperCase());
    const why = term === undefined ? `unknown option${this.#suggest(name, OPTIONS.keys())}` : whyText(term);
    this.#remark(file, line, `${told}: ${why}`);
  }

  #suggest(name: string, names: Iterable<string>): string {
    const meant = this.#suggestions++ < MAX_SUGGESTIONS ? nearest(name, names) : undefined;
    return meant === undefined ? "" : `; did you mean ${quote(meant)}?`;
  }

  /** `domain $U@$D`, `domain $U%$D@host`: everything in the domain goes to the channel with that official host. */
  #rule(file: string, { text, line }: Line): void {
    const [pattern = "", template = "", ...more] = wordsOf(text);
    const [, host = ""] = /^\$u(?:%\$[dh])?@(\$[dh]|[a-z0-9._-]+)$/iu.exec(template) ?? [];
    const target = host.startsWith("$") ? pattern.toLowerCase() : host.toLowerCase();
    const channel = this.#local.get(target);
    const recipient = pattern.startsWith(".") ? `*@*${pattern}` : `*@${pattern}`;
    if (channel === undefined || more.length > 0 || /[[\]$*%]/u.test(pattern) || !parsePattern(recipient).ok) {
      this.#remark(file, line, `The rewrite rule ${quote(text.trim().replace(/\s+/gu, " "))} has no equivalent`);
      return;
    }
    const recipients = this.#recipients.get(channel) ?? [];
    if (recipients.length === 0) this.#recipients.set(channel, recipients);
    if (!recipients.includes(recipient)) recipients.push(recipient);
    this.#remark(file, line, `Every address in ${quote(pattern)} is taken: there is no directory and no alias`);
  }

  #bindings(): readonly ImportedTable[] {
    const tables = [...this.#recipients].map(([channel, recipients]) =>
      new ImportedTable("[[binding]]")
        .set("name", this.#names.take(`to-${channel}`, "binding"))
        .set("recipients", recipients)
        .set("deliver", [channel])
    );
    if (tables.length > 0) return tables;
    return [
      new ImportedTable("")
        .comment("There are no bindings, so every recipient is refused with 550 5.7.1. To keep mail, add:")
        .comment('[[binding]]\nname = "everyone"\nrecipients = ["*@example.com"]\ndeliver = ["archive"]\n')
        .comment('[[channel]]\nname = "archive"\ntype = "maildir"\npath = "mail/archive"'),
    ];
  }

  #comments(file: string, comments: readonly Line[]): void {
    for (const { text, line } of comments) if (text !== "") this.#head.comment(`Comment at ${file}:${line}: ${text}`);
  }

  #renamed(file: string, line: number, wanted: string, name: string): void {
    if (name !== wanted) {
      this.#remark(file, line, `The name ${quote(wanted)} becomes ${quote(name)}: names are unique, plain and short`);
    }
  }

  #outcome(file: string, line: number, told: string, outcome: Outcome): void {
    if (outcome.kind === "wrong") this.#problem(file, line, `${told}: ${outcome.text}`);
    else if (outcome.kind === "done" && outcome.remark !== undefined) {
      this.#remark(file, line, `${told}: ${outcome.remark}`);
    }
  }

  #remark(file: string, line: number, text: string): void {
    this.#remarks.push({ file, line, text });
  }

  #problem(file: string, line: number, text: string): void {
    this.#problems.push({ file, line, text });
  }
}

function keywordsOf(words: readonly Line[]): readonly Keyword[] {
  const keywords: Keyword[] = [];
  let at = 0;
  while (at < words.length) {
    const { text, line } = words[at++] ?? { text: "", line: 1 };
    const name = text.toLowerCase();
    const term = KEYWORDS.get(name);
    const takes = term === undefined ? "list" : term.takes ?? 0;
    const given: string[] = [];
    while (at < words.length && (takes === "list" ? LIST_ARGUMENT.test(words[at]?.text ?? "") : given.length < takes)) {
      given.push(words[at++]?.text ?? "");
    }
    keywords.push({ name, text: [text, ...given].join(" "), arguments: given, line });
  }
  return keywords;
}

/** Numbers, ISO 8601 durations and host names, which no keyword looks like. */
const LIST_ARGUMENT = /^[+-]?\d|^-?p[t\d]|\./iu;

/** Why no listener can be made of a channel; undefined when one can. */
function notListening(block: Block, targets: ReadonlySet<string>): string | undefined {
  const names = new Set([...block.defaults, ...block.keywords].map(({ name }) => name));
  const own = new Set(block.keywords.map(({ name }) => name));
  const speaks = [...names].some((name) => /^(?:smtp|lmtp)(?:_cr|_lf|_crlf|_crorlf)?$/u.test(name));
  if (own.has("nosmtp") || !(speaks || block.name.startsWith("tcp_"))) return "it does not receive by SMTP";
  if (own.has("mustsaslserver") || own.has("mustsasl")) {
    return "its clients must log in, and there is no authentication";
  }
  if (targets.has(block.name) || own.has("allowswitchchannel") || /^tcp_(?:intranet|auth|tas)$/u.test(block.name)) {
    return "sessions come to it from another channel, and here a session keeps its listener";
  }
  if (own.has("daemon")) return "it sends to one server, and smtpd does not send to other servers";
  return undefined;
}

function isLocal(name: string): boolean {
  return /^(?:l|native|bitbucket|ims-ms\S*)$/u.test(name);
}

function channelKeyword({ name, arguments: given }: Keyword, table: ImportedTable): Outcome {
  if (name === "description") {
    const text = describable(given[0] ?? "");
    if (text !== undefined) table.set("description", text);
    return { kind: "done" };
  }
  if (name === "maxjobs") {
    const jobs = wholeNumber(given[0] ?? "", 1, 1000);
    if (jobs === undefined) return { kind: "done", remark: "max_concurrency keeps its default" };
    table.set("max_concurrency", jobs);
    return { kind: "done" };
  }
  if (name !== "notices") return { kind: "unknown" };
  const ages = given.map((days) => wholeNumber(days, 0, 60));
  const last = ages.at(-1);
  if (last === undefined) {
    return { kind: "done", remark: "the last age is not 0 to 60 days, so max_age keeps its default" };
  }
  table.set("max_age", `${last}d`);
  const warnings = ages.slice(0, -1).filter((days) => days !== undefined && days > 0 && days < last).slice(0, 20);
  table.set("notices", warnings.map((days) => `${days}d`));
  if (warnings.length === given.length - 1) return { kind: "done" };
  return { kind: "done", remark: "ages that are not before the last one are left out" };
}

/** Waits as ISO 8601 durations: the first and the longest; between them smtpd doubles. */
function backoff(given: readonly string[], table: ImportedTable): Outcome {
  const waits = given.map(isoDuration);
  const [first] = waits;
  const usable = waits.filter((wait) => wait !== undefined);
  if (first === undefined || usable.length < waits.length) {
    return { kind: "wrong", text: "expected durations such as PT30M" };
  }
  const bound = (wait: number, most: number) => Math.max(1000, Math.min(wait, most));
  const firstDelay = bound(first, DAY_MS);
  table.set("first_delay", formatDuration(firstDelay));
  table.set("max_delay", formatDuration(Math.max(firstDelay, bound(Math.max(...usable), 7 * DAY_MS))));
  return { kind: "done", remark: "the first wait and the longest are kept; between them each is twice the one before" };
}

function isoDuration(text: string): number | undefined {
  const match = /^p(?:(\d{1,4})w)?(?:(\d{1,5})d)?(?:t(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?)?$/iu.exec(text);
  if (match === null || /^p$|t$/iu.test(text)) return undefined;
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = match.slice(1).map((part) => Number(part ?? 0));
  return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000;
}

function whyText(term: Term): string {
  const note = term.note === undefined ? "" : `${term.isAlways === true ? "" : "; "}${term.note}`;
  return term.isAlways === true ? `needs nothing, ${note}` : `no equivalent${note}`;
}

/** A list of words, whole: it is what would otherwise be lost. */
function quoteAll(text: string): string {
  return `"${escapeUnsafe(text)}"`;
}

/** By file in the order given, then by line. */
function sorted(remarks: readonly Remark[], files: readonly string[]): readonly Remark[] {
  return [...remarks].sort((left, right) =>
    files.indexOf(left.file) - files.indexOf(right.file) || left.line - right.line
  );
}
