/**
 * The configuration as the program uses it: read, checked, defaults filled in, paths absolute, secrets not yet read.
 * It must not know of TOML or of positions; `load.ts` makes it from files.
 */
import type { Reply } from "../smtp/reply.ts";

export interface Config {
  /** The configuration file, for messages; undefined for one made in memory. */
  readonly file?: string;
  readonly hostName: string;
  readonly spool: SpoolConfig;
  readonly listeners: readonly ListenerConfig[];
  /** Shared bindings, tried after a listener's own. */
  readonly bindings: readonly BindingConfig[];
  readonly channels: readonly ChannelConfig[];
  /** How long SIGTERM waits for transactions in progress. */
  readonly shutdownGraceMs: number;
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

export interface BindingConfig {
  readonly name: string;
  readonly description?: string;
  readonly tags: readonly string[];
  /** Patterns as written, checked: `user@domain`, `*@domain`, `postmaster`, `*` (`binding/match.ts`). */
  readonly recipients: readonly string[];
  readonly outcome: BindingOutcome;
}

export type BindingOutcome =
  | { readonly kind: "deliver"; readonly channels: readonly string[] }
  | { readonly kind: "reject"; readonly reply: Reply };

export interface ChannelConfig {
  readonly name: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly type: string;
  /** Deliveries attempted at one time. */
  readonly maxConcurrency: number;
  /** An attempt that takes longer failed, and is tried again. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** Options of the type, checked by its schema, paths absolute. */
  readonly options: unknown;
}

export interface RetryPolicy {
  /** Wait after the first failure; doubled after each further one. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A delivery older than this that fails again is given up and kept as `failed`. */
  readonly maxAgeMs: number;
}
