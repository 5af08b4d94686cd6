/**
 * Replies as values (RFC 5321 §4.2) with their enhanced status codes (RFC 2034, RFC 3463), and their form on the wire.
 * It must not know which command a reply answers.
 */
import { asciiBytes, isPrintableAscii } from "./bytes.ts";
import { MAX_REPLY_TEXT_CHARACTERS } from "./limits.ts";

export interface Reply {
  /** 200 to 599. */
  readonly code: number;
  /** `2.1.0`; absent where RFC 2034 §4 wants none: greeting, HELO and EHLO replies, 3xx. */
  readonly enhanced?: string;
  /** At least one line, without line ends. */
  readonly lines: readonly string[];
  /** The encoded form, for replies that are given often. */
  readonly wire?: Uint8Array;
}

/** A constant reply, encoded once. */
export function prepared(value: Reply): Reply {
  return { ...value, wire: encodeReply(value) };
}

export function reply(code: number, enhanced: string | undefined, ...lines: readonly string[]): Reply {
  const shown = lines.length === 0 ? [""] : lines;
  return enhanced === undefined ? { code, lines: shown } : { code, enhanced, lines: shown };
}

/**
 * Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
 * (RFC 5321 §4.2). Characters that may not stand in a textstring become "?", so that no text can break out of its line.
 */
export function encodeReply(value: Reply): Uint8Array {
  if (value.wire !== undefined) return value.wire;
  let text = "";
  const last = value.lines.length - 1;
  for (let index = 0; index <= last; index++) {
    const prefix = value.enhanced === undefined ? "" : `${value.enhanced} `;
    text += `${value.code}${index === last ? " " : "-"}${prefix}${safeText(value.lines[index] ?? "")}\r\n`;
  }
  return asciiBytes(text);
}

function safeText(text: string): string {
  const bounded = text.length > MAX_REPLY_TEXT_CHARACTERS ? text.slice(0, MAX_REPLY_TEXT_CHARACTERS) : text;
  return isPrintableAscii(bounded) ? bounded : bounded.replace(/[^\t\x20-\x7e]/gu, "?");
}

/**
 * A reply written in a configuration: `550 5.1.1 No such user`. The enhanced code may be left out; it then follows from
 * the basic code. Undefined when the text is not a 4xx or 5xx reply.
 */
export function parseReplyText(text: string): Reply | undefined {
  const match = /^([45]\d\d)(?:[ -]([245]\.\d{1,3}\.\d{1,3}))?(?: +([\t\x20-\x7e]*))?$/u.exec(text);
  if (match === null || match[1] === undefined) return undefined;
  const code = Number(match[1]);
  const enhanced = match[2] ?? `${match[1].charAt(0)}.0.0`;
  if (enhanced.charAt(0) !== match[1].charAt(0)) return undefined;
  const line = match[3]?.trim() ?? "";
  return reply(code, enhanced, line === "" ? (code < 500 ? "Try again later" : "Refused") : line);
}
