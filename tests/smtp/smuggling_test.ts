/**
 * SMTP smuggling: every sequence of CR, LF, CRLF and NUL around a dot, and between commands, whole and cut at every place.
 * What must come out is told by a model of a few lines for each policy, written from RFC 5321 §2.3.8 and §4.1.1.4, which
 * sees the whole stream at once and so knows nothing of cuts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_OPTIONS } from "../dialogs/dialog.ts";
import { Conversation, latin1 } from "../dialogs/play.ts";
import { Policy } from "../dialogs/policy.ts";

type Policies = "strict" | "normalize";

const PIECES = ["\r", "\n", "\r\n", "\0"];
const SINGLES = new Set(["", ...PIECES]);
const PAIRS = new Set([...SINGLES].flatMap((one) => [...SINGLES].map((two) => one + two)));
const TRIPLES = new Set([...PAIRS].flatMap((one) => [...SINGLES].map((two) => one + two)));

const ENVELOPE = "EHLO client.example.net\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";
const SMUGGLED = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nsmuggled\r\n.\r\n";

/** Some of these try thousands of sessions. */
const SLOW = { timeout: 60_000 };

interface Outcome {
  readonly output: string;
  readonly stored: readonly string[];
  readonly mails: number;
}

function converse(lineEndings: Policies, pieces: readonly string[]): Outcome {
  const options = { ...DEFAULT_OPTIONS, lineEndings, maxErrors: 1000 };
  const conversation = new Conversation(options, new Policy([], "smtp"));
  for (const piece of pieces) conversation.receive(Uint8Array.from(piece, (character) => character.charCodeAt(0)));
  return {
    output: conversation.output(),
    stored: conversation.stored.map(({ envelope, body }) => `${envelope}\n${latin1(body)}`),
    mails: conversation.questions.filter((kind) => kind === "mail").length,
  };
}

interface Reading {
  /** Undefined when the message must be refused. */
  readonly body: string | undefined;
  /** What comes behind the end of data. */
  readonly rest: string;
}

/** Only CRLF ends a line, only CRLF.CRLF the data, and nothing else of CR, LF and NUL may be in it. */
function readStrict(stream: string): Reading {
  const padded = `\r\n${stream}`;
  const end = padded.indexOf("\r\n.\r\n");
  const raw = padded.slice(2, end + 2);
  const lines = raw.split("\r\n");
  const dirty = lines.some((line) => /[\r\n\0]/u.test(line));
  const body = lines.map((line) => line.startsWith(".") ? line.slice(1) : line).join("\r\n");
  return { body: dirty ? undefined : body, rest: padded.slice(end + 5) };
}

/** LF ends a line, with or without CR before it; any other CR becomes a line end in what is stored, and there alone. */
function readNormalized(stream: string): Reading {
  const end = /(?:^|\n)\.\r?\n/u.exec(stream);
  assert.ok(end !== null);
  const start = end.index + (end[0].startsWith("\n") ? 1 : 0);
  const raw = stream.slice(0, start);
  const body = raw.replaceAll(/(^|\n)\./gu, "$1").replaceAll(/\r\n|\r|\n/gu, "\r\n");
  return { body: raw.includes("\0") ? undefined : body, rest: stream.slice(end.index + end[0].length) };
}

const READINGS = { strict: readStrict, normalize: readNormalized } as const;

function shown(text: string): string {
  return JSON.stringify(text);
}

/** Holds one outcome against the model's reading of the stream behind DATA. */
function check(lineEndings: Policies, stream: string, outcome: Outcome): void {
  const { body, rest } = READINGS[lineEndings](stream);
  const context = `${lineEndings}, data ${shown(stream)}`;
  const own = outcome.stored.filter((message) => message.startsWith("<a@example.org> <b@example.com>\n"));
  const expected = body === undefined ? [] : [`<a@example.org> <b@example.com>\n${body}`];
  assert.deepEqual(own, expected, context);
  for (const message of outcome.stored) {
    assert.doesNotMatch(message.slice(message.indexOf("\n") + 1).replaceAll("\r\n", ""), /[\r\n\0]/u, context);
  }
  const replies = outcome.output.slice(outcome.output.indexOf("\r\n354 ") + 2).split("\r\n");
  assert.match(replies[1] ?? "", body === undefined ? /^5\d\d 5\./ : /^250 2\./, context);
  if (rest !== "QUIT\r\n") return;
  // The true end is the last one: nothing behind the lookalike was taken for a command.
  assert.equal(outcome.mails, 1, context);
  assert.equal(replies.length, 4, context);
  assert.match(replies[2] ?? "", /^221 /, context);
}

