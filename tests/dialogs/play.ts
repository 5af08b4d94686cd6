/**
 * Plays dialogs against a fresh session in memory: in lock-step, the client's side as one buffer, byte by byte, and cut
 * at random. It stands in for `server/drive.ts` and the transport, and checks the contract of `ServerSession` on the way:
 * steps in their order, sizes that are true, no input kept beyond its time. It must not know sockets.
 */
import assert from "node:assert/strict";
import { concatBytes } from "../../src/smtp/bytes.ts";
import type { Reply } from "../../src/smtp/reply.ts";
import { createServerSession } from "../../src/smtp/server.ts";
import type { Question, ServerSession, ServerSessionOptions, Verdict } from "../../src/smtp/session.ts";
import type { Dialog, DialogEvent, StoredMessage } from "./dialog.ts";
import { envelopeText, isCommitted, Policy } from "./policy.ts";
import { replyFault, ReplyReader } from "./reply_lines.ts";

/** The pieces in which a stretch of the client's bytes reaches the session. */
export type Cut = (bytes: Uint8Array) => readonly Uint8Array[];

export const whole: Cut = (bytes) => [bytes];
export const byteByByte: Cut = (bytes) => Array.from(bytes, (byte) => Uint8Array.of(byte));

/** Cuts in pieces of 1 to 40 bytes; the same seed cuts the same way. */
export function atRandom(seed: number): Cut {
  const random = mulberry32(seed);
  return (bytes) => {
    const pieces: Uint8Array[] = [];
    for (let start = 0; start < bytes.length;) {
      const end = start + 1 + Math.floor(random() * 40);
      pieces.push(bytes.slice(start, end));
      start = end;
    }
    return pieces;
  };
}

/** A small generator of numbers in [0, 1), good enough to place cuts. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** What decides for a conversation, and sees its messages. */
export interface Decider {
  decide(question: Question): Verdict;
  refuseBody(): Reply | undefined;
}

/** One session, driven to its next wish after each piece of input. */
export class Conversation {
  readonly stored: StoredMessage[] = [];
  readonly questions: Question["kind"][] = [];
  state: "read" | "start-tls" | "closed" = "read";
  why: string | undefined;
  readonly #session: ServerSession;
  readonly #decider: Decider;
  readonly #output: Uint8Array[] = [];
  #taken = 0;
  /** Pieces of the body that a data question allowed; undefined when none may come. */
  #draft: Uint8Array[] | undefined;

  constructor(options: ServerSessionOptions, decider: Decider) {
    this.#decider = decider;
    this.#session = createServerSession(options);
    this.#run();
  }

  /** Gives a piece of input. What arrives after STARTTLS in plain text, or after the close, reaches nobody. */
  receive(bytes: Uint8Array): void {
    if (this.state !== "read") return;
    const lent = bytes.slice();
    this.#session.receive(lent);
    this.#run();
    // The buffer belongs to the transport again: a session that kept a view of it now sees rubbish.
    lent.fill(0x21);
  }

  end(): void {
    if (this.state !== "read") return;
    this.#session.receive(undefined);
    this.#run();
  }

  tls(): void {
    assert.equal(this.state, "start-tls", "The session does not wait for a handshake");
    this.#session.tlsStarted();
    this.#run();
  }

  stop(reply: Reply, when: "now" | "between-transactions"): void {
    if (this.state !== "read") return;
    this.#session.stop(reply, when);
    this.#run();
  }

  /** Everything the server said so far, one character per byte. */
  output(): string {
    return this.#output.map(latin1).join("");
  }

  /** What the server said since the last call. */
  fresh(): readonly Uint8Array[] {
    const pieces = this.#output.slice(this.#taken);
    this.#taken = this.#output.length;
    return pieces;
  }

