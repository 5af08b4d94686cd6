/** A server to send to that does as it is told, right or wrong, and remembers what it was sent. */
import { createServer, type Server, type Socket } from "node:net";
import { bytesOf, textOf } from "../smtp/client_dialog.ts";

export type Event = "connect" | "hello" | "auth" | "mail" | "rcpt" | "data" | "body" | "end" | "rset" | "quit";

/** A reply; or no reply and an end, or no reply at all. `late` comes after a pause. */
export type Action =
  | string
  | { readonly do: "close" | "hang" | "reset" }
  | { readonly late: string; readonly afterMs: number }
  | { readonly last: string };

export interface Taken {
  readonly from: string;
  readonly to: readonly string[];
  /** Without dot-stuffing. */
  readonly content: string;
}

export interface DownstreamOptions {
  readonly extensions?: readonly string[];
  readonly protocol?: "smtp" | "lmtp";
  readonly name?: string;
  /** Undefined: as a good server does. `count` counts events of that kind on the connection, from 1. */
  readonly answer?: (event: Event, count: number, line: string) => Action | undefined;
  readonly address?: string;
  readonly port?: number;
}

export class Downstream implements AsyncDisposable {
  readonly taken: Taken[] = [];
  readonly commands: string[] = [];
  connections = 0;
  readonly options: DownstreamOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(options: DownstreamOptions) {
    this.options = options;
    this.#server = createServer((socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      new Conversation(this, socket);
    });
  }

  static async start(options: DownstreamOptions = {}): Promise<Downstream> {
    const downstream = new Downstream(options);
    const { address: host = "127.0.0.1", port = 0 } = options;
    await new Promise<void>((resolve, reject) => {
      downstream.#server.once("error", reject);
      downstream.#server.listen({ host, port }, () => resolve());
    });
    return downstream;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  get open(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

interface Chunk {
  left: number;
  readonly last: boolean;
  readonly octets: number;
}

class Conversation {
  readonly #server: Downstream;
  readonly #socket: Socket;
  readonly #counts = new Map<Event, number>();
  #input = "";
  /** Undefined: no transaction. */
  #from: string | undefined;
  #to: string[] = [];
  #inData = false;
  /** Octets of a chunk that are still to come, and whether it is the last. */
  #chunk: Chunk | undefined;
  #content = "";
  #deaf = false;
  #logins = 0;

  constructor(server: Downstream, socket: Socket) {
    this.#server = server;
    this.#socket = socket;
    socket.on("data", (bytes: Uint8Array) => {
      this.#input += textOf(bytes);
      this.#read();
    });
    this.#act("connect", "", `220 ${this.#name} ready`);
  }

  get #name(): string {
    return this.#server.options.name ?? "downstream.example.net";
  }

  #read(): void {
    while (!this.#deaf) {
      if (this.#chunk !== undefined) {
        if (!this.#readChunk(this.#chunk)) return;
        continue;
      }
      if (this.#inData) {
        if (!this.#readData()) return;
        continue;
      }
      const end = this.#input.indexOf("\r\n");
      if (end < 0) return;
      const line = this.#input.slice(0, end);
      this.#input = this.#input.slice(end + 2);
      this.#command(line);
    }
  }

  #readData(): boolean {
    if (this.#input === "") return false;
    if (this.#act("body", "", undefined)) return true;
    const end = this.#input.startsWith(".\r\n") ? 0 : this.#input.indexOf("\r\n.\r\n") + 2;
    if (end < 2 && end !== 0 || (end === 0 && !this.#input.startsWith(".\r\n"))) return false;
    this.#content = this.#input.slice(0, end).replace(/(^|\r\n)\./g, "$1");
    this.#input = this.#input.slice(end + 3);
    this.#inData = false;
    this.#end();
    return true;
  }

  #readChunk(chunk: Chunk): boolean {
    if (this.#input === "" && chunk.left > 0) return false;
    const part = this.#input.slice(0, chunk.left);
    this.#input = this.#input.slice(part.length);
    this.#content += part;
    chunk.left -= part.length;
    if (chunk.left > 0) return false;
    this.#chunk = undefined;
    if (chunk.last) this.#end();
    else this.#act("body", "", `250 ${chunk.octets} octets`);
    return true;
  }

  #end(): void {
    const { taken, options } = this.#server;
    const message = { from: this.#from ?? "", to: this.#to, content: this.#content };
    const replies = options.protocol === "lmtp" ? this.#to : [""];
    for (const recipient of replies) {
      const isLast = recipient === replies.at(-1);
      this.#act("end", recipient, "250 2.0.0 Taken", () => isLast && taken.push(message));
    }
    this.#reset();
  }

  #reset(): void {
    this.#from = undefined;
    this.#to = [];
    this.#content = "";
  }

  #command(line: string): void {
    this.#server.commands.push(line);
    const verb = line.slice(0, 4).toUpperCase();
    const { extensions = [] } = this.#server.options;
    if (this.#logins > 0 && !line.includes(" ")) {
      this.#logins--;
      return void this.#act("auth", line, this.#logins > 0 ? "334 UGFzc3dvcmQ6" : "235 2.7.0 Hello");
    }
    const address = /<(.*)>/.exec(line)?.[1] ?? "";
    switch (verb) {
      case "EHLO":
      case "LHLO": {
        const lines = [this.#name, ...extensions];
        const reply = lines.map((text, index) => `250${index === lines.length - 1 ? " " : "-"}${text}`).join("\r\n");
        return void this.#act("hello", line, reply);
      }
      case "HELO":
        return void this.#act("hello", line, `250 ${this.#name}`);
      case "AUTH":
        this.#logins = line.startsWith("AUTH LOGIN") ? 2 : 0;
        return void this.#act("auth", line, this.#logins > 0 ? "334 VXNlcm5hbWU6" : "235 2.7.0 Hello");
      case "MAIL":
        return void this.#act("mail", line, "250 2.1.0 OK", () => this.#from = address);
      case "RCPT":
        if (this.#from === undefined) return void this.#act("rcpt", line, "503 5.5.1 MAIL first");
        return void this.#act("rcpt", line, "250 2.1.5 OK", () => this.#to.push(address));
      case "DATA":
        if (this.#to.length === 0) return void this.#act("data", line, "554 5.5.1 No valid recipients");
        return void this.#act("data", line, "354 Go on", () => this.#inData = true);
      case "BDAT": {
        const [, octets = "0", last] = line.split(" ");
        this.#chunk = { left: Number(octets), octets: Number(octets), last: last === "LAST" };
        return;
      }
      case "RSET":
        this.#reset();
        return void this.#act("rset", line, "250 2.0.0 OK");
      case "QUIT":
        return void this.#act("quit", line, { last: "221 2.0.0 Bye" });
      default:
        this.#socket.write("500 5.5.1 What?\r\n");
    }
  }

  /** Does what the test wants, or what a good server does; `then` when that is a positive reply. True: it was told something. */
  #act(event: Event, line: string, usual: Action | undefined, then: () => void = () => {}): boolean {
    const count = (this.#counts.get(event) ?? 0) + 1;
    this.#counts.set(event, count);
    const told = this.#server.options.answer?.(event, count, line);
    const action = told ?? usual;
    if (action === undefined) return false;
    if (typeof action === "string") {
      if (action.startsWith("2") || (event === "data" && action.startsWith("3"))) then();
      this.#socket.write(bytesOf(`${action}\r\n`));
    } else if ("late" in action) {
      then();
      setTimeout(() => this.#socket.writable && this.#socket.write(bytesOf(`${action.late}\r\n`)), action.afterMs)
        .unref();
    } else if ("last" in action) {
      this.#deaf = true;
      this.#socket.end(bytesOf(`${action.last}\r\n`));
    } else {
      this.#deaf = true;
      if (action.do === "close") this.#socket.end();
      else if (action.do === "reset") this.#socket.resetAndDestroy();
    }
    return told !== undefined;
  }
}
