/**
 * Properties of the server session under any input: it never throws, always comes to rest, says well-formed replies, says the
 * same however the bytes are cut, and holds no more than its bounds. A failure prints fast-check's seed and path.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import { createServerSession } from "../../src/smtp/server.ts";
import type { ServerSession, ServerSessionOptions } from "../../src/smtp/session.ts";
import { DEFAULT_OPTIONS } from "../dialogs/dialog.ts";
import { Conversation, latin1 } from "../dialogs/play.ts";
import { Policy } from "../dialogs/policy.ts";
import { replyFault } from "../dialogs/reply_lines.ts";

const encoder = new TextEncoder();
const RUNS = { numRuns: 400 };
const SLOW = { timeout: 60_000 };

const COMMANDS = [
  "EHLO client.example.net",
  "HELO client.example.net",
  "LHLO client.example.net",
  "MAIL FROM:<a@example.org>",
  "MAIL FROM:<>",
  "MAIL FROM:<a@example.org> BODY=BINARYMIME SIZE=10 RET=FULL",
  "MAIL FROM:<grün@example.org> SMTPUTF8",
  "RCPT TO:<b@example.com>",
  "RCPT TO:<b@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40",
  "RCPT TO:<reject@example.com>",
  "RCPT TO:<full@example.com>",
  "RCPT TO:<hangup@example.com>",
  "DATA",
  "BDAT 0",
  "BDAT 7",
  "BDAT 12 LAST",
  "BDAT x",
  "RSET",
  "NOOP",
  "VRFY b",
  "EXPN b",
  "HELP",
  "QUIT",
  "STARTTLS",
  ".",
  "..",
  "text",
  "",
];

const command = fc.constantFrom(...COMMANDS).map((text) => encoder.encode(`${text}\r\n`));
const line = fc.string({ unit: "binary", maxLength: 40 }).map((text) => encoder.encode(`${text}\r\n`));
const junk = fc.uint8Array({ maxLength: 30 });
const trap = fc.constantFrom("\r", "\n", "\0", "\r\n.\r\n", "\n.\n", "\n.\r\n", ".\r", "\r\r\n").map((text) =>
  encoder.encode(text)
);
const body = fc.constantFrom("DATA\r\nline\r\n..\r\n.\r\n", "BDAT 6\r\nQUIT\r\n", "BDAT 3 LAST\r\n\r\n.").map((text) =>
  encoder.encode(text)
);
/** So that most of the streams reach a transaction, or the mail data, at once. */
const opening = fc.constantFrom(
  "",
  "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n",
  "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
  "LHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
).map((text) => encoder.encode(text));
const stream = fc.tuple(
  opening,
  fc.array(
    fc.oneof(
      { weight: 8, arbitrary: command },
      { weight: 2, arbitrary: body },
      { weight: 1, arbitrary: line },
      { weight: 1, arbitrary: junk },
      { weight: 2, arbitrary: trap },
    ),
    { maxLength: 25 },
  ),
).map(([first, rest]) => joined([first, ...rest]));

const options: fc.Arbitrary<ServerSessionOptions> = fc.record({
  protocol: fc.constantFrom("smtp", "lmtp"),
  lineEndings: fc.constantFrom("strict", "normalize"),
  tls: fc.constantFrom("unavailable", "offered", "required", "active"),
  maxMessageSizeBytes: fc.constantFrom(8, 1000),
  maxRecipients: fc.constantFrom(1, 1000),
  maxErrors: fc.constantFrom(3, 1000),
  maxMessages: fc.constantFrom(1, 1000),
}).map((chosen) => ({ ...DEFAULT_OPTIONS, ...chosen }));

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

/** Cuts at the given fractions of the length. */
function cutAt(bytes: Uint8Array, places: readonly number[]): readonly Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.slice(ends[index - 1] ?? 0, end)).filter((piece) => piece.length > 0);
}

/** Plays one stream, the handshake when asked for, a second stream, and the end of the stream. */
function play(given: ServerSessionOptions, streams: readonly (readonly Uint8Array[])[]): Conversation {
  const conversation = new Conversation(given, new Policy([], given.protocol));
  for (const pieces of streams) {
    if (conversation.state === "start-tls") conversation.tls();
    for (const piece of pieces) conversation.receive(piece);
  }
  conversation.end();
  return conversation;
}

