/**
 * The interfaces through which smtpd touches the world: network, files, clock, random numbers, processes, workers.
 * Everything outside `runtime/` imports types from here and nothing else from this folder, so the same code runs on
 * Bun, on Deno, over stdio and in tests with a virtual world. This file knows nothing of SMTP.
 */

export interface Runtime {
  readonly name: "bun" | "deno";
  readonly version: string;
  readonly network: Network;
  readonly resolver: Resolver;
  readonly dns: Dns;
  readonly http: Http;
  readonly files: Files;
  readonly processes: Processes;
  readonly workers: Workers;
  readonly scripts: Scripts;
  readonly clock: Clock;
  readonly random: Random;
}

/** One end of a connection. `unknown` is a pipe whose other end nobody named. */
export type Endpoint =
  | { readonly kind: "ip"; readonly address: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "unknown" };

/** `192.0.2.1:25`, `[2001:db8::1]:25`, a path, or `unknown`. */
export function endpointText(endpoint: Endpoint): string {
  if (endpoint.kind === "unknown") return "unknown";
  if (endpoint.kind === "unix") return endpoint.path;
  const host = endpoint.address.includes(":") ? `[${endpoint.address}]` : endpoint.address;
  return `${host}:${endpoint.port}`;
}

/** What a finished TLS handshake agreed on, in OpenSSL's names: `TLSv1.3`, `TLS_AES_256_GCM_SHA384`. */
export interface TlsInfo {
  readonly version: string;
  readonly cipher: string;
  /** The host name the client asked for (SNI), when it sent one. */
  readonly serverName?: string;
}

/** PEM texts of one certificate chain and its private key. */
export interface TlsKeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

/** A key pair that the runtime has parsed and found matching, ready for handshakes. Opaque to everybody else. */
export interface TlsIdentity {
  readonly kind: "tls-identity";
  /** End of validity of the leaf certificate, milliseconds since the epoch. */
  readonly notAfterMs: number;
}

/**
 * A byte stream in both directions. One reader and one writer at a time. Methods return a plain value when the answer
 * is known at once and a promise when it is not, so that a caller may avoid a turn of the event loop.
 */
export interface Transport extends AsyncDisposable {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  /**
   * The next bytes, valid until the next call of `read`. `undefined`: end of stream, or `interrupt` was called.
   * Rejects with `TransportError` when the connection broke.
   */
  read(): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  /**
   * Hands bytes to the peer; the caller may reuse them once this returns or resolves. A promise that is pending means
   * back-pressure. Rejects with `TransportError` when the connection broke.
   */
  write(bytes: Uint8Array): void | Promise<void>;
  /**
   * Server side handshake on the running connection, in one step with what must happen right before it: throws away
   * every plain byte that has arrived so far and was not read (RFC 3207 §4.2, command injection), writes
   * `lastPlaintext` (the 220; empty when the connection is encrypted from the start), then shakes hands. Nothing that
   * came in plain text is ever returned by a later `read`. No `read` may be pending. Rejects with `TransportError`.
   */
  startTls?(identity: TlsIdentity, lastPlaintext: Uint8Array): Promise<TlsInfo>;
  /**
   * A pending `read` and every later one give `undefined` at once, a pending handshake rejects; `write` goes on working.
   * For time-outs and shutdown.
   */
  interrupt(): void;
  /** Sends what is still buffered, then ends the stream; resolves when done or after a bounded time. */
  close(): Promise<void>;
  /** Ends everything at once: pending reads, writes and handshakes reject, buffers are dropped. */
  abort(): void;
}

/** The network failed below SMTP: reset, broken pipe, refused, handshake failure. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  /** POSIX or TLS name: `ECONNRESET`, `EADDRINUSE`, `ETLS`, … */
  readonly code: string;
  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export interface ListenOptions {
  /** Absent: every address, IPv4 and IPv6. */
  readonly address?: string;
  /** 0: the system chooses (tests). */
  readonly port: number;
}

export interface Listening extends AsyncDisposable {
  readonly local: Endpoint;
  /** Stops accepting; connections already accepted go on. */
  close(): Promise<void>;
}

export interface Network {
  /** Rejects with `TransportError`, `code` being `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, … */
  listen(options: ListenOptions, accept: (transport: Transport) => void): Promise<Listening>;
  /** Opens a connection. Rejects with `TransportError`, `code` being `ECONNREFUSED`, `ETIMEDOUT`, …, or with the signal's reason. */
  connect(endpoint: Endpoint, options: ConnectOptions): Promise<ClientTransport>;
  /** Parses and checks a key pair; throws `TlsIdentityError` when it cannot be used. */
  tlsIdentity(pair: TlsKeyPair): TlsIdentity;
}

