/** Changes to header sections, whatever the pieces they come in; encoded-words; fields as rules read them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { editedContent, type HeaderEdit, isFieldName } from "../../src/message/edit.ts";
import { decodeCharset } from "../../src/server/charset.ts";
import { decodeWords, encodeWords, safeFieldText } from "../../src/message/encoded_word.ts";
import { FieldCollector, MAX_COLLECTED_OCTETS } from "../../src/message/field.ts";

const encoder = new TextEncoder();

/** The text in pieces of that many octets, in a buffer that is used again for each. */
async function* pieces(text: string, size: number): AsyncIterable<Uint8Array> {
  const bytes = encoder.encode(text);
  const buffer = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    await undefined;
    const piece = bytes.subarray(at, at + size);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
    buffer.fill(0x21);
  }
}

/** The result, which must not depend on the pieces. */
async function edited(text: string, edits: readonly HeaderEdit[]): Promise<string> {
  let expected: string | undefined;
  for (const size of [text.length + 1, 1, 2, 3, 7, 16]) {
    let result = "";
    const decoder = new TextDecoder();
    for await (const piece of editedContent(pieces(text, size), edits)) {
      result += decoder.decode(piece, { stream: true });
    }
    expected ??= result;
    assert.equal(result, expected, `in pieces of ${size}`);
  }
  return expected ?? "";
}

const MESSAGE =
  "Received: by us\r\n\tid 1\r\nSubject: Hello\r\n you\r\nX-A: 1\r\nx-a : 2\r\n\tmore\r\nTo: a@b.c\r\n\r\n" +
  "X-A: body\r\nSubject: body\r\n";

const add = (name: string, value: string): HeaderEdit => ({ kind: "add", name, value });
const set = (name: string, value: string): HeaderEdit => ({ kind: "set", name, value });
const remove = (name: string): HeaderEdit => ({ kind: "remove", name });
const prefix = (text: string): HeaderEdit => ({ kind: "prefix-subject", text });

test("header edits: added on top, removed with their continuations, replaced, the body untouched", async () => {
  const without = MESSAGE.replace("X-A: 1\r\nx-a : 2\r\n\tmore\r\n", "");
  const cases: readonly (readonly [readonly HeaderEdit[], string])[] = [
    [[], MESSAGE],
    [[add("X-B", "1"), add("X-C", "2")], `X-C: 2\r\nX-B: 1\r\n${MESSAGE}`],
    [[remove("X-a")], without],
    [[remove("X-Z"), remove("received")], MESSAGE.replace("Received: by us\r\n\tid 1\r\n", "")],
    [[set("X-A", "3")], `X-A: 3\r\n${without}`],
    [[set("X-A", "3"), set("x-a", "4")], `x-a: 4\r\n${without}`],
    [[set("X-A", "3"), add("X-A", "4")], `X-A: 4\r\nX-A: 3\r\n${without}`],
    [[add("X-A", "3"), set("X-A", "4")], `X-A: 4\r\n${without}`],
    [[add("X-A", "3"), remove("X-A")], without],
    [[prefix("[a]")], MESSAGE.replace("Subject: Hello", "Subject: [a] Hello")],
    [[prefix("[a]"), prefix("[b]")], MESSAGE.replace("Subject: Hello", "Subject: [b] [a] Hello")],
    [
      [set("Subject", "New"), prefix("[a]")],
      `Subject: [a] New\r\n${MESSAGE.replace("Subject: Hello\r\n you\r\n", "")}`,
    ],
    [[prefix("[a]"), set("Subject", "New")], `Subject: New\r\n${MESSAGE.replace("Subject: Hello\r\n you\r\n", "")}`],
    [[remove("Subject"), prefix("[a]")], `Subject: [a]\r\n${MESSAGE.replace("Subject: Hello\r\n you\r\n", "")}`],
    [[prefix("")], MESSAGE],
  ];
  for (const [edits, expected] of cases) assert.equal(await edited(MESSAGE, edits), expected, JSON.stringify(edits));
});

test("header edits: subjects of every form get their prefix once", async () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ["Subject:Hello\r\n\r\n", "[a]", "Subject: [a] Hello\r\n\r\n"],
    ["SUBJECT : Hello\r\n\r\n", "[a]", "SUBJECT : [a] Hello\r\n\r\n"],
    ["Subject:\r\n\r\n", "[a]", "Subject: [a]\r\n\r\n"],
    ["Subject:\r\n folded\r\n\r\n", "[a]", "Subject: [a]\r\n folded\r\n\r\n"],
    ["Subject: one\r\nSubject: two\r\n\r\n", "[a]", "Subject: [a] one\r\nSubject: two\r\n\r\n"],
    ["To: x\r\n\r\nSubject: body\r\n", "[a]", "To: x\r\nSubject: [a]\r\n\r\nSubject: body\r\n"],
    ["\r\nbody\r\n", "[a]", "Subject: [a]\r\n\r\nbody\r\n"],
    ["To: x", "[a]", "To: x\r\nSubject: [a]\r\n"],
    ["To: x\r\n", "[a]", "To: x\r\nSubject: [a]\r\n"],
    ["Subject", "[a]", "Subject\r\nSubject: [a]\r\n"],
    ["Subject: a", "[a]", "Subject: [a] a"],
    ["Subject: =?utf-8?q?x?=\r\n\r\n", "[a]", "Subject: [a] =?utf-8?q?x?=\r\n\r\n"],
    ["Subject: Hello\r\n\r\n", "ü", "Subject: =?utf-8?B?w7w=?= Hello\r\n\r\n"],
    ["Subject: =?utf-8?q?x?=\r\n\r\n", "ü", "Subject: =?utf-8?B?w7wg?= =?utf-8?q?x?=\r\n\r\n"],
    ["Subject: Hello\nTo: x\n\nbody\n", "[a]", "Subject: [a] Hello\nTo: x\n\nbody\n"],
  ];
  for (const [text, given, expected] of cases) assert.equal(await edited(text, [prefix(given)]), expected, text);
});