function outcome(conversation: Conversation): unknown {
  const { state, why, questions, stored } = conversation;
  return [conversation.output(), state, why, questions, stored.map(({ envelope, body }) => [envelope, latin1(body)])];
}

test("session: any stream, any cut: well-formed replies, the same ones, and rest", SLOW, () => {
  const places = fc.array(fc.nat({ max: 2000 }), { maxLength: 12 });
  fc.assert(
    fc.property(options, stream, stream, places, (given, first, second, cut) => {
      const whole = play(given, [[first], [second]]);
      assert.equal(replyFault(whole.output(), given.hostName), undefined);
      assert.notEqual(whole.state, "read", "After the end of the stream there is nothing to read");
      assert.deepEqual(outcome(play(given, [cutAt(first, cut), cutAt(second, cut)])), outcome(whole));
      const bytes = [first, second].map((one) => Array.from(one, (byte) => Uint8Array.of(byte)));
      assert.deepEqual(outcome(play(given, bytes)), outcome(whole));
    }),
    RUNS,
  );
});

test("session: arbitrary bytes never make it throw", () => {
  fc.assert(
    fc.property(options, fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (given, pieces) => {
      const conversation = play(given, [pieces]);
      assert.equal(replyFault(conversation.output(), given.hostName), undefined);
      assert.equal(conversation.stored.length, 0);
    }),
    RUNS,
  );
});

test("session: one reply for each command line, in their order, RFC 5321 §4.3.2", () => {
  const SINGLE = ["NOOP", "RSET", "VRFY x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "WHAT", "EXPN x"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...SINGLE), { maxLength: 60 }), (commands) => {
      const conversation = new Conversation({ ...DEFAULT_OPTIONS, maxErrors: 1000 }, new Policy([], "smtp"));
      const before = conversation.output().length;
      let last = before;
      for (const text of commands) {
        conversation.receive(encoder.encode(`${text}\r\n`));
        const said = conversation.output().slice(last);
        assert.match(said, /^[2-5]\d\d [^\r\n]*\r\n$/, text);
        if (text === "NOOP" || text === "RSET") assert.match(said, /^250 /);
        last += said.length;
      }
      const batch = new Conversation({ ...DEFAULT_OPTIONS, maxErrors: 1000 }, new Policy([], "smtp"));
      batch.receive(encoder.encode(commands.map((text) => `${text}\r\n`).join("")));
      assert.equal(batch.output(), conversation.output());
    }),
    RUNS,
  );
});

const ENVELOPE = "EHLO c\r\nMAIL FROM:<a@example.org> BODY=BINARYMIME\r\nRCPT TO:<b@example.com>\r\n";

test("session: DATA stores any clean lines exactly, RFC 5321 §4.5.2", () => {
  const byte = fc.integer({ min: 1, max: 255 }).filter((value) => value !== 10 && value !== 13);
  const textLine = fc.array(fc.oneof({ weight: 1, arbitrary: fc.constant(0x2e) }, { weight: 3, arbitrary: byte }), {
    maxLength: 12,
  });
  const lines = fc.array(textLine, { maxLength: 20 });
  fc.assert(
    fc.property(lines, fc.array(fc.nat({ max: 400 }), { maxLength: 8 }), (given, cut) => {
      const message = joined(given.map((one) => Uint8Array.from([...one, 13, 10])));
      const stuffed = joined(given.map((one) => Uint8Array.from([...(one[0] === 0x2e ? [0x2e] : []), ...one, 13, 10])));
      const conversation = new Conversation(DEFAULT_OPTIONS, new Policy([], "smtp"));
      conversation.receive(encoder.encode(ENVELOPE.replace(" BODY=BINARYMIME", "")));
      const data = joined([encoder.encode("DATA\r\n"), stuffed, encoder.encode(".\r\n")]);
      for (const piece of cutAt(data, cut)) conversation.receive(piece);
      assert.equal(conversation.stored.length, 1);
      assert.deepEqual(conversation.stored[0]?.body, message);
    }),
    RUNS,
  );
});

