/**
 * The interface of a channel: a named way out, with options of its own. One file per type beside this one; the registry
 * in `registry.ts` lists them. A channel attempts deliveries and says what became of each recipient; it knows nothing of
 * leases, schedules or retries.
 */
import type { GenericSchema } from "valibot";
import type { Envelope, NewDelivery, StoredMessage } from "../spool/spool.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Log } from "../observe/log.ts";

export interface ChannelDefinition<Options> {
  readonly type: string;
  /** One sentence for `check`, documentation and error messages. */
  readonly summary: string;
  /** The options of this type alone; paths in them are already absolute when `open` gets them. */
  readonly schema: GenericSchema<unknown, Options>;
  /** Deliveries wait for somebody who asks for them; the job controller attempts none. */
  readonly pulled?: true;
  open(options: Options, context: ChannelContext): Channel | Promise<Channel>;
}

export interface ChannelContext {
  readonly name: string;
  /** For Delivered-To, unique file names and the like. */
  readonly hostName: string;
  readonly runtime: Pick<
    Runtime,
    "files" | "clock" | "random" | "processes" | "network" | "resolver" | "dns" | "http" | "workers" | "scripts"
  >;
  readonly log: Log;
  /** What stores new messages for the channel of that name; undefined when there is none. */
  submitTo(channel: string): Submit | undefined;
  /** Whether one of our own listeners is there; absent where there are none. */
  isOwnEndpoint?(address: string, port: number): boolean;
}

/**
 * Stores a message. Resolves when it survives a power cut; rejects with `SpoolError`, or with what its content throws, and
 * then nothing remains.
 */
export type Submit = (submission: Submission) => Promise<void>;

/** A message that a channel makes out of one that it was given, for one recipient. */
export interface Submission {
  /** Unique: see `message/id.ts`. */
  readonly id: string;
  readonly envelope: Envelope;
  readonly recipient: string;
  /** Name of the binding that led here, for `queue show`. */
  readonly binding: string;
  /** With CRLF at the end of each line. Pieces are valid until the next one is asked for. */
  readonly content: AsyncIterable<Uint8Array>;
}

export interface Channel extends AsyncDisposable {
  /**
   * Attempts the job. Yields one outcome for each recipient, in any order; a recipient without one is tried again later,
   * as is the whole job when this throws.
   */
  deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome>;
  /**
   * Present when its answer is what the client is told: asked about each delivery while the client waits, before the message
   * is acknowledged. The job has one recipient. A delivery that is accepted is done; what this throws defers. Whatever does
   * not come from a waiting client is given to `deliver`.
   */
  readonly decide?: ((job: Job, signal: AbortSignal) => Promise<Decision>) | undefined;
}

/** `detail` is one line for logs. `reason` is for the client. */
export type Decision =
  | { readonly kind: "accept"; readonly detail: string }
  | { readonly kind: "reject"; readonly detail: string; readonly reason: string }
  /** It could not be decided: the client may try again. */
  | { readonly kind: "defer"; readonly detail: string };

/** One message for one or more recipients that share the channel. */
export interface Job {
  /** The sender in its envelope is the one for these recipients; its size is that of the stored content. */
  readonly message: StoredMessage;
  readonly recipients: readonly JobRecipient[];
  /**
   * The stored content: trace header fields, then the mail data as received; with the changes that bindings made for these
   * recipients. Can be read more than once.
   */
  content(): AsyncIterable<Uint8Array>;
}

export interface JobRecipient {
  readonly deliveryId: number;
  readonly delivery: NewDelivery;
  /** Attempts that failed before this one. */
  readonly attempts: number;
}

/** `detail` is one line for logs, `queue show` and the sender, when it is told. */
export type Outcome =
  & {
    readonly deliveryId: number;
    readonly detail: string;
    /** The enhanced status code (RFC 3463) for a detail that has none. */
    readonly status?: string;
    /** The name of the SMTP or LMTP server whose reply the detail has. */
    readonly remoteMta?: string;
  }
  & (
    /**
     * Absent: it has arrived. `notifies`: it was handed on to who tells the sender what becomes of it, because NOTIFY was
     * passed on; `relayed`: to who may not.
     */
    | { readonly kind: "delivered"; readonly onward?: "notifies" | "relayed" }
    /** Try again later; not before `retryAfterMs` from now when the receiver asked for that. */
    | { readonly kind: "deferred"; readonly retryAfterMs?: number }
    /** Trying again cannot help. */
    | { readonly kind: "failed" }
  );