function* cuts(text: string, from: number, to: number): Generator<readonly string[]> {
  yield [text];
  yield [...text];
  for (let at = from; at <= to; at++) yield [text.slice(0, at), text.slice(at)];
  for (let at = from; at < to; at++) yield [text.slice(0, at), text.slice(at, at + 1), text.slice(at + 1)];
}

for (const lineEndings of ["strict", "normalize"] as const) {
  test(`smuggling: all pairs around a dot, cut everywhere, ${lineEndings}, RFC 5321 §4.1.1.4`, SLOW, () => {
    for (const before of PAIRS) {
      for (const behind of PAIRS) {
        const stream = `line${before}.${behind}${SMUGGLED}QUIT\r\n`;
        const text = ENVELOPE + stream;
        const start = ENVELOPE.length + 4;
        let first: Outcome | undefined;
        for (const pieces of cuts(text, start, start + before.length + 1 + behind.length)) {
          const outcome = converse(lineEndings, pieces);
          check(lineEndings, stream, outcome);
          first ??= outcome;
          assert.deepEqual(
            outcome,
            first,
            `${lineEndings}, cut as ${shown(pieces.slice(0, -1).join("|").slice(start))}`,
          );
        }
      }
    }
  });

  test(`smuggling: all triples around a dot, ${lineEndings}, RFC 5321 §4.1.1.4`, SLOW, () => {
    for (const before of TRIPLES) {
      for (const behind of TRIPLES) {
        const stream = `line${before}.${behind}${SMUGGLED}QUIT\r\n`;
        check(lineEndings, stream, converse(lineEndings, [ENVELOPE + stream]));
        check(
          lineEndings,
          stream,
          converse(lineEndings, [ENVELOPE, `line${before}`, ".", `${behind}${SMUGGLED}QUIT\r\n`]),
        );
      }
    }
  });

  test(`smuggling: data that open with a dot, ${lineEndings}, RFC 5321 §4.1.1.4`, SLOW, () => {
    for (const behind of TRIPLES) {
      const stream = `.${behind}${SMUGGLED}QUIT\r\n`;
      for (const pieces of cuts(ENVELOPE + stream, ENVELOPE.length - 2, ENVELOPE.length + 1 + behind.length)) {
        check(lineEndings, stream, converse(lineEndings, pieces));
      }
    }
  });

  test(`smuggling: no command hides in another's line, ${lineEndings}, RFC 5321 §2.3.8`, SLOW, () => {
    for (const between of TRIPLES) {
      const text = `EHLO client.example.net\r\nNOOP${between}MAIL FROM:<evil@example.org>\r\nQUIT\r\n`;
      const lines = text.split(lineEndings === "strict" ? "\r\n" : /\r?\n/u);
      const start = text.indexOf("NOOP");
      for (const pieces of cuts(text, start, start + 5 + between.length)) {
        const outcome = converse(lineEndings, pieces);
        const context = `${lineEndings}, between commands ${shown(between)}`;
        assert.equal(outcome.mails, lines.includes("MAIL FROM:<evil@example.org>") ? 1 : 0, context);
        assert.match(outcome.output, /\r\n221 2\.0\.0 [^\r\n]*\r\n$/, context);
        if (lines.some((line) => /[\r\n\0]/u.test(line))) assert.match(outcome.output, /^500 5\.5\.2 /m, context);
      }
    }
  });
}

test("smuggling: dots of other kinds end nothing, RFC 5321 §4.5.2", () => {
  for (const dot of ["．", "。", " .", ". ", "\t.", ".\t", "..", ".\x1a", "\x7f.", "\xae", "\x2e\x80"]) {
    const stream = `line\r\n${dot}\r\n${SMUGGLED}QUIT\r\n`;
    const bytes = latin1(new TextEncoder().encode(stream));
    const { body } = readStrict(bytes);
    const outcome = converse("strict", [ENVELOPE + bytes]);
    assert.deepEqual(outcome.stored, [`<a@example.org> <b@example.com>\n${body}`], shown(dot));
  }
});
