/**
 * What the main thread and the SQLite thread say to each other: requests in batches, answers in the same order. Message
 * content travels through a ring of shared memory, so a batch is a few small objects. This file holds shapes and nothing
 * else; it must not know how either side does its work.
 */
import type {
  Attempt,
  Change,
  ChangeOutcome,
  DeliveryState,
  Selection,
  Settlement,
  SpoolError,
  Summary,
} from "./spool.ts";

/** Content is stored in pieces of this size; what is smaller stays in main memory until the commit. */
export const CHUNK_BYTES = 256 * 1024;

/** Bytes on their way to the thread: a place in the ring, or a clone when the ring had no room. */
export type Payload = { readonly at: number; readonly size: number } | Uint8Array;

/** Sent once, before anything else. */
export interface OpenRequest {
  readonly path: string;
  readonly ring: SharedArrayBuffer;
  /** `ProcessIdentity` as JSON, or "" when it cannot be known. */
  readonly identity: string;
  readonly nowMs: number;
  readonly expiresAtMs: number;
  /** Bounds the file, to try a full disk without one. */
  readonly maxPages?: number;
  readonly busyTimeoutMs: number;
}

/** A delivery as it is stored: the channel by itself, all the rest as JSON. */
export interface DeliveryRow {
  readonly channel: string;
  readonly record: string;
  readonly held?: true;
}

export interface CommitRequest {
  readonly op: "commit";
  readonly id: string;
  readonly receivedAtMs: number;
  readonly sizeBytes: number;
  readonly envelope: string;
  readonly deliveries: readonly DeliveryRow[];
  readonly nowMs: number;
  /** Absent: queued and due at once. */
  readonly claimUntilMs?: number;
  /** The draft whose chunks come before `tail`; absent when nothing was written ahead. */
  readonly draft?: number;
  readonly chunks: number;
  readonly tail: Payload;
}

export interface SettleRequest {
  readonly op: "settle";
  readonly nowMs: number;
  readonly settlements: readonly {
    readonly deliveryId: number;
    readonly token: string;
    readonly settlement: Settlement;
  }[];
}

export interface ListRequest {
  readonly op: "list";
  readonly nowMs: number;
  readonly limit: number;
  readonly selection: Selection;
}

export interface SummaryRequest {
  readonly op: "summary";
  readonly nowMs: number;
  readonly limit: number;
  readonly selection: Selection;
}

export interface ChangeRequest {
  readonly op: "change";
  readonly nowMs: number;
  readonly ids: readonly number[];
  readonly change: Change;
}

export interface ChangeAnswer {
  readonly outcomes: readonly ChangeOutcome[];
  /** Ids of messages that lost their last delivery. */
  readonly removed: readonly string[];
}

export interface LeaseRequest {
  readonly op: "lease";
  readonly channel: string;
  readonly limit: number;
  readonly nowMs: number;
  readonly untilMs: number;
  readonly ignoreBackoff: boolean;
}

/** Another process (or another spool of this one) that has the file open. */
export interface OwnerRow {
  readonly id: number;
  readonly identity: string;
  readonly expiresAtMs: number;
}

/** Each operation with its request and its answer. */
export interface Operations {
  /** Appends a chunk to a draft; numbers are given out by the main thread. */
  readonly write: {
    request: { op: "write"; draft: number; index: number; bytes: Payload };
    answer: undefined;
  };
  readonly discard: { request: { op: "discard"; draft: number }; answer: undefined };
  /** Answers the id of the first delivery; the others follow it. */
  readonly commit: { request: CommitRequest; answer: number };
  readonly lease: { request: LeaseRequest; answer: readonly LeaseRow[] };
  /** Answers the ids of the deliveries whose lease was stale. */
  readonly settle: { request: SettleRequest; answer: readonly number[] };
  readonly renew: {
    request: { op: "renew"; leases: readonly { deliveryId: number; token: string }[]; untilMs: number };
    answer: undefined;
  };
  /** Pairs of channel and time. */
  readonly due: {
    request: { op: "due"; channels: readonly string[] };
    answer: readonly (readonly [string, number])[];
  };
  /** One piece of content; answers undefined when there is no such message. */
  readonly read: { request: { op: "read"; id: string; index: number }; answer: ContentPiece | undefined };
  readonly list: { request: ListRequest; answer: readonly ListRow[] };
  readonly attempts: { request: { op: "attempts"; id: string }; answer: readonly Attempt[] };
  readonly change: { request: ChangeRequest; answer: ChangeAnswer };
  readonly summary: { request: SummaryRequest; answer: Summary };
  /** Says that we live; answers who else does, or did. */
  readonly beat: { request: { op: "beat"; nowMs: number; expiresAtMs: number }; answer: readonly OwnerRow[] };
  /** Takes back what dead owners held, unless they have shown life since. */
  readonly bury: {
    request: { op: "bury"; owners: readonly OwnerRow[]; nowMs: number };
    answer: { readonly leases: number; readonly drafts: number };
  };
  readonly close: { request: { op: "close"; nowMs: number }; answer: undefined };
}

export type Operation = keyof Operations;
export type Request = Operations[Operation]["request"];
export type Answer<Op extends Operation> = Operations[Op]["answer"];

export interface ContentPiece {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly last: boolean;
}

/** A message with one of its deliveries, JSON still unparsed. */
export interface StoredRow {
  readonly id: number;
  readonly attempts: number;
  readonly channel: string;
  readonly record: string;
  readonly message: string;
  readonly receivedAtMs: number;
  readonly sizeBytes: number;
  readonly envelope: string;
}

export interface LeaseRow extends StoredRow {
  readonly token: string;
}

export interface ListRow extends StoredRow {
  readonly state: DeliveryState;
  readonly dueAtMs: number;
  readonly detail: string | null;
}

/** Why a request failed; becomes a `SpoolError` again on the other side. */
export interface Failure {
  readonly code: SpoolError["code"];
  readonly message: string;
}

export type Result = { readonly value: unknown } | { readonly failure: Failure };

/** Main thread to SQLite thread. */
export type ToThread =
  | { readonly kind: "open"; readonly open: OpenRequest }
  | { readonly kind: "batch"; readonly requests: readonly Request[] };

/** SQLite thread to main thread: results of the oldest unanswered requests, in order. */
export type FromThread =
  | { readonly kind: "opened"; readonly owner: number }
  | { readonly kind: "refused"; readonly failure: Failure }
  | { readonly kind: "results"; readonly results: readonly Result[] };
