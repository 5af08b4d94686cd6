/**
 * What every `Transport` must do, whatever carries its bytes. Called with each implementation; the peer is driven
 * through the small interface below.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { type Transport, TransportError } from "../../src/runtime/runtime.ts";

/** The other end, as a test needs it. */
export interface Peer {
  /** Resolves when the bytes are handed over; pends under back-pressure. */
  send(bytes: Uint8Array): Promise<void>;
  /** Whether some of what was sent cannot be handed over at the moment. */
  isHeldBack(): boolean;
  /** Exactly so many bytes; rejects when the stream ends before. */
  take(count: number): Promise<Uint8Array>;
  /** Everything up to the end of the stream; rejects when the connection was reset. */
  rest(): Promise<Uint8Array>;
  /** Ends its own direction and goes on receiving. */
  finish(): void;
  reset(): void;
}

export interface Connected extends AsyncDisposable {
  readonly transport: Transport;
  readonly peer: Peer;
}

export interface Abilities {
  /** Whether the peer can end its direction and still get replies. */
  readonly halfClose: boolean;
  /** Whether what a reset leaves behind is told as an error, rather than as an end of the stream. */
  readonly tellsReset: boolean;
}

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const hash = (value: Uint8Array): string => createHash("sha256").update(value).digest("hex");

/** Bytes that differ everywhere, so that lost, doubled and swapped pieces are seen. */
export function pattern(size: number): Uint8Array {
  const value = new Uint8Array(size);
  let seed = 12345;
  for (let index = 0; index < size; index++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    value[index] = seed >>> 16;
  }
  return value;
}

/** Lets everything happen that is going to happen without further doing of ours. */
export function settled(ms = 50): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function readExactly(transport: Transport, count: number): Promise<Uint8Array> {
  const value = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const piece = await transport.read();
    assert.ok(piece, `the stream ended after ${at} of ${count} bytes`);
    value.set(piece, at);
    at += piece.length;
  }
  return value;
}

const isTransportError = (code?: string) => (error: unknown): boolean =>
  error instanceof TransportError && (code === undefined || error.code === code);

/** A promise that is expected to reject later must be watched from now on. */
function watched(promise: unknown): Promise<unknown> {
  const watching = Promise.resolve(promise);
  watching.catch(() => {});
  return watching;
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => false, () => false), settled().then(() => true)]);
}

type Open = () => Promise<Connected>;

/** Writes until the transport pushes back; gives what was written and the promise that pends. */
async function fill(transport: Transport): Promise<{ written: Uint8Array[]; blocked: Promise<unknown> }> {
  const written: Uint8Array[] = [];
  for (let count = 0; count < 256; count++) {
    const piece = pattern(256 * 1024 + count);
    written.push(piece);
    const blocked = watched(transport.write(piece));
    if (await isPending(blocked)) return { written, blocked };
  }
  throw new assert.AssertionError({ message: "64 MiB were taken without back-pressure" });
}

/** Registers the suite for one implementation. */
export function transportContract(name: string, open: Open, abilities: Abilities): void {
  describe(`transport contract: ${name}`, () => {
    reading(open, abilities);
    writing(open);
    ending(open, abilities);
  });
}

function reading(open: Open, abilities: Abilities): void {
  test("bytes pass in both directions", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    await peer.send(bytes("EHLO x\r\n"));
    assert.equal(text(await readExactly(transport, 8)), "EHLO x\r\n");
    await transport.write(bytes("250 ok\r\n"));
    assert.equal(text(await peer.take(8)), "250 ok\r\n");
  });

  test("bytes that come before they are asked for are delivered in order, then the end, again and again", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    for (const piece of ["one ", "two ", "three"]) {
      await peer.send(bytes(piece));
      await settled(5);
    }
    peer.finish();
    await settled();
    assert.equal(text(await readExactly(transport, 13)), "one two three");
    assert.equal(await transport.read(), undefined);
    assert.equal(await transport.read(), undefined);
  });

  test("a second read while one is pending rejects and disturbs nothing", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const first = transport.read();
    await assert.rejects(async () => await transport.read(), /pending/);
    await peer.send(bytes("x"));
    assert.equal(text(await first), "x");
  });

  test("interrupt ends a pending read and all later ones, and writing goes on", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const pending = transport.read();
    transport.interrupt();
    assert.equal(await pending, undefined);
    await peer.send(bytes("late"));
    await settled();
    assert.equal(await transport.read(), undefined);
    await transport.write(bytes("421 bye\r\n"));
    assert.equal(text(await peer.take(9)), "421 bye\r\n");
  });

  test("interrupt drops what is queued", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    await peer.send(bytes("queued"));
    await settled();
    transport.interrupt();
    assert.equal(await transport.read(), undefined);
  });

  test("a peer that sends more than is read is held back, and nothing is lost", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const sent = pattern(16 * 1024 * 1024);
    const sending = watched(peer.send(sent));
    await settled(500);
    assert.ok(peer.isHeldBack(), "the peer was not held back");
    assert.equal(hash(await readExactly(transport, sent.length)), hash(sent));
    await sending;
  });

  test("a reset by the peer rejects or ends a pending read and makes writing reject", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    await peer.send(bytes("x"));
    await readExactly(transport, 1);
    const pending = watched(transport.read());
    peer.reset();
    if (abilities.tellsReset) await assert.rejects(pending, isTransportError("ECONNRESET"));
    else await pending.catch((error) => assert.ok(isTransportError()(error)));
    await assert.rejects(async () => {
      for (let count = 0; count < 20; count++) {
        await transport.write(bytes("x"));
        await settled(5);
      }
    }, isTransportError());
  });
}

