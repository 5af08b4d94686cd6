/** A listener in memory: connections are pairs of transports, time is virtual, the store is whatever a test wants. */
import { compileRoutes } from "../../src/binding/route.ts";
import type { BindingConfig, ListenerConfig } from "../../src/config/config.ts";
import type { Channel } from "../../src/channel/channel.ts";
import { discardChannel } from "../../src/channel/discard.ts";
import { JobController } from "../../src/controller/controller.ts";
import { silentLog } from "../../src/observe/log.ts";
import { transportPair } from "../../src/runtime/memory_transport.ts";
import { systemRandom } from "../../src/runtime/random.ts";
import type { Network, Transport } from "../../src/runtime/runtime.ts";
import { Deadlines } from "../../src/server/deadlines.ts";
import { Listener } from "../../src/server/listener.ts";
import { openMemorySpool } from "../../src/spool/memory.ts";
import type { Spool } from "../../src/spool/spool.ts";
import { reply } from "../../src/smtp/reply.ts";
import { settled, VirtualClock } from "../helpers/virtual_clock.ts";

const BINDINGS: readonly BindingConfig[] = [
  {
    name: "gone",
    tags: [],
    recipients: ["gone@example.com"],
    outcome: { kind: "reject", reply: reply(550, "5.1.6", "Moved") },
  },
  { name: "all", tags: [], recipients: ["*@example.com"], outcome: { kind: "deliver", channels: ["nowhere"] } },
];

export type Decide = NonNullable<Channel["decide"]>;

export interface Kept {
  readonly channel: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly content: string;
}

export class World implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly deadlines = new Deadlines(this.clock);
  readonly spool: Spool;
  readonly listener: Listener;
  readonly controller: JobController;
  /** What the channels "one" and "two", and those that decide, were given, job by job. */
  readonly kept: Kept[] = [];
  #accept: (transport: Transport) => void = () => {};

  private constructor(
    config: Partial<ListenerConfig>,
    wrapSpool: (spool: Spool) => Spool,
    shared: readonly BindingConfig[],
    deciders: Readonly<Record<string, Decide>>,
  ) {
    const { clock, deadlines } = this;
    const random = systemRandom();
    this.spool = wrapSpool(openMemorySpool({}, clock, silentLog));
    const channel = discardChannel.open({}, undefined as never);
    if (channel instanceof Promise) throw new Error("The discard channel opens at once");
    const retry = { firstDelayMs: 1_000, maxDelayMs: 60_000, maxAgeMs: 3600_000 };
    const channelConfig = {
      name: "nowhere",
      tags: [],
      type: "discard",
      maxConcurrency: 10,
      timeoutMs: 1_000,
      retry,
      options: {},
    };
    const channels = new Map([["nowhere", { config: channelConfig, channel }]]);
    for (const name of ["one", "two"]) {
      channels.set(name, { config: { ...channelConfig, name }, channel: this.#keeping(name) });
    }
    for (const [name, decide] of Object.entries(deciders)) {
      channels.set(name, { config: { ...channelConfig, name }, channel: { ...this.#keeping(name), decide } });
    }
    this.controller = new JobController({ spool: this.spool, channels, clock, random, log: silentLog });
    const network: Network = {
      listen: (_, accept) => {
        this.#accept = accept;
        const close = () => Promise.resolve();
        return Promise.resolve({ local: { kind: "unknown" }, close, [Symbol.asyncDispose]: close });
      },
      connect: () => Promise.reject(new Error("Nobody connects from here")),
      tlsIdentity: () => ({ kind: "tls-identity", notAfterMs: Infinity }),
    };
    const listener: ListenerConfig = {
      name: "in",
      tags: [],
      protocol: "smtp",
      port: 25,
      hostName: "mx.example.com",
      banner: "ESMTP",
      maxConcurrency: 2,
      maxMessageSizeBytes: 100_000,
      maxRecipients: 100,
      maxErrors: 5,
      lineEndings: "strict",
      tls: { mode: "off" },
      bindings: [],
      ...config,
    };
    this.listener = new Listener({
      listener,
      router: compileRoutes(listener, shared),
      spool: this.spool,
      deliveries: this.controller,
      identity: listener.tls.mode === "off" ? undefined : network.tlsIdentity({ certificate: "", privateKey: "" }),
      clock,
      random,
      network,
      deadlines,
      log: silentLog,
    });
  }

  static async open(
    config: Partial<ListenerConfig> = {},
    wrapSpool = (spool: Spool) => spool,
    shared: readonly BindingConfig[] = BINDINGS,
    deciders: Readonly<Record<string, Decide>> = {},
  ): Promise<World> {
    const world = new World(config, wrapSpool, shared, deciders);
    await world.listener.open();
    world.controller.start();
    return world;
  }

  #keeping(channel: string): Channel {
    const { kept } = this;
    return {
      async *deliver(job) {
        let content = "";
        for await (const piece of job.content()) content += new TextDecoder().decode(piece);
        const sender = job.message.envelope.reversePath;
        kept.push({ channel, sender, recipients: job.recipients.map(({ delivery }) => delivery.recipient), content });
        for (const { deliveryId } of job.recipients) yield { kind: "delivered", deliveryId, detail: "kept" };
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  connect(address = "192.0.2.7"): Client {
    const tls = { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" };
    const { client, server } = transportPair({ client: { kind: "ip", address, port: 40_000 }, tls });
    this.#accept(server);
    return new Client(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listener.drain();
    this.listener.abort();
    await this.clock.during(this.controller.stop(0), 60_000);
    this.deadlines[Symbol.dispose]();
  }
}

/** The far end of a connection: says lines, and remembers everything it was told. */
export class Client {
  readonly #transport: Transport;
  heard = "";
  closed = false;

  constructor(transport: Transport) {
    this.#transport = transport;
    void this.#listen();
  }

  async say(...lines: readonly string[]): Promise<string> {
    return await this.send(lines.map((line) => `${line}\r\n`).join(""));
  }

  /** Sends the text and gives what is answered to it. */
  async send(text: string): Promise<string> {
    const before = this.heard.length;
    await this.#transport.write(new TextEncoder().encode(text));
    await settled(5);
    return this.heard.slice(before);
  }

  async hangUp(): Promise<void> {
    this.#transport.abort();
    await settled(5);
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.#transport.read();
        if (bytes === undefined) break;
        this.heard += new TextDecoder().decode(bytes);
      }
      await this.#transport.close();
    } catch {
      // The server cut the connection; `closed` says so.
    }
    this.closed = true;
  }
}
