/**
 * Batched SMTP (RFC 2442): commands and messages in a file, replies that nobody reads. This is the client's end: it feeds the
 * session line by line, so that each reply belongs to a line, and tells of the replies that are errors. It must not know
 * where the lines come from.
 */
import type { Endpoint, Transport } from "../runtime/runtime.ts";
import { asciiBytes, concatBytes, CR, EMPTY, latin1Text, LF } from "../smtp/bytes.ts";
import type { ServerSession } from "../smtp/session.ts";

export interface BatchError {
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
  /** The command, when there was one. */
  readonly command?: string;
}

/** No command is longer; what is, is passed on in pieces and refused. */
const MAX_COMMAND_OCTETS = 4096;
const UNKNOWN: Endpoint = { kind: "unknown" };

type State =
  | { readonly kind: "greeting" }
  | { readonly kind: "commands" }
  /** DATA was said, and its reply decides what the lines after it are. */
  | { readonly kind: "data asked" }
  | { readonly kind: "data" }
  /** The message of a DATA that was refused: its lines must not be read as commands. */
  | { readonly kind: "skip" }
  | { readonly kind: "chunk"; left: number };

export class Batch implements Transport {
  readonly peer = UNKNOWN;
  readonly local = UNKNOWN;
  readonly #source: Pick<Transport, "read">;
  readonly #report: (error: BatchError) => void;
  readonly #verb: string;
  #input: Uint8Array = EMPTY;
  #ended = false;
  #stopped = false;
  #session: ServerSession | undefined;
  #state: State = { kind: "greeting" };
  /** Lines that were begun so far; the number of the one at hand. */
  #line = 0;
  #atLineStart = true;
  #afterCrLf = true;
  #isStrict = true;
  #command = "";
  #transactionLine = 0;
  #hasFailed = false;
  #replies = "";
  /** Replies that were errors, and what else was wrong. */
  errors = 0;

  constructor(
    source: Pick<Transport, "read">,
    protocol: "smtp" | "lmtp",
    report: (error: BatchError) => void,
  ) {
    this.#source = source;
    this.#report = report;
    this.#verb = protocol === "lmtp" ? "LHLO" : "EHLO";
  }

  /** Reads on to the first line end, which says how the others are to be understood. */
  async lineEndings(): Promise<"strict" | "normalize"> {
    let lf = -1;
    while (lf < 0 && !this.#ended && this.#input.length < MAX_COMMAND_OCTETS) {
      await this.#more();
      lf = this.#input.indexOf(LF);
    }
    this.#isStrict = lf < 0 || (lf > 0 && this.#input[lf - 1] === CR);
    return this.#isStrict ? "strict" : "normalize";
  }

  begin(session: ServerSession): void {
    this.#session = session;
  }

  read(): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (this.#stopped) return undefined;
    this.#judge();
    if (this.#state.kind === "greeting") {
      this.#state = { kind: "commands" };
      return asciiBytes(`${this.#verb} localhost\r\n`);
    }
    return this.#next();
  }

  write(bytes: Uint8Array): void {
    this.#replies += latin1Text(bytes);
  }

  interrupt(): void {
    this.#stopped = true;
  }

  abort(): void {
    this.#stopped = true;
  }

