/** A queue in memory for the tests of the queue commands: messages of every kind, and a clock that stands still. */
import { silentLog } from "../../src/observe/log.ts";
import type { Runtime } from "../../src/runtime/runtime.ts";
import { openMemorySpool } from "../../src/spool/memory.ts";
import type { CommittedDelivery, Envelope, Lease, Spool } from "../../src/spool/spool.ts";
import { delivery, store, TestClock } from "../spool/fixture.ts";
import { commandLine, type World } from "./command_line.ts";

export const startMs = Date.UTC(2026, 0, 2, 12, 0, 0);

export class QueueWorld implements AsyncDisposable {
  readonly clock = new TestClock();
  readonly spool: Spool;

  constructor() {
    this.clock.ms = startMs;
    this.spool = openMemorySpool({}, this.clock, silentLog);
  }

  /** A message whose deliveries are leased, unless they are held. */
  async add(
    id: string,
    deliveries: readonly CommittedDelivery[] = [delivery()],
    more: { readonly subject?: string; readonly content?: string; readonly envelope?: Partial<Envelope> } = {},
  ): Promise<readonly Lease[]> {
    const envelope: Envelope = {
      reversePath: "alice@example.com",
      body: "8bitmime",
      smtputf8: false,
      origin: { session: "s1", listener: "in", address: "192.0.2.1", helo: "client.example", protocol: "ESMTPS" },
      ...more.envelope,
    };
    const content = more.content ?? `Subject: ${more.subject ?? id}\r\n\r\nText of ${id}.\r\n`;
    return await store(this.spool, content, { id, receivedAtMs: this.clock.ms, envelope, deliveries }, 60_000);
  }

  /** The same, with its deliveries given back to the queue. */
  async queue(...args: Parameters<QueueWorld["add"]>): Promise<void> {
    await this.settle(await this.add(...args), "returned");
  }

  async settle(leases: readonly Lease[], kind: "returned" | "failed" | "retry"): Promise<void> {
    const dueAtMs = this.clock.ms + 600_000;
    await this.spool.settle(
      leases.map((lease) => ({ lease, settlement: { kind, detail: "451 4.3.0 busy\x07\x9b", dueAtMs } })),
    );
  }

  /** `m0001 queued`, … for each delivery. */
  async states(): Promise<readonly string[]> {
    return (await this.spool.list({ limit: 10_000 })).map(({ message, state }) => `${message.id} ${state}`);
  }

  line(world: World = {}): { readonly runtime: Runtime; out(): string; err(): string } {
    const line = commandLine([], { nowMs: this.clock.ms, ...world });
    return { ...line, runtime: { ...line.runtime, clock: this.clock } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spool[Symbol.asyncDispose]();
  }
}
