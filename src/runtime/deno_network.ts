/**
 * TCP over Deno's native listener, which is faster than its node:net, and TLS by node:tls on top of an accepted
 * connection, because `Deno.startTls` has no server side. It must not know what is said.
 */
import { setTimeout } from "node:timers/promises";
import type { SecureContext } from "node:tls";
import { BufferedReading } from "./buffered_reading.ts";
import { TlsChannel, writeAll } from "./deno_tls.ts";
import { connect } from "./connect.ts";
import { EndpointCache, ipEndpoint, listenError, transportError } from "./failures.ts";
import { Lingering } from "./lingering.ts";
import { ReadBuffer } from "./read_buffer.ts";
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
import { checkKeyPair, ParsedTlsIdentity, secureContext } from "./tls_identity.ts";

/** The network as Deno offers it. */
export function denoNetwork(): Network {
  return { listen, connect, tlsIdentity };
}

function tlsIdentity(pair: TlsKeyPair): TlsIdentity {
  return new ParsedTlsIdentity(checkKeyPair(pair), secureContext(pair));
}

// deno-lint-ignore require-await -- what is thrown must reject
async function listen(options: ListenOptions, accept: (transport: Transport) => void): Promise<Listening> {
  const listener = bindOrFallBack(options);
  const accepting = new AbortController();
  acceptUntilClosed(listener, accepting.signal, accept);
  const close = (): Promise<void> => {
    if (!accepting.signal.aborted) {
      accepting.abort();
      listener.close();
    }
    return Promise.resolve();
  };
  return { local: ipEndpoint(listener.addr.hostname, listener.addr.port), close, [Symbol.asyncDispose]: close };
}

function bindOrFallBack({ address, port }: ListenOptions): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: address ?? "::", port });
  } catch (error) {
    const failure = listenError(address, port, error);
    if (address !== undefined || failure.code === "EADDRINUSE" || failure.code === "EACCES") throw failure;
  }
  // This machine has no IPv6.
  try {
    return Deno.listen({ hostname: "0.0.0.0", port });
  } catch (error) {
    throw listenError(address, port, error);
  }
}

/** How long accepting rests when the system is out of descriptors or memory. */
const ACCEPT_BACK_OFF_MS = 50;

