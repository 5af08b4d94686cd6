/**
 * Dialogues of client sessions as transcripts: `C:` is what the client must write, `S:` what it then gets, with `\r\n`
 * behind each; `S!` has none, and `\xNN` stands for an octet. `TLS` is a handshake, `END` the end of the server's stream.
 */
import assert from "node:assert/strict";
import { createClientSession } from "../../src/smtp/client.ts";
import type {
  ClientSessionOptions,
  OutgoingTransaction,
  RecipientResult,
  SessionFailure,
  TransactionResult,
} from "../../src/smtp/client_session.ts";

export interface ClientDialog {
  readonly text: string;
  readonly options?: Partial<ClientSessionOptions>;
  readonly mails?: readonly OutgoingMail[];
}

export interface OutgoingMail extends Partial<Omit<OutgoingTransaction, "recipients">> {
  readonly to: readonly (string | OutgoingTransaction["recipients"][number])[];
  readonly content?: string;
}

export interface Played {
  readonly results: readonly TransactionResult[];
  readonly failure: SessionFailure | undefined;
  /** Limits of the read steps, in their order, each once for each block of the server's. */
  readonly timeoutsMs: readonly number[];
}

/** How a block of the server's and the content come: cut into pieces of these lengths, the last one again and again. */
export type Cut = readonly number[];

export function bytesOf(latin1: string): Uint8Array {
  return Uint8Array.from(latin1, (character) => character.charCodeAt(0));
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

interface Block {
  readonly by: "C" | "S" | "TLS" | "END";
  text: string;
}

function blocksOf(text: string): readonly Block[] {
  const blocks: Block[] = [];
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "") continue;
    if (line === "TLS" || line === "END") {
      blocks.push({ by: line, text: "" });
      continue;
    }
    const match = /^([CS])([:!]) ?(.*)$/u.exec(line);
    assert.ok(match !== null, `not a line of a dialogue: ${line}`);
    const by = match[1] as "C" | "S";
    const unescaped = (match[3] ?? "")
      .replace(/\\x([0-9a-f]{2})/giu, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
      .replaceAll("\\r", "\r").replaceAll("\\n", "\n");
    const value = match[2] === ":" ? `${unescaped}\r\n` : unescaped;
    const last = blocks.at(-1);
    if (last?.by === by) last.text += value;
    else blocks.push({ by, text: value });
  }
  return blocks;
}

export function* pieces(bytes: Uint8Array, cut: Cut): Iterable<Uint8Array> {
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = Math.max(1, cut[Math.min(index, cut.length - 1)] ?? Infinity);
    // A copy, because a session must not look at bytes that are no longer valid.
    yield bytes.slice(at, at + size);
    at += size;
  }
}

function transactionOf(mail: OutgoingMail): OutgoingTransaction {
  const { to, content: _, ...rest } = mail;
  return {
    reversePath: "a@example.org",
    body: "7bit",
    smtputf8: false,
    ...rest,
    recipients: to.map((recipient) => typeof recipient === "string" ? { address: recipient } : recipient),
  };
}

/** Plays the dialogue to its end; every octet that the client writes is compared. */
export function play(dialog: ClientDialog, cut: Cut = [Infinity]): Played {
  const session = createClientSession({
    protocol: "smtp",
    heloName: "me.example.com",
    tls: "off",
    ...dialog.options,
  });
  const blocks = [...blocksOf(dialog.text)];
  const mails = [...dialog.mails ?? []];
  let content: Iterator<Uint8Array> | undefined;
  let incoming: Iterator<Uint8Array> | undefined;
  let lent: Uint8Array | undefined;
  let written = "";
  const results: TransactionResult[] = [];
  const timeoutsMs: number[] = [];
  const expectWritten = (): void => {
    if (blocks[0]?.by === "C") assert.equal(written, blocks.shift()?.text);
    else assert.equal(written, "");
    written = "";
  };
  for (let count = 0; count < 1_000_000; count++) {
    const step = session.next();
    switch (step.kind) {
      case "write":
        written += textOf(step.bytes);
        break;
      case "read": {
        lent?.fill(0x21);
        lent = incoming?.next().value as Uint8Array | undefined;
        if (lent === undefined) {
          expectWritten();
          timeoutsMs.push(step.timeoutMs);
          const block = blocks.shift();
          if (block?.by === "S") {
            incoming = pieces(bytesOf(block.text), cut)[Symbol.iterator]();
            lent = incoming.next().value as Uint8Array | undefined;
          } else assert.equal(block?.by, "END", "the client waits for what the dialogue has not");
        }
        session.receive(lent);
        break;
      }
      case "start-tls":
        expectWritten();
        assert.equal(blocks.shift()?.by, "TLS");
        session.tlsStarted();
        break;
      case "ready": {
        const mail = mails.shift();
        if (mail === undefined) {
          session.quit();
          break;
        }
        content = pieces(bytesOf(mail.content ?? "Subject: Hi\r\n\r\nText\r\n"), cut)[Symbol.iterator]();
        session.send(transactionOf(mail));
        break;
      }
      case "need-body":
        session.body(content?.next().value as Uint8Array | undefined);
        break;
      case "result":
        results.push(step.result);
        break;
      case "close":
        expectWritten();
        assert.deepEqual(blocks, [], "the client closed before the end of the dialogue");
        return { results, failure: step.failure, timeoutsMs };
    }
  }
  throw new Error("The client does not come to an end");
}

/** Whole, octet by octet, and cut anyhow: the same every time. */
export function playCut(dialog: ClientDialog): Played {
  const whole = play(dialog);
  for (const cut of [[1], [2, 3], [7, 1, 40], [1, 1, 1, 1, 1, 1000]]) {
    const { results, failure } = play(dialog, cut);
    assert.deepEqual({ results, failure }, { results: whole.results, failure: whole.failure });
  }
  return whole;
}

/** `delivered`, `failed 5.1.1`, … of the only transaction's recipients. */
export function kinds(played: Played, transaction = 0): readonly string[] {
  return played.results[transaction]?.recipients.map(kindOf) ?? [];
}

function kindOf({ kind, enhanced }: RecipientResult): string {
  return enhanced === undefined ? kind : `${kind} ${enhanced}`;
}