  async close(): Promise<void> {
    this.#judge();
    const isRead = this.#ended && this.#input.length === 0;
    if (!isRead && (this.#input.length > 0 || await this.#more())) {
      this.#fail("The session ended here, and what follows was not read");
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#stopped) return undefined;
      const piece = this.#piece();
      if (piece === undefined) {
        if (await this.#more()) continue;
        return this.#end();
      }
      const fed = this.#feed(piece);
      if (fed !== undefined) return fed;
    }
  }

  /** The next line; what there is of it, when it is long, is no command, or the end has come; octets of a chunk. */
  #piece(): Uint8Array | undefined {
    const input = this.#input;
    if (input.length === 0) return undefined;
    const { kind } = this.#state;
    let length = input.indexOf(LF) + 1;
    if (this.#state.kind === "chunk") length = Math.min(this.#state.left, length === 0 ? input.length : length);
    else if (length === 0) {
      const mayWait = (kind === "commands" || kind === "skip") && input.length < MAX_COMMAND_OCTETS && !this.#ended;
      if (mayWait) return undefined;
      length = input.length;
    }
    const piece = input.subarray(0, length);
    this.#input = input.subarray(length);
    if (this.#atLineStart) this.#line += 1;
    this.#atLineStart = piece[length - 1] === LF;
    return piece;
  }

  /** What of it the session gets; undefined: nothing. */
  #feed(piece: Uint8Array): Uint8Array | undefined {
    switch (this.#state.kind) {
      case "chunk":
        this.#state.left -= piece.length;
        if (this.#state.left === 0) this.#state = { kind: "commands" };
        return piece;
      case "skip":
        if (this.#isDot(piece)) this.#state = { kind: "commands" };
        return undefined;
      case "commands":
        return this.#commandLine(piece);
      default:
        return piece;
    }
  }

  /** As the session would see the end of the data. */
  #isDot(piece: Uint8Array): boolean {
    const text = piece.length <= 3 ? latin1Text(piece) : "";
    const isDot = this.#afterCrLf && (text === ".\r\n" || (text === ".\n" && !this.#isStrict));
    this.#afterCrLf = !this.#isStrict || piece[piece.length - 2] === CR;
    return isDot;
  }

  #commandLine(piece: Uint8Array): Uint8Array | undefined {
    const text = latin1Text(piece).replace(/\r?\n$/u, "");
    const verb = /^[A-Za-z]+/u.exec(text)?.[0]?.toUpperCase() ?? "";
    this.#command = text;
    switch (verb) {
      case "QUIT":
        // Several batches in one file end with one QUIT each.
        return asciiBytes("RSET\r\n");
      case "MAIL":
        return this.#mail(piece);
      case "DATA":
        this.#state = { kind: "data asked" };
        break;
      case "BDAT": {
        const left = Number(/^BDAT +(\d{1,15})(?: |$)/iu.exec(text)?.[1] ?? 0);
        if (left > 0) this.#state = { kind: "chunk", left };
      }
    }
    return piece;
  }

  /** What is left of a message before it must not become part of this one: a client that read replies would say RSET. */
  #mail(piece: Uint8Array): Uint8Array {
    const isOpen = this.#session?.inTransaction === true;
    if (isOpen && !this.#hasFailed) this.#fail(`The message that begins in line ${this.#transactionLine} has no end`);
    this.#transactionLine = this.#line;
    this.#hasFailed = false;
    return isOpen ? concatBytes([asciiBytes("RSET\r\n"), piece]) : piece;
  }

  /** The replies to what the session was given last. */
  #judge(): void {
    const text = this.#replies;
    this.#replies = "";
    let isWaitedFor = false;
    for (const [, code = "", rest = ""] of text.matchAll(/^(\d{3}) (.*)\r$/gmu)) {
      if (code === "354") isWaitedFor = true;
      else if (code >= "400") this.#refused(code, rest);
    }
    const { kind } = this.#state;
    if (kind === "data asked") {
      this.#state = isWaitedFor ? { kind: "data" } : { kind: "skip" };
      this.#afterCrLf = true;
    } else if (kind === "data" && this.#session?.inTransaction !== true) this.#state = { kind: "commands" };
  }

  #refused(code: string, rest: string): void {
    const isConsequence = this.#hasFailed && /^(?:RCPT|DATA|BDAT)/iu.test(this.#command) &&
      /^(?:503|554) /u.test(`${code} `) &&
      rest.startsWith("5.5.1 ");
    this.#hasFailed = true;
    if (!isConsequence) this.#fail(`${code} ${rest}`, this.#state.kind === "data" ? undefined : this.#command);
  }

  #fail(message: string, command?: string): void {
    this.errors += 1;
    this.#report({ line: Math.max(1, this.#line), message, ...(command === undefined ? {} : { command }) });
  }

  #end(): undefined {
    if (this.#session?.inTransaction === true || this.#state.kind === "skip") {
      this.#fail(`The message that begins in line ${this.#transactionLine} has no end`);
    }
    this.#stopped = true;
    return undefined;
  }

  /** False when there is no more. */
  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    // What is left belongs to the source, which may use the memory again.
    const rest = this.#input.slice();
    const bytes = await this.#source.read();
    if (bytes === undefined) this.#ended = true;
    this.#input = bytes === undefined ? rest : rest.length === 0 ? bytes : concatBytes([rest, bytes]);
    return bytes !== undefined;
  }
}
