/**
 * Stands before the settler for deliveries whose sender is to be told: first the notification is stored, then the delivery
 * is settled, so that a crash in between tells the sender twice and never not at all. What ends together shares a
 * notification. It must not know how notifications are made.
 */
import type { Log } from "../observe/log.ts";
import type { Clock } from "../runtime/runtime.ts";
import { type Lease, type Settlement, type Spool, SpoolError } from "../spool/spool.ts";
import { NOTIFYING_MAX, SPOOL_RETRY_FIRST_MS, SPOOL_RETRY_MAX_MS } from "./limits.ts";
import type { Notifications, Told } from "./notification.ts";
import { isWarningDue, type Notice } from "./notify.ts";
import { type Settler, whileComing } from "./settler.ts";

export interface NotifierOptions {
  readonly notifications: Pick<Notifications, "tell">;
  readonly spool: Pick<Spool, "attempts">;
  readonly clock: Pick<Clock, "after">;
  readonly log: Log;
  /** Takes what may be settled now. */
  readonly settler: Pick<Settler, "add">;
  /** Called whenever `waiting` has changed. */
  changed(): void;
}

interface Item {
  readonly lease: Lease;
  readonly settlement: Settlement & { readonly detail: string };
  readonly notice: Notice;
}

/** For one notification; never empty. */
type Group = readonly Item[];

export class Notifier {
  readonly #options: NotifierOptions;
  #arrived: Item[] = [];
  #groups: Group[] = [];
  #waiting = 0;
  #running = 0;
  #failures = 0;
  #again: Disposable | undefined;
  #closed = false;

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** Settlements that were not passed on yet. */
  get waiting(): number {
    return this.#waiting;
  }

  add(lease: Lease, settlement: Settlement & { readonly detail: string }, notice: Notice): void {
    if (this.#closed) return;
    this.#arrived.push({ lease, settlement, notice });
    this.#waiting++;
    if (this.#arrived.length === 1) void this.#gather();
  }

  /** Forgets what could not be passed on and says how much that was. */
  close(): number {
    this.#closed = true;
    this.#again?.[Symbol.dispose]();
    this.#arrived = [];
    this.#groups = [];
    return this.#waiting;
  }

  async #gather(): Promise<void> {
    await whileComing(() => this.#arrived.length);
    const groups = new Map<string, Item[]>();
    for (const item of this.#arrived) {
      const { sender, reported } = item.notice;
      const key = `${item.lease.message.id} ${reported.action} ${sender}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [item]);
      else group.push(item);
    }
    this.#arrived = [];
    this.#groups.push(...groups.values());
    this.#advance();
  }

  #advance(): void {
    while (this.#running < NOTIFYING_MAX && this.#again === undefined) {
      const group = this.#groups.shift();
      if (group === undefined) return;
      void this.#work(group);
    }
  }

  async #work(group: Group): Promise<void> {
    this.#running++;
    try {
      const told = await this.#tell(group);
      this.#failures = 0;
      this.#settle(group, told);
    } catch (error) {
      this.#failed(group, error);
    }
    this.#running--;
    this.#advance();
    this.#options.changed();
  }

  /** Undefined: there was nothing to tell of. */
  async #tell(group: Group): Promise<Told | undefined> {
    const { notifications } = this.#options;
    const due = group[0]?.notice.reported.action === "delayed" ? await this.#withWarningDue(group) : group;
    const [first] = due;
    if (first === undefined) return undefined;
    const { lease: { message }, notice: { sender, reported: { action } } } = first;
    const told = await notifications.tell(message, sender, due.map(({ notice }) => notice.reported));
    if (told.kind === "nobody") {
      const { session } = message.envelope.origin;
      this.#options.log.warn("not-notified", { session, message: message.id, action, to: sender, why: told.why });
    }
    return told;
  }

  /** The spool remembers when each delivery was tried before, so that a restart repeats no warning and forgets none. */
  async #withWarningDue(group: Group): Promise<Group> {
    const messageId = group[0]?.lease.message.id ?? "";
    const before = new Map<number, number>();
    if (group.some(({ lease }) => lease.attempts > 0)) {
      for (const { deliveryId, atMs } of await this.#options.spool.attempts(messageId)) before.set(deliveryId, atMs);
    }
    return group.filter(({ lease, notice: { config, reported } }) =>
      isWarningDue(config.noticesMs ?? [], lease.message, before.get(lease.deliveryId), reported.lastAttemptMs)
    );
  }

  #settle(group: Group, told: Told | undefined): void {
    if (this.#closed) return;
    for (const item of group) this.#options.settler.add(item.lease, settlementAfter(item, told));
    this.#waiting -= group.length;
  }

  #failed(group: Group, error: unknown): void {
    if (this.#closed) return;
    const { clock, log } = this.#options;
    const text = error instanceof Error ? error.message : String(error);
    const [{ lease: { message }, notice: { reported: { action } } }] = group as [Item];
    const fields = { message: message.id, action, error: text };
    if (action === "delivered" || action === "relayed") {
      // The message has arrived: to let its lease run out would deliver it again, which is worse than not to say so.
      log.error("notification-dropped", fields);
      return this.#settle(group, undefined);
    }
    if (error instanceof SpoolError && error.code === "closed") {
      log.error("notification-dropped", fields);
      // As when a settlement is lost: the leases expire, and the deliveries are attempted and told of again.
      this.#waiting -= group.length;
      return;
    }
    const retryInMs = Math.min(SPOOL_RETRY_FIRST_MS * 2 ** this.#failures++, SPOOL_RETRY_MAX_MS);
    log.error("notification-failed", { ...fields, retryInMs });
    this.#groups.unshift(group);
    this.#again ??= clock.after(retryInMs, () => {
      this.#again = undefined;
      this.#advance();
    });
  }
}

/** A delivery given up leaves the queue only when its sender knows, and then only if the channel does not keep it. */
function settlementAfter({ settlement, notice: { config } }: Item, told: Told | undefined): Settlement {
  if (settlement.kind !== "failed" || told === undefined) return settlement;
  const { detail } = settlement;
  if (told.kind === "nobody") return { kind: "failed", detail: `${detail} (the sender was not told: ${told.why})` };
  return config.notify === "both" ? settlement : { kind: "done", detail };
}
