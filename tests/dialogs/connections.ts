/**
 * The client's end of a dialog over a socket and over the pipes of a process. It must not know what is said over them.
 */
import { Buffer } from "node:buffer";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { connect as connectPlain, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { clearTimeout, setTimeout } from "node:timers";
import { connect as connectTls } from "node:tls";
import type { DialogConnection } from "./play_over.ts";

/** A server that says nothing for so long is taken for hung. */
const SILENCE_MS = 20_000;

/** Two streams as one connection. */
class StreamConnection implements DialogConnection {
  #input: Readable;
  #output: Writable;
  #pieces: Uint8Array[] = [];
  #ended = false;
  #wake: () => void = () => {};

  constructor(input: Readable, output: Writable) {
    this.#input = input;
    this.#output = output;
    this.attach(input, output);
  }

  /** Goes on over other streams. */
  attach(input: Readable, output: Writable): void {
    this.#input.removeAllListeners("data");
    this.#input = input;
    this.#output = output;
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    input.on("data", (bytes: Uint8Array) => {
      this.#pieces.push(bytes);
      this.#wake();
    });
    // A reset by a server that closed while we were still talking is an end like any other.
    for (const event of ["end", "close", "error"]) input.on(event, end);
    output.on("error", end);
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#output.destroyed || this.#output.writableEnded) resolve();
      else this.#output.write(Buffer.from(bytes), () => resolve());
    });
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) return piece;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("The server is silent")), SILENCE_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  end(): Promise<void> {
    this.#output.end();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#input.destroy();
    this.#output.destroy();
    return Promise.resolve();
  }
}

export class SocketConnection extends StreamConnection {
  readonly #socket: Socket;
  #secured: Socket | undefined;

  private constructor(socket: Socket) {
    super(socket, socket);
    this.#socket = socket;
  }

  static async open(port: number): Promise<SocketConnection> {
    const socket = connectPlain({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.setNoDelay(true);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve();
      });
    });
    return new SocketConnection(socket);
  }

  async startTls(): Promise<void> {
    const secured = connectTls({ socket: this.#socket, rejectUnauthorized: false });
    this.#secured = secured;
    await new Promise<void>((resolve, reject) => {
      secured.once("error", reject);
      secured.once("secureConnect", () => resolve());
    });
    this.attach(secured, secured);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#secured?.destroy();
    await super[Symbol.asyncDispose]();
  }
}

/** The standard streams of a child process. */
export class ProcessConnection extends StreamConnection {
  readonly #child: ChildProcessWithoutNullStreams;

  constructor(child: ChildProcessWithoutNullStreams) {
    super(child.stdout, child.stdin);
    this.#child = child;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    this.#child.kill("SIGKILL");
  }
}
