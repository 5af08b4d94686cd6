/**
 * The shape of a server session as its driver sees it: a machine that is fed bytes, answers with steps and asks questions
 * (check, ask, proceed). It has no I/O, no clock and never throws on input. The driver is `server/drive.ts`.
 */
import type { ForwardPath, ReversePath } from "./address.ts";
import type { Reply } from "./reply.ts";
import type { MailParameters, RecipientParameters, Transaction } from "./transaction.ts";

export interface ServerSession {
  /** Bytes from the peer; `undefined` at the end of the stream. Not kept: what the session needs later it copies. */
  receive(bytes: Uint8Array | undefined): void;
  /** What to do now. After `ask`, only `answer` may follow; after `start-tls`, only `tlsStarted`; after `close`, nothing. */
  next(): ServerStep;
  /** Exactly once per `ask`. */
  answer(verdict: Verdict): void;
  /** The body cannot be kept (disk full): the rest is drained, then this reply is given in place of asking for the commit. */
  refuseBody(reply: Reply): void;
  /** The handshake succeeded. All knowledge of the client from before is forgotten (RFC 3207 §4.2). */
  tlsStarted(): void;
  /**
   * Ends the session with this reply. `now`: at once, even in mid-data, except between a question and its answer.
   * `between-transactions`: as soon as no transaction is in progress.
   */
  stop(reply: Reply, when: "now" | "between-transactions"): void;
  readonly inTransaction: boolean;
}

export type ServerStep =
  /** Nothing more to do before the peer speaks; the phase's time limit comes with it (RFC 5321 §4.5.3.2). */
  | { readonly kind: "read"; readonly timeoutMs: number }
  | { readonly kind: "write"; readonly bytes: Uint8Array }
  | { readonly kind: "ask"; readonly question: Question }
  /** A piece of mail data, dot-stuffing removed; valid until the next call of `receive`. */
  | { readonly kind: "body"; readonly bytes: Uint8Array }
  /** The body since the data question leads to no commit: forget it. `reply` is there when it was refused. */
  | { readonly kind: "abandon"; readonly reply?: Reply }
  /** Start the handshake now; the writes before this step are the last in plain text. */
  | { readonly kind: "start-tls" }
  | { readonly kind: "close"; readonly why: "quit" | "end-of-stream" | "refused" };

export type Question =
  | { readonly kind: "connect" }
  | { readonly kind: "hello"; readonly verb: "HELO" | "EHLO" | "LHLO"; readonly name: string }
  | { readonly kind: "mail"; readonly reversePath: ReversePath; readonly parameters: MailParameters }
  | {
    readonly kind: "recipient";
    readonly forwardPath: ForwardPath;
    readonly parameters: RecipientParameters;
    readonly transaction: Transaction;
  }
  /** Before 354, or at the first BDAT: the last chance to refuse without the body. */
  | { readonly kind: "data"; readonly transaction: Transaction }
  /** The whole body was given by `body` steps. Accepting takes responsibility for the message (RFC 5321 §6.1). */
  | { readonly kind: "commit"; readonly transaction: Transaction; readonly sizeBytes: number };

export type Verdict =
  /** `detail` is the text of the success reply where the protocol leaves it free, such as "Queued as …". */
  | { readonly kind: "accept"; readonly detail?: string }
  /** LMTP's end of data: one reply for each accepted recipient, in their order (RFC 2033 §4.2). */
  | { readonly kind: "accept-each"; readonly replies: readonly Reply[] }
  | { readonly kind: "refuse"; readonly reply: Reply }
  /** Reply, then close. */
  | { readonly kind: "disconnect"; readonly reply: Reply };

export interface ServerSessionOptions {
  readonly protocol: "smtp" | "lmtp";
  /** Banner, HELO and EHLO replies. */
  readonly hostName: string;
  /** Text of the 220 line behind the host name. */
  readonly banner: string;
  /** Further lines of the greeting. */
  readonly bannerLines?: readonly string[];
  readonly maxMessageSizeBytes: number;
  readonly maxRecipients: number;
  /** MAIL commands per session; RSET does not reset the count. Undefined: no limit. */
  readonly maxMessages?: number;
  /** Where a message too many is refused; absent: at MAIL. */
  readonly maxMessagesAt?: "mail" | "recipient";
  /** Erroneous commands before 421. */
  readonly maxErrors: number;
  readonly lineEndings: "strict" | "normalize";
  /**
   * `unavailable`: no STARTTLS. `offered`: STARTTLS advertised. `required`: nothing but NOOP, EHLO, STARTTLS and QUIT before it.
   * `active`: the connection is encrypted from the start. `impossible`: required, and cannot be had: nothing is taken.
   */
  readonly tls: "unavailable" | "offered" | "required" | "active" | "impossible";
  /** Absent: those of `limits.ts`. */
  readonly commandTimeoutMs?: number;
  readonly dataTimeoutMs?: number;
  /** Told of each command before it is obeyed, malformed ones too; for transcripts. Undefined: it could not be read at all. */
  readonly heard?: (line: Uint8Array | undefined) => void;
}
