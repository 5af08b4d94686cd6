/**
 * TLS on an accepted Deno connection: the connection as a stream, and node:tls above it. It must not know what is said
 * over it, nor when the connection itself is closed: that is its owner's business.
 */
import process from "node:process";
import { Duplex } from "node:stream";
import type { SecureContext, TLSSocket } from "node:tls";
import { transportError } from "./failures.ts";
import type { ReadBuffer } from "./read_buffer.ts";
import { type TlsInfo, TransportError } from "./runtime.ts";
import { shownServerName } from "./tls_identity.ts";

/** Where the decrypted bytes go. After `end` or `fail` nothing more comes. */
export interface TlsSink {
  data(bytes: Uint8Array): void;
  end(): void;
  fail(error: TransportError): void;
}

export class TlsChannel {
  readonly #stream: ConnectionStream;
  readonly #socket: TLSSocket;
  readonly #sink: TlsSink;
  #handshake: PromiseWithResolvers<TlsInfo> | undefined = Promise.withResolvers();
  /** Settles when the handshake is over. */
  readonly secured: Promise<TlsInfo>;

  constructor(connection: Deno.TcpConn, buffer: ReadBuffer, context: SecureContext, sink: TlsSink) {
    const { TLSSocket } = process.getBuiltinModule("node:tls");
    this.#sink = sink;
    this.secured = (this.#handshake as PromiseWithResolvers<TlsInfo>).promise;
    this.#stream = new ConnectionStream(connection, buffer);
    // Without this a broken connection would look like an orderly end.
    this.#stream.on("error", (error) => this.#onError(error));
    // The declaration wants a net.Socket; any stream will do.
    const carrier = this.#stream as unknown as import("node:net").Socket;
    this.#socket = new TLSSocket(carrier, { isServer: true, secureContext: context });
    this.#socket.on("secure", () => this.#onSecure());
    this.#socket.on("data", (bytes: Uint8Array) => sink.data(bytes));
    this.#socket.on("end", () => this.#onEnd());
    this.#socket.on("error", (error) => this.#onError(error));
    this.#socket.on("close", () => this.#onEnd());
  }

  /** Whether the handshake has not ended yet. */
  get isShakingHands(): boolean {
    return this.#handshake !== undefined;
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => error ? reject(error) : resolve());
    });
  }

  /** Tells the peer that nothing more comes; what it still sends is read and goes to the sink. */
  finish(): Promise<void> {
    this.resume();
    return new Promise((resolve) => this.#socket.end(resolve));
  }

  /** Holds the peer back. The encrypted bytes are what is not read, because a paused TLSSocket on Deno reads on. */
  pause(): void {
    this.#stream.hold();
  }

  resume(): void {
    this.#stream.release();
  }

  /** Ends everything at once; a pending handshake rejects with `error`, pending writes reject. */
  destroy(error: TransportError): void {
    this.#handshake?.reject(error);
    this.#handshake = undefined;
    this.#socket.destroy();
  }

  #onSecure(): void {
    const handshake = this.#handshake;
    this.#handshake = undefined;
    handshake?.resolve({
      version: this.#socket.getProtocol() ?? "",
      cipher: this.#socket.getCipher().name,
      ...shownServerName("servername" in this.#socket ? this.#socket.servername : undefined),
    });
  }

  #onEnd(): void {
    if (this.#handshake === undefined) return this.#sink.end();
    this.#onError(new TransportError("The TLS handshake failed: the peer has ended the connection.", "ETLS"));
  }

  #onError(error: Error): void {
    const handshake = this.#handshake;
    this.#handshake = undefined;
    if (handshake === undefined) return this.#sink.fail(transportError("Cannot go on", error));
    handshake.reject(
      error instanceof TransportError ? error : new TransportError("The TLS handshake failed.", "ETLS", error),
    );
  }
}

/** A connection as node:tls wants it. The connection stays open when the stream is destroyed. */
class ConnectionStream extends Duplex {
  readonly #connection: Deno.TcpConn;
  readonly #buffer: ReadBuffer;
  #isHeld = false;
  #wantsBytes = false;

  constructor(connection: Deno.TcpConn, buffer: ReadBuffer) {
    super({ allowHalfOpen: true });
    this.#connection = connection;
    this.#buffer = buffer;
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    if (this.#wantsBytes) this._read();
  }

  override _read(): void {
    this.#wantsBytes = this.#isHeld;
    if (this.#isHeld) return;
    this.#connection.read(this.#buffer.next()).then(
      // A copy, because the stream may keep it while the buffer is read into again.
      (count) => this.push(count === null ? null : this.#buffer.filled(count).slice()),
      (error) => this.destroy(error),
    );
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    writeAll(this.#connection, chunk).then(() => done(), done);
  }

  override _final(done: () => void): void {
    this.#connection.closeWrite().then(done, done);
  }
}

/** Writes all of it, in as many steps as the system needs. */
export async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  let at = await connection.write(bytes);
  while (at < bytes.length) at += await connection.write(bytes.subarray(at));
}
