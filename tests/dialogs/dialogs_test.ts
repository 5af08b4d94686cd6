/**
 * The corpus in memory: each dialog in lock-step, as one buffer, byte by byte and cut at random. The seeds of the random
 * cuts are fixed, so a failure names one that shows it again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dialogFiles } from "./corpus.ts";
import { parseDialogs } from "./dialog.ts";
import { atRandom, byteByByte, playLockStep, playStreamed, whole } from "./play.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];

for (const file of dialogFiles()) {
  for (const dialog of file.dialogs) {
    test(`${file.name}: ${dialog.name}`, () => {
      const reference = playLockStep(dialog);
      playStreamed(dialog, whole, reference);
      playStreamed(dialog, byteByByte, reference);
      for (const seed of SEEDS) {
        try {
          playStreamed(dialog, atRandom(seed), reference);
        } catch (error) {
          throw new Error(`Cut at random with seed ${seed}`, { cause: error });
        }
      }
    });
  }
}

test("corpus has dialogs", () => {
  const count = dialogFiles().reduce((sum, file) => sum + file.dialogs.length, 0);
  assert.ok(count >= 150, `Only ${count} dialogs were found`);
});

/** Dialogs that a correct server must fail: each shows that the runner notices one kind of difference. */
const WRONG = [
  ["a wrong code", "S: 220 mx.example.com\nC: NOOP\nS: 251 2.0.0"],
  ["a missing reply", "S: 220 mx.example.com\nC: NOOP\nS: 250 2.0.0\nS: 250 2.0.0"],
  ["a reply too many", "S: 220 mx.example.com\nC: NOOP\nC: NOOP\nS: 250 2.0.0"],
  ["a keyword that is not advertised", "S: 220\nC: EHLO client.example.net\nS* 250\nS+ TURN"],
  ["a keyword that is advertised", "S: 220\nC: EHLO client.example.net\nS* 250\nS- PIPELINING"],
  ["a close that does not come", "S: 220\nC: NOOP\nS: 250 2.0.0\nCLOSE"],
  ["a close that is not expected", "S: 220\nC: QUIT\nS: 221 2.0.0"],
  ["a wrong reason to close", "S: 220\nC: QUIT\nS: 221 2.0.0\nCLOSE end-of-stream"],
  ["a message that is not stored", "S: 220\nC: NOOP\nS: 250\nSTORED <a@example.org> <b@example.com>\n| x"],
  ["a handshake that nobody asked for", "S: 220\nTLS"],
] as const;

for (const [what, text] of WRONG) {
  test(`runner notices ${what}`, () => {
    const [dialog] = parseDialogs(`dialog wrong\n${text}\n`, "wrong.dialog");
    assert.ok(dialog !== undefined);
    assert.throws(() => playLockStep(dialog), assert.AssertionError);
  });
}

const TRANSACTION = [
  "dialog stored",
  "S: 220",
  "C: HELO client.example.net",
  "S: 250",
  "C: MAIL FROM:<a@example.org>",
  "S: 250",
  "C: RCPT TO:<b@example.com>",
  "S: 250",
  "C: DATA",
  "S: 354",
  "C: text",
  "C: .",
  "S: 250",
];

for (
  const [what, ending] of [
    ["another body", ["STORED <a@example.org> <b@example.com>", "| other"]],
    ["another envelope", ["STORED <a@example.org> <c@example.com>", "| text"]],
    ["a message nobody declared", []],
    ["a message where none may be", ["NOTHING STORED"]],
  ] as const
) {
  test(`runner notices ${what}`, () => {
    const [dialog] = parseDialogs([...TRANSACTION, ...ending].join("\n"), "wrong.dialog");
    assert.ok(dialog !== undefined);
    assert.throws(() => playLockStep(dialog), assert.AssertionError);
  });
}
