/** What channels share: text made safe, added fields, gathered writes, the lock within the process. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deliveryFields, GatheringWriter, headerAddress, Mutex, oneLine } from "../../src/channel/content.ts";
import { bytesOf, jobOf } from "./channel_world.ts";

test("content: oneLine leaves one line of bounded length without control characters", () => {
  assert.equal(oneLine("250 2.0.0 Grüße"), "250 2.0.0 Grüße");
  assert.equal(oneLine("a\r\nb\0\x1b[31mc\u2028d\x85"), "a b [31mc d");
  assert.equal(oneLine("x".repeat(10_000)).length, 500);
});

test("content: an address in a header can neither end its line nor use UTF-8 without SMTPUTF8", () => {
  assert.equal(headerAddress("a\r\nBcc: x@y\0@example.com", false), "aBcc: x@y@example.com");
  assert.equal(headerAddress("grün😀@example.com", false), "gr?n?@example.com");
  assert.equal(headerAddress("grün😀@example.com", true), "grün😀@example.com");
});

test("content: the added fields name the reverse-path and the recipient", () => {
  const { message, recipients: [recipient] } = jobOf("", 1, 1, { reversePath: "" });
  assert.ok(recipient);
  assert.deepEqual(
    deliveryFields(message, recipient.delivery, "\r\n"),
    bytesOf("Return-Path: <>\r\nDelivered-To: r1@example.com\r\n"),
  );
});

test("content: gathered writes keep every byte in order, small ones together and large ones uncopied", async () => {
  const written: Uint8Array[] = [];
  const writer = new GatheringWriter((bytes) => {
    written.push(bytes.slice());
    return Promise.resolve();
  }, 4_000);
  let expected = "";
  for (const length of [1, 10, 0, 3_000, 2_000, 9_000, 5, 4_000, 3_999, 1]) {
    const piece = String.fromCharCode(97 + length % 26).repeat(length);
    expected += piece;
    await writer.add(bytesOf(piece));
  }
  await writer.flush();
  await writer.flush();
  assert.equal(written.map((bytes) => new TextDecoder().decode(bytes)).join(""), expected);
  assert.equal(writer.totalBytes, expected.length);
  assert.deepEqual(written.map((bytes) => bytes.length), [3_011, 2_000, 9_000, 5, 4_000, 4_000]);
});

test("content: the lock passes on in order, and a signal takes one out of the queue", async () => {
  const mutex = new Mutex();
  const never = new AbortController();
  const order: string[] = [];
  const first = await mutex.acquire(never.signal);
  const impatient = new AbortController();
  const gone = mutex.acquire(impatient.signal).then(() => order.push("impatient"), () => order.push("gone"));
  const second = mutex.acquire(never.signal).then((held) => {
    order.push("second");
    return held;
  });
  const third = mutex.acquire(never.signal).then((held) => {
    order.push("third");
    held[Symbol.dispose]();
  });
  impatient.abort();
  await gone;
  assert.deepEqual(order, ["gone"]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const newcomer = mutex.acquire(never.signal).then((held) => {
    order.push("newcomer");
    held[Symbol.dispose]();
  });
  const held = await second;
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(order, ["gone", "second"]);
  held[Symbol.dispose]();
  await Promise.all([third, newcomer]);
  assert.deepEqual(order, ["gone", "second", "third", "newcomer"]);
  (await mutex.acquire(never.signal))[Symbol.dispose]();
  await assert.rejects(mutex.acquire(AbortSignal.abort(new Error("Too late"))), /Too late/);
});
