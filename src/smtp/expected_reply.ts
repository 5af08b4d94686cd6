/**
 * The replies that a client session waits for, and what a reply's first digit means (RFC 5321 §4.2.1). It must not know the
 * session.
 */
import type { RecipientResult, SessionFailure, Stage } from "./client_session.ts";
import { DATA_END_TIMEOUT_MS, DATA_REPLY_TIMEOUT_MS, QUIT_TIMEOUT_MS, REPLY_TIMEOUT_MS } from "./limits.ts";
import type { Reply } from "./reply.ts";

/** What a reply that will come answers. */
export type Expected =
  | { readonly to: "greeting" | "STARTTLS" | "AUTH" | "RSET" | "MAIL" | "DATA" | "BDAT" | "QUIT" }
  | { readonly to: "EHLO" | "HELO" | "LHLO" }
  | { readonly to: "RCPT"; readonly index: number }
  /** The end of the data, for those recipients. None: nothing was to be delivered, and nothing follows from it. */
  | { readonly to: "end"; readonly indexes: readonly number[] };

export interface Command {
  readonly text: string;
  readonly expected: Expected;
}

const STAGES: Readonly<Record<Expected["to"], Stage>> = {
  greeting: "greeting",
  EHLO: "hello",
  HELO: "hello",
  LHLO: "hello",
  STARTTLS: "tls",
  AUTH: "login",
  RSET: "sender",
  MAIL: "sender",
  RCPT: "recipient",
  DATA: "data",
  BDAT: "data",
  end: "verdict",
  QUIT: "ready",
};

export function stageOf({ to }: Expected): Stage {
  return STAGES[to];
}

const TIMEOUTS: Readonly<Partial<Record<Expected["to"], number>>> = {
  DATA: DATA_REPLY_TIMEOUT_MS,
  end: DATA_END_TIMEOUT_MS,
  QUIT: QUIT_TIMEOUT_MS,
};

/** RFC 5321 §4.5.3.2. */
export function timeoutMsOf({ to }: Expected): number {
  return TIMEOUTS[to] ?? REPLY_TIMEOUT_MS;
}

export function isPositive(reply: Reply): boolean {
  return reply.code < 300;
}

export function isIntermediate(reply: Reply): boolean {
  return reply.code >= 300 && reply.code < 400;
}

/** The reply on one line. */
export function replyText({ code, enhanced, lines }: Reply): string {
  const text = lines.join(" ").trim();
  return [String(code), enhanced, text === "" ? undefined : text].filter((part) => part !== undefined).join(" ");
}

/** What a refusal means for a recipient; `command` says what was refused. */
export function refusedBy(reply: Reply, command: string): RecipientResult {
  return {
    kind: reply.code >= 500 ? "failed" : "deferred",
    detail: `Reply to ${command}: ${replyText(reply)}`,
    ...(reply.enhanced === undefined ? {} : { enhanced: reply.enhanced }),
    reply,
    ...(command === "RCPT" && isTooMany(reply) ? { isSurplus: true } : {}),
  };
}

/** RFC 5321 §4.5.3.1.10. A mailbox that is full has the same code, and another enhanced one. */
function isTooMany({ code, enhanced }: Reply): boolean {
  return code === 452 && (enhanced === undefined || enhanced === "4.5.3");
}

/** What the reply to the end of the data means for a recipient. */
export function verdict(reply: Reply): RecipientResult {
  return isPositive(reply) ? { kind: "delivered", detail: replyText(reply), reply } : refusedBy(reply, "the data");
}

/** An end of the session for a reason of ours. */
export function failure(
  kind: SessionFailure["kind"],
  stage: Stage,
  enhanced: string,
  detail: string,
): SessionFailure {
  return { kind, stage, enhanced, detail };
}

/** An end of the session because of a reply. */
export function refusal(kind: SessionFailure["kind"], stage: Stage, what: string, reply: Reply): SessionFailure {
  const enhanced = reply.enhanced ?? `${kind === "permanent" ? 5 : 4}.0.0`;
  return { kind, stage, enhanced, detail: `${what}: ${replyText(reply)}`, reply };
}
