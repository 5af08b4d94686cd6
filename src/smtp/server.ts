/**
 * The server session (RFC 5321 §3, §4; RFC 2033 for LMTP): bytes in, steps out. The transaction lives only inside the
 * phases in which there may be one, so leaving the phase forgets all of it. Policy is asked for, never known here.
 */
import { needsSmtputf8 } from "./address.ts";
import { EMPTY, latin1Text, utf8Text } from "./bytes.ts";
import { type Chunk, LineEndingWatch, parseChunk } from "./chunking.ts";
import { type Command, type CommandRule, COMMANDS, FOREIGN_VERBS, verbOf } from "./command.ts";
import { type DataReader, NormalizingDataReader, StrictDataReader } from "./data.ts";
import { greeting, helloReply } from "./extensions.ts";
import { COMMAND_TIMEOUT_MS, DATA_TIMEOUT_MS, MAX_COMMAND_LINE_OCTETS } from "./limits.ts";
import { LineReader } from "./line.ts";
import { type ChunkedBody, holdsTransaction, type OpenTransaction, type Phase, Receipt, receiptOf } from "./phase.ts";
import { encodeReply, type Reply, reply } from "./reply.ts";
import * as replies from "./replies.ts";
import type { Question, ServerSession, ServerSessionOptions, ServerStep, Verdict } from "./session.ts";
import type { Transaction } from "./transaction.ts";

const FRESH: Phase = { name: "fresh" };
const READY: Phase = { name: "ready" };
const START_TLS: ServerStep = { kind: "start-tls" };
const ABANDON: ServerStep = { kind: "abandon" };

export function createServerSession(options: ServerSessionOptions): ServerSession {
  return new Session(options);
}

class Session implements ServerSession {
  readonly #options: ServerSessionOptions;
  readonly #lines: LineReader;
  readonly #readCommandStep: ServerStep;
  readonly #readDataStep: ServerStep;
  #phase: Phase = { name: "connecting" };
  #encrypted: boolean;
  /** Bytes given by `receive` and not used yet. */
  #input: Uint8Array = EMPTY;
  #at = 0;
  #ended = false;
  #steps: ServerStep[] = [];
  #question: Question | undefined;
  /** The BDAT whose octets follow once the data question is answered. */
  #chunk: Chunk | undefined;
  #stop: { readonly reply: Reply; readonly when: "now" | "between-transactions" } | undefined;
  #messages = 0;
  #errors = 0;
  /** We refused MAIL, recipients or the data: what a pipelining client sends on in good faith is no mistake of its own. */
  #refusing = false;

