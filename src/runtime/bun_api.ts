/**
 * The part of Bun's global that the adapter uses, declared here so that both runtimes' compilers can check it; Bun's own
 * declarations lack what server-side upgrades need and are not known to Deno. No behaviour.
 */

export interface BunSocketHandlers<Data> {
  readonly binaryType: "uint8array";
  readonly open?: (socket: BunSocket<Data>) => void;
  readonly data: (socket: BunSocket<Data>, bytes: Uint8Array) => void;
  readonly drain: (socket: BunSocket<Data>) => void;
  readonly end: (socket: BunSocket<Data>) => void;
  readonly close: (socket: BunSocket<Data>, error?: Error) => void;
  readonly error: (socket: BunSocket<Data>, error: Error) => void;
  readonly handshake: (socket: BunSocket<Data>, success: boolean, error: Error | null) => void;
}

export interface BunTlsOptions {
  readonly cert: string;
  readonly key: string;
  /** As the library numbers versions: 0x0303 is TLS 1.2. */
  readonly minVersion: number;
}

export interface BunSocket<Data> {
  data: Data;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** How many bytes were taken; -1 when the connection is gone. */
  write(bytes: Uint8Array): number;
  pause(): void;
  resume(): void;
  /** Ends our direction. When the peer has ended its own, `close` follows. */
  shutdown(): void;
  /** Ends our direction and closes. */
  end(): void;
  /** Resets. */
  terminate(): void;
  upgradeTLS(
    options: { isServer: boolean; tls: BunTlsOptions; data: Data; socket: BunSocketHandlers<Data> },
  ): [raw: BunSocket<Data>, secure: BunSocket<Data>];
  getTLSVersion(): string;
  getCipher(): { readonly name: string };
  getServername(): unknown;
}

export interface BunListener {
  readonly hostname: string;
  readonly port: number;
  stop(): void;
}

interface BunApi {
  listen<Data>(
    options: { hostname: string; port: number; allowHalfOpen: boolean; socket: BunSocketHandlers<Data> },
  ): BunListener;
  readonly stdin: { stream(): ReadableStream<Uint8Array> };
  readonly stdout: { writer(): { write(bytes: Uint8Array): unknown; flush(): unknown } };
}

/** Bun's global; only touched when we run on Bun. */
export const bun: BunApi = (globalThis as unknown as { readonly Bun: BunApi }).Bun;
