/**
 * TCP and TLS over Bun's native sockets. One table of handlers serves all connections and each socket carries its
 * transport as data, so an idle connection holds no closures, queues or timers. It must not know what is said.
 */
import { setImmediate } from "node:timers";
import { bun, type BunListener, type BunSocket, type BunSocketHandlers, type BunTlsOptions } from "./bun_api.ts";
import { BufferedReading } from "./buffered_reading.ts";
import { connect } from "./connect.ts";
import { EndpointCache, ipEndpoint, listenError, transportError } from "./failures.ts";
import { Lingering } from "./lingering.ts";
import {
  type Endpoint,
  type Listening,
  type ListenOptions,
  type Network,
  type TlsIdentity,
  type TlsInfo,
  type TlsKeyPair,
  type Transport,
  TransportError,
} from "./runtime.ts";
import { checkKeyPair, ParsedTlsIdentity, secureContext, shownServerName } from "./tls_identity.ts";

/** The network as Bun offers it. */
export function bunNetwork(): Network {
  return { listen, connect, tlsIdentity };
}

type Socket = BunSocket<Events | undefined>;

/** What a socket calls: its transport, or nothing once the transport has moved on to the TLS socket above it. */
type Events = Pick<BunTransport, "onData" | "onDrain" | "onEnd" | "onClose" | "onHandshake">;

/** TLS 1.2, as the library numbers it; older ones are broken (RFC 8996). */
const MIN_TLS_VERSION = 0x0303;

function tlsIdentity(pair: TlsKeyPair): TlsIdentity {
  const notAfterMs = checkKeyPair(pair);
  secureContext(pair);
  // Bun keeps one context for equal options, so a handshake does not parse the pair again.
  const options: BunTlsOptions = { cert: pair.certificate, key: pair.privateKey, minVersion: MIN_TLS_VERSION };
  return new ParsedTlsIdentity(notAfterMs, options);
}

const handlers: BunSocketHandlers<Events | undefined> = {
  binaryType: "uint8array",
  data: (socket: Socket, bytes: Uint8Array) => socket.data?.onData(bytes),
  drain: (socket: Socket) => socket.data?.onDrain(),
  end: (socket: Socket) => socket.data?.onEnd(),
  close: (socket: Socket, error?: Error) => socket.data?.onClose(error),
  error: (socket: Socket, error: Error) => socket.data?.onClose(error),
  // An authorization error comes even if no client certificate was asked for; only `success` counts.
  handshake: (socket: Socket, success: boolean, error: Error | null) => socket.data?.onHandshake(success, error),
};

function listen(options: ListenOptions, accept: (transport: Transport) => void): Promise<Listening> {
  const locals = new EndpointCache();
  const open = (socket: Socket): void => {
    const peer = ipEndpoint(socket.remoteAddress, socket.remotePort);
    const transport = new BunTransport(socket, peer, locals.get(socket.localAddress, socket.localPort));
    socket.data = transport;
    accept(transport);
  };
  const bind = (hostname: string): BunListener =>
    bun.listen({ hostname, port: options.port, allowHalfOpen: true, socket: { ...handlers, open } });
  return new Promise((resolve) => resolve(listening(bindOrFallBack(options, bind))));
}

function bindOrFallBack({ address, port }: ListenOptions, bind: (hostname: string) => BunListener): BunListener {
  try {
    return bind(address ?? "::");
  } catch (error) {
    const failure = listenError(address, port, error);
    if (address !== undefined || failure.code === "EADDRINUSE" || failure.code === "EACCES") throw failure;
  }
  // This machine has no IPv6.
  try {
    return bind("0.0.0.0");
  } catch (error) {
    throw listenError(address, port, error);
  }
}

function listening(listener: BunListener): Listening {
  const close = (): Promise<void> => {
    listener.stop();
    return Promise.resolve();
  };
  return { local: ipEndpoint(listener.hostname, listener.port), close, [Symbol.asyncDispose]: close };
}

/**
 * The system takes a write at once as long as it has room, so a client that pipelines without end could have the whole
 * process for itself. After a write of this size the other connections get their turn.
 */
const TURN_BYTES = 16 * 1024;

const lingering = new Lingering();

interface PendingWrite extends PromiseWithResolvers<void> {
  rest: Uint8Array;
}

class BunTransport extends BufferedReading implements Transport {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  #socket: Socket;
  /** What the system did not take yet, while it does not. */
  #pending: PendingWrite | undefined;
  #handshake: PromiseWithResolvers<TlsInfo> | undefined;
  /** Between the call of `startTls` and the handshake: plain bytes are dropped. */
  #dropsPlaintext = false;
  #failure: TransportError | undefined;
  #isGone = false;
  #closing: Promise<void> | undefined;
  #resolveGone: (() => void) | undefined;

