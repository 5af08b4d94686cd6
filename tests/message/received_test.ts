/** Dates, ids and the Received field: their form, and that no peer can break it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDate } from "../../src/message/date.ts";
import { formatId, isId } from "../../src/message/id.ts";
import { protocolName, receivedField } from "../../src/message/received.ts";

const TIME_MS = Date.UTC(2026, 10, 21, 22, 5, 4);

function field(changes: Partial<Parameters<typeof receivedField>[0]>): string {
  const bytes = receivedField({
    helo: "client.example.org",
    clientAddress: "192.0.2.7",
    hostName: "mx.example.com",
    protocol: "ESMTP",
    id: "x1",
    timeMs: TIME_MS,
    ...changes,
  });
  return new TextDecoder().decode(bytes);
}

test("formatDate() writes a date-time of RFC 5322 §3.3", () => {
  assert.equal(formatDate(TIME_MS), "Sat, 21 Nov 2026 22:05:04 +0000");
  assert.equal(formatDate(0), "Thu, 1 Jan 1970 00:00:00 +0000");
});

test("receivedField() has the form of RFC 5321 §4.4", () => {
  assert.equal(
    field({ recipient: "a@example.com", tls: { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" } }),
    "Received: from client.example.org ([192.0.2.7])\r\n" +
      "\tby mx.example.com with ESMTP (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n" +
      "\tid x1 for <a@example.com>; Sat, 21 Nov 2026 22:05:04 +0000\r\n",
  );
  assert.match(field({ clientAddress: "2001:db8::1" }), /\(\[IPv6:2001:db8::1\]\)/);
  assert.match(field({ clientAddress: "" }), /from client\.example\.org\r\n/);
});

test("receivedField() lets no peer break out of its line or its comment", () => {
  const text = field({ helo: "a(b)\r\nX-Injected: 1;\u0000\u0085", recipient: "x\r\nY: 1>@example.com" });
  assert.equal(text.split("\r\n").length, 4);
  assert.match(text, /from a\?b\?\?\?X-Injected:\?1\?\?\? /);
  assert.match(text, /for <x\?\?Y: 1\?@example\.com>/);
});

test("protocolName() follows RFC 3848 §2 and RFC 6531 §4.3", () => {
  const plain = { tls: false, authenticated: false, smtputf8: false };
  assert.equal(protocolName("HELO", plain), "SMTP");
  assert.equal(protocolName("EHLO", { ...plain, tls: true, authenticated: true }), "ESMTPSA");
  assert.equal(protocolName("LHLO", { ...plain, tls: true }), "LMTPS");
  assert.equal(protocolName("EHLO", { ...plain, tls: true, smtputf8: true }), "UTF8SMTPS");
});

test("formatId() sorts by time and is recognised by isId()", () => {
  const random = Uint8Array.of(31, 0, 255, 7, 9, 11, 13, 15, 17, 19);
  const ids = [TIME_MS, TIME_MS + 1, TIME_MS + 32, TIME_MS + 1024 ** 3].map((timeMs) => formatId(timeMs, random));
  assert.deepEqual([...ids].sort(), ids);
  for (const id of ids) assert.ok(isId(id), id);
  assert.equal(isId("../../etc/passwd"), false);
});