test("session: BDAT stores any octets exactly, in any chunks, RFC 3030 §3", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), fc.nat({ max: 400 }), (chunks, cut) => {
      const pieces = chunks.map((chunk) => joined([encoder.encode(`BDAT ${chunk.length}\r\n`), chunk]));
      const conversation = new Conversation(DEFAULT_OPTIONS, new Policy([], "smtp"));
      const all = joined([encoder.encode(ENVELOPE), ...pieces, encoder.encode("BDAT 0 LAST\r\nNOOP\r\n")]);
      for (const piece of cutAt(all, [cut, cut * 7])) conversation.receive(piece);
      assert.equal(conversation.stored.length, 1);
      assert.deepEqual(conversation.stored[0]?.body, joined(chunks));
      assert.match(conversation.output(), /\r\n250 2\.0\.0 [^\r\n]*\r\n$/);
    }),
    RUNS,
  );
});

/** Runs a session to its next read without keeping anything it gives; returns the kinds of its other steps. */
function rest(session: ServerSession): string[] {
  const kinds: string[] = [];
  for (;;) {
    const step = session.next();
    if (step.kind === "read" || step.kind === "close") return kinds;
    if (step.kind === "ask") session.answer({ kind: "accept" });
    else kinds.push(step.kind);
  }
}

const TO_DATA = "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";

interface Endless {
  readonly what: string;
  readonly opening: string;
  /** Repeated until the session would have grown by hundreds of megabytes. */
  readonly pattern: string;
  readonly limit: number;
  /** The steps that each piece brings, and those that the ending brings. */
  readonly during: readonly string[];
  readonly ending: string;
  readonly atEnd: readonly string[];
}

const ENDLESS: readonly Endless[] = [
  {
    what: "a command line without end",
    opening: "",
    pattern: "x",
    limit: 1000,
    during: [],
    ending: "\r\nNOOP\r\n",
    atEnd: ["write", "write"],
  },
  {
    what: "a line of mail data without end",
    opening: TO_DATA,
    pattern: "x",
    limit: 2 ** 40,
    during: ["body"],
    ending: "\r\n.\r\n",
    atEnd: ["body", "write"],
  },
  {
    what: "mail data too large",
    opening: TO_DATA,
    pattern: `${"x".repeat(1022)}\r\n`,
    limit: 1000,
    during: [],
    ending: ".\r\nNOOP\r\n",
    atEnd: ["write", "write"],
  },
  {
    what: "a chunk that is refused",
    opening: `BDAT ${401 * 1024 * 1024 + 2}\r\n`,
    pattern: "NOOP\r\n..",
    limit: 1000,
    during: [],
    ending: "..NOOP\r\n",
    atEnd: ["write", "write"],
  },
];

for (const { what, opening, pattern, limit, during, ending, atEnd } of ENDLESS) {
  test(`session: holds no more than its bounds in ${what}`, SLOW, () => {
    const session = createServerSession({ ...DEFAULT_OPTIONS, maxMessageSizeBytes: limit });
    rest(session);
    session.receive(encoder.encode(opening));
    rest(session);
    const piece = encoder.encode(pattern.repeat(1024 * 1024 / pattern.length));
    assert.equal(piece.length, 1024 * 1024);
    session.receive(piece);
    rest(session);
    const before = process.memoryUsage().rss;
    for (let turn = 0; turn < 400; turn++) {
      session.receive(piece);
      assert.deepEqual(rest(session), during);
    }
    // A session that kept what it was fed would hold 400 MiB now.
    assert.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024, "The session keeps what it was fed");
    session.receive(encoder.encode(ending));
    assert.deepEqual(rest(session), atEnd);
  });
}

test("session: a line dripped one byte at a time is still one line, within its bound", () => {
  const session = createServerSession(DEFAULT_OPTIONS);
  rest(session);
  for (let turn = 0; turn < 100_000; turn++) {
    session.receive(Uint8Array.of(0x4e));
    assert.deepEqual(rest(session), []);
  }
  session.receive(encoder.encode("\r\n"));
  assert.deepEqual(rest(session), ["write"]);
});