  constructor(socket: Socket, peer: Endpoint, local: Endpoint) {
    super();
    this.#socket = socket;
    this.peer = peer;
    this.local = local;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) return Promise.reject(new TransportError("The connection is closed.", "EPIPE"));
    const pending = this.#send(bytes);
    if (pending !== undefined || bytes.length < TURN_BYTES) return pending;
    return new Promise((resolve) => void setImmediate(resolve));
  }

  #send(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#pending !== undefined) return this.#pending.promise.then(() => this.#send(bytes));
    if (bytes.length === 0) return;
    const taken = this.#socket.write(bytes);
    if (taken === bytes.length) return;
    if (taken < 0) return Promise.reject(this.#fail(brokenPipe()));
    this.#pending = { ...Promise.withResolvers<void>(), rest: bytes.subarray(taken) };
    return this.#pending.promise;
  }

  async startTls(identity: TlsIdentity, lastPlaintext: Uint8Array): Promise<TlsInfo> {
    if (!(identity instanceof ParsedTlsIdentity)) throw new TypeError("The TLS identity is of another runtime.");
    if (this.readingStopped) throw interrupted();
    this.#dropsPlaintext = true;
    this.discardQueued();
    // The client may only speak TLS after it has seen the last byte of this. Nothing can be read between the moment
    // the last byte is taken and the upgrade, because no event is handled in between.
    const written = this.#send(lastPlaintext);
    if (written !== undefined) await written;
    if (this.#failure !== undefined) throw this.#failure;
    if (this.readingStopped) throw interrupted();
    this.#handshake = Promise.withResolvers<TlsInfo>();
    const { promise } = this.#handshake;
    try {
      this.#upgrade(identity.native as BunTlsOptions);
    } catch (error) {
      this.#onHandshakeFailed(error);
    }
    return promise;
  }

  #upgrade(tls: BunTlsOptions): void {
    const plain = this.#socket;
    const [raw, secure] = plain.upgradeTLS({ isServer: true, tls, data: this, socket: handlers });
    // The raw socket still reports the encrypted bytes and its own end: nobody listens.
    raw.data = undefined;
    plain.data = undefined;
    secure.data = this;
    this.#socket = secure;
    this.#dropsPlaintext = false;
  }

  override interrupt(): void {
    super.interrupt();
    // Half a handshake is of no use: there is no way to say anything to the peer any more.
    if (this.#handshake !== undefined) this.#fail(interrupted());
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.stopReading();
    if (this.#handshake !== undefined) this.#fail(interrupted());
    if (this.#isGone) return;
    if (this.#failure !== undefined) {
      // Nothing can be said any more; ending leaves the peer a TLS alert that may be on its way.
      this.#socket.end();
      return this.#leave();
    }
    const gone = new Promise<void>((resolve) => this.#resolveGone = resolve);
    lingering.add(this, () => this.abort());
    if (this.#pending !== undefined) await this.#pending.promise.catch(() => {});
    // A socket closed with unread bytes in it resets the connection, and the peer may lose the last reply. So only our
    // direction is ended, and what still comes is thrown away until the peer ends its own.
    if (!this.#isGone) {
      if (this.sourceEnded) this.#socket.end();
      else this.#socket.shutdown();
    }
    return gone;
  }

  abort(): void {
    const error = this.#fail(new TransportError("The connection was aborted.", "ECONNABORTED"));
    this.discardQueued();
    this.failReading(error);
    if (!this.#isGone) this.#socket.terminate();
    this.#leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  onData(bytes: Uint8Array): void {
    if (!this.#dropsPlaintext) this.receive(bytes);
  }

  onDrain(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    const taken = this.#socket.write(pending.rest);
    if (taken < 0) {
      this.#fail(brokenPipe());
    } else if (taken < pending.rest.length) {
      pending.rest = pending.rest.subarray(taken);
    } else {
      this.#pending = undefined;
      pending.resolve();
    }
  }

  onEnd(): void {
    this.endReading();
    if (this.#handshake !== undefined) this.#onHandshakeFailed(undefined);
    else if (this.#closing !== undefined && this.#pending === undefined) this.#socket.end();
  }

  onClose(error: Error | undefined): void {
    this.#isGone = true;
    if (error === undefined) this.endReading();
    const failure = error === undefined ? brokenPipe() : transportError("Cannot go on", error);
    this.failReading(this.#fail(failure));
    this.#leave();
  }

  onHandshake(success: boolean, error: Error | null): void {
    if (this.#handshake === undefined) return;
    if (!success) return this.#onHandshakeFailed(error);
    const { resolve } = this.#handshake;
    this.#handshake = undefined;
    resolve({
      version: this.#socket.getTLSVersion(),
      cipher: this.#socket.getCipher().name,
      ...shownServerName(this.#socket.getServername()),
    });
  }

  #onHandshakeFailed(error: unknown): void {
    const failure = new TransportError("The TLS handshake failed.", "ETLS", error);
    this.failReading(this.#fail(failure));
  }

  /** Settles everything that waits for the connection, except the reader. The first failure is the one that is told. */
  #fail(error: TransportError): TransportError {
    const failure = this.#failure ??= error;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(failure);
    const handshake = this.#handshake;
    this.#handshake = undefined;
    handshake?.reject(failure);
    return failure;
  }

  #leave(): void {
    this.#isGone = true;
    lingering.remove(this);
    this.#resolveGone?.();
  }

  /**
   * Each event brings bytes of its own, up to 512 KiB, and the garbage collector lets tens of MiB of them pile up before
   * it looks. Detaching frees them now.
   */
  protected override takeBack(bytes: Uint8Array): void {
    if (bytes.byteLength === bytes.buffer.byteLength) (bytes.buffer as ArrayBuffer).transfer(0);
  }

  protected override pauseSource(): void {
    this.#socket.pause();
  }

  protected override resumeSource(): void {
    if (!this.#isGone) this.#socket.resume();
  }
}

function interrupted(): TransportError {
  return new TransportError("The TLS handshake was interrupted.", "EINTR");
}

function brokenPipe(): TransportError {
  return new TransportError("The connection broke: the peer has closed it.", "EPIPE");
}
