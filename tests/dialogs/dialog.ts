/**
 * The language in which SMTP dialogs are written down, and its parser. It knows nothing of sessions, sockets or tests; it
 * turns text into `Dialog` values, and refuses what it does not understand with the file and the line.
 *
 * A file holds many dialogs; a line of `#` is a comment, empty lines mean nothing. Every other line opens with one word:
 *
 *     dialog NAME               begins a dialog; the name says unit, behaviour and RFC section
 *     only memory               cannot be played against a real server (a policy of its own, an address it cannot route)
 *     option KEY VALUE          a session option: protocol, tls, line_endings, max_message_size, max_recipients,
 *                               max_messages, max_errors
 *     policy QUESTION [once] [disconnect] REPLY
 *                               every such question (or only the first) is refused with that reply; QUESTION is connect,
 *                               hello, mail, recipient, data, commit, or body (the store gives up in mid-data)
 *     C: TEXT                   the client sends the text and CRLF
 *     C~ ESCAPED                the client sends exactly these bytes: \r \n \t \0 \\ \xHH, and \{TEXT*N} for N copies
 *     S: PREFIX                 the server sends one line that begins so
 *     S* PREFIX                 the server sends one reply, of any number of lines, each with this code
 *     S+ TEXT                   in the reply just matched by `S*`, one line's text is exactly this
 *     S- WORD                   in the reply just matched by `S*`, no line's text begins with this word
 *     TLS                       the handshake happens here; bytes sent between STARTTLS and this line were injected
 *     EOF                       the client ends its half of the stream
 *     STOP [LATER] REPLY        the server is told to end the session with this reply: now, or between transactions
 *     CLOSE [WHY]               the server closes: quit, refused or end-of-stream
 *     STORED <SENDER> KEYWORDS <RECIPIENT> KEYWORDS …
 *                               a message was committed; the keywords are the parameters that were given, such as
 *                               body=8bitmime smtputf8 size=N ret=full envid=X and notify=success,delay orcpt=T;A
 *     | TEXT                    a line of that message, CRLF added
 *     |~ ESCAPED                bytes of that message
 *     NOTHING STORED            no message was committed since the last STORED
 *     repeat N … end            the lines between, N times, with %n counting from 1
 */
import { parseReplyText, type Reply } from "../../src/smtp/reply.ts";
import type { ServerSessionOptions } from "../../src/smtp/session.ts";

export interface Dialog {
  readonly name: string;
  /** `file:line` of the opening line. */
  readonly place: string;
  readonly options: ServerSessionOptions;
  readonly rules: readonly PolicyRule[];
  readonly events: readonly DialogEvent[];
  /** Stays off real servers: it was said so, or it needs a policy or a stop of its own. */
  readonly memoryOnly: boolean;
}

export type RuledQuestion = "connect" | "hello" | "mail" | "recipient" | "data" | "commit" | "body";

export interface PolicyRule {
  readonly question: RuledQuestion;
  readonly once: boolean;
  readonly disconnect: boolean;
  readonly reply: Reply;
}

export type Expectation =
  | { readonly kind: "line"; readonly prefix: string }
  | {
    readonly kind: "reply";
    readonly prefix: string;
    readonly has: readonly string[];
    readonly lacks: readonly string[];
  };

export interface StoredMessage {
  /** The envelope as the `STORED` line has it, in one spelling (see `envelopeText` in policy.ts). */
  readonly envelope: string;
  readonly body: Uint8Array;
}

export type DialogEvent =
  & { readonly place: string }
  & (
    | { readonly kind: "send"; readonly bytes: Uint8Array }
    | { readonly kind: "expect"; readonly expectation: Expectation }
    | { readonly kind: "tls" }
    | { readonly kind: "eof" }
    | { readonly kind: "stop"; readonly reply: Reply; readonly when: "now" | "between-transactions" }
    | { readonly kind: "close"; readonly why?: string }
    | { readonly kind: "stored"; readonly message: StoredMessage }
    | { readonly kind: "nothing-stored" }
  );

export class DialogSyntaxError extends Error {
  override readonly name = "DialogSyntaxError";
}

export const DEFAULT_OPTIONS: ServerSessionOptions = {
  protocol: "smtp",
  hostName: "mx.example.com",
  banner: "ready",
  maxMessageSizeBytes: 1_000_000,
  maxRecipients: 1000,
  maxErrors: 20,
  lineEndings: "strict",
  tls: "unavailable",
};

const encoder = new TextEncoder();

