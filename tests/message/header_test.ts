/** Received fields are counted however the header section is cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HopCounter } from "../../src/message/header.ts";

function count(text: string, pieceOctets: number): { hops: number; done: boolean } {
  const bytes = new TextEncoder().encode(text);
  const counter = new HopCounter();
  for (let at = 0; at < bytes.length; at += pieceOctets) counter.see(bytes.subarray(at, at + pieceOctets));
  return { hops: counter.hops, done: counter.done };
}

const CASES: readonly (readonly [name: string, text: string, hops: number, done: boolean])[] = [
  ["counts fields in any case", "Received: a\r\nRECEIVED: b\r\nreceived:c\r\n\r\n", 3, true],
  [
    "leaves folded lines and look-alikes",
    "Received: a\r\n\tReceived: b\r\nX-Received: c\r\nReceive: d\r\n\r\n",
    1,
    true,
  ],
  ["stops at the empty line", "Subject: x\r\n\r\nReceived: body\r\n", 0, true],
  ["takes a body without header", "\r\nReceived: body\r\n", 0, true],
  ["waits for the rest", "Received: a\r\nSubj", 1, false],
];

for (const [name, text, hops, done] of CASES) {
  test(`HopCounter ${name} (RFC 5321 §6.3)`, () => {
    for (let pieceOctets = 1; pieceOctets <= text.length; pieceOctets++) {
      assert.deepEqual(count(text, pieceOctets), { hops, done }, `pieces of ${pieceOctets}`);
    }
  });
}
