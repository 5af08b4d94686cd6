/**
 * A client that does exactly what it is told, octet by octet, over a real socket: for what no program does, or must not
 * do. It must not know what a right answer is.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

export interface RawReply {
  readonly code: number;
  /** The lines with their codes, without line ends. */
  readonly lines: readonly string[];
}

/** A server that does not answer is a failed test, not one that never ends. */
const REPLY_TIMEOUT_MS = 20_000;

export class RawClient implements Disposable {
  readonly #carrier: Socket;
  #socket: Socket;
  #input = "";
  #ended = false;
  #wake: () => void = () => {};

  private constructor(carrier: Socket, socket: Socket) {
    this.#carrier = carrier;
    this.#socket = socket;
    carrier.on("error", () => this.#end());
    this.#listenTo(socket);
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connectPlain({ host: "127.0.0.1", port, noDelay: true });
    await once(socket, "connect");
    return new RawClient(socket, socket);
  }

  /** With TLS from the first octet. */
  static async connectTls(port: number, certificate: string): Promise<RawClient> {
    const carrier = connectPlain({ host: "127.0.0.1", port, noDelay: true });
    await once(carrier, "connect");
    const socket = connectTls({ socket: carrier, ca: certificate, servername: "localhost" });
    await once(socket, "secureConnect");
    return new RawClient(carrier, socket);
  }

  /** Connects and reads the greeting. */
  static async greeted(port: number): Promise<RawClient> {
    const client = await RawClient.connect(port);
    assert.equal((await client.reply()).code, 220);
    return client;
  }

  /** The handshake, behind a 220 that has been read. */
  async startTls(certificate: string): Promise<TLSSocket> {
    const plain = this.#socket;
    plain.removeAllListeners("data");
    this.#input = "";
    const socket = connectTls({ socket: plain, ca: certificate, servername: "localhost" });
    await once(socket, "secureConnect");
    this.#socket = socket;
    this.#listenTo(socket);
    return socket;
  }

  send(text: string | Uint8Array): void {
    this.#socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  }

  /** Sends a line and reads its reply. */
  async command(line: string): Promise<RawReply> {
    this.send(`${line}\r\n`);
    return await this.reply();
  }

  /** The same, where only this code will do. */
  async expect(code: number, line: string): Promise<RawReply> {
    const reply = await this.command(line);
    assert.equal(reply.code, code, `${line}: ${reply.lines.join(" / ")}`);
    return reply;
  }

  /** The next reply, all of its lines. */
  async reply(): Promise<RawReply> {
    const lines: string[] = [];
    for (;;) {
      const line = await this.#line();
      assert.match(line, /^\d{3}(?:[ -].*)?$/, "A line of a reply");
      lines.push(line);
      if (line[3] !== "-") return { code: Number(line.slice(0, 3)), lines };
    }
  }

  async replies(count: number): Promise<readonly RawReply[]> {
    const replies: RawReply[] = [];
    for (let index = 0; index < count; index++) replies.push(await this.reply());
    return replies;
  }

  /** Everything until the server closes. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#more();
    const rest = this.#input;
    this.#input = "";
    return rest;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.#carrier.destroy();
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#input.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#input.slice(0, end);
        this.#input = this.#input.slice(end + 2);
        return line;
      }
      if (this.#ended) throw new Error(`The connection ended where a reply was expected, behind "${this.#input}"`);
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const late = () => reject(new Error(`No answer in ${REPLY_TIMEOUT_MS} ms, behind "${this.#input}"`));
      const timer = setTimeout(late, REPLY_TIMEOUT_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #listenTo(socket: Socket): void {
    socket.on("data", (bytes: Uint8Array) => {
      this.#input += Buffer.from(bytes).toString("latin1");
      this.#wake();
    });
    socket.on("end", () => this.#end());
    socket.on("close", () => this.#end());
    socket.on("error", () => this.#end());
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
  }
}
