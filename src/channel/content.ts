/**
 * What channels that store or pass on messages share: the header fields added at final delivery, text made safe for
 * headers and logs, pieces gathered into larger writes, and a lock within the process. It must not know any one channel.
 */
import type { NewDelivery, StoredMessage } from "../spool/spool.ts";
import type { Job } from "./channel.ts";

/** One write to a file at most; content comes in pieces of the spool's choosing. */
const WRITE_BYTES = 64 * 1_024;

/** Messages up to this are read once and kept for all recipients of a job, larger ones are read again for each. */
const KEEP_BYTES = 256 * 1_024;

/** Longer details are cut: they go into logs, and into the spool once per attempt. */
const DETAIL_MAX = 500;

// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;
// deno-lint-ignore no-control-regex
const CONTROL_RUNS = /[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g;
// deno-lint-ignore no-control-regex
const NOT_ASCII = /[^\x00-\x7f]/gu;

const encoder = new TextEncoder();

/** Text from a peer or a failure as one line of bounded length without control characters. */
export function oneLine(text: string): string {
  const line = CONTROLS.test(text) ? text.replace(CONTROL_RUNS, " ").trim() : text;
  return line.length <= DETAIL_MAX ? line : `${line.slice(0, DETAIL_MAX - 1)}…`;
}

/**
 * An address as it may stand in a header field. The grammar lets no control characters in; what a binding or another
 * program made of an address is not relied on. Without SMTPUTF8 a reader need not understand UTF-8 (RFC 6532 §3.2).
 */
export function headerAddress(address: string, smtputf8: boolean): string {
  const line = CONTROLS.test(address) ? address.replace(CONTROL_RUNS, "") : address;
  return smtputf8 ? line : line.replace(NOT_ASCII, "?");
}

/** Return-Path (RFC 5321 §4.4) and Delivered-To, which final delivery puts above the stored content. */
export function deliveryFields(message: StoredMessage, delivery: NewDelivery, lineEnd: "\r\n" | "\n"): Uint8Array {
  const { reversePath, smtputf8 } = message.envelope;
  return encoder.encode(
    `Return-Path: <${headerAddress(reversePath, smtputf8)}>${lineEnd}` +
      `Delivered-To: ${headerAddress(delivery.recipient, smtputf8)}${lineEnd}`,
  );
}

/** The directory that holds the file or directory of that absolute path. */
export function directoryOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"))) || "/";
}

/** A reader of the job's content that may be called once for each recipient without asking the spool each time. */
export async function reusableContent(job: Job): Promise<() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>> {
  if (job.recipients.length < 2 || job.message.sizeBytes > KEEP_BYTES) return () => job.content();
  const pieces: Uint8Array[] = [];
  for await (const piece of job.content()) pieces.push(piece.slice());
  return () => pieces;
}

/** Gathers small pieces, so that a message of common size is one write. The buffer is used again after each write. */
export class GatheringWriter {
  readonly #write: (bytes: Uint8Array) => Promise<void>;
  readonly #buffer: Uint8Array;
  #used = 0;
  #totalBytes = 0;

  /** `expectedBytes` is a hint for the buffer's size. */
  constructor(write: (bytes: Uint8Array) => Promise<void>, expectedBytes: number) {
    this.#write = write;
    this.#buffer = new Uint8Array(Math.min(WRITE_BYTES, Math.max(1_024, expectedBytes)));
  }

  /** Given so far, written or not. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  async add(bytes: Uint8Array): Promise<void> {
    this.#totalBytes += bytes.length;
    if (this.#used + bytes.length > this.#buffer.length) {
      await this.flush();
      if (bytes.length >= this.#buffer.length) return await this.#write(bytes);
    }
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  async flush(): Promise<void> {
    if (this.#used === 0) return;
    const used = this.#used;
    this.#used = 0;
    await this.#write(this.#buffer.subarray(0, used));
  }
}

/** One holder at a time, first come, first served; waiting ends when the signal does. */
export class Mutex {
  #held = false;
  readonly #waiting: (() => void)[] = [];

  /** Resolves with what gives the lock back; throws the signal's reason when it was aborted before. */
  async acquire(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#held) {
      await new Promise<void>((resolve, reject) => {
        const aborted = () => {
          this.#waiting.splice(this.#waiting.indexOf(granted), 1);
          reject(signal.reason);
        };
        const granted = () => {
          signal.removeEventListener("abort", aborted);
          resolve();
        };
        this.#waiting.push(granted);
        signal.addEventListener("abort", aborted, { once: true });
      });
    }
    this.#held = true;
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const next = this.#waiting.shift();
        // The lock passes on without a moment in which a newcomer could take it.
        if (next === undefined) this.#held = false;
        else next();
      },
    };
  }
}
