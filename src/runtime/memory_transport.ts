/**
 * Two transports joined in memory, for tests and simulations: what one writes the other reads, in bounded memory and
 * without any clock. It must not know what is said over them.
 */
import { BufferedReading } from "./buffered_reading.ts";
import { type Endpoint, type TlsIdentity, type TlsInfo, type Transport, TransportError } from "./runtime.ts";

export interface TransportPairOptions {
  /** As the server end sees its client; the ends are unknown without it. */
  readonly client?: Endpoint;
  readonly server?: Endpoint;
  /** The server end then offers `startTls`, which agrees on this at once; the bytes stay plain. */
  readonly tls?: TlsInfo;
}

/** `server.peer` is the client. Closing or aborting one end is seen by the other as it would be on a socket. */
export function transportPair(
  options: TransportPairOptions = {},
): { readonly client: Transport; readonly server: Transport } {
  const clientAt = options.client ?? { kind: "unknown" };
  const serverAt = options.server ?? { kind: "unknown" };
  const server = options.tls === undefined
    ? new MemoryTransport(clientAt, serverAt)
    : new MemoryTlsTransport(clientAt, serverAt, options.tls);
  const client = new MemoryTransport(serverAt, clientAt);
  server.join(client);
  client.join(server);
  return { client, server };
}

class MemoryTransport extends BufferedReading implements Transport {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  #other: MemoryTransport | undefined;
  #failure: TransportError | undefined;
  #isFull = false;
  #blocked: PromiseWithResolvers<void> | undefined;

  constructor(peer: Endpoint, local: Endpoint) {
    super();
    this.peer = peer;
    this.local = local;
  }

  join(other: MemoryTransport): void {
    this.#other = other;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#blocked !== undefined) return this.#blocked.promise.then(() => this.write(bytes));
    const other = this.#other;
    if (other === undefined) return;
    if (bytes.length > 0) other.receive(bytes.slice());
    if (!other.#isFull) return;
    this.#blocked = Promise.withResolvers();
    return this.#blocked.promise;
  }

  close(): Promise<void> {
    this.stopReading();
    // Whatever was written lies in the other end's queue already.
    this.#unblock();
    if (this.#failure === undefined) {
      this.#other?.endReading();
      this.#break(new TransportError("The connection is closed already.", "EPIPE"));
    }
    return Promise.resolve();
  }

  abort(): void {
    const isFirst = this.#failure === undefined;
    const error = new TransportError("The connection was aborted.", "ECONNABORTED");
    this.#break(error);
    this.discardQueued();
    this.failReading(error);
    if (!isFirst) return;
    const reset = new TransportError("The connection broke: the peer reset it.", "ECONNRESET");
    const other = this.#other;
    if (other === undefined) return;
    other.failReading(reset);
    other.#break(reset);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  protected override pauseSource(): void {
    this.#isFull = true;
  }

  protected override resumeSource(): void {
    this.#isFull = false;
    const other = this.#other;
    if (other !== undefined) other.#unblock();
  }

  #unblock(): void {
    const blocked = this.#blocked;
    this.#blocked = undefined;
    blocked?.resolve();
  }

  #break(error: TransportError): void {
    this.#failure ??= error;
    const blocked = this.#blocked;
    this.#blocked = undefined;
    blocked?.reject(error);
  }
}

class MemoryTlsTransport extends MemoryTransport {
  readonly #info: TlsInfo;

  constructor(peer: Endpoint, local: Endpoint, info: TlsInfo) {
    super(peer, local);
    this.#info = info;
  }

  async startTls(_identity: TlsIdentity, lastPlaintext: Uint8Array): Promise<TlsInfo> {
    this.discardQueued();
    await this.write(lastPlaintext);
    return this.#info;
  }
}
