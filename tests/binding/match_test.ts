/** Recipient patterns and the canonical form of addresses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AddressSet } from "../../src/binding/address_set.ts";
import {
  canonicalDomain,
  matches,
  parsePattern,
  type Pattern,
  type PatternRole,
  subjectOf,
} from "../../src/binding/match.ts";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import { HOST, mailbox } from "./world.ts";

await loadRegexEngine();

function pattern(text: string, role: PatternRole = "recipient"): Pattern {
  const parsed = parsePattern(text, role);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
  return parsed.pattern;
}

test("patterns and what they match", () => {
  const cases: readonly (readonly [text: string, yes: readonly string[], no: readonly string[]])[] = [
    ["Joe@Example.com", ["joe@example.com", "JOE@EXAMPLE.COM"], [
      "jo@example.com",
      "joe@mail.example.com",
      "joe@example.co",
    ]],
    ["*@example.com", ["a@example.com", "a b@EXAMPLE.com", "@@example.com"], ["a@sub.example.com", "a@example.com.au"]],
    ["*", ["a@b.c", "Postmaster@", "x@[192.0.2.1]"], []],
    ["Postmaster", ["Postmaster@", "postmaster@"], ["postmaster@mx.example.com", "postmaster@example.com"]],
    ["postmaster@mx.example.com", ["Postmaster@", "postmaster@MX.example.com"], ["postmaster@example.com"]],
    ["*@mx.example.com", ["Postmaster@", "a@mx.example.com"], ["a@example.com"]],
    ['"john doe"@example.com', ["john doe@example.com", "John Doe@example.com"], ["johndoe@example.com"]],
    ['"joe"@example.com', ["joe@example.com"], ["jo@example.com"]],
    ['"*"@example.com', ["*@example.com"], ["a@example.com"]],
    ['"a@b"@example.com', ["a@b@example.com"], ["a@b"]],
    ["a@[192.0.2.1]", ["a@[192.0.2.1]"], ["a@192.0.2.1", "a@[192.0.2.2]"]],
    ["*@[IPv6:2001:db8::A]", ["a@[ipv6:2001:DB8::a]"], ["a@[IPv6:2001:db8::b]"]],
    ["*@müller.example", ["a@xn--mller-kva.example", "a@MÜLLER.example", "a@Xn--Mller-Kva.example"], [
      "a@muller.example",
    ]],
    ["*@*.example.com", ["a@b.example.com", "a@B.c.EXAMPLE.com"], [
      "a@example.com",
      "a@bexample.com",
      "a@b.example.com.au",
    ]],
    ["*@*.müller.example", ["a@b.xn--mller-kva.example"], ["a@xn--mller-kva.example"]],
    ["joe+*@example.com", ["joe+x@example.com", "JOE+@example.com", "joe+x+y@example.com"], [
      "joe@example.com",
      "joes+x@example.com",
      "joe+x@example.org",
    ]],
    ["a+b+*@example.com", ["a+b+c@example.com"], ["a+b@example.com", "a+c+b@example.com"]],
    ["a?c*@example.com", ["abc@example.com", "A-cde@example.com"], ["ac@example.com", "abd@example.com"]],
    ["*bounce*@example.com", ["x-bounce-y@example.com", "bounce@example.com"], ["bonce@example.com"]],
    ["*ab*ab@example.com", ["abab@example.com", "xabyab@example.com"], ["ab@example.com", "aba@example.com"]],
    ["info@*", ["info@a.example", "info@[192.0.2.1]", "INFO@b"], ["xinfo@a.example"]],
    ["info@*.é.example", ["info@a.xn--9ca.example"], ["info@a.e.example"]],
    ["*@ex?mple.com", ["a@example.com", "a@exbmple.com"], ["a@exmple.com"]],
    ["/^case-(\\d+)@/", ["case-42@a.example", "CASE-1@b.example"], ["case-@a.example", "xcase-1@a.example"]],
    ["/(?-i)^Case@/", ["Case@a.example"], ["case@a.example"]],
    ["/@a\\.example$/i", ["x@A.Example"], ["x@a.example.org"]],
    ["/^postmaster@mx\\.example\\.com$/", ["Postmaster@"], ["x@mx.example.com"]],
    ["jürgen@example.com", ["JÜRGEN@example.com", "ju\u0308rgen@example.com"], ["jurgen@example.com"]],
  ];
  for (const [text, yes, no] of cases) {
    for (const [expected, addresses] of [[true, yes], [false, no]] as const) {
      for (const address of addresses) {
        const subject = subjectOf(mailbox(address), HOST);
        assert.equal(matches(pattern(text), subject), expected, `${text} against ${address}`);
        assert.equal(new AddressSet([pattern(text)]).has(subject), expected, `${text} in a set against ${address}`);
      }
    }
  }
});

test("patterns of senders, and the null reverse-path", () => {
  const sender = (text: string, address: string) =>
    matches(pattern(text, "sender"), subjectOf(address === "<>" ? null : mailbox(address), ""));
  assert.equal(sender("<>", "<>"), true);
  assert.equal(sender("<>", "a@b.c"), false);
  assert.equal(sender("*", "<>"), true);
  assert.equal(sender("*@b.c", "a@b.c"), true);
  for (const text of ["*@b.c", "a@b.c", "*@*.c", "a+*@b.c", "*a@b.c", "/.*/"]) {
    assert.equal(sender(text, "<>"), false, text);
    assert.equal(new AddressSet([pattern(text, "sender")]).has(subjectOf(null, "")), false, text);
  }
  assert.equal(parsePattern("<>").ok, false, "no recipient is null");
  assert.equal(parsePattern("postmaster", "sender").ok, false, "a sender has a domain");
});

