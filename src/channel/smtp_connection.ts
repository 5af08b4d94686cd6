/**
 * One connection to a server: the loop between a client session and its transport, with the time limits that the session
 * asks for. It must not know which server it is, or why a message goes there.
 */
import type { ClientTls, ClientTransport, Clock, TlsInfo } from "../runtime/runtime.ts";
import { createClientSession } from "../smtp/client.ts";
import type {
  ClientSession,
  ClientSessionOptions,
  ClientStep,
  OutgoingTransaction,
  SessionFailure,
  TransactionResult,
} from "../smtp/client_session.ts";
import { CHUNK_OCTETS, DATA_BLOCK_TIMEOUT_MS } from "../smtp/limits.ts";
import type { PeerExtensions } from "../smtp/peer_extensions.ts";

/** A handshake takes a few round trips. */
export const HANDSHAKE_TIMEOUT_MS = 30_000;

/** How long an attempt that is stopped still waits for the verdict on a message that the server has. */
const VERDICT_GRACE_MS = 3_000;

/** How long the reason of a server that refuses in mid-data may take to be read. */
const LAST_WORDS_MS = 250;

export interface ConnectionOptions {
  readonly session: ClientSessionOptions;
  readonly tls: ClientTls;
  readonly clock: Clock;
  /** Nothing that we send may take longer to be taken than this. */
  readonly maxTimeoutMs?: number;
}

type Opened =
  | { readonly ok: true; readonly connection: SmtpConnection }
  | { readonly ok: false; readonly failure: SessionFailure };

/** The steps that the loop leaves to its caller. */
type Outward = Extract<ClientStep, { readonly kind: "ready" | "result" | "close" }>;

type Content = AsyncIterable<Uint8Array>;

export class SmtpConnection {
  /** Transactions that were begun. */
  transactions = 0;
  readonly #transport: ClientTransport;
  readonly #session: ClientSession;
  readonly #options: ConnectionOptions;
  readonly #timer: StepTimer;
  #isOpen = true;
  #tls: TlsInfo | undefined;
  #content: (() => Content) | undefined;
  #pieces: AsyncIterator<Uint8Array> | undefined;
  /** What is left of a piece that was too large for one step. */
  #rest: Uint8Array | undefined;
  #contentError: { readonly error: unknown } | undefined;
  /** A read that was begun while nothing was to be read, to learn of the connection's end. */
  #early: Promise<Uint8Array | undefined> | undefined;

  private constructor(transport: ClientTransport, options: ConnectionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#session = createClientSession(options.session);
    this.#timer = new StepTimer(options.clock, () => transport.abort());
  }