  #run(): void {
    for (let steps = 0;; steps++) {
      assert.ok(steps < 1_000_000, "The session never comes to rest");
      const step = this.#session.next();
      switch (step.kind) {
        case "read":
          assert.ok(step.timeoutMs > 0);
          this.state = "read";
          return;
        case "write":
          assert.ok(step.bytes.length > 0, "A write of nothing");
          this.#output.push(step.bytes.slice());
          break;
        case "ask":
          this.#answer(step.question);
          break;
        case "body":
          this.#keep(step.bytes);
          break;
        case "abandon":
          assert.notEqual(this.#draft, undefined, "Nothing is there to be abandoned");
          this.#draft = undefined;
          break;
        case "start-tls":
          assert.equal(this.#draft, undefined, "A body was neither committed nor abandoned");
          this.state = "start-tls";
          return;
        case "close":
          assert.equal(this.#draft, undefined, "A body was neither committed nor abandoned");
          this.state = "closed";
          this.why = step.why;
          return;
      }
    }
  }

  #answer(question: Question): void {
    this.questions.push(question.kind);
    const verdict = this.#decider.decide(question);
    if (question.kind === "commit") {
      if (this.#draft === undefined) assert.fail("A commit is asked for without a body, or after it was refused");
      const body = concatBytes(this.#draft);
      assert.equal(question.sizeBytes, body.length, "The size of the commit is not that of its body");
      if (isCommitted(verdict)) this.stored.push({ envelope: envelopeText(question.transaction), body });
      this.#draft = undefined;
    } else if (question.kind === "data") {
      assert.equal(this.#draft, undefined, "Another body was neither committed nor abandoned");
      if (verdict.kind === "accept") this.#draft = [];
    }
    this.#session.answer(verdict);
  }

  #keep(bytes: Uint8Array): void {
    assert.ok(bytes.length > 0, "A body step of nothing");
    if (this.#draft === undefined) assert.fail("Body comes before it is allowed, or after it was refused");
    const refusal = this.#decider.refuseBody();
    if (refusal === undefined) this.#draft.push(bytes.slice());
    else {
      this.#draft = undefined;
      this.#session.refuseBody(refusal);
    }
  }
}

/** Plays in lock-step: after each thing the client does, the server has said exactly what the dialog has there. */
export function playLockStep(dialog: Dialog): Conversation {
  const conversation = new Conversation(dialog.options, new Policy(dialog.rules, dialog.options.protocol));
  const reader = new ReplyReader();
  let storedSeen = 0;
  const drain = () => {
    for (const piece of conversation.fresh()) reader.push(piece);
  };
  const settle = (place: string) => assert.equal(reader.rest(), "", `${place}: The server said more than expected`);
  drain();
  for (const event of dialog.events) {
    if (event.kind !== "expect") settle(event.place);
    switch (event.kind) {
      case "expect": {
        const result = reader.take(event.expectation);
        assert.notEqual(result, undefined, `${event.place}: No such reply came: ${event.expectation.prefix}`);
        if (typeof result === "object") assert.fail(`${event.place}: ${result.wrong}`);
        break;
      }
      case "close":
        assert.equal(conversation.state, "closed", `${event.place}: The server did not close`);
        if (event.why !== undefined) assert.equal(conversation.why, event.why, event.place);
        break;
      case "stored":
        assertStored(conversation.stored.slice(storedSeen, storedSeen + 1), [event.message], event.place);
        storedSeen++;
        break;
      case "nothing-stored":
        assert.equal(conversation.stored.length, storedSeen, `${event.place}: A message was stored`);
        break;
      default:
        act(conversation, event, whole);
        drain();
    }
  }
  settle(`${dialog.place}: at the end`);
  assertEnd(dialog, conversation);
  return conversation;
}

/** Plays the client's side without waiting for replies, cut as told, and compares the outcome with lock-step's. */
export function playStreamed(dialog: Dialog, cut: Cut, reference: Conversation): void {
  const conversation = new Conversation(dialog.options, new Policy(dialog.rules, dialog.options.protocol));
  let pending: Uint8Array[] = [];
  for (const event of dialog.events) {
    if (event.kind === "send") pending.push(event.bytes);
    if (event.kind === "send" || event.kind === "expect" || !isAction(event)) continue;
    act(conversation, { kind: "send", bytes: concatBytes(pending), place: event.place }, cut);
    pending = [];
    act(conversation, event, cut);
  }
  act(conversation, { kind: "send", bytes: concatBytes(pending), place: dialog.place }, cut);
  assert.equal(
    conversation.output(),
    reference.output(),
    `${dialog.place}: The replies depend on how the bytes arrive`,
  );
  assert.deepEqual(conversation.questions, reference.questions, `${dialog.place}: The questions differ`);
  assertStored(conversation.stored, reference.stored, dialog.place);
  assertEnd(dialog, conversation);
}

function isAction(event: DialogEvent): boolean {
  return event.kind === "tls" || event.kind === "eof" || event.kind === "stop";
}

function act(conversation: Conversation, event: DialogEvent, cut: Cut): void {
  switch (event.kind) {
    case "send":
      for (const piece of cut(event.bytes)) conversation.receive(piece);
      break;
    case "tls":
      conversation.tls();
      break;
    case "eof":
      conversation.end();
      break;
    case "stop":
      conversation.stop(event.reply, event.when);
      break;
  }
}

function assertEnd(dialog: Dialog, conversation: Conversation): void {
  const expected = dialog.events.filter((event) => event.kind === "stored").map((event) => event.message);
  assertStored(conversation.stored, expected, dialog.place);
  const closes = dialog.events.some((event) => event.kind === "close");
  assert.equal(conversation.state === "closed", closes, `${dialog.place}: Closed or not, against the dialog's CLOSE`);
  assert.equal(replyFault(conversation.output(), dialog.options.hostName), undefined, dialog.place);
}

export function assertStored(
  actual: readonly StoredMessage[],
  expected: readonly StoredMessage[],
  place: string,
): void {
  const shown = (messages: readonly StoredMessage[]) => messages.map(({ envelope, body }) => [envelope, latin1(body)]);
  assert.deepEqual(shown(actual), shown(expected), `${place}: The stored messages are not the expected ones`);
}

/** One character per byte. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
