/**
 * What would become of a message that nobody sent: the questions that routing tests and `explain` ask, and their answers.
 * `server/rehearsal.ts` answers them with the code of `serve`. This file must not know how.
 */
import type { Router, Step } from "../binding/route.ts";
import { type HeaderEdit, MAX_FIELD_VALUE_CHARACTERS } from "../message/edit.ts";
import { type Mailbox, parseForwardPath } from "../smtp/address.ts";
import { MAX_DOMAIN_OCTETS } from "../smtp/limits.ts";
import type { Reply } from "../smtp/reply.ts";
import type { HeaderTemplate, ListenerConfig } from "./config.ts";

export interface ImaginedMessage {
  readonly to: Mailbox;
  /** Null: the null reverse-path. */
  readonly from: Mailbox | null;
  /** The client's IP address. */
  readonly ip: string;
  readonly helo: string;
  /** Absent: only where the listener asks for it. */
  readonly tls?: boolean;
  /** Whom the client has logged in as. */
  readonly user?: string;
  /** Announced and found. Absent: not announced, and small. */
  readonly sizeBytes?: number;
  readonly headers: readonly HeaderTemplate[];
  readonly timeMs: number;
}

/** A stranger, in names and an address that are nobody's (RFC 2606, RFC 5737), so that no rule means them by accident. */
export const STRANGER = {
  from: { localPart: "somebody", domain: "elsewhere.invalid" },
  ip: "203.0.113.25",
  helo: "client.elsewhere.invalid",
} as const satisfies Partial<ImaginedMessage>;

export const OUTCOMES = ["deliver", "hold", "discard", "reject", "defer"] as const;

/**
 * `hold`: every delivery waits for a person. `discard`: taken, and delivered to nobody. `reject` and `defer`: refused with
 * 5xx and 4xx.
 */
export type RehearsalOutcome = typeof OUTCOMES[number];

export interface Rehearsal {
  readonly listener: string;
  readonly outcome: RehearsalOutcome;
  /** The binding that decided; absent when none did. */
  readonly binding?: string;
  /** What the client was told, in order. The last reply is the one that decides. */
  readonly dialogue: readonly Exchange[];
  readonly deliveries: readonly RehearsedDelivery[];
  /** Everything that was tried, on the last time when the recipient was routed more than once. */
  explain(): readonly Step[];
}

export interface Exchange {
  /** `MAIL`, `RCPT`, `end of data`; `connection` for the greeting. */
  readonly command: string;
  readonly reply: Reply;
}

export interface RehearsedDelivery {
  readonly channel: string;
  readonly binding: string;
  /** Without angle brackets. */
  readonly recipient: string;
  /** Absent: as it was given. "" is the null reverse-path. */
  readonly sender?: string;
  readonly edits: readonly HeaderEdit[];
  readonly held: boolean;
}

/** Plays one transaction with one recipient on a listener, over a connection that exists in memory alone. */
export type Rehearse = (listener: ListenerConfig, router: Router, message: ImaginedMessage) => Promise<Rehearsal>;

/** The reply that decided. */
export function decisiveReply({ dialogue }: Rehearsal): Reply {
  const last = dialogue.at(-1);
  if (last === undefined) throw new Error("A rehearsal ended before the greeting");
  return last.reply;
}

/** `550 5.7.1 Not accepted`, one line for people. */
export function replyLine({ code, enhanced, lines }: Reply): string {
  return [code, enhanced, ...lines].filter((part) => part !== undefined && part !== "").join(" ");
}

/** Whether a client can meet the listener with TLS, or without it. */
export function canMeet({ tls: { mode } }: ListenerConfig, tls: boolean | undefined): boolean {
  if (tls === undefined) return true;
  return tls ? mode !== "off" : mode !== "required" && mode !== "implicit";
}

/** `null` for `<>`; undefined when the text is no address. Angle brackets may be left out. */
export function parseAddress(text: string): Mailbox | null | undefined {
  if (text === "<>") return null;
  const path = text.startsWith("<") ? text : `<${text}>`;
  const parsed = parseForwardPath(path, 0);
  return parsed.ok && parsed.end === path.length ? parsed.value : undefined;
}

/** Milliseconds since the epoch of a moment such as `2026-01-05T10:00:00Z`; undefined when it is none. */
export function parseMoment(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)$/u.test(text)) return undefined;
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/** What a client may say in EHLO without spaces, so that it is one word of the command. */
export function isHeloName(text: string): boolean {
  return /^[!-~]+$/u.test(text) && text.length <= MAX_DOMAIN_OCTETS;
}

/** A text that can be the value of a header field as it is. */
export function isFieldText(text: string): boolean {
  return text.length <= MAX_FIELD_VALUE_CHARACTERS && /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u.test(text);
}