test("header edits: no name and no value can begin a field, a line or a body of its own", async () => {
  const hostile = [
    "a\r\nX-Evil: 1",
    "a\n\nbody",
    "a\0b",
    "a\u2028b",
    "a\u0085b",
    "a\rb",
    "\ud800",
    " =?utf-8?q?=0D=0AX:1?=",
  ];
  for (const value of hostile) {
    for (const edit of [add("X", value), set("X", value), prefix(value)]) {
      const result = await edited("To: x\r\n\r\nbody\r\n", [edit]);
      const [header = ""] = result.split("\r\n\r\n", 1);
      assert.deepEqual(
        header.split("\r\n").filter((line) => /^X-Evil|^body|^b/u.test(line)),
        [],
        JSON.stringify(value),
      );
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(result.replaceAll("\r\n", ""), /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028]/u, JSON.stringify(value));
      assert.equal(result.split("\r\n\r\n").length, 2);
    }
  }
  for (const name of ["X: 1\r\nY", "", "X Y", "X\0", "Ü", "X".repeat(77)]) {
    assert.equal(isFieldName(name), false);
    assert.equal(await edited("To: x\r\n\r\n", [add(name, "1"), set(name, "1")]), "To: x\r\n\r\n");
  }
  const long = await edited("To: x\r\n\r\n", [add("X", "y".repeat(5000)), add("Y", "ü".repeat(5000))]);
  for (const line of long.split("\r\n")) assert.ok(line.length <= 998, String(line.length));
});

test("header edits: a field cannot hide by its size, its white space or its place", async () => {
  const padding = `X-Pad: ${"x".repeat(3_000)}\r\n`.repeat(200);
  const spaces = " ".repeat(900);
  const text = `${padding}X-A${spaces}: 1\r\n${" y".repeat(3_000)}\r\nTo: x\r\n\r\nbody`;
  let result = "";
  for await (const piece of editedContent(pieces(text, 4096), [remove("X-A")])) {
    result += new TextDecoder().decode(piece);
  }
  assert.equal(result, `${padding}To: x\r\n\r\nbody`);
});

test("header edits: what is not touched comes through octet for octet, in any pieces", async () => {
  const line = fc.constantFrom("A: 1", " more", "\tx", "Subject: s", "no field", ":", "X-A: 2", "B:", "é: ü", "a\rb");
  const end = fc.constantFrom("\r\n", "\r\n", "\n");
  const text = fc.array(fc.tuple(line, end), { maxLength: 8 }).map((parts) => parts.flat().join(""));
  await fc.assert(
    fc.asyncProperty(text, text, fc.integer({ min: 1, max: 9 }), async (header, body, size) => {
      const whole = `${header}\r\n${body}`;
      let result = "";
      const decoder = new TextDecoder();
      for await (const piece of editedContent(pieces(whole, size), [remove("X-None"), add("X-New", "1")])) {
        result += decoder.decode(piece, { stream: true });
      }
      assert.equal(result, `X-New: 1\r\n${whole}`);
    }),
    { numRuns: 300 },
  );
});

test("encoded-words say what was said, in words of bounded length", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      const safe = safeFieldText(text, 900);
      const encoded = encodeWords(safe);
      assert.match(encoded, /^[ -~\r\n]*$/u);
      assert.equal(decodeWords(encoded.replaceAll("\r\n", ""), decodeCharset), safe);
      for (const word of encoded.split("\r\n ")) assert.ok(word === safe || word.length <= 75, word);
    }),
  );
  assert.equal(decodeWords("=?iso-8859-1?Q?a=E9_b?= =?utf-8*en?b?w7w=?= c", decodeCharset), "aé bü c");
  assert.equal(decodeWords("=?no-such?Q?a?= b =?utf-8?b?%%?=", decodeCharset), "=?no-such?Q?a?= b =?utf-8?b?%%?=");
  assert.equal(decodeWords("a =?x", decodeCharset), "a =?x");
});

test("fields are collected up to the empty line, unfolded and decoded", () => {
  const text =
    "Received: x\r\nSubject: =?utf-8?b?w7w=?=\r\n  and\r\n\tmore \r\nx-a :  1\r\nno field\r\nX-A:2\r\n\r\nX-A: body\r\n";
  for (const size of [1, 2, 3, 5, 1000]) {
    const collector = new FieldCollector();
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length; at += size) collector.see(bytes.subarray(at, at + size));
    assert.deepEqual(collector.fields(decodeCharset), [
      { name: "received", value: "x" },
      { name: "subject", value: "ü  and\tmore" },
      { name: "x-a", value: "1" },
      { name: "x-a", value: "2" },
    ]);
    assert.equal(collector.tooLarge, false);
  }
  const large = new FieldCollector();
  large.see(encoder.encode(`X: ${"x".repeat(MAX_COLLECTED_OCTETS)}`));
  assert.equal(large.tooLarge, true);
  assert.deepEqual(large.fields(decodeCharset), []);
  const body = new FieldCollector();
  body.see(encoder.encode(`X: 1\r\n\r\n${"x".repeat(MAX_COLLECTED_OCTETS)}`));
  assert.equal(body.tooLarge, false);
});
