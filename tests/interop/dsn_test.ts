/** Notifications as Python's email package reads them: every part, every field, no defect. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { statusNotification, type StatusReport } from "../../src/message/dsn.ts";
import { ReturnedContent } from "../../src/message/returned_content.ts";
import { projectRoot, runCommand } from "../helpers/server_process.ts";
import { letters } from "./letters.ts";
import { needs } from "./programs.ts";

interface Read {
  readonly type: string;
  readonly reportType: string;
  readonly from: string;
  readonly to: string;
  readonly date: string;
  readonly header: Readonly<Record<string, string>>;
  readonly text: string;
  readonly types: readonly string[];
  readonly status: readonly (readonly (readonly [name: string, value: string])[])[];
  readonly returned: string;
  readonly defects: readonly string[];
}

const TIME_MS = Date.UTC(2026, 10, 21, 22, 5, 4);

async function read(changes: Partial<StatusReport>, content: string | Uint8Array): Promise<Read> {
  const returned = new ReturnedContent("message");
  returned.see(typeof content === "string" ? new TextEncoder().encode(content) : content);
  const notification = statusNotification({
    id: "1m80428vzqsw1cfn5a2",
    hostName: "mx.example.com",
    timeMs: TIME_MS,
    reversePath: "sender@example.org",
    arrivalMs: TIME_MS - 86_400_000,
    recipients: [],
    returned: returned.returned(),
    smtputf8: false,
    ...changes,
  });
  const reader = `${projectRoot}/tests/interop/dsn_reader.py`;
  const { code, out, err } = await runCommand("python3", [reader], { input: notification.content });
  assert.equal(code, 0, err);
  return JSON.parse(out) as Read;
}

test("Python's email package reads all fields of a notification", needs("python3"), async () => {
  const long = `550-5.7.1 ${"Your message is not wanted here and this is a long story ".repeat(6)}`.trim();
  const found = await read({
    envid: "QQ+314=159",
    recipients: [
      {
        recipient: '"john  doe"@example.com',
        orcpt: 'rfc822;"John  Doe"@example.net',
        action: "failed",
        status: "5.7.1",
        detail: long,
        remoteMta: "mx.example.net",
        lastAttemptMs: TIME_MS,
      },
      {
        recipient: "two@example.com",
        action: "delayed",
        status: "4.4.1",
        detail: "Keine Antwort für 5 m",
        lastAttemptMs: TIME_MS,
        retryUntilMs: TIME_MS + 86_400_000,
      },
    ],
  }, "From: a@example.org\r\nSubject: Hello\r\n\r\nText with ü\r\n");
  assert.deepEqual(found.defects, []);
  assert.deepEqual([found.type, found.reportType], ["multipart/report", "delivery-status"]);
  assert.deepEqual([found.from, found.to], ["MAILER-DAEMON@mx.example.com", "sender@example.org"]);
  assert.equal(found.date, "2026-11-21T22:05:04+00:00");
  assert.equal(found.header["auto-submitted"], "auto-replied");
  assert.equal(found.header["content-transfer-encoding"], "8bit");
  assert.deepEqual(found.types, ["text/plain", "message/delivery-status", "message/rfc822"]);
  assert.match(found.text, /Keine Antwort für 5 m/);
  assert.deepEqual(
    found.status.map((group) => group.map(([name, value]) => `${name}: ${value.replaceAll("\r\n ", " ")}`)),
    [
      [
        "Reporting-MTA: dns; mx.example.com",
        "Original-Envelope-Id: QQ+314=159",
        "Arrival-Date: Fri, 20 Nov 2026 22:05:04 +0000",
      ],
      [
        'Original-Recipient: rfc822; "John  Doe"@example.net',
        'Final-Recipient: rfc822; "john  doe"@example.com',
        "Action: failed",
        "Status: 5.7.1",
        "Remote-MTA: dns; mx.example.net",
        `Diagnostic-Code: smtp; ${long}`,
        "Last-Attempt-Date: Sat, 21 Nov 2026 22:05:04 +0000",
      ],
      [
        "Final-Recipient: rfc822; two@example.com",
        "Action: delayed",
        "Status: 4.4.1",
        "Diagnostic-Code: x-smtpd; Keine Antwort f?r 5 m",
        "Last-Attempt-Date: Sat, 21 Nov 2026 22:05:04 +0000",
        "Will-Retry-Until: Sun, 22 Nov 2026 22:05:04 +0000",
      ],
    ],
  );
  assert.match(found.returned, /^From: a@example\.org\r?\nSubject: Hello\r?\n\r?\nText with/);
});

test("Python's email package finds the three parts around every message of the corpus", needs("python3"), async () => {
  const recipient = "r@example.com";
  const own = (await letters()).filter(({ name }) => name.startsWith("corpus/"));
  assert.ok(own.length >= 12);
  for (const { name, bytes } of own) {
    const failed = { recipient, action: "failed", status: "5.1.1", detail: "No", lastAttemptMs: TIME_MS } as const;
    const { types, status } = await read({ recipients: [failed] }, bytes);
    assert.equal(types.length, 3, name);
    assert.deepEqual(types.slice(0, 2), ["text/plain", "message/delivery-status"], name);
    assert.equal(status[1]?.find(([field]) => field === "Status")?.[1], "5.1.1", name);
  }
});
