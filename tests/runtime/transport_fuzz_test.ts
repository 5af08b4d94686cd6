/**
 * Random sequences of calls and peer behaviour against real sockets: every promise settles, nothing rejects unheard,
 * and no descriptor is left behind.
 */
import assert from "node:assert/strict";
import { readdirSync, readlinkSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { type Transport, TransportError } from "../../src/runtime/runtime.ts";
import { pattern, settled } from "../contract/transport_contract.ts";
import { openPlain, openTls, tlsIdentity } from "./socket_peer.ts";

const ROUNDS = 120;
const STEPS = 12;

/** A small generator with a seed, so that a failure can be repeated. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

function openSockets(): number {
  const links = readdirSync("/proc/self/fd").map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      return "";
    }
  });
  return links.filter((link) => link.startsWith("socket:")).length;
}

const pieces = [pattern(1), pattern(3000), pattern(300_000), pattern(5_000_000)];

async function round(seed: number): Promise<void> {
  const random = generator(seed);
  const connected = await (random(3) === 0 ? openTls() : openPlain());
  const { transport, peer } = connected;
  const identity = await tlsIdentity();
  const pending: Promise<unknown>[] = [];
  const track = (call: () => unknown): void => {
    const promise = (async () => await call())();
    pending.push(promise.catch((error) => {
      assert.ok(error instanceof TransportError || /pending/.test(String(error)), `seed ${seed}: ${error?.stack}`);
    }));
  };
  const piece = (): Uint8Array => pieces[random(pieces.length)] ?? pattern(1);
  const moves: (() => void)[] = [
    () => track(() => transport.read()),
    () => track(() => transport.read()),
    () => track(() => transport.write(piece())),
    () => track(() => transport.write(piece())),
    () => transport.interrupt(),
    () => track(() => transport.close()),
    () => transport.abort(),
    () => track(() => (transport as Required<Transport>).startTls(identity, piece())),
    () => void peer.send(piece()).catch(() => {}),
    () => void peer.send(piece()).catch(() => {}),
    () => void peer.take(1).catch(() => {}),
    () => peer.finish(),
    () => peer.reset(),
  ];
  for (let step = 0; step < STEPS; step++) {
    moves[random(moves.length)]?.();
    if (random(2) === 0) await settled(random(3));
  }
  if (random(2) === 0) transport.abort();
  else track(() => transport.close());
  peer.rest().catch(() => {});
  if (random(2) === 0) peer.reset();
  await connected[Symbol.asyncDispose]();
  await Promise.all(pending);
}

const name = `transports settle every promise in ${ROUNDS} random sequences and leave no socket behind`;

test(name, { timeout: 60_000 }, async () => {
  const unheard: unknown[] = [];
  const hear = (reason: unknown): void => void unheard.push(reason);
  process.on("unhandledRejection", hear);
  try {
    await round(0);
    const before = process.platform === "linux" ? openSockets() : 0;
    for (let seed = 1; seed <= ROUNDS; seed++) await round(seed);
    await settled(200);
    assert.deepEqual(unheard, []);
    if (process.platform === "linux") assert.ok(openSockets() <= before, `${before} sockets became ${openSockets()}`);
  } finally {
    process.off("unhandledRejection", hear);
  }
});