export interface ConnectOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** A connection that we opened. */
export interface ClientTransport extends Omit<Transport, "startTls"> {
  /**
   * Client side handshake. Plain bytes that have arrived and were not read make it fail (RFC 3207 §4.2), and nothing that
   * came in plain text is ever returned by a later `read`. No `read` may be pending. Rejects with `TransportError`.
   */
  secure(options: ClientTls): Promise<TlsInfo>;
}

export interface ClientTls {
  /** The host's name or address: asked for, and what the certificate must be for when it is verified. */
  readonly serverName: string;
  readonly verify: boolean;
  /** PEM texts of authorities to trust in place of the system's. */
  readonly authorities?: string;
  /** Shown when the server asks who we are. */
  readonly identity?: TlsKeyPair;
}

/** A key pair cannot be used. `field` says which half to look at. */
export class TlsIdentityError extends Error {
  override readonly name = "TlsIdentityError";
  readonly field: "certificate" | "privateKey" | "pair";
  constructor(message: string, field: "certificate" | "privateKey" | "pair", cause?: unknown) {
    super(message, { cause });
    this.field = field;
  }
}

export interface Resolver {
  /** IPv4 and IPv6 addresses of a host, the preferred first, never none. Rejects with `TransportError`. */
  addresses(host: string): Promise<readonly string[]>;
}

/** Records as the DNS has them, whatever this machine's hosts file says. Names are in ASCII. */
export interface Dns {
  /** In no order; none when the domain exists without. Rejects with `TransportError`: see `addresses`. */
  mailExchangers(domain: string): Promise<readonly MailExchanger[]>;
  /**
   * IPv6 and IPv4 addresses, none when the host exists without. Rejects with `TransportError`: `ENOTFOUND` when there is no
   * such name; any other code means that nobody could tell.
   */
  addresses(host: string): Promise<readonly string[]>;
}

export interface MailExchanger {
  readonly preference: number;
  /** "" for the root, with which a domain says that it takes no mail (RFC 7505). */
  readonly host: string;
}

export interface Http {
  open(options: HttpClientOptions): Promise<HttpClient>;
}

export interface HttpClientOptions {
  /**
   * Asked for each new connection to a host that is not an address, and obeyed: what it gives is connected to, what it
   * rejects with is what the request rejects with. Nothing else looks the host up.
   */
  addressesOf(host: string): Promise<readonly string[]>;
  /** PEM texts of authorities to trust in place of the system's. */
  readonly authorities?: string;
}

