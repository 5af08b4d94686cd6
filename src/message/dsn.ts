/**
 * Delivery status notifications (RFC 3464, in the container of RFC 6522, with the UTF-8 forms of RFC 6533): a text for
 * people first, the same for programs, and the message or its header. Whatever remotes and senders wrote is made safe here.
 * It must not know when a notification is due, who gets it, or how it travels.
 */
import { concatBytes, isAscii, utf8Bytes } from "../smtp/bytes.ts";
import { formatDate } from "./date.ts";
import { safeFieldText } from "./encoded_word.ts";
import type { Field } from "./field.ts";
import type { Returned } from "./returned_content.ts";

/** RFC 3464 §2.3.3. */
export type DsnAction = "failed" | "delayed" | "delivered" | "relayed" | "expanded";

export interface ReportedRecipient {
  /** The address of the envelope as it was received (RFC 3461 §6.3 (e)). */
  readonly recipient: string;
  /** `address-type;address` of ORCPT. */
  readonly orcpt?: string;
  readonly action: DsnAction;
  /** RFC 3463: see `statusIn`. */
  readonly status: string;
  /** What happened, for people: a remote's reply, an error's text. */
  readonly detail: string;
  /** The name of the SMTP or LMTP server that answered; the detail has its reply. */
  readonly remoteMta?: string;
  readonly lastAttemptMs: number;
  /** Of `delayed`: when it is given up. */
  readonly retryUntilMs?: number;
}

export interface StatusReport {
  /** The notification's own id: see `id.ts`. */
  readonly id: string;
  readonly hostName: string;
  readonly timeMs: number;
  /** Who is told; not the null reverse-path. */
  readonly reversePath: string;
  /** Decoded from xtext. */
  readonly envid?: string;
  readonly arrivalMs: number;
  /** One at least. The most serious action of them all decides what the subject says. */
  readonly recipients: readonly ReportedRecipient[];
  readonly returned: Returned;
  /** Of the message that is reported on. */
  readonly smtputf8: boolean;
}

export interface StatusNotification {
  readonly content: Uint8Array;
  /** The header fields, for rules that read them. */
  readonly fields: readonly Field[];
  readonly body: "7bit" | "8bitmime";
  readonly smtputf8: boolean;
}

/** RFC 5322 §2.1.1: lines of 78 characters. */
const LINE_CHARACTERS = 78;
const MAX_DETAIL_CHARACTERS = 500;
const MAX_ADDRESS_CHARACTERS = 1_024;
/** In octets that is below the 998 of RFC 5322 §2.1.1. */
const LONGEST_WORDS = /[^ ]{1,200}/gu;

interface Words {
  readonly subject: string;
  readonly text: string;
}

const WORDS: Readonly<Record<DsnAction, Words>> = {
  failed: {
    subject: "Your message could not be delivered",
    text: "Your message could not be delivered to:",
  },
  delayed: {
    subject: "Your message is delayed",
    text:
      "Your message has not been delivered yet, and is still being tried. You need not send it again. It waits for:",
  },
  delivered: { subject: "Your message was delivered", text: "Your message was delivered to:" },
  relayed: {
    subject: "Your message was passed on",
    text: "Your message was passed on to a mail system that may not tell you what becomes of it, for:",
  },
  expanded: {
    subject: "Your message was passed on",
    text:
      "Your message was passed on to all members of a list. You may not be told what becomes of it there. The list is:",
  },
};

/** The most serious first. */
const ACTIONS: readonly DsnAction[] = ["failed", "delayed", "relayed", "expanded", "delivered"];

