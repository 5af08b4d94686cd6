/** Delivery status notifications: their parts and fields, as another parser and as their octets show them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import PostalMime from "postal-mime";
import { type ReportedRecipient, statusIn, statusNotification, type StatusReport } from "../../src/message/dsn.ts";
import { MAX_RETURNED_OCTETS, type Returned, ReturnedContent } from "../../src/message/returned_content.ts";

const ARRIVAL_MS = Date.UTC(2026, 10, 21, 22, 5, 4);
const NOW_MS = ARRIVAL_MS + 3_600_000;

function returnedOf(text: string | Uint8Array, wants: Returned["kind"] = "message", pieceOctets = 7): Returned {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const content = new ReturnedContent(wants);
  for (let at = 0; at < bytes.length && !content.isEnough; at += pieceOctets) {
    content.see(bytes.subarray(at, at + pieceOctets));
  }
  return content.returned();
}

const failed: ReportedRecipient = {
  recipient: "nobody@example.com",
  action: "failed",
  status: "5.1.1",
  detail: "550 5.1.1 No such user",
  lastAttemptMs: NOW_MS,
};

function report(changes: Partial<StatusReport> = {}): StatusReport {
  return {
    id: "1m80428vzqsw1cfn5a2",
    hostName: "mx.example.com",
    timeMs: NOW_MS,
    reversePath: "sender@example.org",
    arrivalMs: ARRIVAL_MS,
    recipients: [failed],
    returned: returnedOf("Subject: Hello\r\n\r\nText\r\n"),
    smtputf8: false,
    ...changes,
  };
}

function textOf(changes: Partial<StatusReport> = {}): string {
  return new TextDecoder().decode(statusNotification(report(changes)).content);
}

/** The lines of the part for programs, unfolded, each group a list. */
function statusOf(text: string): readonly (readonly string[])[] {
  const part = /Content-Type: message\/(?:global-)?delivery-status\r\n(?:.+\r\n)+\r\n([^]*?)\r\n--=_/u.exec(text)?.[1];
  assert.ok(part !== undefined, text);
  return part.replaceAll("\r\n ", " ").split("\r\n\r\n").map((group) =>
    group.split("\r\n").filter((line) => line !== "")
  );
}

test("statusNotification: the header of a report, and its parts in the order of RFC 6522 §3", async () => {
  const { content, body, smtputf8, fields } = statusNotification(report());
  const text = new TextDecoder().decode(content);
  assert.deepEqual(text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n"), [
    "From: Mail Delivery System <MAILER-DAEMON@mx.example.com>",
    "To: <sender@example.org>",
    "Subject: Your message could not be delivered",
    "Date: Sat, 21 Nov 2026 23:05:04 +0000",
    "Message-ID: <1m80428vzqsw1cfn5a2@mx.example.com>",
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    "Content-Type: multipart/report; report-type=delivery-status;",
    ' boundary="=_1m80428vzqsw1cfn5a2"',
  ]);
  assert.deepEqual([body, smtputf8], ["7bit", false]);
  assert.equal(fields.find(({ name }) => name === "auto-submitted")?.value, "auto-replied");
  assert.doesNotMatch(text, /[^\r]\n|\r[^\n]/);
  const mail = await PostalMime.parse(content, { rfc822Attachments: true });
  assert.equal(mail.to?.[0]?.address, "sender@example.org");
  assert.match(
    mail.text ?? "",
    /^This is the mail system at mx\.example\.com\.\n\nYour message could not be delivered to:/,
  );
  assert.match(mail.text ?? "", / {2}nobody@example\.com\n {4}550 5\.1\.1 No such user\n/);
  assert.deepEqual(mail.attachments.map(({ mimeType }) => mimeType), ["message/delivery-status", "message/rfc822"]);
});

test("statusNotification: fields for programs (RFC 3464 §2)", () => {
  const groups = statusOf(textOf({
    envid: "QQ+314=159",
    recipients: [
      {
        ...failed,
        orcpt: "rfc822;Nobody@Example.com",
        remoteMta: "mx.example.net",
        detail: "mx.example.net said: 550 5.1.1 <x> No",
      },
      {
        ...failed,
        recipient: "two@example.com",
        action: "delayed",
        status: "4.4.1",
        detail: "No answer",
        retryUntilMs: NOW_MS,
      },
      { ...failed, recipient: "three@example.com", action: "relayed", status: "2.0.0", detail: "" },
    ],
  }));
  const attempt = "Last-Attempt-Date: Sat, 21 Nov 2026 23:05:04 +0000";
  assert.deepEqual(groups, [
    [
      "Reporting-MTA: dns; mx.example.com",
      "Original-Envelope-Id: QQ+314=159",
      "Arrival-Date: Sat, 21 Nov 2026 22:05:04 +0000",
    ],
    [
      "Original-Recipient: rfc822; Nobody@Example.com",
      "Final-Recipient: rfc822; nobody@example.com",
      "Action: failed",
      "Status: 5.1.1",
      "Remote-MTA: dns; mx.example.net",
      "Diagnostic-Code: smtp; 550 5.1.1 <x> No",
      attempt,
    ],
    [
      "Final-Recipient: rfc822; two@example.com",
      "Action: delayed",
      "Status: 4.4.1",
      "Diagnostic-Code: x-smtpd; No answer",
      attempt,
      "Will-Retry-Until: Sat, 21 Nov 2026 23:05:04 +0000",
    ],
    ["Final-Recipient: rfc822; three@example.com", "Action: relayed", "Status: 2.0.0", attempt],
  ]);
  for (const name of ["localhost", "[192.0.2.1]"]) {
    assert.equal(statusOf(textOf({ hostName: name }))[0]?.[0], `Reporting-MTA: x-local-hostname; ${name}`);
  }
});

