/** Replies on the wire, in constants and in configurations; UTF-8 against the platform's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { utf8Bytes, utf8Text } from "../../src/smtp/bytes.ts";
import { encodeReply, parseReplyText, type Reply, reply } from "../../src/smtp/reply.ts";
import * as replies from "../../src/smtp/replies.ts";

const decoder = new TextDecoder();
const wire = (value: Parameters<typeof encodeReply>[0]) => decoder.decode(encodeReply(value));

test("encodeReply() writes one and many lines (RFC 5321 §4.2.1)", () => {
  assert.equal(wire(reply(250, "2.0.0", "OK")), "250 2.0.0 OK\r\n");
  assert.equal(wire(reply(250, undefined, "host", "SIZE 1", "HELP")), "250-host\r\n250-SIZE 1\r\n250 HELP\r\n");
  assert.equal(wire(reply(250, "2.0.0")), "250 2.0.0 \r\n");
});

test("encodeReply() lets no text out of its line, whatever it holds (RFC 5321 §4.2)", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 1000 }), (text) => {
    const bytes = encodeReply(reply(550, "5.1.1", text));
    assert.match(decoder.decode(bytes), /^550 5\.1\.1 [\t\x20-\x7e]*\r\n$/);
    assert.ok(bytes.length <= 512);
  }));
});

test("Every constant reply has an enhanced code of its class, where RFC 2034 §4 wants one", () => {
  const all = Object.values(replies).flatMap((value) => {
    if (value instanceof Set) return [];
    return "code" in value ? [value] : Object.values(value) as Reply[];
  });
  assert.ok(all.length > 30);
  for (const value of all) {
    if (value.code === 354) assert.equal(value.enhanced, undefined);
    else assert.equal(value.enhanced?.charAt(0), String(value.code).charAt(0), JSON.stringify(value.lines));
  }
});

test("parseReplyText() takes full and short forms of a refusal, and nothing else", () => {
  assert.deepEqual(parseReplyText("550 5.1.1 No such user"), reply(550, "5.1.1", "No such user"));
  assert.deepEqual(parseReplyText("450 Later"), reply(450, "4.0.0", "Later"));
  assert.deepEqual(parseReplyText("550"), reply(550, "5.0.0", "Refused"));
  for (const text of ["250 OK", "550 4.1.1 mixed", "5500", "no", "550 5.1.1 a\r\nb", ""]) {
    assert.equal(parseReplyText(text), undefined, text);
  }
});

test("utf8Text() and utf8Bytes() agree with the platform (RFC 3629 §4)", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
    const latin1 = String.fromCharCode(...bytes);
    let expected: string | undefined;
    try {
      expected = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      expected = undefined;
    }
    assert.equal(utf8Text(latin1), expected);
  }));
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
    assert.deepEqual(utf8Bytes(text), new TextEncoder().encode(text));
  }));
});