test("what is no pattern is refused with a reason and a way out", () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /domain is missing/u],
    ["joe", /domain is missing/u],
    ["@example.com", /before the @ is missing/u],
    ["joe@", /not a valid address/u],
    ["*@", /not a valid address/u],
    ["a@b@c", /not a valid address/u],
    ["a@exa mple.com", /spaces/u],
    ["<a@b.c>", /angle brackets/u],
    ["a>@b.c", /angle brackets/u],
    ["@a:b@c.d", /before the @/u],
    ["**", /domain is missing/u],
    ["a*", /domain is missing/u],
    ["*@exa..*", /not a valid address/u],
    ["a*b c@example.com", /spaces/u],
    ["/^a@", /closing/u],
    ["/a/b@c.d", /flags/u],
    ["//", /empty/u],
    ["/(a/", /missing|paren/u],
    ["/(?=a)/", /./u],
    ["a@[300.0.0.1]", /not a valid address/u],
    ["a@example..com", /not a valid address/u],
    ["a@example.com.", /not a valid address/u],
    ['"a@example.com', /not a valid address/u],
    ["a\u0000@example.com", /not a valid address/u],
    [`a@${"x".repeat(300)}.com`, /not a valid address/u],
  ];
  for (const [text, reason] of cases) {
    const parsed = parsePattern(text);
    assert.ok(!parsed.ok, text);
    assert.match(parsed.reason, reason, text);
    assert.notEqual(parsed.help, "");
  }
});

test("canonicalDomain gives the same on every runtime, for anything", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["EXAMPLE.com", "example.com"],
    ["ex%41mple.com", "ex%41mple.com"],
    ["é%41.com", "é%41.com"],
    ["É/x", "é/x"],
    ["straße.de", "xn--strae-oqa.de"],
    ["ＥＸＡ.com", "exa.com"],
    ["xn--a.é", "xn--a.é"],
    ["é_x.com", "xn--_x-9ia.com"],
    ["", ""],
  ];
  for (const [domain, expected] of cases) assert.equal(canonicalDomain(domain), expected);
});
