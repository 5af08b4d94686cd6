/**
 * The reading half of a transport: one waiting reader, a bounded queue for bytes that came before they were asked for,
 * the end of the stream, failure and interruption. It settles every promise exactly once, whatever order these come
 * in. It must not know where the bytes come from; an idle connection costs it no queue, no timer and no closure that
 * outlives a call.
 */
import { TransportError } from "./runtime.ts";

/** Queued bytes beyond this make the source pause. */
const QUEUE_LIMIT_BYTES = 64 * 1024;

/** What a queued piece costs on top of its bytes, so that a drip of single bytes is bounded too. */
const PIECE_COST_BYTES = 256;

/** Bytes from this size on are worth giving back at once instead of leaving them to the garbage collector. */
const LARGE_BYTES = 32 * 1024;

export abstract class BufferedReading {
  #resolve: ((bytes: Uint8Array | undefined) => void) | undefined;
  #reject: ((error: TransportError) => void) | undefined;
  #queue: Uint8Array[] | undefined;
  #queuedBytes = 0;
  #paused = false;
  #stopped = false;
  #ended = false;
  #failure: TransportError | undefined;
  /** Large bytes that a reader has, until it reads again. */
  #lent: Uint8Array | undefined;

  /** Called when more is queued than may be; no bytes should be received until `resumeSource`. */
  protected abstract pauseSource(): void;
  protected abstract resumeSource(): void;
  /** Called when a reader starts to wait; for sources that are read on demand. */
  protected wantBytes(): void {}
  /** Called with large bytes that the reader is done with; for sources that make new ones for each event. */
  protected takeBack(_bytes: Uint8Array): void {}

  /** Whether the peer has said that it sends no more. */
  protected get sourceEnded(): boolean {
    return this.#ended;
  }

  /** Whether bytes came that nobody has read. */
  protected get hasQueued(): boolean {
    return this.#queue !== undefined;
  }

  /** Whether `interrupt` or a close has ended reading from our side. */
  protected get readingStopped(): boolean {
    return this.#stopped;
  }

  read(): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    const lent = this.#lent;
    if (lent !== undefined) {
      this.#lent = undefined;
      this.takeBack(lent);
    }
    if (this.#stopped) return undefined;
    if (this.#queue !== undefined) return this.#take(this.#queue);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ended) return undefined;
    if (this.#resolve !== undefined) return Promise.reject(new Error("A read is pending already on this transport."));
    const promise = new Promise<Uint8Array | undefined>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.wantBytes();
    return promise;
  }

  interrupt(): void {
    this.stopReading();
  }

  /** From here on reads give `undefined` and whatever arrives is dropped. */
  protected stopReading(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.discardQueued();
    this.#settle()?.(undefined);
  }

  /** Hands over bytes. A waiting reader gets them as they are; otherwise they are kept without a copy. */
  protected receive(bytes: Uint8Array): void {
    if (this.#stopped || this.#ended || this.#failure !== undefined) return;
    const resolve = this.#settle();
    if (resolve !== undefined) return resolve(this.#lend(bytes));
    if (this.#queue === undefined) this.#queue = [bytes];
    else this.#queue.push(bytes);
    this.#queuedBytes += bytes.length + PIECE_COST_BYTES;
    if (this.#queuedBytes > QUEUE_LIMIT_BYTES && !this.#paused) {
      this.#paused = true;
      this.pauseSource();
    }
  }

  protected endReading(): void {
    this.#ended = true;
    this.#settle()?.(undefined);
  }

  /** What is queued is still delivered; then reads reject. The first failure is the one that is told. */
  protected failReading(error: TransportError): void {
    this.#failure ??= error;
    const reject = this.#reject;
    if (this.#settle() !== undefined) reject?.(error);
  }

  /** Forgets what is queued and lets the source go on. */
  protected discardQueued(): void {
    this.#queue = undefined;
    this.#queuedBytes = 0;
    this.#unpause();
  }

  #take(queue: Uint8Array[]): Uint8Array | undefined {
    const bytes = queue.shift();
    this.#queuedBytes -= (bytes?.length ?? 0) + PIECE_COST_BYTES;
    if (queue.length === 0) this.#queue = undefined;
    if (this.#paused && this.#queuedBytes <= QUEUE_LIMIT_BYTES / 2) this.#unpause();
    return bytes === undefined ? undefined : this.#lend(bytes);
  }

  #lend(bytes: Uint8Array): Uint8Array {
    if (bytes.length >= LARGE_BYTES) this.#lent = bytes;
    return bytes;
  }

  #unpause(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.resumeSource();
  }

  /** Takes the waiting reader out, so that nobody can settle it twice. */
  #settle(): ((bytes: Uint8Array | undefined) => void) | undefined {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.#reject = undefined;
    return resolve;
  }
}
