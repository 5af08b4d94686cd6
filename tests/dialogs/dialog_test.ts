/** The parser of dialogs and the checks on replies: what they understand, and that they refuse the rest with the line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DialogEvent, DialogSyntaxError, parseDialogs } from "./dialog.ts";
import { latin1 } from "./play.ts";
import { replyFault, ReplyReader } from "./reply_lines.ts";

function events(text: string): readonly DialogEvent[] {
  return parseDialogs(`dialog one\n${text}\n`, "x.dialog")[0]?.events ?? [];
}

function sent(text: string): string {
  return events(text).map((event) => event.kind === "send" ? latin1(event.bytes) : "").join("");
}

test("dialog: C: sends UTF-8 and CRLF, C~ exactly what is escaped", () => {
  assert.equal(sent("C: a\\n ä"), "a\\n \u00c3\u00a4\r\n");
  assert.equal(sent("C~ a\\r\\n\\0\\t\\\\\\xffb"), "a\r\n\0\t\\\xffb");
  assert.equal(sent("C~ <\\{ab*3}\\{\\r\\n*2}>"), "<ababab\r\n\r\n>");
  assert.equal(sent("C:"), "\r\n");
});

test("dialog: repeat copies its lines and counts from 1", () => {
  assert.equal(sent("repeat 3\nC: N%n\nend\nC: x"), "N1\r\nN2\r\nN3\r\nx\r\n");
});

test("dialog: body lines gather behind STORED", () => {
  const [event] = events("STORED <> <b@example.com>\n| one\n|\n|~ two");
  assert.ok(event?.kind === "stored");
  assert.equal(event.message.envelope, "<> <b@example.com>");
  assert.equal(latin1(event.message.body), "one\r\n\r\ntwo");
});

test("dialog: options and policies become values", () => {
  const text = "option tls required\noption max_errors 3\npolicy commit once disconnect 451 4.3.0 Later\nC: x";
  const [dialog] = parseDialogs(`dialog one\n${text}`, "x.dialog");
  assert.equal(dialog?.options.tls, "required");
  assert.equal(dialog?.options.maxErrors, 3);
  assert.deepEqual(dialog?.rules, [{
    question: "commit",
    once: true,
    disconnect: true,
    reply: { code: 451, enhanced: "4.3.0", lines: ["Later"] },
  }]);
  assert.equal(dialog?.memoryOnly, true);
});

for (
  const text of [
    "X: what",
    "C~ \\q",
    "C~ \\",
    "S+ SIZE",
    "S- SIZE",
    "| body",
    "option tls maybe",
    "option max_errors few",
    "option colour red",
    "policy weather 550 5.0.0 Rain",
    "policy mail 250 2.0.0 Fine",
    "repeat 3\nC: x",
    "CLOSE soon",
    "NOTHING",
    "only here",
    "C: x\ndialog one\nC: x",
    "",
  ]
) {
  test(`dialog: refuses ${JSON.stringify(text)} with its place`, () => {
    assert.throws(() => events(text), (error) => {
      assert.ok(error instanceof DialogSyntaxError);
      assert.match(error.message, /^x\.dialog:\d+: [A-Z]/);
      return true;
    });
  });
}

test("dialog: refuses lines before the first dialog", () => {
  assert.throws(() => parseDialogs("C: x", "x.dialog"), DialogSyntaxError);
});

test("reply reader: waits for the whole reply and cuts at CRLF only", () => {
  const reader = new ReplyReader();
  const push = (text: string) => reader.push(new TextEncoder().encode(text));
  const reply = { kind: "reply", prefix: "250 mx", has: ["SIZE 10"], lacks: ["STARTTLS"] } as const;
  push("250-mx.example.com\r\n250-SIZE 10\r");
  assert.equal(reader.take(reply), undefined);
  push("\n250 DSN\r\n221 2.0.0 Bye\r\n");
  assert.equal(reader.take(reply), "met");
  assert.equal(reader.take({ kind: "line", prefix: "221 2.0.0" }), "met");
  assert.equal(reader.rest(), "");
});

for (
  const [output, fault] of [
    ["220 mx.example.com ready\r\n250-mx.example.com\r\n250 SIZE\r\n354 Go\r\n250 2.0.0 Ok\r\n", undefined],
    ["220 mx.example.com\r\n250 2.0.0 Ok", /does not end/],
    ["220 mx.example.com\r\n250 Ok\r\n", /missing/],
    ["220 mx.example.com\r\n550 4.1.1 No\r\n", /disagree/],
    ["220 mx.example.com\r\n354 2.0.0 Go\r\n", /disagree/],
    ["220 mx.example.com\r\n250-2.0.0 One\r\n251 2.0.0 Two\r\n", /changes/],
    ["220 mx.example.com\r\n250-2.0.0 One\r\n", /no last line/],
    ["220 mx.example.com\r\n250 2.0.0 \x1b[31m\r\n", /Not printable/],
    ["220 mx.example.com\r\n\r\n", /Not a reply/],
    [`220 ${"x".repeat(507)}\r\n`, /Longer/],
  ] as const
) {
  test(`reply check: ${fault === undefined ? "is content with" : "complains about"} ${output.slice(20, 60).trim()}`, () => {
    const found = replyFault(output, "mx.example.com");
    if (fault === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "", fault);
  });
}
