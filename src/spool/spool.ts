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

export interface Selection {
  readonly messageId?: string;
  readonly channel?: string;
  readonly state?: DeliveryState;
  /** Default and upper bound: see `limits` in the store. */
  readonly limit?: number;
  /** Continue behind this delivery. */
  readonly afterDeliveryId?: number;
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
  /** Removes messages with all their deliveries, whatever their state; returns the ids that existed. */
  remove(messageIds: readonly string[]): Promise<readonly string[]>;
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