/** Reads a file of dialogs. Throws `DialogSyntaxError` on the first line that it does not understand. */
export function parseDialogs(text: string, file: string): readonly Dialog[] {
  const lines = text.split("\n").map((content, index): SourceLine => ({ content, place: `${file}:${index + 1}` }));
  const dialogs: Dialog[] = [];
  let draft: DialogDraft | undefined;
  for (const line of unrolled(lines)) {
    if (line.content === "" || line.content.startsWith("#")) continue;
    const name = after(line.content, "dialog ");
    if (name !== undefined) {
      if (draft !== undefined) dialogs.push(finished(draft));
      if (dialogs.some((other) => other.name === name)) fail(line, `Name "${name}" is taken by an earlier dialog`);
      draft = new DialogDraft(name, line.place);
    } else if (draft === undefined) fail(line, 'Expected a line "dialog NAME" first');
    else parseLine(draft, line);
  }
  if (draft !== undefined) dialogs.push(finished(draft));
  return dialogs;
}

interface SourceLine {
  readonly content: string;
  readonly place: string;
}

class DialogDraft {
  readonly name: string;
  readonly place: string;
  options: ServerSessionOptions = DEFAULT_OPTIONS;
  memoryOnly = false;
  readonly rules: PolicyRule[] = [];
  readonly events: DialogEvent[] = [];
  constructor(name: string, place: string) {
    this.name = name;
    this.place = place;
  }
}

function finished(draft: DialogDraft): Dialog {
  if (draft.events.length === 0) throw new DialogSyntaxError(`${draft.place}: Dialog "${draft.name}" has no lines`);
  const { name, place, options, rules, events } = draft;
  const stops = events.some((event) => event.kind === "stop");
  return { name, place, options, rules, events, memoryOnly: draft.memoryOnly || rules.length > 0 || stops };
}

/** Copies out the `repeat` blocks. They do not nest. */
function* unrolled(lines: readonly SourceLine[]): Generator<SourceLine> {
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index];
    if (line === undefined) break;
    const count = after(line.content, "repeat ");
    if (count === undefined) {
      yield line;
      continue;
    }
    const end = lines.findIndex((other, at) => at > index && other.content === "end");
    if (end < 0 || !/^\d+$/.test(count)) fail(line, 'Expected "repeat N" with a later line "end"');
    for (let turn = 1; turn <= Number(count); turn++) {
      for (const inner of lines.slice(index + 1, end)) {
        yield { content: inner.content.replaceAll("%n", String(turn)), place: inner.place };
      }
    }
    index = end;
  }
}

function parseLine(draft: DialogDraft, line: SourceLine): void {
  const space = line.content.indexOf(" ");
  const word = space < 0 ? line.content : line.content.slice(0, space);
  const rest = space < 0 ? "" : line.content.slice(space + 1);
  const { place } = line;
  switch (word) {
    case "only":
      if (rest !== "memory") fail(line, `Expected "only memory", not "${line.content}"`);
      draft.memoryOnly = true;
      return;
    case "option":
      draft.options = { ...draft.options, ...parseOption(line, rest) };
      return;
    case "policy":
      draft.rules.push(parseRule(line, rest));
      return;
    case "C:":
      draft.events.push({ kind: "send", bytes: encoder.encode(`${rest}\r\n`), place });
      return;
    case "C~":
      draft.events.push({ kind: "send", bytes: unescaped(line, rest), place });
      return;
    case "S:":
      draft.events.push({ kind: "expect", expectation: { kind: "line", prefix: rest }, place });
      return;
    case "S*":
      draft.events.push({ kind: "expect", expectation: { kind: "reply", prefix: rest, has: [], lacks: [] }, place });
      return;
    case "S+":
    case "S-":
      refineReply(draft, line, word, rest);
      return;
    case "|":
    case "|~":
      appendBody(draft, line, word === "|" ? encoder.encode(`${rest}\r\n`) : unescaped(line, rest));
      return;
    default:
      draft.events.push(parseEvent(line, word, rest));
  }
}

function parseEvent(line: SourceLine, word: string, rest: string): DialogEvent {
  const { place } = line;
  switch (word) {
    case "TLS":
      return { kind: "tls", place };
    case "EOF":
      return { kind: "eof", place };
    case "CLOSE":
      if (!["", "quit", "refused", "end-of-stream"].includes(rest)) fail(line, `No such reason to close: "${rest}"`);
      return rest === "" ? { kind: "close", place } : { kind: "close", why: rest, place };
    case "STOP":
      if (rest.startsWith("LATER ")) {
        return { kind: "stop", reply: parseReply(line, rest.slice(6)), when: "between-transactions", place };
      }
      return { kind: "stop", reply: parseReply(line, rest), when: "now", place };
    case "STORED":
      return { kind: "stored", message: { envelope: rest, body: new Uint8Array(0) }, place };
    case "NOTHING":
      if (rest === "STORED") return { kind: "nothing-stored", place };
  }
  return fail(line, `Not a line of a dialog: "${line.content}"`);
}

