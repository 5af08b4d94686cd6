/**
 * One question to the DNS servers of this machine: over UDP, and over TCP when the answer is long. The runtimes' own
 * resolvers are not used, because one tells a server's failure from a missing name and the other does not, and mail must not
 * be given up for a failure. It must not know what the records are for.
 */
import { randomInt } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { getServers } from "node:dns";
import { connect, isIP } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import {
  decodeAnswer,
  type DnsAnswer,
  type DnsRecord,
  type DnsType,
  encodeQuestion,
  isDnsName,
} from "./dns_message.ts";
import { TransportError } from "./runtime.ts";

interface Server {
  readonly address: string;
  readonly port: number;
}

export class Query {
  readonly #name: string;
  readonly #type: DnsType;
  readonly #roundsMs: readonly number[];

  constructor(name: string, type: DnsType, roundsMs: readonly number[]) {
    this.#name = name;
    this.#type = type;
    this.#roundsMs = roundsMs;
  }

  /** `chosen`: servers in place of the system's. Rejects with `TransportError`. */
  async run(chosen: string | undefined): Promise<readonly DnsRecord[]> {
    if (!isDnsName(this.#name)) throw this.#error("ENOTFOUND", "this is no name of a host");
    const servers = serversOf(chosen);
    let reason = "no server answered in time";
    let code = "ETIMEDOUT";
    for (const roundMs of this.#roundsMs) {
      for (const server of servers) {
        const answer = await this.#ask(server, roundMs);
        if (answer?.kind === "records") return answer.records;
        if (answer?.kind === "no-such-name") throw this.#error("ENOTFOUND", "there is no such name");
        if (answer?.kind === "failure") {
          code = "ESERVFAIL";
          reason = `the server failed with code ${answer.rcode}`;
        }
      }
    }
    throw this.#error(code, reason);
  }

  #error(code: string, reason: string): TransportError {
    const what = `Cannot look up the ${this.#type} records of "${this.#name.replace(/[^!-~]/gu, "?")}"`;
    return new TransportError(`${what}: ${reason} (${code})`, code);
  }

  async #ask(server: Server, limitMs: number): Promise<DnsAnswer | undefined> {
    const answer = await this.#over(askUdp, server, limitMs);
    return answer?.kind === "truncated" ? await this.#over(askTcp, server, limitMs) : answer;
  }

  /** Undefined when no answer came. */
  async #over(ask: typeof askUdp, server: Server, limitMs: number): Promise<DnsAnswer | undefined> {
    const id = randomInt(0x10000);
    const question = encodeQuestion(id, this.#name, this.#type);
    const read = (bytes: Uint8Array) => decodeAnswer(bytes, id, this.#name, this.#type);
    return await ask(server, question, read, limitMs);
  }
}

type Read = (bytes: Uint8Array) => DnsAnswer | undefined;

/** One socket for each question, so that its port is another secret that a forger would have to guess (RFC 5452 §9.2). */
async function askUdp(
  { address, port }: Server,
  question: Uint8Array,
  read: Read,
  limitMs: number,
): Promise<DnsAnswer | undefined> {
  let socket: UdpSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const udp = socket = createSocket(isIP(address) === 6 ? "udp6" : "udp4");
    return await new Promise((resolve) => {
      timer = setTimeout(() => resolve(undefined), limitMs);
      udp.on("error", () => resolve(undefined));
      udp.on("message", (bytes, from) => {
        const isTheirs = from.port === port && (isIP(address) === 6 || from.address === address);
        const answer = isTheirs ? read(bytes) : undefined;
        if (answer !== undefined) resolve(answer);
      });
      udp.send(question, port, address, (error) => error && resolve(undefined));
    });
  } finally {
    clearTimeout(timer);
    closeQuietly(socket);
  }
}

function closeQuietly(socket: UdpSocket | undefined): void {
  try {
    socket?.close();
  } catch {
    // It was never opened.
  }
}

/** RFC 1035 §4.2.2: two octets of length before each message. */
function askTcp(
  { address, port }: Server,
  question: Uint8Array,
  read: Read,
  limitMs: number,
): Promise<DnsAnswer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let received = Buffer.alloc(0);
    const end = (answer: DnsAnswer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), limitMs);
    socket.on("error", () => end(undefined));
    socket.on("close", () => end(undefined));
    socket.on("connect", () => socket.write(Buffer.concat([Uint8Array.of(0, question.length), question])));
    socket.on("data", (bytes: Uint8Array) => {
      received = Buffer.concat([received, bytes]);
      const length = received.length < 2 ? Infinity : received.readUInt16BE(0);
      if (received.length >= length + 2) end(read(received.subarray(2, length + 2)));
    });
  });
}

function serversOf(chosen: string | undefined): readonly Server[] {
  if (chosen !== undefined && chosen !== "") return chosen.split(/[\s,]+/u).map(serverOf);
  return getServers().map(serverOf);
}

/** `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`. */
function serverOf(text: string): Server {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/u.exec(text);
  const plain = /^([^:]+):(\d+)$/u.exec(text);
  const address = bracketed?.[1] ?? plain?.[1] ?? text;
  const port = Number(bracketed?.[2] ?? plain?.[2] ?? 53);
  if (isIP(address.replace(/%.*$/u, "")) !== 0 && port > 0 && port < 0x10000) return { address, port };
  throw new TransportError(`Cannot use "${text}" as a DNS server: give an address such as 192.0.2.53`, "EINVAL");
}
