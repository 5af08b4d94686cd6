/** TOML to a tree with places, for any text. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { readToml } from "../../src/config/read.ts";
import { createSource, spanOf } from "../../src/config/source.ts";
import { type Node, plain } from "../../src/config/tree.ts";

function read(text: string) {
  return readToml(createSource("a.toml", text));
}

function tree(text: string) {
  const result = read(text);
  if (!result.ok) throw new Error(result.diagnostic.message);
  return result.root;
}

/** JSON has no null prototypes, so comparing by it leaves them out. */
function json(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

test("readToml gives values of every kind", () => {
  const text = 'a = "x"\nb = 1_000\nc = 1.5\nd = true\ne = [1, [2]]\nf = { g = { h = 1 } }\ni.j.k = 2\n' +
    "[t.u]\nv = 1\n[[l]]\nw = 1\n[[l.m]]\nx = 1\n[[l.m]]\nx = 2\n[[l]]\nw = 2\n[l.n]\ny = 3\n";
  assert.deepEqual(json(plain(tree(text))), {
    a: "x",
    b: 1000,
    c: 1.5,
    d: true,
    e: [1, [2]],
    f: { g: { h: 1 } },
    i: { j: { k: 2 } },
    t: { u: { v: 1 } },
    l: [{ w: 1, m: [{ x: 1 }, { x: 2 }] }, { w: 2, n: { y: 3 } }],
  });
});

test("readToml keeps keys that objects have of their own", () => {
  const root = tree('__proto__ = "a"\nconstructor = "b"\ntoString.x = 1\n');
  assert.deepEqual([...root.entries.keys()], ["__proto__", "constructor", "toString"]);
  assert.equal(Object.getPrototypeOf(plain(root)), null);
});

test("places are those of keys, values and headers, with CRLF and a byte order mark", () => {
  const text = '\ufeffa = "x"\r\n\tb = 1\r\n[[ l ]]\r\nc = [1, 22]\r\n[t]\r\n';
  const root = tree(text);
  const at = (node: Node) => {
    const { start, end } = spanOf(node.place);
    return [start.line, start.column, end.line, end.column];
  };
  const node = (key: string) => root.entries.get(key)?.node ?? assert.fail(key);
  assert.deepEqual(at(node("a")), [1, 5, 1, 8]);
  assert.deepEqual(at(node("b")), [2, 6, 2, 7]);
  const list = node("l");
  const item = list.kind === "array" ? list.items[0] : undefined;
  assert.ok(item?.kind === "table");
  assert.deepEqual(at(item), [3, 1, 3, 8]);
  const numbers = item.entries.get("c")?.node;
  assert.ok(numbers?.kind === "array" && numbers.items[1] !== undefined);
  assert.deepEqual(at(numbers.items[1]), [4, 9, 4, 11]);
  assert.deepEqual(at(node("t")), [5, 1, 5, 4]);
  const key = spanOf(root.entries.get("b")?.key ?? assert.fail());
  assert.deepEqual([key.start.line, key.start.column, key.end.column], [2, 2, 3]);
  assert.deepEqual(key.start.offset, text.indexOf("b =") - 1, "the byte order mark does not count");
});

test("a key that stands several times is known at each place", () => {
  const root = tree("[[l]]\n[[l]]\n[l.t]\n[l.u]\n");
  const entry = root.entries.get("l") ?? assert.fail();
  assert.deepEqual([entry.key, ...entry.again].map((place) => place.start), [2, 8, 13, 19]);
});

test("syntax errors are one diagnostic at their place, in plain words", () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['a = 1\nb = "x\nc = 2\n', "2:7", /string has no end/u],
    ["a = 1\na = 2\n", "2:1", /"a" is defined twice/u],
    ["[t]\n[t]\n", "2:2", /"t" is defined twice/u],
    ["port 25\n", "1:6", /Expected "="/u],
    ["port =\n", "1:7", /value is missing|Unexpected/u],
    ["a = hello\n", "1:5", /Unexpected "hello"/u],
    ['a = "\\d"\n', "1:6", /begins no known escape/u],
    ["a = [1, 2\n\n\n", "1:10", /array has no end|end of the file|missing/u],
    ["a = [1 2]\n", "1:8", /Expected ","/u],
    ["a = 1 b = 2\n", "1:7", /Expected the end of the line/u],
    ["\ufeffa = 1\n=\n", "2:1", /Unexpected "="/u],
    ["a = 1\r\n\r\nb = \u0000\r\n", "3:5", /Unexpected/u],
  ];
  for (const [text, place, message] of cases) {
    const result = read(text);
    assert.ok(!result.ok, text);
    const { code, primary } = result.diagnostic;
    assert.equal(`${code} ${primary.start.line}:${primary.start.column}`, `SMTPD001 ${place}`, JSON.stringify(text));
    assert.match(result.diagnostic.message, message);
  }
});

test("deep nesting of any form is refused, not overflowed", () => {
  for (
    const text of [
      `a = ${"[".repeat(40)}${"]".repeat(40)}`,
      `a = ${"[".repeat(50_000)}${"]".repeat(50_000)}`,
      `a = ${"{b=".repeat(200)}1${"}".repeat(200)}`,
      `a${".a".repeat(1000)} = 1`,
      `[a${".a".repeat(1000)}]`,
      `[[a${".a".repeat(1000)}]]\nb = 1`,
    ]
  ) {
    const result = read(text);
    assert.ok(!result.ok && result.diagnostic.message === "Values are nested too deeply", text.slice(0, 40));
  }
});

test("no text makes readToml throw, and every place lies within the text", () => {
  const example = readFileSync(new URL("../../config.example.toml", import.meta.url), "utf8");
  const piece = fc.constantFrom(
    "[",
    "]",
    "[[",
    "{",
    "}",
    '"',
    "'",
    '"""',
    "=",
    ".",
    ",",
    "#",
    "\\",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\ufeff",
    "a",
    "1",
    " ",
  );
  const mutated = fc.tuple(fc.nat(example.length), fc.nat(40), fc.oneof(piece, fc.string())).map(([at, cut, text]) =>
    example.slice(0, at) + text + example.slice(at + cut)
  );
  const anyText = fc.oneof(
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join("")),
    mutated,
  );
  fc.assert(
    fc.property(anyText, (text) => {
      const result = read(text);
      if (result.ok) return void json(plain(result.root));
      const { start, end } = result.diagnostic.primary;
      assert.ok(start.line >= 1 && start.column >= 1 && start.offset <= text.length && end.offset >= start.offset);
      assert.equal(result.diagnostic.code, "SMTPD001");
      assert.notEqual(result.diagnostic.message, "This file is not valid TOML", "the parser named a place");
    }),
    { numRuns: 600 },
  );
});

test("position and line agree with splitting the text", () => {
  const text = fc.array(fc.constantFrom("a", "é", "\n", "\r\n", "\t", "😀"), { maxLength: 30 }).map((parts) =>
    parts.join("")
  );
  fc.assert(fc.property(text, fc.nat(60), (content, wanted) => {
    const source = createSource("a", content);
    const offset = Math.min(wanted, content.length);
    const before = content.slice(0, offset).split("\n");
    assert.deepEqual(source.position(offset), {
      line: before.length,
      column: (before.at(-1)?.length ?? 0) + 1,
      offset,
    });
    assert.deepEqual(content.split(/\r?\n/u), content.split("\n").map((_, index) => source.line(index + 1)));
  }));
});