/** Sends requests and keeps connections open for the next ones. It follows no redirects and knows no proxies or cookies. */
export interface HttpClient extends AsyncDisposable {
  /**
   * Resolves with the answer once it is complete or as much of it has come as is wanted. Rejects with `TransportError`
   * when there is none, with what the body threw, or with the signal's reason.
   */
  request(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
}

export interface HttpRequest {
  readonly method: string;
  /** `http:` or `https:`; a name and password in it are not used. */
  readonly url: URL;
  /** Names are tokens, values have no control characters. Host and Content-Length are added. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: HttpBody;
  /** How much of the answer's body is kept. */
  readonly keepBytes: number;
}

export interface HttpBody {
  readonly sizeBytes: number;
  /** Exactly that many bytes; a piece is done with when the next one is asked for. May be called again. */
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** All texts are the peer's. */
export interface HttpResponse {
  readonly status: number;
  readonly statusText: string;
  /** The value of a field, by its name in lower case. */
  header(name: string): string | undefined;
  /** The first bytes of the body. */
  readonly body: Uint8Array;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  monotonicMs(): number;
  /** Calls once. Disposing forgets the call. Does not keep the process alive. */
  after(delayMs: number, call: () => void): Disposable;
  /** Calls again and again until disposed. Does not keep the process alive. */
  every(periodMs: number, call: () => void): Disposable;
}

export interface Random {
  bytes(count: number): Uint8Array;
  /** Uniform in [0, 1). */
  fraction(): number;
}

export interface FileInfo {
  readonly kind: "file" | "directory" | "other";
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** POSIX permission bits. */
  readonly mode: number;
}

export interface OpenFile extends AsyncDisposable {
  /** Writes all of it at the current position (at the end for `append`). */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when data and metadata are on the disk (fsync). */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

/** File operations. They reject with `FileError`. */
export interface Files {
  readText(path: string): Promise<string>;
  readBytes(path: string): Promise<Uint8Array>;
  /** `create-new` fails with EEXIST when the name is taken; `append` creates when missing. */
  open(path: string, how: "create-new" | "append", mode: number): Promise<OpenFile>;
  info(path: string): Promise<FileInfo | undefined>;
  list(directory: string): Promise<readonly string[]>;
  /** Creates the directory and its missing parents; no error when it exists. */
  makeDirectory(path: string, mode: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** No error when there is nothing to remove. */
  remove(path: string): Promise<void>;
  /** Makes renames and new names within the directory durable (fsync of the directory). */
  syncDirectory(path: string): Promise<void>;
  /** Bytes an unprivileged process may still write to the file system that holds `path`. */
  freeBytes(path: string): Promise<number>;
}

/** A file operation failed. `code` is the POSIX name: `ENOENT`, `EACCES`, `ENOSPC`, … */
export class FileError extends Error {
  override readonly name = "FileError";
  readonly code: string;
  readonly path: string;
  constructor(message: string, code: string, path: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.path = path;
  }
}

export type SignalName = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface Processes {
  readonly pid: number;
  /** The name it was called by, without its path. */
  readonly calledAs: string;
  /** Arguments after the program's name. */
  readonly args: readonly string[];
  /** The system's host name. */
  readonly hostName: string;
  /** Names this process on this boot of this machine in this pid namespace, or undefined where that cannot be known. */
  identity(): Promise<ProcessIdentity | undefined>;
  /** Whether that process still runs. Undefined when it cannot be known from here (another machine, another namespace). */
  alive(identity: ProcessIdentity): Promise<boolean | undefined>;
  environment(name: string): string | undefined;
  /** Disposing stops listening. */
  onSignal(name: SignalName, call: () => void): Disposable;
  exit(code: number): never;
  /** Starts a program. Rejects with `SpawnError` when it cannot be started. */
  spawn(options: SpawnOptions): Promise<SpawnedProcess>;
  readonly stdio: Stdio;
}

export interface SpawnOptions {
  /** The program, by its path or by a name looked for in the `PATH` of `environment`, and its arguments. No shell reads them. */
  readonly command: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where it runs; absent: where we run. */
  readonly directory?: string;
}

/**
 * A running program with a process group of its own. It gets descriptors 0, 1 and 2 of us and no others. Disposing kills the
 * group and waits for the end.
 */
export interface SpawnedProcess extends AsyncDisposable {
  readonly pid: number;
  /**
   * Writes go to its standard input, reads come from its standard output; its ends are unknown. `close` and `abort` end
   * both streams and leave the program to itself.
   */
  readonly transport: Transport;
  /** Its standard error. What is not read makes the program wait. */
  readonly errors: Pick<Transport, "read" | "interrupt">;
  /** Says that no more input comes. Resolves when what was written has been handed over; never rejects. */
  endInput(): Promise<void>;
  /** Settles when the program itself has ended, though others may still hold its streams. Never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** To the whole process group; no error when nobody is left. */
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

export type ProcessExit =
  | { readonly kind: "code"; readonly code: number }
  /** `signal`: its name, such as `SIGKILL`. */
  | { readonly kind: "signal"; readonly signal: string };

/** A program could not be started. `code` is the POSIX name: `ENOENT`, `EACCES`, `E2BIG`, `EAGAIN`, … */
export class SpawnError extends Error {
  override readonly name = "SpawnError";
  readonly code: string;
  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export interface ProcessIdentity {
  /** Machine, boot and pid namespace. */
  readonly place: string;
  readonly pid: number;
  /** Tells two processes apart that had the same pid. */
  readonly startedAt: string;
}

/** `unix`: a UNIX socket. `unknown`: the system does not tell whose socket it is. */
export type StandardInput =
  | {
    readonly kind: "socket";
    readonly ends: { readonly local: Endpoint; readonly peer: Endpoint } | "unix" | "unknown";
  }
  | { readonly kind: "other" };

export interface Stdio {
  /** Standard input and output as one transport; its ends are unknown. */
  transport(): Transport;
  /** What standard input is, as far as the system tells. */
  input(): Promise<StandardInput>;
  /**
   * From now on standard output is a protocol's: `writeOut` writes nothing, nor does `writeErr` when standard error is the
   * same pipe or socket, as below inetd.
   */
  reserveOut(): void;
  /** Writes synchronously and completely; a closed pipe is ignored. */
  writeOut(text: string): void;
  writeErr(text: string): void;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** Columns of the terminal behind standard output, when there is one. */
  columns(): number | undefined;
}

/** A thread with its own event loop; messages are cloned. */
export interface WorkerPort {
  post(message: unknown): void;
  onMessage(call: (message: unknown) => void): void;
  /** The thread died: it threw, or its module could not be loaded. */
  onError(call: (error: Error) => void): void;
  terminate(): void;
}

export interface Workers {
  /** Starts the thread of that name; each is an entry point of its own beside `main.ts`. */
  open(name: "spool" | "webhook"): WorkerPort;
}

/** Where a script of the operator's runs: it can be watched, and ended whatever it does. */
export interface ScriptPort extends WorkerPort {
  /** Until disposed, a script that takes more memory than it may is ended; `onError` says so. */
  watch(): Disposable;
}

/** Runs scripts apart from the server: in a thread, or in a process where a thread cannot be ended by force. */
export interface Scripts {
  open(limits: { readonly memoryBytes: number }): ScriptPort;
}
