/**
 * Standard input and output for both runtimes: complete synchronous texts for people, and one byte-stream transport
 * for protocols. The adapters say how bytes are read and written; this file must not know what they mean.
 */
import fs from "node:fs";
import process from "node:process";
import { BufferedReading } from "./buffered_reading.ts";
import { errorCode, transportError } from "./failures.ts";
import { LINGER_MS } from "./lingering.ts";
import { type Endpoint, type Stdio, type Transport, TransportError } from "./runtime.ts";
import { clearTimeout, setTimeout } from "node:timers";

/** The two pipes as a runtime offers them. */
export interface Pipes {
  /** The next bytes, `undefined` at the end. Called again only after the last call has settled. */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when all bytes are handed over. Calls do not overlap. */
  write(bytes: Uint8Array): Promise<void>;
}

/** The standard streams; `openPipes` is called when a transport is asked for, and not before. */
export function standardStreams(openPipes: () => Pipes): Stdio {
  let transport: Transport | undefined;
  let isReserved = false;
  return {
    transport: () => transport ??= new PipeTransport(openPipes()),
    input: async () => await (await import("./standard_input.ts")).standardInput(),
    reserveOut() {
      isReserved = true;
    },
    writeOut: (text) => isReserved ? undefined : writeCompletely(1, text),
    writeErr: (text) => isReserved && errIsOut() ? undefined : writeCompletely(2, text),
    get outIsTerminal() {
      return process.stdout.isTTY === true;
    },
    get errIsTerminal() {
      return process.stderr.isTTY === true;
    },
    columns: () => process.stdout.columns,
  };
}

/** A terminal is looked at by a person, who can tell the two apart; whoever reads a pipe or a socket cannot. */
function errIsOut(): boolean {
  try {
    const [out, err] = [fs.fstatSync(1), fs.fstatSync(2)];
    return out.ino === err.ino && out.dev === err.dev && process.stdout.isTTY !== true;
  } catch {
    return false;
  }
}

const RETRY_MS = 2;

/** Reports must not be cut: a full pipe is waited for, a closed one is nobody's loss. */
function writeCompletely(descriptor: number, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += fs.writeSync(descriptor, bytes, at, bytes.length - at);
    } catch (error) {
      const code = errorCode(error, "EIO");
      if (code !== "EAGAIN" && code !== "EINTR") return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

const UNKNOWN: Endpoint = { kind: "unknown" };

/**
 * A transport over two pipes. Its streams end with the process: descriptors 0 and 1 stay open, so that no file opened
 * later takes their place.
 */
export class PipeTransport extends BufferedReading implements Transport {
  readonly peer = UNKNOWN;
  readonly local = UNKNOWN;
  readonly #pipes: Pipes;
  #isReading = false;
  #writing: Promise<void> | undefined;
  #failure: TransportError | undefined;
  #abortWrites: ((error: TransportError) => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(pipes: Pipes) {
    super();
    this.#pipes = pipes;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) return Promise.reject(this.#fail(closedError()));
    if (bytes.length === 0) return;
    const before = this.#writing;
    const writing = before === undefined ? this.#hand(bytes) : before.then(() => this.#hand(bytes));
    this.#writing = writing;
    const forget = (): void => {
      if (this.#writing === writing) this.#writing = undefined;
    };
    writing.then(forget, forget);
    return writing;
  }

  #hand(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#abortWrites = reject;
      this.#pipes.write(bytes).then(
        resolve,
        (error) => reject(this.#fail(transportError("Cannot write to standard output", error, "EPIPE"))),
      );
    });
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.stopReading();
    if (this.#writing === undefined) return;
    const timer = setTimeout(() => this.abort(), LINGER_MS);
    timer.unref();
    await this.#writing.catch(() => {});
    clearTimeout(timer);
  }

  abort(): void {
    const error = this.#fail(new TransportError("The connection was aborted.", "ECONNABORTED"));
    this.discardQueued();
    this.failReading(error);
    this.#abortWrites?.(error);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  protected override wantBytes(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#pipes.read().then(
      (bytes) => {
        this.#isReading = false;
        if (bytes === undefined) this.endReading();
        else this.receive(bytes);
      },
      (error) => {
        this.#isReading = false;
        this.failReading(transportError("Cannot read from standard input", error, "EIO"));
      },
    );
  }

  protected override pauseSource(): void {}
  protected override resumeSource(): void {}

  #fail(error: TransportError): TransportError {
    return this.#failure ??= error;
  }
}

function closedError(): TransportError {
  return new TransportError("The connection is closed already.", "EPIPE");
}
