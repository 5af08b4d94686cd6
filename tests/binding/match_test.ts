/** Recipient patterns and the canonical form of addresses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { canonicalDomain, matches, parsePattern, type Pattern } from "../../src/binding/match.ts";
import type { Mailbox } from "../../src/smtp/address.ts";

function pattern(text: string): Pattern {
  const parsed = parsePattern(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
  return parsed.pattern;
}

const HOST = "mx.example.com";

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
    ["jürgen@example.com", ["JÜRGEN@example.com", "ju\u0308rgen@example.com"], ["jurgen@example.com"]],
  ];
  for (const [text, yes, no] of cases) {
    for (const [expected, addresses] of [[true, yes], [false, no]] as const) {
      for (const address of addresses) {
        assert.equal(matches(pattern(text), mailbox(address), HOST), expected, `${text} against ${address}`);
      }
    }
  }
});

function mailbox(text: string): Mailbox {
  const at = text.lastIndexOf("@");
  return { localPart: text.slice(0, at), domain: text.slice(at + 1) };
}

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
    ["*@*.example.com", /wildcards/u],
    ["a*@example.com", /wildcards/u],
    ["a?@example.com", /wildcards/u],
    ["**", /wildcards/u],
    ["/^a@/", /regular expressions/u],
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
