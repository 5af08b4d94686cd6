/** Mail data on its way out: whatever the content, a strict reader finds one message, and it is the content. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeBase64, encodeBase64 } from "../../src/smtp/base64.ts";
import { StrictDataReader } from "../../src/smtp/data.ts";
import { DataWriter } from "../../src/smtp/data_writer.ts";
import { bytesOf, pieces, textOf } from "./client_dialog.ts";

function sent(content: string, cut: readonly number[], dots: boolean): string {
  const writer = new DataWriter({ dots });
  let text = "";
  for (const piece of pieces(bytesOf(content), cut)) text += textOf(writer.write(piece));
  return text + textOf(writer.end());
}

/** What the server behind a strict reader gets, and what comes after the end of the data. */
function received(text: string): { readonly body: string; readonly rest: string } {
  const bytes = bytesOf(text);
  const reader = new StrictDataReader();
  let body = "";
  for (let at = 0;;) {
    const step = reader.read(bytes, at);
    assert.notEqual(step.kind, "more", "the data do not end");
    if (step.kind === "more") throw new Error();
    assert.equal(reader.fault, undefined);
    if (step.kind === "end") return { body, rest: text.slice(step.next) };
    body += textOf(step.bytes);
    at = step.next;
  }
}

/** Every line end as CRLF, and one at the end. */
function repaired(content: string): string {
  const text = content.replace(/\r\n|\r|\n/g, "\r\n");
  return text === "" || text.endsWith("\r\n") ? text : `${text}\r\n`;
}

const hostile = fc.array(
  fc.constantFrom("\r", "\n", "\r\n", ".", "..", "\r\n.\r\n", "\n.\n", "\n.\r\n", "\r.\r", "a", "\xff"),
  {
    maxLength: 30,
  },
).map((parts) => parts.join(""));
const cuts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 6 });

test("data writer: a strict reader finds the content with its line ends repaired, and nothing behind it", () => {
  fc.assert(
    fc.property(hostile, cuts, (content, cut) => {
      assert.deepEqual(received(sent(content, cut, true)), { body: repaired(content), rest: "" });
      assert.equal(sent(content, cut, false), repaired(content));
    }),
    { numRuns: 3_000 },
  );
});

test("data writer: no form of an end of data within the content ends it (RFC 5321 §4.5.2)", () => {
  for (
    const end of ["\r\n.\r\n", "\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\n.\r", "\r\n\0.\r\n"]
  ) {
    for (const cut of [[Infinity], [1], [2], [3]]) {
      const content = `a${end}MAIL FROM:<evil@example.org>\r\n`;
      const text = sent(content, cut, true);
      assert.ok(!/\r(?!\n)|(?<!\r)\n/.test(text), JSON.stringify(text));
      assert.equal(text.indexOf("\r\n.\r\n"), text.length - 5, JSON.stringify(text));
    }
  }
});

test("data writer: clean pieces pass through without a copy, and a NUL is noticed", () => {
  const writer = new DataWriter({ dots: true });
  const piece = bytesOf("Subject: Hi\r\n\r\nText. And more.\r\n");
  assert.equal(writer.write(piece), piece);
  assert.equal(writer.hasNul, false);
  assert.equal(textOf(writer.end()), ".\r\n");
  assert.equal(sent("", [1], true), ".\r\n");
  assert.equal(sent(".", [1], true), "..\r\n.\r\n");
  writer.write(bytesOf("a\0b"));
  assert.equal(writer.hasNul, true);
});

test("base64: every length comes back, and what is malformed does not", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      const text = encodeBase64(bytes);
      assert.equal(text, Buffer.from(bytes).toString("base64"));
      assert.deepEqual(decodeBase64(text), bytes);
    }),
  );
  for (const bad of ["a", "ab=c", "a===", "YQ", "Y Q=", "YQ=\n"]) assert.equal(decodeBase64(bad), undefined, bad);
});