function refineReply(draft: DialogDraft, line: SourceLine, word: "S+" | "S-", rest: string): void {
  const last = draft.events.at(-1);
  if (last?.kind !== "expect" || last.expectation.kind !== "reply" || rest === "") {
    return fail(line, `A line "${word}" must follow a line "S*"`);
  }
  const { has, lacks } = last.expectation;
  const expectation = word === "S+"
    ? { ...last.expectation, has: [...has, rest] }
    : { ...last.expectation, lacks: [...lacks, rest] };
  draft.events[draft.events.length - 1] = { ...last, expectation };
}

function appendBody(draft: DialogDraft, line: SourceLine, bytes: Uint8Array): void {
  const last = draft.events.at(-1);
  if (last?.kind !== "stored") return fail(line, 'A line of a message must follow a line "STORED"');
  const body = new Uint8Array(last.message.body.length + bytes.length);
  body.set(last.message.body);
  body.set(bytes, last.message.body.length);
  draft.events[draft.events.length - 1] = { ...last, message: { ...last.message, body } };
}

function parseOption(line: SourceLine, rest: string): Partial<ServerSessionOptions> {
  const [key = "", value = "", ...more] = rest.split(" ");
  if (more.length > 0 || value === "") fail(line, `Expected "option KEY VALUE", not "${line.content}"`);
  const number = () => /^\d+$/.test(value) ? Number(value) : fail(line, `Not a number: "${value}"`);
  switch (`${key} ${value}`) {
    case "protocol smtp":
    case "protocol lmtp":
      return { protocol: value as "smtp" | "lmtp" };
    case "line_endings strict":
    case "line_endings normalize":
      return { lineEndings: value as "strict" | "normalize" };
    case "tls unavailable":
    case "tls offered":
    case "tls required":
    case "tls active":
    case "tls impossible":
      return { tls: value as ServerSessionOptions["tls"] };
  }
  if (rest === "max_messages_at recipient") return { maxMessagesAt: "recipient" };
  switch (key) {
    case "max_message_size":
      return { maxMessageSizeBytes: number() };
    case "max_recipients":
      return { maxRecipients: number() };
    case "max_messages":
      return { maxMessages: number() };
    case "max_errors":
      return { maxErrors: number() };
  }
  return fail(line, `No such option: "${rest}"`);
}

const RULED_QUESTIONS = ["connect", "hello", "mail", "recipient", "data", "commit", "body"] as const;

function parseRule(line: SourceLine, rest: string): PolicyRule {
  const match = /^(\w+)( once)?( disconnect)? (\d.*)$/.exec(rest);
  const question = RULED_QUESTIONS.find((name) => name === match?.[1]);
  if (match === null || question === undefined) return fail(line, `Not a policy: "${rest}"`);
  const [, , once, disconnect, text = ""] = match;
  return { question, once: once !== undefined, disconnect: disconnect !== undefined, reply: parseReply(line, text) };
}

function parseReply(line: SourceLine, text: string): Reply {
  return parseReplyText(text) ?? fail(line, `Not a refusal such as "550 5.1.1 Text": "${text}"`);
}

const ESCAPES: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "0": "\0", "\\": "\\" };

/** Text to bytes: UTF-8, with the escapes of `C~`. A repetition may hold escapes, but no repetition. */
function unescaped(line: SourceLine, text: string): Uint8Array {
  const bytes: number[] = [];
  const pattern = /\\\{((?:\\.|[^\\*])*)\*(\d+)\}|\\x([0-9a-fA-F]{2})|\\(.)|[^\\]+|\\$/gu;
  for (const [all, repeated, count, hex, escape] of text.matchAll(pattern)) {
    if (repeated !== undefined) {
      const once = unescaped(line, repeated);
      for (let turn = 0; turn < Number(count); turn++) for (const byte of once) bytes.push(byte);
    } else if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (escape !== undefined) {
      bytes.push(...encoder.encode(ESCAPES[escape] ?? fail(line, `No escape "\\${escape}"`)));
    } else if (all === "\\") fail(line, "A backslash stands at the end");
    else bytes.push(...encoder.encode(all));
  }
  return Uint8Array.from(bytes);
}

function after(text: string, opening: string): string | undefined {
  return text.startsWith(opening) ? text.slice(opening.length).trim() : undefined;
}

function fail(line: SourceLine, message: string): never {
  throw new DialogSyntaxError(`${line.place}: ${message}`);
}
