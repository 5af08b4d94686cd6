/**
 * The configuration as the program uses it: read, checked, defaults filled in, paths absolute, secrets not yet read.
 * It must not know of TOML or of positions; `load.ts` makes it from files.
 */
import type { Mailbox } from "../smtp/address.ts";
import type { Reply } from "../smtp/reply.ts";
import type { RateLimit } from "./rate_limit.ts";

export interface Config {
  /** The configuration file, for messages; undefined for one made in memory. */
  readonly file?: string;
  readonly hostName: string;
  readonly spool: SpoolConfig;
  readonly listeners: readonly ListenerConfig[];
  /** Shared bindings, tried after a listener's own. */
  readonly bindings: readonly BindingConfig[];
  readonly channels: readonly ChannelConfig[];
  readonly notifications?: NotificationsConfig;
  /** How long SIGTERM waits for transactions in progress. */
  readonly shutdownGraceMs: number;
  /** The channel that `smtpd sendmail` serves when nobody names one. */
  readonly sendmailChannel?: string;
  /** Routing tests, which `check` runs. */
  readonly tests?: readonly RoutingTest[];
}

/** A message that is imagined, and what must become of it. What is absent is a stranger's. */
export interface RoutingTest {
  readonly name?: string;
  /** Each in a transaction of its own. */
  readonly to: readonly Mailbox[];
  readonly from?: Mailbox | null;
  readonly ip?: string;
  readonly listener?: string;
  readonly user?: string;
  readonly tls?: boolean;
  readonly helo?: string;
  readonly sizeBytes?: number;
  readonly headers: readonly HeaderTemplate[];
  readonly timeMs?: number;
  readonly expect: Expectation;
}

/** What is absent may be as it likes. */
export interface Expectation {
  readonly binding?: string;
  /** The channels, in any order. */
  readonly deliver?: readonly string[];
  /** How the reply begins: `550`, `550 5.1.1`. */
  readonly reply?: string;
  /** After rewriting, in any order. */
  readonly recipient?: readonly Mailbox[];
  readonly outcome?: "deliver" | "hold" | "discard" | "reject" | "defer";
}

/** What stands for a listener's name when a notification is routed: bindings may have it among their `listeners`. */
export const NOTIFICATIONS = "notifications";

export interface NotificationsConfig {
  /** Takes notifications to senders whose address no binding takes; absent: they are not told. */
  readonly channel?: string;
}

export interface SpoolConfig {
  readonly store: { readonly kind: "memory" } | { readonly kind: "sqlite"; readonly path: string };
  /** Below this, 452 4.3.1. */
  readonly minFreeSpaceBytes: number;
}

export interface ListenerConfig {
  readonly name: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly protocol: "smtp" | "lmtp";
  /** Absent: every address, IPv4 and IPv6. */
  readonly listenIp?: string;
  readonly port: number;
  readonly hostName: string;
  readonly banner: string;
  /** Connected clients at one time. */
  readonly maxConcurrency: number;
  readonly sessionMaxMessages?: number;
  /** How long a client may be connected in all; loaded configurations always have it. */
  readonly sessionTimeoutMs?: number;
  readonly maxMessageSizeBytes: number;
  readonly maxRecipients: number;
  readonly maxErrors: number;
  readonly lineEndings: "strict" | "normalize";
  readonly tls: ListenerTls;
  readonly bindings: readonly BindingConfig[];
}

export type ListenerTls =
  | { readonly mode: "off" }
  /** `certificate`: path of a PEM file. */
  | { readonly mode: "starttls" | "required" | "implicit"; readonly certificate: string; readonly privateKey: Secret };

/** Where a secret is; `secret.ts` reads it when it is needed, so that a renewed key needs no new configuration. */
export type Secret =
  | { readonly kind: "inline"; readonly value: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "env"; readonly name: string };

/** A pattern, or a file with one on each line that is read again when it changes. */
export type ListItem = string | { readonly file: string };

/**
 * What must hold for a binding to take a recipient. Each is one of the alternatives listed; all that are given must hold.
 * Patterns are as written, checked.
 */
export interface Conditions {
  /** Address patterns (`binding/match.ts`). */
  readonly recipients?: readonly ListItem[];
  readonly senders?: readonly ListItem[];
  /** Names or tags of listeners. */
  readonly listeners?: readonly string[];
  /** IP addresses and networks (`binding/network.ts`). */
  readonly clients?: readonly ListItem[];
  /** Whether the client has logged in, or as whom: text patterns (`binding/text_set.ts`). */
  readonly authenticated?: boolean | readonly ListItem[];
  /** Text patterns. */
  readonly helo?: readonly ListItem[];
  readonly tls?: boolean | TlsCondition;
  readonly size?: SizeCondition;
  /** From the name of a field to text patterns for its value. */
  readonly headers?: Readonly<Record<string, readonly ListItem[]>>;
  readonly dsn?: readonly DsnCondition[];
  readonly time?: readonly TimeCondition[];
}