function writing(open: Open): void {
  test("a peer that does not read makes writing pend, and gets everything once it reads", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const { written, blocked } = await fill(transport);
    const all = new Uint8Array(await new Blob(written as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    assert.equal(hash(await peer.take(all.length)), hash(all));
    await blocked;
    await transport.write(bytes("more"));
    assert.equal(text(await peer.take(4)), "more");
  });

  test("writes while one is pending keep their order", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const { written } = await fill(transport);
    const writes = [watched(transport.write(bytes("A"))), watched(transport.write(bytes("B")))];
    const total = written.reduce((sum, piece) => sum + piece.length, 0);
    await peer.take(total);
    assert.equal(text(await peer.take(2)), "AB");
    await Promise.all(writes);
  });

  test("the caller may reuse the bytes once a write has returned or resolved", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const piece = bytes("first");
    await transport.write(piece);
    piece.set(bytes("XXXXX"));
    assert.equal(text(await peer.take(5)), "first");
  });

  test("writing nothing is no write", async () => {
    await using connected = await open();
    assert.equal(await connected.transport.write(new Uint8Array(0)), undefined);
  });
}

function ending(open: Open, abilities: Abilities): void {
  test("close ends the stream after everything that was written, and can be repeated", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const pending = transport.read();
    const sent = pattern(3 * 1024 * 1024);
    const received = watched(peer.rest()) as Promise<Uint8Array>;
    watched(transport.write(sent));
    const closing = Promise.all([transport.close(), transport.close()]);
    assert.equal(hash(await received), hash(sent));
    assert.equal(await pending, undefined);
    peer.finish();
    await closing;
    assert.equal(await transport.read(), undefined);
    await assert.rejects(async () => await transport.write(bytes("x")), isTransportError());
    transport.abort();
  });

  test("the last reply is not lost to input that nobody read", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    watched(peer.send(pattern(256 * 1024)));
    await settled();
    await transport.write(bytes("421 bye\r\n"));
    const closing = transport.close();
    assert.equal(text(await peer.rest()), "421 bye\r\n");
    peer.finish();
    await closing;
  });

  test("abort rejects a pending read and every later call", async () => {
    await using connected = await open();
    const { transport } = connected;
    const pending = watched(transport.read());
    transport.abort();
    await assert.rejects(pending, isTransportError("ECONNABORTED"));
    await assert.rejects(async () => await transport.read(), isTransportError("ECONNABORTED"));
    await assert.rejects(async () => await transport.write(bytes("x")), isTransportError("ECONNABORTED"));
    transport.abort();
    await transport.close();
  });

  test("abort rejects a pending write", async () => {
    await using connected = await open();
    const { transport } = connected;
    const { blocked } = await fill(transport);
    transport.abort();
    await assert.rejects(blocked, isTransportError());
  });

  test("abort is seen by the peer", async () => {
    await using connected = await open();
    const { transport, peer } = connected;
    const received = watched(peer.rest());
    transport.abort();
    await received.then((value) => assert.equal((value as Uint8Array).length, 0), () => {});
  });

  test("a peer that has ended its direction still gets its replies", async () => {
    if (!abilities.halfClose) return;
    await using connected = await open();
    const { transport, peer } = connected;
    await peer.send(bytes("NOOP\r\nQUIT\r\n"));
    peer.finish();
    assert.equal(text(await readExactly(transport, 12)), "NOOP\r\nQUIT\r\n");
    assert.equal(await transport.read(), undefined);
    await transport.write(bytes("250 ok\r\n"));
    await settled(5);
    await transport.write(bytes("221 bye\r\n"));
    await transport.close();
    assert.equal(text(await peer.rest()), "250 ok\r\n221 bye\r\n");
  });
}