test("statusNotification: UTF-8 addresses take the forms of RFC 6533, and only they", async () => {
  const orcpt = "utf-8;j\\x{F6}rg\\x{2B}x\\x{0D}@b\\x{FC}cher.example";
  const returned = returnedOf("From: Jörg <jörg@bücher.example>\r\n\r\nText\r\n");
  const changes = { recipients: [{ ...failed, recipient: "jörg@bücher.example", orcpt }], smtputf8: true, returned };
  const text = textOf({ ...changes, reversePath: "grüße@example.org" });
  assert.match(text, /^To: <grüße@example\.org>\r\n/mu);
  assert.match(text, /^Content-Type: message\/global-delivery-status\r\n/mu);
  assert.match(text, /^Content-Type: message\/global\r\n/mu);
  const [, group] = statusOf(text);
  assert.deepEqual(group?.slice(0, 2), [
    "Original-Recipient: utf-8; jörg+x\\x{0D}@bücher.example",
    "Final-Recipient: utf-8; jörg@bücher.example",
  ]);
  const { body, smtputf8 } = statusNotification(report({ ...changes, reversePath: "grüße@example.org" }));
  assert.deepEqual([body, smtputf8], ["8bitmime", true]);
  assert.equal(statusNotification(report(changes)).smtputf8, false);
  assert.match(
    textOf({ ...changes, returned: { ...returned, kind: "header" } }),
    /^Content-Type: message\/global-headers\r\n/mu,
  );

  // All in ASCII, or never meant as UTF-8: the forms that everybody knows.
  const plain = textOf({
    ...changes,
    recipients: [{ ...failed, orcpt: "utf-8;a\\x{2B}b@example.com" }],
    smtputf8: false,
  });
  assert.match(plain, /^Content-Type: message\/delivery-status\r\n/mu);
  assert.match(plain, /^Content-Type: message\/rfc822\r\n/mu);
  assert.equal(statusOf(plain)[1]?.[0], "Original-Recipient: utf-8; a\\x{2B}b@example.com");
  const { attachments } = await PostalMime.parse(plain, { rfc822Attachments: true });
  assert.equal(attachments.length, 2);
});

test("statusNotification: what remotes and senders wrote begins no line and stays ASCII where it must", () => {
  const evil = "550 no\r\nBcc: x@example.net\r\n\r\n--=_1m80428vzqsw1cfn5a2--\r\n\x1b[2J\u2028\ud800ü " +
    "x".repeat(3_000);
  const text = textOf({
    reversePath: "a\r\nBcc: b@example.org",
    envid: "id\nX: y",
    recipients: [{ ...failed, recipient: "n\r\n@example.com", detail: evil, remoteMta: "mx\n.example" }],
  });
  assert.doesNotMatch(text, /^(?:Bcc|X):/mu);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028]/u);
  const [message, recipient] = statusOf(text);
  assert.ok(message?.includes("Original-Envelope-Id: id X: y"), JSON.stringify(message));
  assert.ok(recipient?.some((line) => /^Diagnostic-Code: smtp; 550 no Bcc: x@example\.net --=_[ -~]+$/.test(line)));
  for (const line of text.split("\r\n")) assert.ok(new TextEncoder().encode(line).length <= 998, line);
});

test("statusNotification: the boundary is in no part, whatever the message has (RFC 2046 §5.1.1)", async () => {
  const lines = ["--=_1m80428vzqsw1cfn5a2", "--=_1m80428vzqsw1cfn5a2--", "x--=_1m80428vzqsw1cfn5a2_1"];
  const { content } = statusNotification(
    report({ returned: returnedOf(`Subject: x\r\n\r\n${lines.join("\r\n")}\r\n`) }),
  );
  const text = new TextDecoder().decode(content);
  assert.match(text, /boundary="=_1m80428vzqsw1cfn5a2_2"/);
  const { attachments } = await PostalMime.parse(content, { rfc822Attachments: true });
  const back = attachments[1]?.content;
  assert.ok(back instanceof ArrayBuffer);
  assert.ok(new TextDecoder().decode(back).includes(lines.join("\n")));
});

