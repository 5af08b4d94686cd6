/**
 * The client session (RFC 5321 §3, §4; RFC 2033 for LMTP): greeting, STARTTLS, login, and transactions, pipelined where the
 * server allows it. Each command that was sent waits in a queue for its reply; a server that says more than it was asked,
 * or something that is no reply, ends the session, because no reply could be trusted after that.
 */
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { EMPTY, utf8Bytes } from "./bytes.ts";
import type {
  ClientSession,
  ClientSessionOptions,
  ClientStep,
  OutgoingTransaction,
  RecipientResult,
  SessionFailure,
  Stage,
} from "./client_session.ts";
import { planEnvelope } from "./envelope_plan.ts";
import {
  type Command,
  type Expected,
  failure,
  isIntermediate,
  isPositive,
  refusal,
  refusedBy,
  replyText,
  stageOf,
  timeoutMsOf,
  verdict,
} from "./expected_reply.ts";
import { DOMAIN, isAddressLiteral, matchEnd } from "./grammar.ts";
import { MAX_AUTH_CHALLENGES, MAX_DOMAIN_OCTETS, MAX_PIPELINED_CHUNKS, MAX_PIPELINED_COMMANDS } from "./limits.ts";
import { type BodyWriter, ChunkedBody, DataBody, Outgoing } from "./outgoing.ts";
import { NO_EXTENSIONS, parseExtensions, type PeerExtensions } from "./peer_extensions.ts";
import type { Reply } from "./reply.ts";
import { ReplyReader } from "./reply_reader.ts";
import type { SaslExchange } from "./sasl_client.ts";

type Phase = "dialogue" | "tls" | "ready" | "body" | "closing" | "closed";

const NEED_BODY: ClientStep = { kind: "need-body" };
const READY: ClientStep = { kind: "ready" };
const START_TLS: ClientStep = { kind: "start-tls" };
const EMPTY_DATA = utf8Bytes(".\r\n");

/** Throws when the name is none: it comes from a configuration, which has been checked. */
export function createClientSession(options: ClientSessionOptions): ClientSession {
  const { heloName } = options;
  const isName = matchEnd(DOMAIN, heloName, 0) === heloName.length && heloName.length <= MAX_DOMAIN_OCTETS;
  if (!isName && !(/^\[[!-Z^-~]+\]$/u.test(heloName) && isAddressLiteral(heloName))) {
    throw new RangeError("The name for EHLO is neither a domain nor an address literal");
  }
  return new Session(options);
}

class Session implements ClientSession {
  extensions: PeerExtensions = NO_EXTENSIONS;
  readonly #options: ClientSessionOptions;
  readonly #replies = new ReplyReader();
  #phase: Phase = "dialogue";
  #encrypted: boolean;
  #input: Uint8Array = EMPTY;
  #at = 0;
  #inputEnded = false;
  #steps: ClientStep[] = [];
  /** Commands of the transaction that were not sent yet. */
  #commands: Command[] = [];
  #expected: Expected[] = [{ to: "greeting" }];
  #outgoing: Outgoing | undefined;
  #body: BodyWriter | undefined;
  #exchange: SaslExchange | undefined;
  #challenges = 0;
  #needsReset = false;
  /** Why the session is to end once the transaction is decided. */
  #leaving: SessionFailure | undefined;

  constructor(options: ClientSessionOptions) {
    this.#options = options;
    this.#encrypted = options.tls === "active";
  }

  get awaitsVerdict(): boolean {
    return this.#outgoing?.ended ?? false;
  }

