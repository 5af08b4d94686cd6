/**
 * Connections that we open, over node:net and node:tls, which both runtimes have: TCP and UNIX sockets, and TLS from the
 * first byte or later. It must not know what is said.
 */
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import type { TLSSocket } from "node:tls";
import { BufferedReading } from "./buffered_reading.ts";
import { errorCode, ipEndpoint, transportError } from "./failures.ts";
import { Lingering } from "./lingering.ts";
import {
  type ClientTls,
  type ClientTransport,
  type ConnectOptions,
  type Endpoint,
  endpointText,
  type TlsInfo,
  TransportError,
} from "./runtime.ts";

const CONNECT_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ECONNRESET: "the connection was closed at once",
  ETIMEDOUT: "there was no connection in time",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  ENOENT: "there is no such socket",
  EACCES: "this user may not",
};

/** Rejects with `TransportError`, or with the signal's reason. */
export function nodeConnect(endpoint: Endpoint, options: ConnectOptions): Promise<ClientTransport> {
  const { signal, timeoutMs } = options;
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  const target = endpoint.kind === "ip"
    ? { host: endpoint.address, port: endpoint.port }
    : { path: endpoint.kind === "unix" ? endpoint.path : "" };
  return new Promise((resolve, reject) => {
    const socket = connectSocket(target);
    const settle = (call: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      socket.removeListener("error", failed);
      call();
    };
    const fail = (error: unknown): void =>
      settle(() => {
        socket.on("error", () => {});
        socket.destroy();
        reject(error);
      });
    const failed = (error: unknown): void => fail(connectError(endpoint, errorCode(error, "ECONNREFUSED"), error));
    const aborted = (): void => fail(signal?.reason);
    const timer = setTimeout(() => fail(connectError(endpoint, "ETIMEDOUT")), timeoutMs);
    signal?.addEventListener("abort", aborted, { once: true });
    socket.on("error", failed);
    socket.on("connect", () => settle(() => resolve(new NodeTransport(socket, endpoint))));
  });
}

function connectError(endpoint: Endpoint, code: string, cause?: unknown): TransportError {
  const reason = CONNECT_REASONS[code] ?? "the system refused";
  return new TransportError(`Cannot connect to ${endpointText(endpoint)}: ${reason} (${code})`, code, cause);
}

const lingering = new Lingering();

class NodeTransport extends BufferedReading implements ClientTransport {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  #socket: Socket;
  #failure: TransportError | undefined;
  #isGone = false;
  #closing: Promise<void> | undefined;
  #resolveGone: (() => void) | undefined;
  #rejectHandshake: ((error: TransportError) => void) | undefined;

  constructor(socket: Socket, peer: Endpoint) {
    super();
    this.peer = peer;
    const { localAddress, localPort } = socket;
    this.local = localAddress === undefined || localPort === undefined
      ? { kind: "unknown" }
      : ipEndpoint(localAddress, localPort);
    this.#socket = socket;
    socket.setNoDelay(true);
    this.#listen(socket);
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) return Promise.reject(new TransportError("The connection is closed.", "EPIPE"));
    if (bytes.length === 0) return;
    return new Promise((resolve, reject) => {
      const socket = this.#socket;
      const done = (error?: Error | null): void => {
        socket.removeListener("close", gone);
        if (error === undefined || error === null) resolve();
        else reject(this.#fail(transportError("Cannot write", error, "EPIPE")));
      };
      // A socket that closes may forget to say what became of its writes.
      const gone = (): void =>
        done(this.#failure ?? new TransportError("The connection broke: the peer has closed it.", "EPIPE"));
      socket.once("close", gone);
      socket.write(bytes, done);
    });
  }

  async secure(options: ClientTls): Promise<TlsInfo> {
    const { connect } = await import("node:tls");
    if (this.#failure !== undefined) throw this.#failure;
    if (this.hasQueued) {
      throw this.#fail(new TransportError("Plain text came before the TLS handshake.", "ETLS"));
    }
    const plain = this.#socket;
    for (const event of ["data", "end", "close", "error"] as const) plain.removeAllListeners(event);
    plain.on("error", () => {});
    const { serverName, verify, authorities, identity } = options;
    return await new Promise<TlsInfo>((resolve, reject) => {
      const failed = (error: unknown): void => {
        this.#rejectHandshake = undefined;
        secure.on("error", () => {});
        secure.destroy();
        plain.destroy();
        this.#leave();
        reject(this.#fail(handshakeError(error)));
      };
      const secure = connect({
        socket: plain,
        // An address is no server name (RFC 6066 §3), but is what the certificate must be for.
        ...(isIP(serverName) === 0 ? { servername: serverName } : { host: serverName }),
        rejectUnauthorized: verify,
        minVersion: "TLSv1.2",
        ...(authorities === undefined ? {} : { ca: authorities }),
        ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.privateKey }),
      });
      this.#rejectHandshake = failed;
      const ended = (): void => failed(new TransportError("The peer ended the connection.", "ECONNRESET"));
      secure.on("error", failed);
      secure.on("close", ended);
      secure.on("secureConnect", () => {
        this.#rejectHandshake = undefined;
        secure.removeListener("error", failed);
        secure.removeListener("close", ended);
        this.#socket = secure;
        this.#listen(secure);
        resolve(infoOf(secure, serverName));
      });
    });
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  #close(): Promise<void> {
    this.stopReading();
    if (this.#failure !== undefined) this.abort();
    if (this.#isGone) return Promise.resolve();
    const gone = new Promise<void>((resolve) => this.#resolveGone = resolve);
    lingering.add(this, () => this.abort());
    this.#socket.resume();
    this.#socket.end();
    return gone;
  }

  abort(): void {
    const error = this.#fail(new TransportError("The connection was aborted.", "ECONNABORTED"));
    this.discardQueued();
    this.failReading(error);
    this.#rejectHandshake?.(error);
    this.#socket.destroy();
    this.#leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #listen(socket: Socket): void {
    socket.on("data", (bytes: Uint8Array) => this.receive(bytes));
    socket.on("end", () => this.endReading());
    socket.on("error", (error: unknown) => this.failReading(this.#fail(transportError("Cannot go on", error))));
    socket.on("close", () => {
      this.#leave();
      this.endReading();
    });
  }

  /** The first failure is the one that is told. */
  #fail(error: TransportError): TransportError {
    return this.#failure ??= error;
  }

  #leave(): void {
    this.#isGone = true;
    lingering.remove(this);
    this.#resolveGone?.();
  }

  protected override pauseSource(): void {
    this.#socket.pause();
  }

  protected override resumeSource(): void {
    if (!this.#isGone) this.#socket.resume();
  }
}

/** What people may expect to read; the code stands behind it. */
const TLS_REASONS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the certificate has expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "the certificate is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN: "the certificate comes from an authority that is not trusted here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the certificate comes from an authority that is not trusted here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the certificate comes from an authority that is not trusted here",
  ERR_TLS_CERT_ALTNAME_INVALID: "the certificate is for another host",
  ECONNRESET: "the server ended the connection",
};

function handshakeError(error: unknown): TransportError {
  if (error instanceof TransportError && error.code === "ECONNABORTED") return error;
  const code = errorCode(error, "ETLS");
  const said = error instanceof Error ? error.message.replace(/[^\x20-\x7e]+/g, " ") : "no reason given";
  return new TransportError(`The TLS handshake failed: ${TLS_REASONS[code] ?? said} (${code})`, code, error);
}

function infoOf(socket: TLSSocket, serverName: string): TlsInfo {
  return { version: socket.getProtocol() ?? "", cipher: socket.getCipher().name, serverName };
}
