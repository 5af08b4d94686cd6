/** Values as TOML text: read back they are the same, and a terminal can show them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readToml } from "../../src/config/read.ts";
import { createSource } from "../../src/config/source.ts";
import { tomlComment, tomlKey, tomlString, tomlValue } from "../../src/config/toml_text.ts";
import { plain } from "../../src/config/tree.ts";

function read(text: string): Readonly<Record<string, unknown>> {
  const result = readToml(createSource("x.toml", text));
  assert.ok(result.ok, text);
  return JSON.parse(JSON.stringify(plain(result.root)));
}

// deno-lint-ignore no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

test("tomlString: any text comes back as it was, on one safe line", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      const written = tomlString(text);
      assert.doesNotMatch(written, UNSAFE);
      assert.equal(read(`a = ${written}`)["a"], text);
    }),
    { numRuns: 1000 },
  );
});

test("tomlString: half a surrogate pair becomes the replacement character", () => {
  assert.equal(tomlString("a\ud800b"), '"a\\ufffdb"');
});

test("tomlValue: numbers, lists and tables come back", () => {
  const values = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value === 0 ? 0 : value),
      fc.boolean(),
      fc.string({ maxLength: 10 }),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.string({ maxLength: 5 }).filter((key) => key !== "__proto__"), tie("value"), { maxKeys: 3 }),
    ),
  })).value;
  fc.assert(
    fc.property(values, (value) => {
      assert.deepEqual(read(`a = ${tomlValue(value)}`)["a"], JSON.parse(JSON.stringify(value)));
    }),
    { numRuns: 500 },
  );
});

test("tomlKey: bare where it may be, quoted elsewhere", () => {
  assert.equal(tomlKey("host_name-2"), "host_name-2");
  assert.equal(tomlKey("X.Y"), '"X.Y"');
  assert.equal(tomlKey(""), '""');
});

test("tomlComment: any text is a comment and gives no instruction", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary", maxLength: 30 }), fc.constant(" smtpd: allow x")), (text) => {
      const comment = tomlComment(text);
      assert.doesNotMatch(comment, UNSAFE);
      const result = readToml(createSource("x.toml", `${comment}\na = 1\n`));
      assert.ok(result.ok);
      assert.deepEqual(result.directives, []);
    }),
    { numRuns: 500 },
  );
  assert.equal(tomlComment("smtpd: allow SMTPD201"), "# (smtpd: allow SMTPD201)");
});
