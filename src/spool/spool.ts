/**
 * The durable store of accepted messages and of what is still to be done with them. One contract, several stores
 * (memory, SQLite); `tests/contract/spool` runs against each. The spool knows nothing of SMTP dialogues, of channels'
 * workings or of schedules: callers tell it when a delivery is due next.
 */
import type { HeaderEdit } from "../message/edit.ts";
import type { BodyKind, DsnNotify, DsnReturn } from "../smtp/transaction.ts";

/** The envelope as it was given in the session, per message. Addresses without angle brackets; "" is the null reverse-path. */
export interface Envelope {
  readonly reversePath: string;
  readonly body: BodyKind;
  readonly smtputf8: boolean;
  /** RFC 3461 §4.3, §4.4. */
  readonly ret?: DsnReturn;
  readonly envid?: string;
  /** Where it came from, for logs, channels and bounces. */
  readonly origin: Origin;
}

export interface Origin {
  /** Id of the session that accepted it; the same in every log line from connection to delivery. */
  readonly session: string;
  readonly listener: string;
  /** The client's address, or "" when unknown. */
  readonly address: string;
  readonly helo: string;
  /** Protocol as in Received: `ESMTPS`, … */
  readonly protocol: string;
}

/** One (message, recipient, channel), before it is stored. */
export interface NewDelivery {
  /** Where it goes now. */
  readonly recipient: string;
  /** What RCPT said, when a binding changed it. */
  readonly originalRecipient?: string;
  readonly channel: string;
  /** Name of the binding that decided, for `queue show`. */
  readonly binding: string;
  /** RFC 3461 §4.1, §4.2. */
  readonly notify?: DsnNotify;
  readonly orcpt?: string;
  /** The sender for this recipient, when a binding changed it. */
  readonly reversePath?: string;
  /** Changes to the header section for this recipient, in their order. The stored content is without them. */
  readonly edits?: readonly HeaderEdit[];
}

/** A delivery as it is given to a commit. */
export interface CommittedDelivery extends NewDelivery {
  /** Stored as `held`: nobody attempts it until it is released, and a claim does not include it. */
  readonly held?: true;
}

export interface NewMessage {
  /** Unique, sortable by time, safe as a file name: see `message/id.ts`. */
  readonly id: string;
  readonly receivedAtMs: number;
  readonly envelope: Envelope;
  readonly deliveries: readonly CommittedDelivery[];
}

/** A message being received. Disposing one that was not committed leaves nothing behind. */
export interface Draft extends AsyncDisposable {
  /**
   * Appends to the content. The caller keeps ownership of `bytes` and may reuse them once this returns. A promise means
   * back-pressure: wait for it before the next write. Rejects with `SpoolError`.
   */
  write(bytes: Uint8Array): void | Promise<void>;
  /**
   * Stores the message. Resolves only when it survives a power cut; rejects with `SpoolError`, and then nothing remains.
   * With `claimForMs`, the deliveries that are not held come back leased to the caller for that long, without another query.
   */
  commit(message: NewMessage, options?: { readonly claimForMs?: number }): Promise<readonly Lease[]>;
}

/** The right to attempt one delivery, until it is settled or expires. */
export interface Lease {
  /** Names the delivery in the spool; never reused. */
  readonly deliveryId: number;
  /** Changes at each lease, so that a late settle of an expired lease is recognised and ignored. */
  readonly token: string;
  readonly expiresAtMs: number;
  readonly message: StoredMessage;
  readonly delivery: NewDelivery;
  /** Attempts that failed before this one. */
  readonly attempts: number;
}

export interface StoredMessage {
  readonly id: string;
  readonly receivedAtMs: number;
  readonly sizeBytes: number;
  readonly envelope: Envelope;
}

/** What became of a leased delivery. `detail` is one line for people: a remote's reply, an error's text. */
export type Settlement =
  | { readonly kind: "done"; readonly detail: string }
  /** Try again at `dueAtMs`. */
  | { readonly kind: "retry"; readonly detail: string; readonly dueAtMs: number }
  /** Given up; kept for the operator (`queue list --state failed`). */
  | { readonly kind: "failed"; readonly detail: string }
  /** Not attempted (shutdown): due at once again, the attempt is not counted. */
  | { readonly kind: "returned" };

export type DeliveryState = "queued" | "leased" | "held" | "failed";

/** A delivery as `queue list` shows it. */
export interface QueueEntry {
  readonly deliveryId: number;
  readonly state: DeliveryState;
  readonly attempts: number;
  /** When it is due next; for `leased`, when the lease expires. */
  readonly dueAtMs: number;
  readonly lastDetail?: string;
  readonly message: StoredMessage;
  readonly delivery: NewDelivery;
}

