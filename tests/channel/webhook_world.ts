/** What the tests of the webhook channel share: receivers on loopback that remember what they got, and channels to them. */
import http from "node:http";
import net from "node:net";
import * as v from "valibot";
import type { Channel, ChannelContext, Job, Outcome } from "../../src/channel/channel.ts";
import { webhookChannel } from "../../src/channel/webhook.ts";
import type { ToThread } from "../../src/channel/webhook/protocol.ts";
import { FormatThread } from "../../src/channel/webhook/thread.ts";
import type { WorkerPort } from "../../src/runtime/runtime.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobOf } from "./channel_world.ts";

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** The client's port: the same for requests on one connection. */
  readonly port: number | undefined;
}

export type Answer = (request: Received, response: http.ServerResponse) => void;

export class Receiver implements AsyncDisposable {
  readonly requests: Received[] = [];
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor(server: net.Server) {
    this.#server = server;
    server.on("connection", (socket) => void this.#sockets.add(socket));
  }

  /** Reads each request whole, remembers it and answers. */
  static async open(answer: Answer = (_, response) => void response.end("ok")): Promise<Receiver> {
    const server = http.createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on("error", () => {});
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => {
        const { method = "", url: path = "", headers, socket } = request;
        const received = { method, path, headers, body: Buffer.concat(pieces), port: socket.remotePort };
        receiver.requests.push(received);
        answer(received, response);
      });
    });
    const receiver = await Receiver.over(server);
    return receiver;
  }

  /** Of any kind; nothing is remembered. */
  static async over(server: net.Server): Promise<Receiver> {
    const receiver = new Receiver(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/inbound`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** The last request. */
  get last(): Received {
    const last = this.requests.at(-1);
    if (last === undefined) throw new Error("There was no request");
    return last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
export const OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/** The thread's code without a thread, for tests that open many channels: starting threads takes its time. */
function threadless(context: ChannelContext): ChannelContext {
  const open = (): WorkerPort => {
    const thread = new FormatThread();
    let tell: (message: unknown) => void = () => {};
    return {
      post: (message) => void thread.receive(structuredClone(message) as ToThread).then((answer) => tell(answer)),
      onMessage: (call) => void (tell = call),
      onError: () => {},
      terminate: () => {},
    };
  };
  return { ...context, runtime: { ...context.runtime, workers: { open } } };
}

export async function openChannel(
  options: Readonly<Record<string, unknown>>,
  context: ChannelContext = threadless(contextOf()),
): Promise<Channel> {
  return await webhookChannel.open(v.parse(webhookChannel.schema, { allow_private: true, ...options }), context);
}

/** The outcomes of one job over a channel of its own. */
export async function send(
  options: Readonly<Record<string, unknown>>,
  job: Job = jobOf("Subject: Hi\r\n\r\nText\r\n"),
  context?: ChannelContext,
): Promise<readonly Outcome[]> {
  await using channel = await openChannel(options, context);
  return await outcomesOf(channel, job);
}

/** A job as another attempt, or with another envelope of its first recipient. */
export function changed(job: Job, recipient: Partial<Job["recipients"][number]>): Job {
  return { ...job, recipients: job.recipients.map((each) => ({ ...each, ...recipient })) };
}

/** The fields and files of a request's form, as the runtime's own parser reads them. */
export async function formOf(received: Received): Promise<FormData> {
  const headers = { "Content-Type": received.headers["content-type"] ?? "" };
  return await new Response(Uint8Array.from(received.body), { headers }).formData();
}
