/** The grammar of envelope addresses: tables of what is taken and refused, and properties of both. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatMailbox, parseForwardPath, parseReversePath } from "../../src/smtp/address.ts";

const ACCEPTED: readonly (readonly [written: string, localPart: string, domain: string])[] = [
  ["<user@example.com>", "user", "example.com"],
  ["<User.Name+tag@EXAMPLE.com>", "User.Name+tag", "EXAMPLE.com"],
  ["<a!#$%&'*+-/=?^_`{|}~b@x>", "a!#$%&'*+-/=?^_`{|}~b", "x"],
  ['<"john doe"@example.com>', "john doe", "example.com"],
  ['<"a\\"b\\\\c"@example.com>', 'a"b\\c', "example.com"],
  ['<""@example.com>', "", "example.com"],
  ["<@one.example,@two.example:user@example.com>", "user", "example.com"],
  ["<user@[192.0.2.1]>", "user", "[192.0.2.1]"],
  ["<user@[IPv6:2001:db8::1]>", "user", "[IPv6:2001:db8::1]"],
  ["<user@[IPv6:::ffff:192.0.2.1]>", "user", "[IPv6:::ffff:192.0.2.1]"],
  ["<user@[IPv6:1:2:3:4:5:6:7:8]>", "user", "[IPv6:1:2:3:4:5:6:7:8]"],
  ["<пользователь@пример.рф>", "пользователь", "пример.рф"],
  [`<${"l".repeat(64)}@example.com>`, "l".repeat(64), "example.com"],
  [
    `<u@${"d".repeat(63)}.${"e".repeat(63)}.${"f".repeat(63)}.${"g".repeat(63)}>`,
    "u",
    `${"d".repeat(63)}.${"e".repeat(63)}.${"f".repeat(63)}.${"g".repeat(63)}`,
  ],
];

const REFUSED: readonly string[] = [
  "user@example.com",
  "<user@example.com",
  "<user>",
  "<@example.com>",
  "<user@>",
  "<.user@example.com>",
  "<user.@example.com>",
  "<us..er@example.com>",
  "<user@-example.com>",
  "<user@example-.com>",
  "<user@example..com>",
  "<user@.example.com>",
  "<user@example.com.>",
  "<us er@example.com>",
  "<user@exam ple.com>",
  "<user@example.com(x)evil.com>",
  "<user(comment)@example.com>",
  "<a@b@c>",
  '<"unclosed@example.com>',
  '<"a"b@example.com>',
  "<user@[192.0.2.256]>",
  "<user@[192.0.2]>",
  "<user@[IPv6:1:2:3]>",
  "<user@[IPv6:1::2::3]>",
  "<user@[IPv6:12345::]>",
  "<user@[X-tag:anything]>",
  "<@one.example:>",
  "<@one.example;user@example.com>",
  "<u\u0001ser@example.com>",
  "<u\u0085ser@example.com>",
  `<${"l".repeat(256)}@example.com>`,
  `<u@${"d".repeat(256)}>`,
];

for (const [written, localPart, domain] of ACCEPTED) {
  test(`parseForwardPath() reads ${written.slice(0, 60)} (RFC 5321 §4.1.2)`, () => {
    assert.deepEqual(parseForwardPath(written, 0), { ok: true, value: { localPart, domain }, end: written.length });
  });
}

for (const written of REFUSED) {
  test(`parseForwardPath() refuses ${JSON.stringify(written).slice(0, 60)} (RFC 5321 §4.1.2)`, () => {
    const result = parseForwardPath(written, 0);
    const complete = result.ok && result.end === written.length;
    assert.equal(complete, false);
    if (!result.ok) assert.match(`${result.reply.code} ${result.reply.enhanced}`, /^501 5\.1\.3$/);
  });
}

test("parseReversePath() reads the null reverse-path and blames the sender (RFC 5321 §4.5.5)", () => {
  assert.deepEqual(parseReversePath("<>", 0), { ok: true, value: null, end: 2 });
  const result = parseReversePath("<nobody>", 0);
  assert.equal(result.ok ? "" : result.reply.enhanced, "5.1.7");
});

test("parseForwardPath() takes <Postmaster> without a domain in any case (RFC 5321 §4.5.1)", () => {
  for (const written of ["<Postmaster>", "<postmaster>", "<POSTMASTER>"]) {
    const result = parseForwardPath(written, 0);
    assert.ok(result.ok);
    assert.equal(result.value.domain, "");
  }
});

test("formatMailbox() and parseForwardPath() are inverse for any local-part of ASCII", () => {
  const localParts = fc.string({
    unit: fc.integer({ min: 32, max: 126 }).map((code) => String.fromCharCode(code)),
    maxLength: 64,
  });
  fc.assert(fc.property(localParts, (localPart) => {
    const mailbox = { localPart, domain: "example.com" };
    const written = `<${formatMailbox(mailbox)}>`;
    assert.deepEqual(parseForwardPath(written, 0), { ok: true, value: mailbox, end: written.length });
  }));
});

test("parseForwardPath() never throws, and what it takes has no control characters", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 80 }), (inner) => {
    const result = parseForwardPath(`<${inner}@${inner}>`, 0);
    // deno-lint-ignore no-control-regex
    if (result.ok) assert.doesNotMatch(formatMailbox(result.value), /[\x00-\x1f\x7f-\x9f]/);
  }));
});

test("parseForwardPath() is linear: a long quoted or dotted text takes no more than a pass", () => {
  for (const unit of ['\\"', "a.", "a", "-", ".", "@a,"]) {
    const text = `<"${unit.repeat(50_000)}`;
    assert.equal(parseForwardPath(text, 0).ok, false);
    assert.equal(parseForwardPath(`<${unit.repeat(50_000)}`, 0).ok, false);
    assert.equal(parseForwardPath(`<a@${unit.repeat(50_000)}`, 0).ok, false);
  }
});