  constructor(options: ServerSessionOptions) {
    this.#options = options;
    this.#encrypted = options.tls === "active";
    this.#readCommandStep = { kind: "read", timeoutMs: options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS };
    this.#readDataStep = { kind: "read", timeoutMs: options.dataTimeoutMs ?? DATA_TIMEOUT_MS };
    this.#lines = new LineReader({
      maxOctets: MAX_COMMAND_LINE_OCTETS,
      bareLfEndsLine: options.lineEndings === "normalize",
    });
  }

  get inTransaction(): boolean {
    const asked = this.#question?.kind;
    return holdsTransaction(this.#phase) || asked === "mail" || asked === "commit";
  }

  receive(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) this.#ended = true;
    else {
      this.#input = bytes;
      this.#at = 0;
    }
  }

  next(): ServerStep {
    for (;;) {
      const step = this.#steps.shift();
      if (step !== undefined) return step;
      if (this.#question !== undefined) throw new Error("Session asked for a step while its question is open");
      this.#obeyStop();
      const made = this.#steps.length > 0 ? undefined : this.#advance();
      if (made !== undefined) return made;
    }
  }

  stop(given: Reply, when: "now" | "between-transactions"): void {
    if (this.#stop?.when !== "now") this.#stop = { reply: given, when };
  }

  refuseBody(refusal: Reply): void {
    receiptOf(this.#phase)?.refuse(refusal);
  }

  tlsStarted(): void {
    this.#encrypted = true;
    this.#phase = FRESH;
  }

  answer(verdict: Verdict): void {
    const question = this.#question;
    if (question === undefined) throw new Error("Session was given an answer without a question");
    this.#question = undefined;
    if (verdict.kind === "disconnect") {
      if (question.kind === "data") this.#chunk = undefined;
      this.#close(verdict.reply);
    } else if (verdict.kind === "refuse") this.#refused(question, verdict.reply);
    else this.#accepted(question, verdict);
  }

  #obeyStop(): void {
    const stop = this.#stop;
    if (stop === undefined || this.#phase.name === "closed") return;
    if (stop.when === "now" || !this.inTransaction) this.#close(stop.reply);
  }

  /** Works on the input until there is a step, or undefined when steps were queued. */
  #advance(): ServerStep | undefined {
    const phase = this.#phase;
    switch (phase.name) {
      case "connecting":
        return this.#ask({ kind: "connect" });
      case "closed":
        return { kind: "close", why: phase.why };
      case "tls":
        throw new Error("Session asked for a step during the handshake");
      case "data":
        return this.#readData(phase.transaction, phase.receipt, phase.reader);
      case "chunk":
        return this.#readChunk(phase);
      case "draining":
        return this.#drain(phase);
      default:
        return this.#readCommand();
    }
  }

  #needInput(step: ServerStep): ServerStep | undefined {
    this.#input = EMPTY;
    this.#at = 0;
    if (!this.#ended) return step;
    this.#leaveTransaction({ name: "closed", why: "end-of-stream" });
    return undefined;
  }

  // Commands

  #readCommand(): ServerStep | undefined {
    const line = this.#lines.read(this.#input, this.#at);
    if (line.kind === "more") return this.#needInput(this.#readCommandStep);
    this.#at = line.next;
    this.#options.heard?.(line.kind === "line" ? line.bytes : undefined);
    if (line.kind === "bad") {
      return this.#mistake(line.fault === "too long" ? replies.LINE_TOO_LONG : replies.BAD_LINE_ENDING[line.fault]);
    }
    return this.#command(line.bytes);
  }

  #command(line: Uint8Array): ServerStep | undefined {
    const text = utf8Text(latin1Text(line));
    if (text === undefined) return this.#mistake(replies.MALFORMED_UTF8);
    const { verb, at } = verbOf(text);
    const rule = COMMANDS.get(verb);
    if (rule === undefined || !this.#speaks(rule)) {
      if (FOREIGN_VERBS.has(verb)) return this.#close(replies.NOT_SMTP);
      return this.#mistake(replies.UNKNOWN_COMMAND);
    }
    const command = rule.parse(text, at);
    const refusal = this.#sequenceError(rule) ?? (command.ok ? undefined : command.reply);
    if (!command.ok || refusal !== undefined) {
      // The octets of a refused chunk follow all the same (RFC 3030 §2).
      if (verb === "BDAT") return this.#refuseChunk(text.slice(at), refusal ?? replies.BAD_SEQUENCE);
      return this.#mistake(refusal ?? replies.BAD_SEQUENCE);
    }
    return this.#proceed(command.value);
  }

  #speaks(rule: CommandRule): boolean {
    return rule.protocols === "both" || rule.protocols === this.#options.protocol;
  }

  /** RFC 5321 §4.1.4, RFC 3207 §4. */
  #sequenceError(rule: CommandRule): Reply | undefined {
    const { tls } = this.#options;
    if (tls === "required" && !this.#encrypted && !rule.beforeTls) return replies.TLS_REQUIRED;
    if (tls === "impossible" && !rule.beforeTls) return replies.TLS_IMPOSSIBLE;
    const phase = this.#phase;
    if (phase.name === "unwelcome") return rule.verb === "QUIT" ? undefined : replies.UNWELCOME;
    if (rule.after === "none") return undefined;
    if (phase.name === "fresh") return this.#options.protocol === "lmtp" ? replies.LHLO_FIRST : replies.HELLO_FIRST;
    if (rule.after === "hello") return undefined;
    if (rule.after === "no transaction") return phase.name === "ready" ? undefined : replies.NESTED_MAIL;
    if (phase.name === "ready") return replies.MAIL_FIRST;
    if (phase.name === "chunking") return rule.verb === "BDAT" ? undefined : replies.CHUNKS_GOING_ON;
    if (rule.after === "transaction") return undefined;
    if (phase.name !== "envelope") return replies.BAD_SEQUENCE;
    if (phase.transaction.recipients.length === 0) {
      return this.#options.protocol === "lmtp" ? replies.RCPT_FIRST : replies.NO_VALID_RECIPIENTS;
    }
    const binary = phase.transaction.parameters.body === "binarymime";
    return rule.verb === "DATA" && binary ? replies.BINARY_NEEDS_BDAT : undefined;
  }

  #proceed(command: Command): ServerStep | undefined {
    switch (command.verb) {
      case "HELO":
      case "EHLO":
      case "LHLO":
        return this.#ask({ kind: "hello", verb: command.verb, name: command.name });
      case "MAIL":
        return this.#mail(command);
      case "RCPT":
        return this.#rcpt(command);
      case "DATA":
        return this.#askData();
      case "BDAT":
        return this.#bdat(command.chunk);
      case "RSET":
        if (this.#phase.name !== "fresh") this.#leaveTransaction(READY);
        return this.#say(replies.RESET);
      case "NOOP":
        return this.#say(replies.OK);
      case "HELP":
        return this.#say(replies.HELP);
      case "VRFY":
        return this.#say(replies.CANNOT_VERIFY);
      case "EXPN":
        return this.#mistake(replies.EXPN_NOT_OFFERED);
      case "STARTTLS":
        return this.#startTls();
      case "QUIT":
        this.#leaveTransaction({ name: "closed", why: "quit" });
        return this.#say(replies.BYE);
    }
  }

  #startTls(): ServerStep | undefined {
    if (this.#encrypted) return this.#mistake(replies.TLS_ACTIVE);
    const { tls } = this.#options;
    if (tls === "unavailable" || tls === "impossible") return this.#mistake(replies.TLS_UNAVAILABLE);
    this.#leaveTransaction({ name: "tls" });
    // Whatever came behind the command in plain text is thrown away (RFC 3207 §4.2).
    this.#input = EMPTY;
    this.#at = 0;
    this.#lines.clear();
    this.#say(replies.READY_FOR_TLS);
    this.#steps.push(START_TLS);
    return undefined;
  }

  #mail(command: Command & { verb: "MAIL" }): ServerStep | undefined {
    const { maxMessageSizeBytes, maxMessagesAt } = this.#options;
    const tooMany = maxMessagesAt !== "recipient" && this.#messages >= (this.#options.maxMessages ?? Infinity);
    const tooLarge = (command.parameters.sizeBytes ?? 0) > maxMessageSizeBytes;
    this.#refusing = tooMany || tooLarge;
    if (this.#refusing) return this.#say(tooMany ? replies.TOO_MANY_MESSAGES : replies.TOO_LARGE);
    return this.#ask({ kind: "mail", reversePath: command.reversePath, parameters: command.parameters });
  }

  #rcpt(command: Command & { verb: "RCPT" }): ServerStep | undefined {
    if (this.#phase.name !== "envelope") return this.#mistake(replies.BAD_SEQUENCE);
    const transaction = this.#phase.transaction;
    if (this.#messages > (this.#options.maxMessages ?? Infinity)) return this.#say(replies.TOO_MANY_MESSAGES);
    if (transaction.recipients.length >= this.#options.maxRecipients) return this.#say(replies.TOO_MANY_RECIPIENTS);
    if (!transaction.parameters.smtputf8 && needsSmtputf8(command.forwardPath)) {
      return this.#mistake(replies.NEEDS_SMTPUTF8);
    }
    const { forwardPath, parameters } = command;
    return this.#ask({ kind: "recipient", forwardPath, parameters, transaction });
  }

  #askData(): ServerStep | undefined {
    if (this.#phase.name !== "envelope") return this.#mistake(replies.BAD_SEQUENCE);
    return this.#ask({ kind: "data", transaction: this.#phase.transaction });
  }

  // Bodies

  #readData(transaction: Transaction, receipt: Receipt, reader: DataReader): ServerStep | undefined {
    const step = reader.read(this.#input, this.#at);
    switch (step.kind) {
      case "more":
        return this.#needInput(this.#readDataStep);
      case "body":
        this.#at = step.next;
        receipt.sizeBytes += step.bytes.length;
        this.#limit(receipt);
        if (reader.fault !== undefined) this.#refuseReceipt(receipt, replies.BAD_DATA);
        return receipt.refusal === undefined ? { kind: "body", bytes: step.bytes } : undefined;
      case "end":
        this.#at = step.next;
        if (reader.fault !== undefined) this.#refuseReceipt(receipt, replies.BAD_DATA);
        return this.#endOfBody(transaction, receipt);
    }
  }

  #bdat(chunk: Chunk): ServerStep | undefined {
    const phase = this.#phase;
    if (phase.name === "chunking") return this.#enterChunk(phase.body, chunk);
    this.#chunk = chunk;
    return this.#askData();
  }

  #enterChunk(body: ChunkedBody, chunk: Chunk): undefined {
    // An announced excess is refused before its octets come (RFC 3030 §2).
    this.#limit(body.receipt, chunk.sizeBytes);
    this.#phase = { name: "chunk", body, chunk, remaining: chunk.sizeBytes };
    return undefined;
  }

  #readChunk(phase: Phase & { name: "chunk" }): ServerStep | undefined {
    const { receipt, watch, transaction } = phase.body;
    if (phase.remaining === 0) return this.#endOfChunk(phase);
    const bytes = this.#take(phase.remaining);
    if (bytes.length === 0) return this.#needInput(this.#readDataStep);
    phase.remaining -= bytes.length;
    watch?.see(bytes);
    if (phase.remaining === 0 && phase.chunk.last) watch?.end();
    receipt.sizeBytes += bytes.length;
    this.#limit(receipt);
    if (watch?.fault !== undefined) this.#refuseReceipt(receipt, replies.BAD_DATA);
    if (phase.remaining === 0 && receipt.refusal !== undefined) return this.#endOfBody(transaction, receipt);
    return receipt.refusal === undefined ? { kind: "body", bytes } : undefined;
  }

  #endOfChunk(phase: Phase & { name: "chunk" }): ServerStep | undefined {
    const { receipt, transaction, watch } = phase.body;
    if (phase.chunk.last) watch?.end();
    if (watch?.fault !== undefined) this.#refuseReceipt(receipt, replies.BAD_DATA);
    if (phase.chunk.last || receipt.refusal !== undefined) return this.#endOfBody(transaction, receipt);
    this.#phase = { name: "chunking", body: phase.body };
    return this.#say(reply(250, "2.0.0", `${phase.chunk.sizeBytes} octets received`));
  }

  #refuseChunk(text: string, refusal: Reply): ServerStep | undefined {
    const chunk = parseChunk(text);
    // Without a readable size nobody knows where the octets end, and data must not become commands.
    if (!chunk.ok) return this.#close(replies.LOST_IN_CHUNK);
    const phase = this.#phase;
    const recipients = phase.name === "envelope" ? phase.transaction.recipients.length : 0;
    this.#drainChunk(chunk.value, phase, refusal, recipients);
    return undefined;
  }

  /** In LMTP the last chunk has a reply for each recipient, which may be none (RFC 2033 §4.3). */
  #drainChunk(chunk: Chunk, then: Phase, refusal: Reply, recipients: number): void {
    const times = chunk.last && this.#options.protocol === "lmtp" ? recipients : 1;
    this.#phase = { name: "draining", then, refusal, times, remaining: chunk.sizeBytes };
  }

  #drain(phase: Phase & { name: "draining" }): ServerStep | undefined {
    if (phase.remaining > 0) {
      const bytes = this.#take(phase.remaining);
      if (bytes.length === 0) return this.#needInput(this.#readDataStep);
      phase.remaining -= bytes.length;
      return undefined;
    }
    this.#phase = phase.then;
    for (let time = 0; time < phase.times; time++) {
      if (this.#refusing) this.#say(phase.refusal);
      else this.#mistake(phase.refusal);
    }
    return undefined;
  }

  #take(octets: number): Uint8Array {
    const bytes = this.#input.subarray(this.#at, this.#at + octets);
    this.#at += bytes.length;
    return bytes;
  }

  /** Forgets what was given of the body when this is its first refusal. */
  #refuseReceipt(receipt: Receipt, refusal: Reply): void {
    if (receipt.refuse(refusal)) this.#steps.push({ kind: "abandon", reply: refusal });
  }

  #limit(receipt: Receipt, announcedOctets = 0): void {
    const tooLarge = receipt.sizeBytes + announcedOctets > this.#options.maxMessageSizeBytes;
    if (tooLarge) this.#refuseReceipt(receipt, replies.TOO_LARGE);
  }

  #endOfBody(transaction: Transaction, receipt: Receipt): ServerStep | undefined {
    this.#phase = READY;
    if (receipt.refusal === undefined) {
      return this.#ask({ kind: "commit", transaction, sizeBytes: receipt.sizeBytes });
    }
    // Which of several faults was met first depends on how the octets came; the answer must not.
    const tooLarge = receipt.sizeBytes > this.#options.maxMessageSizeBytes;
    return this.#sayResult(transaction, tooLarge ? replies.TOO_LARGE : receipt.refusal);
  }

  /** SMTP answers the end of data once, LMTP for each recipient (RFC 2033 §4.2). */
  #sayResult(transaction: Transaction, result: Reply): undefined {
    const times = this.#options.protocol === "lmtp" ? transaction.recipients.length : 1;
    for (let index = 0; index < times; index++) this.#say(result);
  }

  // Questions

  #ask(question: Question): ServerStep {
    this.#question = question;
    return { kind: "ask", question };
  }

  #accepted(question: Question, verdict: Verdict & { kind: "accept" | "accept-each" }): void {
    const detail = verdict.kind === "accept" ? verdict.detail : undefined;
    switch (question.kind) {
      case "connect":
        this.#phase = FRESH;
        this.#say(greeting(this.#options));
        break;
      case "hello":
        this.#leaveTransaction(READY);
        if (question.verb === "HELO") this.#say(reply(250, undefined, this.#options.hostName));
        else this.#say(helloReply(this.#options, this.#encrypted ? "encrypted" : "plain"));
        break;
      case "mail":
        this.#messages += 1;
        this.#phase = {
          name: "envelope",
          transaction: { reversePath: question.reversePath, parameters: question.parameters, recipients: [] },
        };
        this.#say(replies.SENDER_OK);
        break;
      case "recipient":
        (question.transaction as OpenTransaction).recipients.push({
          forwardPath: question.forwardPath,
          parameters: question.parameters,
        });
        this.#say(replies.RECIPIENT_OK);
        break;
      case "data":
        this.#enterBody(question.transaction);
        break;
      case "commit":
        if (verdict.kind === "accept-each") return verdict.replies.forEach((each) => this.#say(each));
        this.#sayResult(question.transaction, detail === undefined ? replies.COMMITTED : reply(250, "2.0.0", detail));
    }
  }

  #enterBody(transaction: Transaction): void {
    const receipt = new Receipt();
    const chunk = this.#chunk;
    this.#chunk = undefined;
    if (chunk !== undefined) {
      const binary = transaction.parameters.body === "binarymime";
      this.#enterChunk({ transaction, receipt, watch: binary ? undefined : new LineEndingWatch() }, chunk);
      return;
    }
    const reader = this.#options.lineEndings === "strict" ? new StrictDataReader() : new NormalizingDataReader();
    this.#phase = { name: "data", transaction, receipt, reader };
    this.#say(replies.START_INPUT);
  }

  #refused(question: Question, refusal: Reply): void {
    this.#refusing = true;
    const chunk = this.#chunk;
    switch (question.kind) {
      case "connect":
        this.#phase = { name: "unwelcome" };
        this.#say(refusal);
        break;
      case "data":
        this.#chunk = undefined;
        this.#phase = READY;
        if (chunk === undefined) this.#say(refusal);
        else this.#drainChunk(chunk, READY, refusal, question.transaction.recipients.length);
        break;
      case "commit":
        this.#sayResult(question.transaction, refusal);
        break;
      default:
        this.#say(refusal);
    }
  }

  // Replies and ends

  #say(given: Reply): undefined {
    this.#steps.push({ kind: "write", bytes: encodeReply(given) });
  }

  /** A reply to a command that was wrong in itself; too many of them end the session. */
  #mistake(given: Reply): undefined {
    this.#say(given);
    if (this.#refusing && replies.CONSEQUENCES.has(given)) return;
    this.#errors += 1;
    if (this.#errors >= this.#options.maxErrors) this.#close(replies.TOO_MANY_ERRORS);
  }

  #close(last: Reply): undefined {
    this.#leaveTransaction({ name: "closed", why: "refused" });
    this.#say(last);
  }

  /** The only way out of a transaction that is not its commit; a body already given is abandoned. */
  #leaveTransaction(to: Phase): void {
    const receipt = receiptOf(this.#phase);
    if (receipt !== undefined && receipt.refusal === undefined) this.#steps.push(ABANDON);
    this.#refusing = false;
    this.#phase = to;
  }
}
