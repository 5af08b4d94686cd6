/**
 * What `smtpd queue bounce` does with deliveries: holds them, so that nobody delivers them meanwhile, stores what their
 * senders are told, and only then gives them up. Whatever breaks in between, nothing is lost. It must not know how
 * deliveries are chosen or what is printed.
 */
import { ListError, ListFiles } from "../binding/list.ts";
import type { Config } from "../config/config.ts";
import type { Notifications } from "../controller/notification.ts";
import { addressed, wants } from "../controller/notify.ts";
import { type ReportedRecipient, statusIn } from "../message/dsn.ts";
import { silentLog } from "../observe/log.ts";
import type { Clock, Runtime } from "../runtime/runtime.ts";
import { openNotifications } from "../server/generation.ts";
import { senderOf } from "../spool/selection.ts";
import type { ChangeOutcome, QueueEntry, Spool } from "../spool/spool.ts";
import { CommandError, exitCode } from "./exit.ts";

/** Tells senders that their deliveries are given up. */
export interface Bouncer {
  /** Gives the deliveries up; what became of each, in their order. */
  bounce(deliveries: readonly Chosen[], detail: string): Promise<readonly ChangeOutcome[]>;
  /** Notifications stored so far. */
  readonly told: number;
}

interface Chosen {
  readonly delivery: number;
  readonly message: string;
}

/** A `Bouncer` for the queue of that configuration. A running server finds the notifications by itself. */
export async function openBouncer(runtime: Runtime, config: Config, spool: Spool): Promise<Bouncer> {
  const { files, clock } = runtime;
  const lists = new ListFiles({ files, clock, log: silentLog });
  const deliveries = { nudge() {} };
  const notifications = openNotifications({ config, runtime, spool, log: silentLog, deliveries }, lists);
  try {
    await lists.load();
  } catch (error) {
    if (error instanceof ListError) throw new CommandError(error.message, exitCode.configuration, error);
    throw error;
  }
  return new QueueBouncer(spool, notifications, clock);
}

/** Deliveries of a message are looked for in pages of this size. */
const PAGE = 1_000;

export class QueueBouncer implements Bouncer {
  readonly #spool: Spool;
  readonly #notifications: Pick<Notifications, "tell">;
  readonly #clock: Pick<Clock, "nowMs">;
  told = 0;

  constructor(spool: Spool, notifications: Pick<Notifications, "tell">, clock: Pick<Clock, "nowMs">) {
    this.#spool = spool;
    this.#notifications = notifications;
    this.#clock = clock;
  }

  async bounce(deliveries: readonly Chosen[], detail: string): Promise<readonly ChangeOutcome[]> {
    const ids = deliveries.map(({ delivery }) => delivery);
    // One that is held already is not for holding, and nobody delivers it either.
    const held = await this.#spool.change(ids, { kind: "hold" });
    const ours = new Set(ids.filter((_, index) => held[index] === "changed"));
    const chosen = new Set(ids);
    const entries: QueueEntry[] = [];
    for (const message of new Set(deliveries.map((each) => each.message))) {
      for await (const entry of this.#heldOf(message)) if (chosen.has(entry.deliveryId)) entries.push(entry);
    }
    try {
      for (const group of grouped(entries)) await this.#tell(group, detail);
    } catch (error) {
      await this.#spool.change([...ours], { kind: "release" });
      throw error;
    }
    const given = await this.#spool.change(entries.map(({ deliveryId }) => deliveryId), { kind: "fail", detail });
    const outcomes = new Map(entries.map(({ deliveryId }, index) => [deliveryId, given[index]]));
    return ids.map((id, index) => outcomes.get(id) ?? (held[index] === "changed" ? "gone" : held[index]) ?? "gone");
  }

  async *#heldOf(messageId: string): AsyncIterable<QueueEntry> {
    for (let afterDeliveryId = 0;;) {
      const page = await this.#spool.list({ messageId, state: "held", limit: PAGE, afterDeliveryId });
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) return;
      afterDeliveryId = last.deliveryId;
    }
  }

  async #tell(group: readonly QueueEntry[], detail: string): Promise<void> {
    const [first] = group;
    if (first === undefined) return;
    const lastAttemptMs = this.#clock.nowMs();
    const recipients = group.map(({ delivery }): ReportedRecipient => ({
      ...addressed(delivery),
      action: "failed",
      status: statusIn(detail, "failed"),
      detail,
      lastAttemptMs,
    }));
    const told = await this.#notifications.tell(first.message, senderOf(first), recipients);
    if (told.kind === "told") this.told++;
  }
}

/** Those whose sender is to be told, together for each message and sender. */
function grouped(entries: readonly QueueEntry[]): Iterable<readonly QueueEntry[]> {
  const groups = new Map<string, QueueEntry[]>();
  for (const entry of entries) {
    const { message, delivery } = entry;
    const sender = senderOf(entry);
    if (sender === "" || message.envelope.reversePath === "" || !wants(delivery.notify, "failure")) continue;
    const key = `${message.id} ${sender}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [entry]);
    else group.push(entry);
  }
  return groups.values();
}
