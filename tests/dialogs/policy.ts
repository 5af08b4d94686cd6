/**
 * The make-believe policy behind the dialogs: who is accepted, and what was stored. It answers a session's questions at
 * once and keeps what was committed. It must not know how the session is driven.
 *
 * Recipients at example.com and below it, at any address literal, and `<Postmaster>` are accepted, except for
 * `reject@` (550 5.1.1), `defer@` (451 4.2.1) and `hangup@` (421 4.7.0, disconnected). Everybody else is refused with
 * 550 5.7.1. Over LMTP `full@` is accepted at RCPT and refused at the end of data (452 4.2.2). The rules of a dialog
 * come before all this.
 */
import type { Mailbox } from "../../src/smtp/address.ts";
import { type Reply, reply } from "../../src/smtp/reply.ts";
import type { Question, Verdict } from "../../src/smtp/session.ts";
import type { Transaction } from "../../src/smtp/transaction.ts";
import type { PolicyRule } from "./dialog.ts";

const ACCEPT: Verdict = { kind: "accept" };

export class Policy {
  readonly #rules: readonly PolicyRule[];
  readonly #protocol: "smtp" | "lmtp";
  readonly #used = new Set<PolicyRule>();

  constructor(rules: readonly PolicyRule[], protocol: "smtp" | "lmtp") {
    this.#rules = rules;
    this.#protocol = protocol;
  }

  decide(question: Question): Verdict {
    const rule = this.#rule(question.kind);
    if (rule !== undefined) return { kind: rule.disconnect ? "disconnect" : "refuse", reply: rule.reply };
    if (question.kind === "recipient") return recipientVerdict(question.forwardPath);
    if (question.kind === "commit" && this.#protocol === "lmtp") return lmtpVerdict(question.transaction);
    return ACCEPT;
  }

  /** The reply when a piece of mail data cannot be kept; undefined when it can. */
  refuseBody(): Reply | undefined {
    return this.#rule("body")?.reply;
  }

  #rule(question: string): PolicyRule | undefined {
    const rule = this.#rules.find((one) => one.question === question && !(one.once && this.#used.has(one)));
    if (rule !== undefined) this.#used.add(rule);
    return rule;
  }
}

function recipientVerdict({ localPart, domain }: Mailbox): Verdict {
  const lower = domain.toLowerCase();
  const ours = lower === "" || lower.startsWith("[") || lower === "example.com" || lower.endsWith(".example.com");
  if (!ours) return { kind: "refuse", reply: reply(550, "5.7.1", "Relaying denied") };
  switch (localPart) {
    case "reject":
      return { kind: "refuse", reply: reply(550, "5.1.1", "No such user") };
    case "defer":
      return { kind: "refuse", reply: reply(451, "4.2.1", "Try again later") };
    case "hangup":
      return { kind: "disconnect", reply: reply(421, "4.7.0", "Goodbye") };
    default:
      return ACCEPT;
  }
}

/** Usually plain acceptance, which the session must spread over the recipients itself. */
function lmtpVerdict(transaction: Transaction): Verdict {
  const isFull = (mailbox: Mailbox) => mailbox.localPart === "full";
  if (!transaction.recipients.some((recipient) => isFull(recipient.forwardPath))) return ACCEPT;
  const replies = transaction.recipients.map(({ forwardPath }) =>
    isFull(forwardPath) ? reply(452, "4.2.2", "Mailbox full") : reply(250, "2.1.5", "Delivered")
  );
  return { kind: "accept-each", replies };
}

/** Whether a verdict on a commit makes the message ours, for one recipient at least. */
export function isCommitted(verdict: Verdict): boolean {
  if (verdict.kind === "accept-each") return verdict.replies.some((one) => one.code < 300);
  return verdict.kind === "accept";
}

/** The envelope in the spelling of a dialog's `STORED` line. */
export function envelopeText(transaction: Transaction): string {
  const { reversePath, parameters, recipients } = transaction;
  const words = [`<${reversePath === null ? "" : mailboxText(reversePath)}>`];
  if (parameters.body !== "7bit") words.push(`body=${parameters.body}`);
  if (parameters.smtputf8) words.push("smtputf8");
  if (parameters.sizeBytes !== undefined) words.push(`size=${parameters.sizeBytes}`);
  if (parameters.ret !== undefined) words.push(`ret=${parameters.ret}`);
  if (parameters.envid !== undefined) words.push(`envid=${parameters.envid}`);
  for (const recipient of recipients) {
    words.push(`<${mailboxText(recipient.forwardPath)}>`);
    const { notify, orcpt } = recipient.parameters;
    if (notify !== undefined) words.push(`notify=${notify.join(",")}`);
    if (orcpt !== undefined) words.push(`orcpt=${orcpt}`);
  }
  return words.join(" ");
}

function mailboxText({ localPart, domain }: Mailbox): string {
  const plain = /^[^\s"\\<>@.,;:()[\]]+(?:\.[^\s"\\<>@.,;:()[\]]+)*$/u.test(localPart);
  const local = plain ? localPart : `"${localPart.replaceAll(/["\\]/gu, "\\$&")}"`;
  return domain === "" ? local : `${local}@${domain}`;
}
