/** Retry-After, the options that fit together, and the parts of a text, as values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { webhookChannel } from "../../src/channel/webhook.ts";
import { retryAfter, verdictOf } from "../../src/channel/webhook/outcome.ts";
import { splitReply } from "../../src/channel/webhook/reply.ts";
import { OTHER_SECRET, SECRET } from "./webhook_world.ts";

test("webhook outcome: Retry-After is seconds or a date, and nothing else counts (RFC 9110 §10.2.3)", () => {
  const nowMs = Date.UTC(2026, 9, 21, 7, 28, 0);
  assert.equal(retryAfter("120", nowMs), 120_000);
  assert.equal(retryAfter(" 0 ", nowMs), 0);
  assert.equal(retryAfter("Wed, 21 Oct 2026 07:30:00 GMT", nowMs), 120_000);
  for (
    const text of [
      undefined,
      "",
      "-1",
      "1.5",
      "soon",
      "Wed, 21 Oct 2026 07:27:59 GMT",
      "2026-10-21",
      "1e3",
      "9999999999",
    ]
  ) {
    assert.equal(retryAfter(text, nowMs), undefined, String(text));
  }
});

test("webhook outcome: whatever a receiver answers, the detail is one bounded line and delivered means 2xx", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 999 }),
      fc.string({ unit: "binary", maxLength: 400 }),
      fc.uint8Array({ maxLength: 600 }),
      fc.string({ unit: "binary", maxLength: 600 }),
      (status, statusText, body, value) => {
        const header = () => value;
        const verdict = verdictOf({ status, statusText, header, body }, { host: "h", bounceStatus: [410], nowMs: 0 });
        assert.match(verdict.detail, /^[^\p{Cc}\u2028\u2029]{1,500}$/u);
        assert.equal(verdict.kind === "delivered", status >= 200 && status < 300);
        assert.equal(verdict.kind === "failed", status === 410);
      },
    ),
    { numRuns: 500 },
  );
});

test("webhook options: what does not fit together is refused at its place", () => {
  const placeOf = (options: object) => {
    const result = v.safeParse(webhookChannel.schema, { url: "https://app.example.com/", ...options });
    return result.success ? undefined : v.getDotPath(result.issues[0]);
  };
  assert.equal(placeOf({}), undefined);
  assert.equal(placeOf({ secret: SECRET, old_secret: OTHER_SECRET }), undefined);
  assert.equal(placeOf({ secret: SECRET.slice("whsec_".length) }), undefined);
  assert.equal(placeOf({ secret: "key-123", format: "mailgun" }), undefined);
  assert.equal(placeOf({ headers: { "X-A": "b c", "x-key": { env: "KEY" } } }), undefined);
  for (
    const [place, options] of [
      ["secret", { secret: "s3cret" }],
      ["secret", { secret: "whsec_c2hvcnQ=" }],
      ["old_secret", { old_secret: SECRET }],
      ["old_secret", { secret: SECRET, old_secret: "s3cret" }],
      ["old_secret", { secret: "a", old_secret: "b", format: "mailgun" }],
      ["include_raw", { include_raw: true }],
      ["bounce_status.0", { bounce_status: [200] }],
      ["format", { format: "xml" }],
      ["method", { method: "GET" }],
      ["url", { url: "http://127.0.0.1/" }],
    ] as const
  ) {
    assert.equal(placeOf(options), place, JSON.stringify(options));
  }
  for (
    const name of ["Host", "content-length", "Transfer-Encoding", "webhook-id", "X-Smtpd-Sender", "a b", "a\r\nb", ""]
  ) {
    assert.notEqual(placeOf({ headers: { [name]: "x" } }), undefined, name);
  }
  for (const value of ["a\r\nb", " a", "a ", "\u00e4", ""]) {
    assert.notEqual(placeOf({ headers: { "X-A": value } }), undefined, value);
  }
});

test("webhook reply: what is quoted and what is signed is cut off", () => {
  const cases: readonly (readonly [text: string, reply: string, signature: string, hasQuote: boolean])[] = [
    ["Yes.\r\n\r\nOn Mon, 1 Jan 2026, Ann wrote:\r\n> Shall we?\r\n", "Yes.", "", true],
    ["Yes.\n\nOn Mon, 1 Jan 2026 at 10:00, Ann Example\n<ann@example.org> wrote:\n> Shall we?", "Yes.", "", true],
    ["Yes.\n-- \nBob\n\n-----Original Message-----\nFrom: Ann", "Yes.", "Bob", true],
    ["Yes.\n\nFrom: Ann\nSent: Monday\n\nShall we?", "Yes.", "", true],
    ["Yes.\n> Shall we?\n> Or not?\n", "Yes.", "", true],
    ["> Shall we?\nYes.", "> Shall we?\nYes.", "", false],
    ["On we go.\nFrom: here\n", "On we go.\nFrom: here", "", false],
    ["", "", "", false],
  ];
  for (const [text, reply, signature, hasQuote] of cases) {
    assert.deepEqual(splitReply(text), { reply, signature, hasQuote }, text);
  }
});
