/**
 * The shape of a client session as its driver sees it: the mirror of `session.ts`. A machine that is fed bytes and answers
 * with steps; it has no I/O, no clock and never throws on input.
 */
import type { PeerExtensions } from "./peer_extensions.ts";
import type { Reply } from "./reply.ts";
import type { SaslMechanism } from "./sasl_client.ts";
import type { BodyKind, DsnNotify, DsnReturn } from "./transaction.ts";

export interface ClientSession {
  /** Bytes from the peer; `undefined` at the end of the stream. Valid until the next `read` step is obeyed. */
  receive(bytes: Uint8Array | undefined): void;
  /** What to do now. After `start-tls`, only `tlsStarted` or `fail` may follow; after `close`, nothing. */
  next(): ClientStep;
  /** Begins a transaction; only after `ready`. Its `result` follows, whatever happens. */
  send(transaction: OutgoingTransaction): void;
  /** A piece of the content, exactly once per `need-body`, valid until the next step but one; `undefined`: there is no more. */
  body(bytes: Uint8Array | undefined): void;
  /** The handshake succeeded. All knowledge of the server from before is forgotten (RFC 3207 §4.2). */
  tlsStarted(): void;
  /** Ends the session in order; only after `ready`. */
  quit(): void;
  /**
   * The connection broke, a time limit passed, or the content cannot be read: what was not decided is settled, and the
   * session is over. `detail` is a sentence for people.
   */
  fail(detail: string): void;
  /** What the server offers, once `ready` was given. */
  readonly extensions: PeerExtensions;
  /** The end of the data was given out and not answered: who leaves now does not know whether the message was taken. */
  readonly awaitsVerdict: boolean;
}

export type ClientStep =
  /** Nothing more to do before the server speaks; the time limit comes with it (RFC 5321 §4.5.3.2). */
  | { readonly kind: "read"; readonly timeoutMs: number }
  | { readonly kind: "write"; readonly bytes: Uint8Array }
  /** Start the handshake now; the bytes written before this step are the last in plain text. */
  | { readonly kind: "start-tls" }
  /** Greeted, encrypted and logged in, as far as was asked for: `send` or `quit`. */
  | { readonly kind: "ready" }
  | { readonly kind: "need-body" }
  | { readonly kind: "result"; readonly result: TransactionResult }
  /** `failure` is absent when the session was ended by `quit`. */
  | { readonly kind: "close"; readonly failure?: SessionFailure };

/** What was being done. */
export type Stage = "greeting" | "hello" | "tls" | "login" | "sender" | "recipient" | "data" | "verdict" | "ready";

export interface SessionFailure {
  /** Whether another attempt can help. */
  readonly kind: "temporary" | "permanent";
  readonly stage: Stage;
  /** One line, without the server's name: `Reply to EHLO: 554 5.7.1 Go away`. */
  readonly detail: string;
  /** The enhanced status code: the server's, or the one that fits. */
  readonly enhanced: string;
  readonly reply?: Reply;
}

export interface OutgoingTransaction {
  /** Without angle brackets; "" is the null reverse-path. */
  readonly reversePath: string;
  readonly recipients: readonly OutgoingRecipient[];
  /** `binarymime` is sent as it is; of the others, line ends are repaired. */
  readonly body: BodyKind;
  /** Whether the message needs SMTPUTF8 beyond its addresses: its header section has UTF-8 (RFC 6532). */
  readonly smtputf8: boolean;
  /** For SIZE: about how large the content is. */
  readonly sizeBytes?: number;
  readonly ret?: DsnReturn;
  readonly envid?: string;
}

export interface OutgoingRecipient {
  readonly address: string;
  readonly notify?: DsnNotify;
  /** `address-type;address`, decoded. */
  readonly orcpt?: string;
}

export interface TransactionResult {
  /** In the order of the transaction's recipients. */
  readonly recipients: readonly RecipientResult[];
  /**
   * The connection ended before the server said anything on the transaction, as happens to connections that are kept: it
   * may be sent over another one at once.
   */
  readonly unheard: boolean;
}

export interface RecipientResult {
  /** `unknown`: the server had everything, and its answer did not come. Trying again may make a second copy. */
  readonly kind: "delivered" | "deferred" | "failed" | "unknown";
  /** One line, without the server's name. */
  readonly detail: string;
  readonly enhanced?: string;
  /** What the server said, when it did. */
  readonly reply?: Reply;
  /** The transaction had too many recipients: another one may be begun for this at once, if it had others. */
  readonly isSurplus?: boolean;
}

export interface ClientSessionOptions {
  readonly protocol: "smtp" | "lmtp";
  /** A domain or an address literal, for EHLO, HELO and LHLO. */
  readonly heloName: string;
  /**
   * `opportunistic`: when the server offers it. `required`: no mail without. `active`: the connection is encrypted from the
   * start.
   */
  readonly tls: "off" | "opportunistic" | "required" | "active";
  /** In order of preference; the first that is offered is used. Absent: no login. */
  readonly mechanisms?: readonly SaslMechanism[];
  /** Logs in over a connection that is not encrypted. */
  readonly loginInPlain?: boolean;
  /** A server that calls itself one of these is ourselves, and mail would go in circles. */
  readonly ownNames?: readonly string[];
  /** No reply is waited for longer than this, whatever the RFC's limit for it is. */
  readonly maxTimeoutMs?: number;
}