export interface Attempt {
  readonly deliveryId: number;
  readonly atMs: number;
  readonly kind: Settlement["kind"];
  readonly detail: string;
}

/** Deliveries for which everything that is named here holds. */
export interface Selection {
  readonly messageId?: string;
  /** Ids from one text to another in the order of characters, both included. */
  readonly messageIds?: { readonly from: string; readonly to: string };
  readonly channel?: string;
  readonly state?: DeliveryState;
  readonly binding?: string;
  /** An address or a pattern: see `isGlob`. "" is the null reverse-path. The case of ASCII letters does not count. */
  readonly sender?: string;
  readonly recipient?: string;
  readonly receivedBeforeMs?: number;
  readonly receivedAfterMs?: number;
  /** Default and upper bound: see `selection.ts`. */
  readonly limit?: number;
  /** Continue behind this delivery. */
  readonly afterDeliveryId?: number;
}

/** What an operator does to a delivery. One that is leased is left alone, whatever the change. */
export type Change =
  /** Queued: kept, and attempted by nobody until it is released. */
  | { readonly kind: "hold" }
  /** Held: queued again, due at once. */
  | { readonly kind: "release" }
  /** Queued or failed: due at once. */
  | { readonly kind: "retry" }
  /** Queued or held: given up and kept, with an entry in its attempts. */
  | { readonly kind: "fail"; readonly detail: string }
  /** Gone, and with the last one its message. */
  | { readonly kind: "remove" };

/** `unsuitable`: in a state that the change is not for. `gone`: there is no such delivery any more. */
export type ChangeOutcome = "changed" | "leased" | "unsuitable" | "gone";

/** Which states a change is for. */
export const changeable: Readonly<Record<Change["kind"], readonly DeliveryState[]>> = {
  hold: ["queued"],
  release: ["held"],
  retry: ["queued", "failed"],
  fail: ["queued", "held"],
  remove: ["queued", "held", "failed"],
};

export type StateCounts = Readonly<Record<DeliveryState, number>>;

/** The deliveries of one channel to one domain. */
export interface SummaryGroup extends StateCounts {
  readonly channel: string;
  /** In lower case; "" for recipients without one. */
  readonly domain: string;
  /** When the message that was stored first was received. */
  readonly oldestAtMs: number;
  /** The first of those queued; absent when none is. */
  readonly nextDueAtMs?: number;
}

export interface Summary {
  /** The largest first. */
  readonly groups: readonly SummaryGroup[];
  /** Of all groups, those beyond the limit included. */
  readonly groupCount: number;
  readonly total: StateCounts;
}

export interface Spool extends AsyncDisposable {
  begin(): Draft;
  /** Takes due deliveries of a channel, oldest due first; invisible to others until settled or expired. */
  lease(
    channel: string,
    options: { readonly limit: number; readonly forMs: number; readonly ignoreBackoff?: boolean },
  ): Promise<readonly Lease[]>;
  /** Records what became of leases; a message whose last delivery is done is removed with its content. Stale leases are skipped. */
  settle(settlements: readonly { readonly lease: Lease; readonly settlement: Settlement }[]): Promise<void>;
  /** Extends leases that are still being worked on. */
  renew(leases: readonly Lease[], forMs: number): Promise<void>;
  /** When the next delivery of each named channel becomes due (queued or lease expired), for channels that have any. */
  nextDue(channels: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /**
   * The stored content in order; each piece is valid until the next one is asked for. Rejects with `SpoolError` code
   * "gone" when there is no such message.
   */
  content(messageId: string): AsyncIterable<Uint8Array>;
  list(selection: Selection): Promise<readonly QueueEntry[]>;
  /** Failed attempts of the deliveries a message still has, oldest first. */
  attempts(messageId: string): Promise<readonly Attempt[]>;
  /** Changes deliveries, all in one piece, and says what became of each. Ask for some thousands at a time at most. */
  change(deliveryIds: readonly number[], change: Change): Promise<readonly ChangeOutcome[]>;
  /** Counts the deliveries of a selection, whose limit is the number of groups. Looks at each of them. */
  summary(selection: Selection): Promise<Summary>;
  /** Why nothing can be accepted just now (disk nearly full, store broken), or undefined. Cheap: called for each transaction. */
  refusal(): SpoolError | undefined;
}

/** The store failed. `full`: no space, refuse with 452. `gone`: no such message. `busy`: locked by another process. */
export class SpoolError extends Error {
  override readonly name = "SpoolError";
  readonly code: "full" | "gone" | "busy" | "broken" | "closed";
  constructor(message: string, code: SpoolError["code"], cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}