async function acceptUntilClosed(
  listener: Deno.TcpListener,
  closed: AbortSignal,
  accept: (transport: Transport) => void,
): Promise<void> {
  const locals = new EndpointCache();
  while (!closed.aborted) {
    let connection: Deno.TcpConn;
    try {
      connection = await listener.accept();
    } catch {
      // The listener was closed, or one connection could not be taken: the next may.
      if (!closed.aborted) await setTimeout(ACCEPT_BACK_OFF_MS);
      continue;
    }
    try {
      connection.setNoDelay(true);
    } catch {
      // It is broken already; reading will say so.
    }
    const local = connection.localAddr;
    const transport = new DenoTransport(connection, locals.get(local.hostname, local.port));
    try {
      accept(transport);
    } catch (error) {
      // A fault of ours: reported as one, but it must not end the accepting of others.
      transport.abort();
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

const lingering = new Lingering();

class DenoTransport extends BufferedReading implements Transport {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new ReadBuffer();
  #isReading = false;
  #tls: TlsChannel | undefined;
  #writing: Promise<void> | undefined;
  #failure: TransportError | undefined;
  #hasEndedWriting = false;
  #isGone = false;
  #closing: Promise<void> | undefined;
  #resolveGone: (() => void) | undefined;

  constructor(connection: Deno.TcpConn, local: Endpoint) {
    super();
    this.#connection = connection;
    this.peer = ipEndpoint(connection.remoteAddr.hostname, connection.remoteAddr.port);
    this.local = local;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) return Promise.reject(new TransportError("The connection is closed.", "EPIPE"));
    if (bytes.length === 0) return;
    const before = this.#writing;
    const writing = before === undefined ? this.#send(bytes) : before.then(() => this.#send(bytes));
    this.#writing = writing;
    const forget = (): void => {
      if (this.#writing === writing) this.#writing = undefined;
    };
    writing.then(forget, forget);
    return writing;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await (this.#tls === undefined ? writeAll(this.#connection, bytes) : this.#tls.write(bytes));
    } catch (error) {
      throw this.#fail(transportError("Cannot write", error, "EPIPE"));
    }
  }

  async startTls(identity: TlsIdentity, lastPlaintext: Uint8Array): Promise<TlsInfo> {
    if (!(identity instanceof ParsedTlsIdentity)) throw new TypeError("The TLS identity is of another runtime.");
    // The connection is read on demand only, so nothing that came in plain text has been taken from the system yet:
    // the first bytes read after this go to the handshake, and plain text among them makes it fail.
    await this.write(lastPlaintext);
    if (this.#failure !== undefined) throw this.#failure;
    if (this.readingStopped) throw interrupted();
    this.#tls = new TlsChannel(this.#connection, this.#buffer, identity.native as SecureContext, {
      data: (bytes) => this.receive(bytes),
      end: () => this.#onEnd(),
      fail: (error) => this.#onBroken(error),
    });
    try {
      return await this.#tls.secured;
    } catch (error) {
      const failure = this.#fail(transportError("Cannot shake hands", error, "ETLS"));
      this.failReading(failure);
      throw failure;
    }
  }

  override interrupt(): void {
    super.interrupt();
    // Half a handshake is of no use: there is no way to say anything to the peer any more.
    if (this.#tls?.isShakingHands) this.#tls.destroy(this.#fail(interrupted()));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /**
   * A socket closed with unread bytes in it resets the connection, and the peer may lose the last reply. So only our
   * direction is ended, and what still comes is thrown away until the peer ends its own.
   */
  #close(): Promise<void> {
    this.stopReading();
    if (this.#tls?.isShakingHands) this.#fail(interrupted());
    if (this.#failure !== undefined) this.#leave();
    if (this.#isGone) return Promise.resolve();
    const gone = new Promise<void>((resolve) => this.#resolveGone = resolve);
    lingering.add(this, () => this.abort());
    this.#endWriting().then(() => this.#waitForPeer(), () => this.#leave());
    return gone;
  }

  async #endWriting(): Promise<void> {
    await this.#writing;
    await (this.#tls === undefined ? this.#connection.closeWrite() : this.#tls.finish());
  }

  #waitForPeer(): void {
    this.#hasEndedWriting = true;
    if (this.sourceEnded || this.#failure !== undefined) this.#leave();
    else this.wantBytes();
  }

  abort(): void {
    const error = this.#fail(new TransportError("The connection was aborted.", "ECONNABORTED"));
    this.discardQueued();
    this.failReading(error);
    this.#leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  protected override wantBytes(): void {
    if (this.#isReading || this.#isGone || this.#tls !== undefined) return;
    this.#isReading = true;
    this.#connection.read(this.#buffer.next()).then((count) => this.#onRead(count), (error) => this.#onBroken(error));
  }

  #onRead(count: number | null): void {
    this.#isReading = false;
    if (count === null) return this.#onEnd();
    const bytes = this.#buffer.filled(count);
    if (this.#closing === undefined) this.receive(bytes);
    else this.wantBytes();
  }

  #onEnd(): void {
    this.endReading();
    if (this.#hasEndedWriting) this.#leave();
  }

  #onBroken(error: unknown): void {
    this.#isReading = false;
    this.failReading(this.#fail(transportError("Cannot read", error)));
    if (this.#closing !== undefined) this.#leave();
  }

  /** The first failure is the one that is told. */
  #fail(error: TransportError): TransportError {
    return this.#failure ??= error;
  }

  /** Gives the connection back to the system; whatever still waits for it there is rejected by that. */
  #leave(): void {
    if (!this.#isGone) {
      this.#isGone = true;
      lingering.remove(this);
      this.#tls?.destroy(this.#failure ?? interrupted());
      try {
        this.#connection.close();
      } catch {
        // The system has closed it before us.
      }
    }
    this.#resolveGone?.();
  }

  protected override pauseSource(): void {
    this.#tls?.pause();
  }

  protected override resumeSource(): void {
    this.#tls?.resume();
  }
}

function interrupted(): TransportError {
  return new TransportError("The TLS handshake was interrupted.", "EINTR");
}
