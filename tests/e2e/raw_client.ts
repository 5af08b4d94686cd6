/**
 * An SMTP client that does as it is told and no more: it sends the bytes it is given, and reads whole replies. For tests
 * that need to stop in the middle of things. It must not know what a server ought to answer.
 */
import net from "node:net";
import tls from "node:tls";

export interface Reply {
  readonly code: number;
  /** All lines, without line ends. */
  readonly lines: readonly string[];
}

export interface ClientOptions {
  readonly host?: string;
  readonly localAddress?: string;
  /** TLS from the first byte; whose certificate it is does not matter. */
  readonly implicitTls?: boolean;
  /** Do not read anything the server sends. */
  readonly deaf?: boolean;
}

/** How long a test waits for a reply before it says that there is none. */
const REPLY_TIMEOUT_MS = 60_000;

export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

export class RawClient {
  readonly socket: net.Socket;
  /** Settles when the connection has ended, however it did. */
  readonly closed: Promise<void>;
  #text = "";
  #lines: string[] = [];
  readonly #replies: Reply[] = [];
  readonly #waiting: Waiting[] = [];
  #lost: ConnectionLost | undefined;

  private constructor(socket: net.Socket, deaf: boolean) {
    this.socket = socket;
    socket.setNoDelay(true);
    if (deaf) socket.pause();
    else socket.on("data", (bytes: Uint8Array) => this.#receive(new TextDecoder("latin1").decode(bytes)));
    this.closed = new Promise((resolve) => {
      const over = (why: string) => {
        this.#lost ??= new ConnectionLost(why);
        for (const { reject } of this.#waiting.splice(0)) reject(this.#lost);
      };
      socket.on("error", (error) => over(`The connection broke: ${error.message}`));
      socket.on("end", () => over("The server ended the connection"));
      socket.on("close", () => {
        over("The connection was closed");
        resolve();
      });
    });
  }

  /** Resolves when the connection stands; the greeting is the first reply. */
  static connect(port: number, options: ClientOptions = {}): Promise<RawClient> {
    const { host = "127.0.0.1", localAddress, implicitTls = false, deaf = false } = options;
    return new Promise((resolve, reject) => {
      const place = { host, port, ...(localAddress === undefined ? {} : { localAddress }) };
      const socket = implicitTls ? tls.connect({ ...place, rejectUnauthorized: false }) : net.connect(place);
      socket.once("error", reject);
      socket.once(implicitTls ? "secureConnect" : "connect", () => {
        socket.off("error", reject);
        resolve(new RawClient(socket, deaf));
      });
    });
  }

  /** Connects, reads the greeting and says EHLO; rejects unless both are answered with success. */
  static async greet(port: number, options: ClientOptions = {}): Promise<RawClient> {
    const client = await RawClient.connect(port, options);
    try {
      await client.expect(220);
      await client.command("EHLO client.example", 250);
      return client;
    } catch (error) {
      client.destroy();
      throw error;
    }
  }

  /** The next reply. Rejects with `ConnectionLost` when none comes any more. */
  async reply(): Promise<Reply> {
    const ready = this.#replies.shift();
    if (ready !== undefined) return ready;
    if (this.#lost !== undefined) throw this.#lost;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("The server does not answer")), REPLY_TIMEOUT_MS);
    });
    const arrives = new Promise<Reply>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    try {
      return await Promise.race([arrives, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async expect(code: number): Promise<Reply> {
    const reply = await this.reply();
    if (reply.code !== code) throw new Error(`Expected ${code}, got "${reply.lines.join(" | ")}"`);
    return reply;
  }

  async command(line: string, code?: number): Promise<Reply> {
    await this.write(`${line}\r\n`);
    return code === undefined ? await this.reply() : await this.expect(code);
  }

  /** Resolves when the system has room again. */
  async write(data: string | Uint8Array): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    if (this.socket.write(data)) return;
    await new Promise<void>((resolve, reject) => {
      const { socket } = this;
      const settle = () => {
        socket.off("drain", settle).off("close", settle);
        if (this.#lost === undefined) resolve();
        else reject(this.#lost);
      };
      socket.on("drain", settle).on("close", settle);
    });
  }

  async quit(): Promise<void> {
    await this.command("QUIT", 221);
    this.socket.end();
    await this.closed;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Ends the connection with a reset instead of an orderly end. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  #receive(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf("\r\n"); end >= 0; end = this.#text.indexOf("\r\n")) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      this.#lines.push(line);
      if (line[3] === "-") continue;
      const reply = { code: Number(line.slice(0, 3)), lines: this.#lines };
      this.#lines = [];
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#replies.push(reply);
      else waiting.resolve(reply);
    }
  }
}

/** One transaction by DATA or BDAT; resolves with the id from `250 2.0.0 Queued as ID`. */
export async function sendMail(client: RawClient, mail: OutgoingMail): Promise<string> {
  const { content, from = "sender@example.org", to = ["box@example.com"] } = mail;
  const recipients = to.map((recipient) => `RCPT TO:<${recipient}>\r\n`).join("");
  if (mail.by === "BDAT") {
    await client.write(`MAIL FROM:<${from}> BODY=8BITMIME\r\n${recipients}`);
    const chunk = mail.chunkBytes ?? 64 * 1024;
    let pieces = 0;
    for (let at = 0; at === 0 || at < content.length; at += chunk, pieces++) {
      const bytes = content.subarray(at, at + chunk);
      await client.write(`BDAT ${bytes.length}${at + chunk >= content.length ? " LAST" : ""}\r\n`);
      await client.write(bytes);
    }
    for (let left = to.length + pieces; left > 0; left--) await client.expect(250);
  } else {
    await client.write(`MAIL FROM:<${from}>\r\n${recipients}DATA\r\n`);
    for (let left = to.length + 1; left > 0; left--) await client.expect(250);
    await client.expect(354);
    await client.write(dotStuffed(content));
    await client.write(".\r\n");
  }
  return queuedId(await client.expect(250));
}

export interface OutgoingMail {
  /** Ends with CRLF. */
  readonly content: Uint8Array;
  readonly by?: "DATA" | "BDAT";
  readonly chunkBytes?: number;
  readonly from?: string;
  readonly to?: readonly string[];
}

export function queuedId(reply: Reply): string {
  const id = /^250 2\.0\.0 Queued as (\S+)$/.exec(reply.lines[0] ?? "")?.[1];
  if (id === undefined) throw new Error(`No id in "${reply.lines.join(" | ")}"`);
  return id;
}

/** Doubles the dots at the beginnings of lines (RFC 5321 §4.5.2). */
export function dotStuffed(content: Uint8Array): Uint8Array {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (let at = bytes[0] === 0x2e ? 0 : nextDot(bytes, 0); at >= 0; at = nextDot(bytes, at)) {
    pieces.push(bytes.subarray(from, at), dot);
    from = at;
  }
  pieces.push(bytes.subarray(from));
  return Buffer.concat(pieces);
}

const dot = new Uint8Array([0x2e]);

function nextDot(bytes: Buffer, after: number): number {
  const found = bytes.indexOf("\r\n.", after, "latin1");
  return found < 0 ? -1 : found + 2;
}