  /** Greets, and encrypts and logs in as the session was told. When that fails the transport is closed. */
  static async open(transport: ClientTransport, options: ConnectionOptions, signal: AbortSignal): Promise<Opened> {
    const connection = new SmtpConnection(transport, options);
    const step = await connection.#watched(signal, async () => {
      if (options.session.tls === "active") await connection.#handshake();
      return await connection.#run();
    });
    if (step.kind === "ready") return { ok: true, connection };
    const failure = step.kind === "close" ? step.failure : undefined;
    const unsaid: SessionFailure = { kind: "temporary", stage: "greeting", enhanced: "4.4.2", detail: "It ended" };
    return { ok: false, failure: failure ?? unsaid };
  }

  get extensions(): PeerExtensions {
    return this.#session.extensions;
  }

  get tls(): TlsInfo | undefined {
    return this.#tls;
  }

  /** Whether another transaction may be begun. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Sends a message. Rejects with what the content throws. When the signal aborts, what is not decided then is `deferred`,
   * or `unknown` when the server has the message and does not answer soon.
   */
  async transact(
    transaction: OutgoingTransaction,
    content: () => Content,
    signal: AbortSignal,
  ): Promise<TransactionResult> {
    this.transactions++;
    this.#content = content;
    this.#pieces = undefined;
    this.#rest = undefined;
    this.#contentError = undefined;
    const result = await this.#watched(signal, async () => {
      this.#session.send(transaction);
      try {
        const step = await this.#run();
        if (step.kind !== "result") throw new Error("A client session has lost a transaction");
        return step.result;
      } finally {
        // Nothing depends on how the reading of the rest ends.
        void this.#pieces?.return?.()?.then(undefined, () => {});
      }
    });
    await this.#run();
    const failed = this.#contentError as { readonly error: unknown } | undefined;
    if (failed !== undefined) throw failed.error;
    return result;
  }

  /** Nothing is to be sent at the moment: `ended` is called when the server ends the connection meanwhile. */
  rest(ended: () => void): void {
    const reading = this.#early ??= Promise.resolve(this.#transport.read());
    const over = (): void => {
      if (this.#early !== reading) return;
      this.#isOpen = false;
      ended();
    };
    reading.then(over, over);
  }

  /** Ends in order. Never rejects. */
  async quit(): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#session.quit();
      await this.#run();
    } else this.abort();
  }

  abort(): void {
    this.#isOpen = false;
    this.#timer.stop();
    this.#transport.abort();
  }

  /** Runs with the signal ending the connection; a message that is with the server gets some time for its verdict. */
  async #watched<Result>(signal: AbortSignal, run: () => Promise<Result>): Promise<Result> {
    let grace: Disposable | undefined;
    const abort = (): void => this.#transport.abort();
    const aborted = (): void => {
      if (this.#session.awaitsVerdict) grace = this.#options.clock.after(VERDICT_GRACE_MS, abort);
      else abort();
    };
    signal.addEventListener("abort", aborted, { once: true });
    if (signal.aborted) aborted();
    try {
      return await run();
    } finally {
      signal.removeEventListener("abort", aborted);
      grace?.[Symbol.dispose]();
    }
  }

  /** Until the session has something for its user. */
  async #run(): Promise<Outward> {
    for (;;) {
      const step = this.#session.next();
      switch (step.kind) {
        case "write":
          await this.#write(step.bytes);
          break;
        case "read":
          await this.#read(step.timeoutMs);
          break;
        case "start-tls":
          if (await this.#handshake()) this.#session.tlsStarted();
          break;
        case "need-body":
          await this.#feed();
          break;
        case "close":
          this.#isOpen = false;
          await this.#leave(step.failure);
          return step;
        case "ready":
          this.#timer.within(Infinity);
          return step;
        case "result":
          return step;
      }
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#timer.within(Math.min(DATA_BLOCK_TIMEOUT_MS, this.#options.maxTimeoutMs ?? Infinity));
    try {
      await this.#transport.write(bytes);
    } catch (error) {
      if (!this.#timer.isLate) await this.#hearLastWords();
      this.#fail(error);
    }
  }

  async #read(timeoutMs: number): Promise<void> {
    this.#timer.within(timeoutMs);
    const early = this.#early;
    this.#early = undefined;
    try {
      this.#session.receive(await (early ?? this.#transport.read()));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A server that refuses in mid-data and closes has often said why. */
  async #hearLastWords(): Promise<void> {
    this.#timer.within(LAST_WORDS_MS);
    const early = this.#early;
    this.#early = undefined;
    try {
      const bytes = await (early ?? this.#transport.read());
      if (bytes !== undefined) this.#session.receive(bytes);
    } catch {
      // It said nothing.
    }
  }

  async #handshake(): Promise<boolean> {
    this.#timer.within(Math.min(HANDSHAKE_TIMEOUT_MS, this.#options.maxTimeoutMs ?? Infinity));
    try {
      this.#tls = await this.#transport.secure(this.#options.tls);
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  async #feed(): Promise<void> {
    // The content's own time is not the server's.
    this.#timer.within(Infinity);
    try {
      const rest = this.#rest;
      const piece = rest ?? await this.#next();
      this.#rest = piece !== undefined && piece.length > CHUNK_OCTETS ? piece.subarray(CHUNK_OCTETS) : undefined;
      this.#session.body(this.#rest === undefined ? piece : piece?.subarray(0, CHUNK_OCTETS));
    } catch (error) {
      this.#contentError = { error };
      // Without the end of the data the server has nothing.
      this.#session.fail("The message could not be read");
    }
  }

  async #next(): Promise<Uint8Array | undefined> {
    this.#pieces ??= this.#content?.()[Symbol.asyncIterator]();
    const next = await this.#pieces?.next();
    return next === undefined || next.done === true ? undefined : next.value;
  }

  #fail(error: unknown): void {
    const late = this.#timer.isLate;
    this.#session.fail(late ? "The time limit passed" : error instanceof Error ? error.message : String(error));
  }

  async #leave(failure: SessionFailure | undefined): Promise<void> {
    this.#timer.stop();
    // A session that failed has nothing to say any more, and a server that misbehaves is not waited for.
    if (failure !== undefined) this.#transport.abort();
    else await this.#transport.close();
  }
}

/** A limit that moves with each step: one timer, which is set anew only when it has run out too early. */
class StepTimer {
  isLate = false;
  readonly #clock: Clock;
  readonly #expire: () => void;
  #endsMs = Infinity;
  #armedMs = Infinity;
  #armed: Disposable | undefined;

  constructor(clock: Clock, expire: () => void) {
    this.#clock = clock;
    this.#expire = expire;
  }

  within(timeoutMs: number): void {
    this.#endsMs = this.#clock.monotonicMs() + timeoutMs;
    if (this.#endsMs < this.#armedMs) this.#arm(timeoutMs);
  }

  stop(): void {
    this.#armed?.[Symbol.dispose]();
    this.#armed = undefined;
    this.#armedMs = Infinity;
    this.#endsMs = Infinity;
  }

  #arm(delayMs: number): void {
    this.#armed?.[Symbol.dispose]();
    this.#armedMs = this.#endsMs;
    this.#armed = this.#clock.after(delayMs, () => {
      this.#armed = undefined;
      this.#armedMs = Infinity;
      if (this.#endsMs === Infinity) return;
      const leftMs = this.#endsMs - this.#clock.monotonicMs();
      if (leftMs > 0) return this.#arm(leftMs);
      this.isLate = true;
      this.#expire();
    });
  }
}