/** The whole notification, with CRLF at the end of each line. */
export function statusNotification(report: StatusReport): StatusNotification {
  const { id, hostName, timeMs } = report;
  const reversePath = safeFieldText(report.reversePath, MAX_ADDRESS_CHARACTERS);
  const action = ACTIONS.find((each) => report.recipients.some((recipient) => recipient.action === each)) ?? "failed";
  const parts = [textPart(report), statusPart(report), returnedPart(report)];
  const boundary = boundaryOf(id, parts.map(({ content }) => content));
  const fields: readonly (readonly [name: string, value: string])[] = [
    ["From", `Mail Delivery System <MAILER-DAEMON@${hostName}>`],
    ["To", `<${reversePath}>`],
    ["Subject", WORDS[action].subject],
    ["Date", formatDate(timeMs)],
    ["Message-ID", `<${id}@${hostName}>`],
    // RFC 3834 §5: so that nobody's program answers it.
    ["Auto-Submitted", "auto-replied"],
    ["MIME-Version", "1.0"],
    ["Content-Type", `multipart/report; report-type=delivery-status;\r\n boundary="${boundary}"`],
    ...(parts.every(({ isEightBit }) => !isEightBit) ? [] : [["Content-Transfer-Encoding", "8bit"] as const]),
  ];
  const pieces = [
    utf8Bytes(fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")),
    utf8Bytes("\r\nThis is a delivery status notification in MIME format (RFC 3464).\r\n"),
  ];
  for (const { type, description, content, isEightBit } of parts) {
    const encoding = isEightBit ? "8bit" : "7bit";
    pieces.push(
      utf8Bytes(
        `\r\n--${boundary}\r\nContent-Type: ${type}\r\nContent-Description: ${description}\r\n` +
          `Content-Transfer-Encoding: ${encoding}\r\n\r\n`,
      ),
      content,
    );
  }
  pieces.push(utf8Bytes(`\r\n--${boundary}--\r\n`));
  return {
    content: concatBytes(pieces),
    fields: fields.map(([name, value]) => ({ name: name.toLowerCase(), value: value.replaceAll("\r\n", "") })),
    body: isAscii(reversePath) && parts.every(({ isEightBit }) => !isEightBit) ? "7bit" : "8bitmime",
    smtputf8: !isAscii(reversePath),
  };
}

interface Part {
  readonly type: string;
  readonly description: string;
  readonly content: Uint8Array;
  readonly isEightBit: boolean;
}

function textPart(report: StatusReport): Part {
  const { hostName, recipients, returned, arrivalMs } = report;
  const lines = [`This is the mail system at ${hostName}.`];
  for (const action of ACTIONS) {
    const concerned = recipients.filter((recipient) => recipient.action === action);
    if (concerned.length === 0) continue;
    lines.push("", ...wrapped(WORDS[action].text, ""), "");
    for (const { recipient, detail, retryUntilMs } of concerned) {
      lines.push(`  ${safeFieldText(recipient, MAX_ADDRESS_CHARACTERS)}`);
      lines.push(...wrapped(safeFieldText(detail, MAX_DETAIL_CHARACTERS), "    "));
      if (retryUntilMs !== undefined) lines.push(`    It is given up on ${formatDate(retryUntilMs)}.`);
    }
  }
  const below = returned.kind === "message" ? "The message is below." : "The header of the message is below.";
  lines.push("", `The message arrived here on ${formatDate(arrivalMs)}.`, below);
  const text = `${lines.join("\r\n")}\r\n`;
  const isEightBit = !isAscii(text);
  const charset = isEightBit ? "utf-8" : "us-ascii";
  return { type: `text/plain; charset=${charset}`, description: "Notification", content: utf8Bytes(text), isEightBit };
}

/** Broken at spaces, and where there is none for long enough; an empty text has no line. */
function wrapped(text: string, indent: string): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.match(LONGEST_WORDS) ?? []) {
    if (line !== "" && indent.length + line.length + 1 + word.length > LINE_CHARACTERS) {
      lines.push(indent + line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  if (line !== "") lines.push(indent + line);
  return lines;
}

/** message/delivery-status (RFC 3464 §2), or message/global-delivery-status (RFC 6533 §4.1) when an address needs it. */
function statusPart(report: StatusReport): Part {
  const { hostName, envid, arrivalMs, recipients } = report;
  const isGlobal = recipients.some(({ recipient, orcpt }) => needsUtf8(recipient) || needsUtf8(orcptAddress(orcpt)));
  const groups = [
    [
      // RFC 3461 §6.3 (b): "dns" is for fully-qualified names.
      field("Reporting-MTA", `${/^[^[\]]+\./u.test(hostName) ? "dns" : "x-local-hostname"}; ${hostName}`),
      ...(envid === undefined ? [] : [field("Original-Envelope-Id", envid)]),
      field("Arrival-Date", formatDate(arrivalMs)),
    ],
    ...recipients.map((recipient) => recipientFields(recipient, isGlobal)),
  ];
  const text = groups.map((group) => group.join("")).join("\r\n");
  const type = isGlobal ? "message/global-delivery-status" : "message/delivery-status";
  return { type, description: "Delivery report", content: utf8Bytes(text), isEightBit: !isAscii(text) };
}

function recipientFields(reported: ReportedRecipient, isGlobal: boolean): readonly string[] {
  const { recipient, orcpt, action, status, remoteMta, detail, lastAttemptMs, retryUntilMs } = reported;
  const type = needsUtf8(recipient) ? "utf-8" : "rfc822";
  const code = remoteMta === undefined ? `x-smtpd; ${detail}` : `smtp; ${replyIn(detail)}`;
  return [
    ...(orcpt === undefined ? [] : [field("Original-Recipient", originalRecipient(orcpt, isGlobal))]),
    field("Final-Recipient", `${type}; ${recipient}`),
    field("Action", action),
    field("Status", status),
    ...(remoteMta === undefined ? [] : [field("Remote-MTA", `dns; ${asciiOnly(remoteMta)}`)]),
    ...(detail === "" ? [] : [textField("Diagnostic-Code", asciiOnly(code))]),
    field("Last-Attempt-Date", formatDate(lastAttemptMs)),
    ...(action !== "delayed" || retryUntilMs === undefined
      ? []
      : [field("Will-Retry-Until", formatDate(retryUntilMs))]),
  ];
}

/** One field. Whatever the value is, it stays one. */
function field(name: string, value: string): string {
  return `${name}: ${safeFieldText(value, MAX_ADDRESS_CHARACTERS)}\r\n`;
}

/** The same for text, folded at spaces (RFC 3464 §2.1.1, RFC 5322 §2.2.3). */
function textField(name: string, value: string): string {
  return `${wrapped(`${name}: ${safeFieldText(value, MAX_ADDRESS_CHARACTERS)}`, "").join("\r\n ")}\r\n`;
}

function asciiOnly(text: string): string {
  return safeFieldText(text, MAX_ADDRESS_CHARACTERS).replace(/[^ -~]/gu, "?");
}

function needsUtf8(address: string): boolean {
  return !isAscii(address);
}

// unitext: "\x{" HEXPOINT "}" (RFC 6533 §3).
const UNITEXT = /\\x\{([0-9a-f]{2,6})\}/giu;

/** The address of an ORCPT, unitext decoded when it is of the type for that. */
function orcptAddress(orcpt: string | undefined): string {
  const [type = "", address = ""] = splitOrcpt(orcpt ?? "");
  return type.toLowerCase() === "utf-8" ? decodeUnitext(address) : address;
}

/** In a global part as people write it, elsewhere in the form that is all ASCII (RFC 6533 §3). */
function originalRecipient(orcpt: string, isGlobal: boolean): string {
  const [type, address] = splitOrcpt(orcpt);
  if (type.toLowerCase() !== "utf-8" || !isGlobal) return `${type}; ${address}`;
  return `${type}; ${decodeUnitext(address)}`;
}

function splitOrcpt(orcpt: string): readonly [type: string, address: string] {
  const at = orcpt.indexOf(";");
  return [orcpt.slice(0, at), orcpt.slice(at + 1)];
}

/** What is no character, or would not be visible, stays encoded. */
function decodeUnitext(text: string): string {
  return text.replace(UNITEXT, (encoded, digits: string) => {
    const code = Number.parseInt(digits, 16);
    const character = code > 0x10ffff ? "" : String.fromCodePoint(code);
    return /^[^\p{Cc}\p{Cs}\u2028\u2029]$/u.test(character) ? character : encoded;
  });
}

/** The reply of a remote server in a detail (RFC 3461 §9.2), or all of the detail. */
function replyIn(detail: string): string {
  return /(?:^|[^\w.])([245]\d\d[ -].*)$/u.exec(detail)?.[1] ?? detail;
}

/** The message (RFC 6522 §3 item 3) or its header. */
function returnedPart({ returned, smtputf8, recipients }: StatusReport): Part {
  const { kind, bytes: content, hasUtf8Header } = returned;
  const isGlobal = smtputf8 && hasUtf8Header;
  const type = kind === "message"
    ? isGlobal ? "message/global" : "message/rfc822"
    : isGlobal
    ? "message/global-headers"
    : "text/rfc822-headers";
  const what = recipients.some(({ action }) => action === "failed") ? "Undelivered message" : "Message";
  const description = kind === "message" ? what : `${what}, ${returned.isCut ? "beginning of its header" : "header"}`;
  return { type, description, content, isEightBit: content.some((byte) => byte >= 0x80) };
}

/** RFC 2046 §5.1.1: a delimiter line must not occur within a part. An "=" in it keeps it out of encoded parts. */
function boundaryOf(id: string, contents: readonly Uint8Array[]): string {
  for (let number = 0;; number++) {
    const boundary = number === 0 ? `=_${id}` : `=_${id}_${number}`;
    const delimiter = utf8Bytes(`--${boundary}`);
    if (!contents.some((content) => includes(content, delimiter))) return boundary;
  }
}

function includes(bytes: Uint8Array, wanted: Uint8Array): boolean {
  const first = wanted[0] ?? 0;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return true;
  }
  return false;
}

// status-code = DIGIT "." 1*3DIGIT "." 1*3DIGIT, no leading zeros (RFC 3464 §2.3.4). Not a part of an IP address.
const STATUS = /(?<![\w.])([245])\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})(?![\w.]*\w)/gu;

/**
 * The first enhanced status code in a text that suits the action; else the general one (RFC 3461 §6.3 (g)). What was given
 * up after temporary failures has the code of those.
 */
export function statusIn(text: string, action: DsnAction, otherwise?: string): string {
  const classes = action === "failed" ? "45" : action === "delayed" ? "4" : "2";
  for (const [code, first = ""] of text.matchAll(STATUS)) {
    if (classes.includes(first)) return code;
  }
  return otherwise ?? `${action === "failed" ? "5" : classes}.0.0`;
}