  receive(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) this.#inputEnded = true;
    else {
      this.#input = bytes;
      this.#at = 0;
    }
  }

  next(): ClientStep {
    for (;;) {
      const step = this.#steps.shift();
      if (step !== undefined) return step;
      if (this.#phase === "closed") throw new Error("Client session asked for a step after its close");
      if (this.#phase === "tls") throw new Error("Client session asked for a step during the handshake");
      const made = this.#mustRead() ? this.#readReply() : this.#advance();
      if (made !== undefined) return made;
    }
  }

  send(transaction: OutgoingTransaction): void {
    if (this.#phase !== "ready") throw new Error("Client session given a transaction while it is not ready");
    this.#phase = "dialogue";
    const outgoing = new Outgoing(transaction);
    this.#outgoing = outgoing;
    const envelope = planEnvelope(outgoing, this.extensions);
    const reset: readonly Command[] = this.#needsReset ? [{ text: "RSET", expected: { to: "RSET" } }] : [];
    this.#commands = envelope.length === 0 ? [] : [...reset, ...envelope];
  }

  body(bytes: Uint8Array | undefined): void {
    const writer = this.#body;
    const outgoing = this.#outgoing;
    if (this.#phase !== "body" || writer === undefined || outgoing === undefined) {
      throw new Error("Client session given a body that it did not ask for");
    }
    const pieces = bytes === undefined ? writer.end() : writer.write(bytes);
    if (writer.hasNul) {
      const detail = "The message has NUL characters, which only BINARYMIME can carry";
      outgoing.settleAll({ kind: "failed", enhanced: "5.6.1", detail });
      // There is no other way to take back what was sent.
      return this.#close(failure("temporary", "data", "4.5.0", detail));
    }
    for (const piece of pieces) {
      if (piece.bytes.length > 0) this.#steps.push({ kind: "write", bytes: piece.bytes });
      if (piece.isChunk && bytes !== undefined) this.#expected.push({ to: "BDAT" });
    }
    if (bytes === undefined) this.#endBody(outgoing);
  }

  tlsStarted(): void {
    this.#encrypted = true;
    this.extensions = NO_EXTENSIONS;
    this.#phase = "dialogue";
    this.#hello();
  }

  quit(): void {
    if (this.#phase !== "ready") throw new Error("Client session told to quit while it is not ready");
    this.#phase = "closing";
    this.#say("QUIT", { to: "QUIT" });
  }

  fail(detail: string): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "body") this.#hearLastWords();
    this.#close(failure("temporary", this.#stage(), "4.4.2", detail));
  }

  /** Who refuses in mid-data and closes has often said why. */
  #hearLastWords(): void {
    for (;;) {
      const step = this.#replies.read(this.#input, this.#at);
      if (step.kind !== "reply") return;
      this.#at = step.next;
      if (step.reply.code >= 400) return this.#outgoing?.settleAll(refusedBy(step.reply, "the data"));
    }
  }

  // Reading

  /** Whether a reply comes first, before anything else can be done. */
  #mustRead(): boolean {
    if (this.#expected.length === 0) return false;
    return this.#phase !== "body" || this.#expected.length >= (this.extensions.pipelining ? MAX_PIPELINED_CHUNKS : 1);
  }

  #readReply(): ClientStep | undefined {
    const expected = this.#expected[0];
    if (expected === undefined) return undefined;
    const step = this.#replies.read(this.#input, this.#at);
    if (step.kind === "more") {
      this.#input = EMPTY;
      this.#at = 0;
      if (!this.#inputEnded) {
        return { kind: "read", timeoutMs: Math.min(timeoutMsOf(expected), this.#options.maxTimeoutMs ?? Infinity) };
      }
      this.#close(failure("temporary", this.#stage(), "4.4.2", "The server closed the connection"));
    } else if (step.kind === "bad") this.#babble(`The server sent ${step.fault}`);
    else {
      this.#at = step.next;
      this.#expected.shift();
      this.#answered(expected, step.reply);
    }
    return undefined;
  }

  /** Whether the server has said something that it was not asked for. */
  #hasLeftover(): boolean {
    return this.#at < this.#input.length || this.#replies.isWithin;
  }

  // Doing

  /** When no reply is awaited: goes on with what there is to do. */
  #advance(): ClientStep | undefined {
    if (this.#phase === "body") return NEED_BODY;
    if (this.#phase === "closing") {
      this.#phase = "closed";
      return { kind: "close" };
    }
    const outgoing = this.#outgoing;
    if (outgoing !== undefined) return this.#advanceTransaction(outgoing);
    const leaving = this.#leaving;
    if (leaving !== undefined) {
      this.#close(leaving);
      return undefined;
    }
    this.#phase = "ready";
    return READY;
  }

  #advanceTransaction(outgoing: Outgoing): ClientStep | undefined {
    const [next] = this.#commands;
    if (outgoing.refused || outgoing.isDecided) this.#commands = [];
    else if (next !== undefined && (next.expected.to !== "DATA" || outgoing.accepted.length > 0)) {
      this.#sayBatch();
      return undefined;
    } else if (next === undefined && outgoing.accepted.length > 0 && !outgoing.ended) {
      this.#beginBody(outgoing);
      return undefined;
    }
    this.#finish(outgoing);
    return undefined;
  }

  /** As many commands as may go together (RFC 2920 §3.1); DATA is the last of them all. */
  #sayBatch(): void {
    const count = this.extensions.pipelining ? MAX_PIPELINED_COMMANDS : 1;
    const batch = this.#commands.splice(0, count);
    if (this.#hasLeftover()) return this.#outOfTurn();
    const text = batch.map((command) => `${command.text}\r\n`).join("");
    this.#steps.push({ kind: "write", bytes: utf8Bytes(text) });
    for (const command of batch) this.#expected.push(command.expected);
  }

  #say(text: string, expected: Expected): void {
    if (this.#hasLeftover()) return this.#outOfTurn();
    this.#steps.push({ kind: "write", bytes: utf8Bytes(`${text}\r\n`) });
    this.#expected.push(expected);
  }

  /** A server may say 421 at any time (RFC 5321 §3.8); anything else that nobody asked for makes all replies doubtful. */
  #outOfTurn(): void {
    const step = this.#replies.read(this.#input, this.#at);
    if (step.kind === "reply" && step.reply.code === 421) {
      return this.#close(refusal("temporary", this.#stage(), "The server said", step.reply));
    }
    this.#babble("The server sent more than it was asked for");
  }

  #babble(detail: string): void {
    this.#close(failure("temporary", this.#stage(), "4.5.0", detail));
  }

  #stage(): Stage {
    if (this.#phase === "ready" || this.#phase === "closing") return "ready";
    if (this.#phase === "body") return "data";
    const expected = this.#expected[0];
    return expected === undefined ? "sender" : stageOf(expected);
  }

  /** The session is over. What is not decided of a transaction is decided by how far it had come. */
  #close(why: SessionFailure): void {
    const outgoing = this.#outgoing;
    // What a peer was still to be told is of no use to it now.
    this.#steps = [];
    this.#expected = [];
    if (outgoing !== undefined) {
      const { kind, detail, enhanced, reply } = why;
      const rest: RecipientResult = outgoing.ended
        ? {
          kind: "unknown",
          enhanced: "4.4.2",
          detail: `The server had the whole message and did not answer: ${detail}`,
        }
        : {
          kind: kind === "permanent" ? "failed" : "deferred",
          enhanced,
          detail,
          ...(reply === undefined ? {} : { reply }),
        };
      const unheard = !outgoing.heard && !outgoing.isDecided;
      outgoing.settleAll(rest);
      this.#steps.push({ kind: "result", result: outgoing.result(unheard) });
      this.#outgoing = undefined;
    }
    this.#phase = "closed";
    this.#steps.push({ kind: "close", failure: why });
  }

  // Replies

  #answered(expected: Expected, reply: Reply): void {
    switch (expected.to) {
      case "greeting":
        return this.#greeted(reply);
      case "EHLO":
      case "HELO":
      case "LHLO":
        return this.#helloAnswered(expected.to, reply);
      case "STARTTLS":
        return this.#startTlsAnswered(reply);
      case "AUTH":
        return this.#authAnswered(reply);
      case "QUIT":
        return;
      default:
        return this.#transactionAnswered(expected, reply);
    }
  }

  #greeted(reply: Reply): void {
    if (!isPositive(reply)) return this.#refuse("greeting", "Greeting", reply);
    if (this.#isOwn(reply)) return this.#loops();
    this.#hello();
  }

  #hello(): void {
    const verb = this.#options.protocol === "lmtp" ? "LHLO" : "EHLO";
    this.#say(`${verb} ${this.#options.heloName}`, { to: verb });
  }

  #helloAnswered(verb: "EHLO" | "HELO" | "LHLO", reply: Reply): void {
    if (!isPositive(reply)) {
      // RFC 5321 §3.2: a server that does not know EHLO may know HELO.
      if (verb === "EHLO" && reply.code >= 500) return this.#say(`HELO ${this.#options.heloName}`, { to: "HELO" });
      return this.#refuse("hello", `Reply to ${verb}`, reply);
    }
    if (this.#isOwn(reply)) return this.#loops();
    this.extensions = verb === "HELO" ? NO_EXTENSIONS : parseExtensions(reply);
    const { tls } = this.#options;
    if (this.#encrypted || tls === "off") return this.#login();
    if (this.extensions.startTls) return this.#say("STARTTLS", { to: "STARTTLS" });
    this.#withoutTls("The server does not offer STARTTLS, and mail goes to it with TLS alone");
  }

  #startTlsAnswered(reply: Reply): void {
    if (!isPositive(reply)) return this.#withoutTls(`Reply to STARTTLS: ${replyText(reply)}`);
    // RFC 3207 §4.2: what comes behind the reply in plain text was put there by somebody else.
    if (this.#hasLeftover()) {
      return this.#close(failure("temporary", "tls", "4.7.0", "Plain text came behind the reply to STARTTLS"));
    }
    this.#phase = "tls";
    this.#steps.push(START_TLS);
  }

  #withoutTls(detail: string): void {
    if (this.#options.tls === "opportunistic") return this.#login();
    this.#close(failure("temporary", "tls", "4.7.4", detail));
  }

  #login(): void {
    const { mechanisms = [], loginInPlain = false } = this.#options;
    if (mechanisms.length === 0) return;
    if (!this.#encrypted && !loginInPlain) {
      const detail = "The connection is not encrypted, so the password is not sent";
      return this.#close(failure("temporary", "login", "4.7.0", detail));
    }
    const mechanism = mechanisms.find(({ name }) => this.extensions.auth.includes(name));
    if (mechanism === undefined) {
      const names = mechanisms.map(({ name }) => name).join(", ");
      return this.#close(failure("temporary", "login", "4.7.0", `The server offers no login with ${names}`));
    }
    this.#exchange = mechanism.begin();
    this.#challenges = 0;
    const { initial } = this.#exchange;
    // RFC 4954 §4: an empty response is written "=".
    const response = initial === undefined ? "" : ` ${initial.length === 0 ? "=" : encodeBase64(initial)}`;
    this.#say(`AUTH ${mechanism.name}${response}`, { to: "AUTH" });
  }

  #authAnswered(reply: Reply): void {
    if (isPositive(reply)) {
      this.#exchange = undefined;
      return;
    }
    if (reply.code !== 334) {
      // Wrong credentials are put right in the configuration, not by giving the mail up.
      return this.#close(refusal("temporary", "login", "Reply to AUTH", reply));
    }
    const challenge = decodeBase64(reply.lines.join("").trim());
    const response = challenge === undefined || ++this.#challenges > MAX_AUTH_CHALLENGES
      ? undefined
      : this.#exchange?.respond(challenge);
    this.#say(response === undefined ? "*" : encodeBase64(response), { to: "AUTH" });
    if (this.#challenges > MAX_AUTH_CHALLENGES + 1) this.#babble("The login does not come to an end");
  }

  #refuse(stage: Stage, what: string, reply: Reply): void {
    // RFC 5321 §3.1, §4.3.2: this server takes no mail from us; another of the domain's may.
    const kind = reply.code >= 500 ? "permanent" : "temporary";
    this.#close(refusal(kind, stage, what, reply));
  }

  #isOwn({ lines }: Reply): boolean {
    const name = lines[0]?.trim().split(/\s/u, 1)[0]?.toLowerCase() ?? "";
    return this.#options.ownNames?.some((own) => own.toLowerCase() === name) ?? false;
  }

  /** RFC 5321 §6.3. */
  #loops(): void {
    this.#close(failure("permanent", "hello", "5.4.6", "The server has our own name: mail would go in circles"));
  }

  // Transactions

  #beginBody(outgoing: Outgoing): void {
    if (this.#hasLeftover()) return this.#outOfTurn();
    this.#body = this.extensions.chunking
      ? new ChunkedBody({ binary: outgoing.transaction.body === "binarymime" })
      : new DataBody();
    this.#phase = "body";
  }

  #endBody(outgoing: Outgoing): void {
    this.#phase = "dialogue";
    this.#body = undefined;
    outgoing.ended = true;
    const { accepted } = outgoing;
    if (this.#options.protocol === "smtp") this.#expected.push({ to: "end", indexes: accepted });
    // RFC 2033 §4.2: a reply for each recipient that was accepted, in their order.
    else for (const index of accepted) this.#expected.push({ to: "end", indexes: [index] });
  }

  #transactionAnswered(expected: Expected, reply: Reply): void {
    const outgoing = this.#outgoing;
    if (outgoing === undefined) return this.#babble("The server sent more than it was asked for");
    if (reply.code === 421 && expected.to !== "end") {
      return this.#close(refusal("temporary", stageOf(expected), `Reply to ${expected.to}`, reply));
    }
    outgoing.heard ||= expected.to !== "RSET";
    switch (expected.to) {
      case "RSET":
        if (!isPositive(reply)) return this.#babble(`Reply to RSET: ${replyText(reply)}`);
        this.#needsReset = false;
        return;
      case "MAIL":
      case "RCPT":
      case "BDAT":
        if (isIntermediate(reply)) return this.#babble(`Reply to ${expected.to}: ${replyText(reply)}`);
        return this.#commandAnswered(outgoing, expected, reply);
      case "DATA":
        return this.#dataAnswered(outgoing, reply);
      case "end":
        return this.#endAnswered(outgoing, expected.indexes, reply);
    }
  }

  #commandAnswered(outgoing: Outgoing, expected: Expected, reply: Reply): void {
    if (isPositive(reply)) {
      if (expected.to === "MAIL") this.#needsReset = true;
      else if (expected.to === "RCPT" && outgoing.isOpen(expected.index)) outgoing.accepted.push(expected.index);
    } else if (expected.to === "RCPT") outgoing.settle(expected.index, refusedBy(reply, "RCPT"));
    else {
      // The replies to what was sent on behind it still come, and say nothing new.
      outgoing.settleAll(refusedBy(reply, expected.to));
      outgoing.refused = true;
      if (this.#phase === "body") this.#phase = "dialogue";
    }
  }

  #dataAnswered(outgoing: Outgoing, reply: Reply): void {
    if (isPositive(reply)) return this.#babble(`Reply to DATA: ${replyText(reply)}`);
    if (!isIntermediate(reply)) {
      outgoing.settleAll(refusedBy(reply, "DATA"));
      outgoing.refused = true;
      return;
    }
    if (this.#hasLeftover()) return this.#outOfTurn();
    if (!outgoing.isDecided && outgoing.accepted.length > 0) return this.#beginBody(outgoing);
    // RFC 2920 §3.1: DATA went out with recipients of which none was taken. Nothing must be delivered by it.
    if (this.#options.protocol === "lmtp") return this.#babble("The server takes data for no recipient");
    this.#steps.push({ kind: "write", bytes: EMPTY_DATA });
    this.#expected.push({ to: "end", indexes: [] });
  }

  #endAnswered(outgoing: Outgoing, indexes: readonly number[], reply: Reply): void {
    if (isIntermediate(reply)) return this.#babble(`Reply to the data: ${replyText(reply)}`);
    for (const index of indexes) outgoing.settle(index, verdict(reply));
    if (reply.code === 421) {
      this.#leaving = refusal("temporary", "verdict", "Reply to the data", reply);
    }
    if (this.#expected.length > 0) return;
    this.#needsReset = false;
    this.#finish(outgoing);
  }

  #finish(outgoing: Outgoing): void {
    this.#outgoing = undefined;
    this.#body = undefined;
    this.#steps.push({ kind: "result", result: outgoing.result(false) });
  }
}