export interface TlsCondition {
  /** `1.2`, `1.3`. */
  readonly minVersion?: string;
  /** Text patterns for the name in the client's certificate. */
  readonly clientName?: readonly ListItem[];
}

/** Octets, both included. */
export interface SizeCondition {
  readonly min?: number;
  readonly max?: number;
}

/** `report`: the sender is null, so the message is a report itself; the others: RCPT asked for that with NOTIFY. */
export type DsnCondition = "report" | "never" | "success" | "failure" | "delay";

export interface TimeCondition {
  /** `mon`, `mon-fri`. */
  readonly days: readonly string[];
  /** `08:00`. */
  readonly from: string;
  readonly to: string;
  /** `UTC`, or a name of the IANA time zone database. */
  readonly zone: string;
}

export interface BindingConfig extends Conditions {
  readonly name: string;
  readonly description?: string;
  readonly tags: readonly string[];
  /** None of these may hold. */
  readonly not?: Conditions;
  readonly outcome: BindingOutcome;
  /** Made to this binding's deliveries and, with `continues`, to those of the bindings that follow. */
  readonly changes?: Changes;
  /** Its deliveries are stored and wait for a person; those of the bindings that follow when it has none itself. */
  readonly hold?: boolean;
  /** The bindings that follow are tried as well. */
  readonly continues?: boolean;
}

export type BindingOutcome =
  | { readonly kind: "deliver"; readonly channels: readonly string[] }
  /** `reply` is 5xx, or 4xx: then the sender tries again later. */
  | { readonly kind: "reject"; readonly reply: Reply }
  | { readonly kind: "discard" }
  /** The addresses that the file has for the recipient take its place, and are tried from the first binding on. */
  | { readonly kind: "aliases"; readonly file: string }
  /** Changes alone; the binding continues. */
  | { readonly kind: "none" };

/** Texts are templates (`binding/template.ts`). */
export interface Changes {
  readonly rewriteRecipient?: string;
  readonly rewriteSender?: string;
  readonly removeHeaders?: readonly string[];
  readonly setHeaders?: readonly HeaderTemplate[];
  readonly addHeaders?: readonly HeaderTemplate[];
  readonly subjectPrefix?: string;
}

export interface HeaderTemplate {
  readonly name: string;
  readonly value: string;
}

export interface ChannelConfig {
  readonly name: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly type: string;
  /** Deliveries attempted at one time. */
  readonly maxConcurrency: number;
  /** Deliveries begun in a time; absent: as many as there are. */
  readonly rateLimit?: RateLimit;
  /** An attempt that takes longer failed, and is tried again. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /**
   * Who is told when a delivery is given up, which is then removed, or kept when its sender cannot be told. `keep`: nobody
   * is told anything, and it is kept. `both`: told and kept. Absent: `sender`.
   */
  readonly notify?: "sender" | "keep" | "both";
  /** Ages at which the sender is warned that a message is late, in rising order. Absent: never. */
  readonly noticesMs?: readonly number[];
  /** Options of the type, checked by its schema, paths absolute. */
  readonly options: unknown;
  /** How sessions on standard input and output are served; loaded configurations always have it. */
  readonly slave?: SlaveConfig;
}

/** What `smtpd channel slave` goes by. */
export interface SlaveConfig {
  readonly localHostAlias?: string;
  /** `local`: a client that nothing tells of counts as 127.0.0.1. */
  readonly trust: "none" | "local";
  readonly lineEndings: "strict" | "normalize";
  /** For the dialogues. */
  readonly debugFile?: string;
  /** `NAME=value` of the TCP/IP channel option file: see `channel_options.ts`. */
  readonly options: readonly NamedOption[];
  readonly protocol: "smtp" | "lmtp";
  /** Absent: the program's. */
  readonly banner?: string;
  readonly sessionMaxMessages?: number;
  readonly sessionTimeoutMs: number;
  readonly maxMessageSizeBytes: number;
  readonly maxRecipients: number;
  readonly maxErrors: number;
  /** Nothing is taken: a pipe has no TLS. */
  readonly requiresTls: boolean;
}

export interface NamedOption {
  readonly name: string;
  readonly value: string;
}

export interface RetryPolicy {
  /** Wait after the first failure; doubled after each further one. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A delivery older than this that fails again is given up. */
  readonly maxAgeMs: number;
}
