/** A job controller with notifications in virtual time, over a spool in memory that remembers what was done and can fail. */
import { compileRoutes } from "../../src/binding/route.ts";
import type { Channel, Outcome } from "../../src/channel/channel.ts";
import type { BindingConfig, ChannelConfig } from "../../src/config/config.ts";
import { JobController } from "../../src/controller/controller.ts";
import { Notifications } from "../../src/controller/notification.ts";
import { type Log, silentLog } from "../../src/observe/log.ts";
import { openMemorySpool } from "../../src/spool/memory.ts";
import type {
  CommittedDelivery,
  Draft,
  Envelope,
  Lease,
  NewMessage,
  QueueEntry,
  Spool,
} from "../../src/spool/spool.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { VirtualClock } from "../helpers/virtual_clock.ts";
import { contentOf, writeAll } from "../spool/fixture.ts";
import { config } from "./controller_world.ts";

/** What a channel says of each delivery. */
export type Says = (recipient: string, attempts: number) => Omit<Outcome, "deliveryId">;

export const failed: Says = () => ({ kind: "failed", detail: "550 5.1.1 No such user" });
export const deferred: Says = () => ({ kind: "deferred", detail: "451 4.3.0 Busy" });
export const delivered: Says = () => ({ kind: "delivered", detail: "Taken" });

export interface Options {
  readonly channels?: Readonly<Record<string, Says>>;
  readonly config?: Partial<ChannelConfig>;
  /** Of [notifications]. */
  readonly channel?: string;
  readonly bindings?: readonly BindingConfig[];
}

/** Takes mail to example.org, where the senders of these tests are. */
export const SENDERS: BindingConfig = {
  name: "senders",
  tags: [],
  recipients: ["*@example.org"],
  outcome: { kind: "deliver", channels: ["box"] },
};

export class NotificationWorld implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly spool: Spool;
  /** `commit`, `settle done`, … in their order. */
  readonly done: string[] = [];
  /** Calls that still fail. */
  readonly failing = { commit: 0, settle: 0 };
  readonly events: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  readonly controller: JobController;
  #messages = 0;

  constructor(options: Options = {}) {
    const { clock } = this;
    this.spool = this.#watched(openMemorySpool({ maxBytes: 512 * 1024 * 1024 }, clock, silentLog));
    this.controller = this.open(options);
  }

  /** Another controller on the same spool, as after a restart. */
  open({ channels = {}, config: changes = {}, bindings = [SENDERS], channel }: Options): JobController {
    const { clock, spool } = this;
    let bytes = 0;
    const random = { bytes: (count: number) => new Uint8Array(count).fill(++bytes), fraction: () => 0.5 };
    const log = this.#log();
    const notifications = new Notifications({
      spool,
      router: compileRoutes({ name: "notifications", tags: [], hostName: "mx.example.com", bindings: [] }, bindings),
      hostName: "mx.example.com",
      channel,
      clock,
      random,
      log,
      nudge: () => {},
    });
    const configured = Object.entries(channels).map(([name, says]) => {
      const opened: Channel = {
        async *deliver({ recipients }) {
          for (const { deliveryId, delivery, attempts } of recipients) {
            yield await Promise.resolve({ ...says(delivery.recipient, attempts), deliveryId } as Outcome);
          }
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
      return [name, { config: config(name, changes), channel: opened }] as const;
    });
    return new JobController({ spool, channels: new Map(configured), clock, random, log, notifications });
  }

  /** Stores a message for the channel "x". */
  async add(
    deliveries: readonly Partial<CommittedDelivery>[] = [{}],
    envelope: Partial<Envelope> = {},
    content: string | Uint8Array = "Subject: Hello\r\n\r\nText\r\n",
  ): Promise<string> {
    const id = `m${++this.#messages}`;
    const origin = { session: "s1", listener: "in", address: "192.0.2.1", helo: "client", protocol: "ESMTP" };
    await using draft = this.spool.begin();
    await writeAll(draft, [typeof content === "string" ? new TextEncoder().encode(content) : content]);
    await draft.commit({
      id,
      receivedAtMs: this.clock.nowMs(),
      envelope: { reversePath: "sender@example.org", body: "8bitmime", smtputf8: false, origin, ...envelope },
      deliveries: deliveries.map((delivery, index) => ({
        recipient: `r${index + 1}@example.com`,
        channel: "x",
        binding: "all",
        ...delivery,
      })),
    });
    return id;
  }

  /** What is in the queue: `m1 r1@example.com x failed`. */
  async queue(): Promise<readonly string[]> {
    const entries = await this.spool.list({ limit: 1_000 });
    return entries.filter(isOriginal).map(({ message, delivery, state }) =>
      `${message.id} ${delivery.recipient} ${delivery.channel} ${state}`
    );
  }

  /** Notifications in the queue with their text. */
  async notifications(): Promise<readonly (QueueEntry & { readonly text: string })[]> {
    const entries = (await this.spool.list({ limit: 1_000 })).filter((entry) => !isOriginal(entry));
    return await Promise.all(entries.map(async (entry) => ({
      ...entry,
      text: new TextDecoder().decode(await contentOf(this.spool, entry.message.id)),
    })));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.controller.stop(0);
    await this.spool[Symbol.asyncDispose]();
  }

  #log(): Log {
    const note = (event: string, fields: Readonly<Record<string, unknown>> = {}) => {
      this.events.push({ event, fields });
    };
    const log: Log = { debug: () => {}, info: note, warn: note, error: note, enabled: () => true, with: () => log };
    return log;
  }

  #watched(spool: Spool): Spool {
    const fail = async (call: "commit" | "settle") => {
      await Promise.resolve();
      if (this.failing[call] === 0) return;
      this.failing[call]--;
      throw new SpoolError("The disk is on fire", "broken");
    };
    const begin = (): Draft => {
      const draft = spool.begin();
      const commit = async (message: NewMessage, options?: { readonly claimForMs?: number }) => {
        await fail("commit");
        const leases: readonly Lease[] = await draft.commit(message, options);
        this.done.push(`commit ${message.envelope.reversePath === "" ? "notification" : "message"}`);
        return leases;
      };
      return {
        write: (bytes) => draft.write(bytes),
        commit,
        [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
      };
    };
    const settle: Spool["settle"] = async (settlements) => {
      await fail("settle");
      await spool.settle(settlements);
      this.done.push(...settlements.map(({ settlement }) => `settle ${settlement.kind}`));
    };
    return new Proxy(spool, {
      get(target, name) {
        if (name === "begin") return begin;
        if (name === "settle") return settle;
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }
}

function isOriginal({ message }: QueueEntry): boolean {
  return message.envelope.origin.listener !== "notifications";
}
