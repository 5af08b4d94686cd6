/** Clients over node:net and node:tls for tests of the network, and key pairs made on the spot. */
import { connect as connectPlain, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { generate } from "selfsigned";
import { currentRuntime } from "../../src/runtime/current.ts";
import type { Listening, TlsIdentity, TlsKeyPair, Transport } from "../../src/runtime/runtime.ts";
import type { Connected, Peer } from "../contract/transport_contract.ts";

export const runtime = await currentRuntime();

let made: Promise<TlsKeyPair> | undefined;

/** One key pair for all tests of a file, since making one takes long. */
export function keyPair(): Promise<TlsKeyPair> {
  return made ??= makeKeyPair();
}

export async function makeKeyPair(): Promise<TlsKeyPair> {
  const pems = await generate([{ name: "commonName", value: "mx.example.com" }], { keySize: 2048 });
  return { certificate: pems.cert, privateKey: pems.private };
}

export async function tlsIdentity(): Promise<TlsIdentity> {
  return runtime.network.tlsIdentity(await keyPair());
}

/** A listener on a port of the system's choice, with the transports that it accepts. */
export class Server implements AsyncDisposable {
  readonly listening: Listening;
  readonly port: number;
  readonly #accepted: Transport[] = [];
  #waiting: ((transport: Transport) => void)[] = [];

  private constructor(listening: Listening, accepted: (call: (transport: Transport) => void) => void) {
    this.listening = listening;
    this.port = listening.local.kind === "ip" ? listening.local.port : 0;
    accepted((transport) => {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#accepted.push(transport);
      else waiting(transport);
    });
  }

  static async open(address?: string): Promise<Server> {
    let call: (transport: Transport) => void = () => {};
    const options = address === undefined ? { port: 0 } : { address, port: 0 };
    const listening = await runtime.network.listen(options, (transport) => call(transport));
    return new Server(listening, (given) => call = given);
  }

  next(): Promise<Transport> {
    const transport = this.#accepted.shift();
    if (transport !== undefined) return Promise.resolve(transport);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listening.close();
  }
}

/** A plain connection that is open on both sides. */
export async function openPlain(): Promise<Connected> {
  const server = await Server.open("127.0.0.1");
  const socket = connectPlain({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
  const peer = new SocketPeer(socket);
  const transport = await server.next();
  return connected(server, transport, peer);
}

/** The same, with TLS on it. */
export async function openTls(): Promise<Connected> {
  const server = await Server.open("127.0.0.1");
  const identity = await tlsIdentity();
  const plain = connectPlain({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
  plain.on("error", () => {});
  const transport = await server.next();
  const shaking = transport.startTls?.(identity, new Uint8Array(0));
  const gate = new Gate(plain);
  const peer = new SocketPeer(
    connectTls({ socket: gate as unknown as Socket, rejectUnauthorized: false }),
    plain,
    gate,
  );
  await shaking;
  return connected(server, transport, peer);
}

function connected(server: Server, transport: Transport, peer: SocketPeer): Connected {
  return {
    transport,
    peer,
    async [Symbol.asyncDispose]() {
      peer.destroy();
      transport.abort();
      await server[Symbol.asyncDispose]();
    },
  };
}

/**
 * A stream between a TCP socket and the TLS client above it that can hold bytes back and tells when they are, because a
 * paused TLS client on Deno reads on and one on Bun reports bytes as written that it still has.
 */
class Gate extends Duplex {
  readonly #socket: Socket;
  #isHeld = false;
  #isWriting = false;

  constructor(socket: Socket) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    socket.pause();
    socket.on("data", (bytes: Uint8Array) => {
      if (!this.push(bytes) || this.#isHeld) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("close", () => this.destroy());
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#socket.resume();
  }

  override _read(): void {
    if (!this.#isHeld) this.#socket.resume();
  }

  get isHeldBack(): boolean {
    return this.#isWriting;
  }

  override _write(bytes: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#isWriting = true;
    this.#socket.write(bytes, (error) => {
      this.#isWriting = false;
      done(error);
    });
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }
}

export class SocketPeer implements Peer {
  readonly #socket: Socket;
  readonly #carrier: Socket;
  readonly #pieces: Uint8Array[] = [];
  #have = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => {};
  #wanted = 0;
  readonly #gate: Gate | undefined;
  readonly #hold: () => void;
  readonly #release: () => void;

  /** `carrier` is the TCP connection below and `gate` what lies between, when `socket` is a TLS one. */
  constructor(socket: Socket, carrier = socket, gate?: Gate) {
    this.#socket = socket;
    this.#carrier = carrier;
    this.#gate = gate;
    this.#hold = () => gate === undefined ? socket.pause() : gate.hold();
    this.#release = () => gate === undefined ? socket.resume() : gate.release();
    if (gate === undefined) socket.pause();
    socket.on("data", (bytes: Uint8Array) => {
      this.#pieces.push(bytes);
      this.#have += bytes.length;
      if (this.#have >= this.#wanted) this.#hold();
      this.#wake();
    });
    const end = (error?: Error): void => {
      this.#ended = true;
      this.#error ??= error;
      this.#wake();
    };
    socket.on("end", () => end());
    socket.on("close", () => end());
    socket.on("error", end);
    carrier.on("error", end);
  }

  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => error ? reject(error) : resolve());
    });
  }

  isHeldBack(): boolean {
    return this.#gate === undefined ? this.#socket.writableLength > 0 : this.#gate.isHeldBack;
  }

  async take(count: number): Promise<Uint8Array> {
    await this.#until(count);
    if (this.#have < count) throw this.#error ?? new Error(`The stream ended after ${this.#have} of ${count} bytes.`);
    return this.#cut(count);
  }

  async rest(): Promise<Uint8Array> {
    await this.#until(Infinity);
    if (this.#error !== undefined) throw this.#error;
    return this.#cut(this.#have);
  }

  finish(): void {
    this.#socket.end();
  }

  reset(): void {
    this.#carrier.resetAndDestroy();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#carrier.destroy();
  }

  async #until(count: number): Promise<void> {
    this.#wanted = count;
    while (this.#have < count && !this.#ended) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      this.#release();
      await woken;
    }
    this.#wanted = 0;
  }

  #cut(count: number): Uint8Array {
    const all = new Uint8Array(this.#have);
    let at = 0;
    for (const piece of this.#pieces.splice(0)) {
      all.set(piece, at);
      at += piece.length;
    }
    if (count < all.length) this.#pieces.push(all.subarray(count));
    this.#have -= count;
    return all.subarray(0, count);
  }
}