test("statusNotification: a parser finds the message as it was, whatever is in it", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: "binary-ascii", maxLength: 60 }), { maxLength: 8 }),
      fc.string({ unit: "grapheme", maxLength: 200 }),
      async (lines, detail) => {
        // deno-lint-ignore no-control-regex
        const body = lines.map((line) => `${line.replace(/[\x00-\x1f\x7f]/g, "-")}\r\n`).join("");
        const message = `Subject: x\r\n\r\n${body}end\r\n`;
        const { content } = statusNotification(
          report({ returned: returnedOf(message), recipients: [{ ...failed, detail }] }),
        );
        const { attachments } = await PostalMime.parse(content, { rfc822Attachments: true });
        assert.equal(attachments.length, 2);
        const back = attachments[1]?.content as ArrayBuffer;
        assert.equal(
          new TextDecoder().decode(back).replaceAll("\r\n", "\n").trimEnd(),
          message.replaceAll("\r\n", "\n").trimEnd(),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("ReturnedContent: a small message whole, of a large one the header, of a large header the beginning", () => {
  const decode = (returned: Returned) => [returned.kind, new TextDecoder().decode(returned.bytes), returned.isCut];
  const small = "Subject: x\r\nTo: y\r\n\r\nText\r\n";
  for (const octets of [1, 2, 7, 1_000]) {
    assert.deepEqual(decode(returnedOf(small, "message", octets)), ["message", small, false]);
    assert.deepEqual(decode(returnedOf(small, "header", octets)), ["header", "Subject: x\r\nTo: y\r\n", false]);
  }
  const large = small + "x".repeat(MAX_RETURNED_OCTETS);
  for (const octets of [1_000, 262_144]) {
    assert.deepEqual(decode(returnedOf(large, "message", octets)), ["header", "Subject: x\r\nTo: y\r\n", false]);
  }
  const header = returnedOf(`A: ${"b".repeat(60)}\r\n`.repeat(2_000), "header", 262_144);
  assert.deepEqual([header.kind, header.isCut, header.bytes.length % 65], ["header", true, 0]);
  assert.ok(header.bytes.length > MAX_RETURNED_OCTETS - 65 && header.bytes.length <= MAX_RETURNED_OCTETS);
  assert.deepEqual(decode(returnedOf("")), ["message", "", false]);
  assert.deepEqual(decode(returnedOf("\r\nBody\r\n", "header")), ["header", "", false]);
  assert.deepEqual(decode(returnedOf("No end", "header")), ["header", "No end", false]);
});

test("ReturnedContent: what is no text does not go back as text (RFC 2045 §2.8)", () => {
  for (const body of ["a\0b", "a\nb", "a\rb", "a\r"]) {
    assert.equal(returnedOf(`Subject: x\r\n\r\n${body}`).kind, "header", JSON.stringify(body));
  }
  assert.equal(new TextDecoder().decode(returnedOf("A: \0b\nC: d\re\r\n\r\n", "header").bytes), "A:  b C: d e\r\n");
  assert.equal(returnedOf("A: ü\r\n\r\n").hasUtf8Header, true);
  assert.equal(returnedOf("A: u\r\n\r\nü\r\n").hasUtf8Header, false);
  assert.equal(returnedOf(new Uint8Array([65, 58, 0xfc, 13, 10])).hasUtf8Header, false);
});

test("statusIn: the first code that suits, never a part of an address or a version", () => {
  const cases: readonly (readonly [string, Parameters<typeof statusIn>[1], string | undefined, string])[] = [
    ["550 5.1.1 No such user", "failed", undefined, "5.1.1"],
    ["said: 5.7.26 (see RFC 5.1.1)", "failed", undefined, "5.7.26"],
    ["Given up after 120 h: 451 4.2.0 busy", "failed", "4.4.7", "4.2.0"],
    ["Given up after 120 h: no answer", "failed", "4.4.7", "4.4.7"],
    ["exited with 67", "failed", "5.1.1", "5.1.1"],
    ["from 192.5.1.1 and 5.1.1.2 and v5.1.1", "failed", undefined, "5.0.0"],
    ["5.01.1 5.1.1000", "failed", undefined, "5.0.0"],
    ["550 5.1.1 no", "delayed", undefined, "4.0.0"],
    ["451-4.7.1 later", "delayed", undefined, "4.7.1"],
    ["250 2.1.5 ok", "delivered", undefined, "2.1.5"],
    ["", "relayed", undefined, "2.0.0"],
    ["552 5.2.2: full", "failed", undefined, "5.2.2"],
    ["550 5.1.1.", "failed", undefined, "5.1.1"],
  ];
  for (const [text, action, otherwise, expected] of cases) {
    assert.equal(statusIn(text, action, otherwise), expected, text);
  }
});
