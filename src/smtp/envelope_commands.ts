/**
 * MAIL and RCPT as commands with the parameters that the server understands (RFC 5321 §4.1.1.2, §4.1.1.3, RFC 1870 §5,
 * RFC 3461 §4, RFC 6152 §3, RFC 6531 §3.4). Addresses are parsed before they are written, so nothing but an address
 * reaches the wire. It must not know of sessions.
 */
import { formatMailbox, needsSmtputf8, parseMailbox } from "./address.ts";
import { isAscii } from "./bytes.ts";
import type { OutgoingRecipient, OutgoingTransaction } from "./client_session.ts";
import { MAX_ENVID_CHARACTERS, MAX_ORCPT_CHARACTERS } from "./limits.ts";
import type { PeerExtensions } from "./peer_extensions.ts";

/** An address as it goes between angle brackets. */
export interface WireAddress {
  readonly text: string;
  readonly needsSmtputf8: boolean;
}

const NULL_PATH: WireAddress = { text: "", needsSmtputf8: false };

/** Undefined when it is none. */
export function wireReversePath(address: string): WireAddress | undefined {
  return address === "" ? NULL_PATH : wireMailbox(address);
}

/** Undefined when it is none. `Postmaster` may stand alone (RFC 5321 §4.1.1.3). */
export function wireForwardPath(address: string): WireAddress | undefined {
  return address.toLowerCase() === "postmaster" ? { text: address, needsSmtputf8: false } : wireMailbox(address);
}

function wireMailbox(address: string): WireAddress | undefined {
  const mailbox = parseMailbox(address, 0);
  if (!mailbox.ok || mailbox.end !== address.length) return undefined;
  return { text: formatMailbox(mailbox.value), needsSmtputf8: needsSmtputf8(mailbox.value) };
}

export function mailCommand(
  path: WireAddress,
  transaction: OutgoingTransaction,
  smtputf8: boolean,
  offered: PeerExtensions,
): string {
  const { body, sizeBytes, ret, envid } = transaction;
  const parameters: string[] = [];
  if (offered.size && sizeBytes !== undefined) parameters.push(`SIZE=${sizeBytes}`);
  if (body === "binarymime") parameters.push("BODY=BINARYMIME");
  else if (body === "8bitmime" && offered.eightBitMime) parameters.push("BODY=8BITMIME");
  if (smtputf8) parameters.push("SMTPUTF8");
  if (offered.dsn) {
    if (ret !== undefined) parameters.push(`RET=${ret === "full" ? "FULL" : "HDRS"}`);
    const encoded = envid === undefined ? "" : encodeXtext(envid);
    if (encoded !== "" && encoded.length <= MAX_ENVID_CHARACTERS) parameters.push(`ENVID=${encoded}`);
  }
  return [`MAIL FROM:<${path.text}>`, ...parameters].join(" ");
}

export function rcptCommand(
  path: WireAddress,
  { notify, orcpt }: OutgoingRecipient,
  smtputf8: boolean,
  offered: PeerExtensions,
): string {
  const parameters: string[] = [];
  if (offered.dsn) {
    if (notify !== undefined && notify.length > 0) parameters.push(`NOTIFY=${notify.join(",").toUpperCase()}`);
    const encoded = orcpt === undefined ? undefined : encodeOrcpt(orcpt, smtputf8);
    if (encoded !== undefined) parameters.push(`ORCPT=${encoded}`);
  }
  return [`RCPT TO:<${path.text}>`, ...parameters].join(" ");
}

/** original-recipient-address (RFC 3461 §4.2, RFC 6533 §3); one that does not fit is left out. */
function encodeOrcpt(orcpt: string, smtputf8: boolean): string | undefined {
  const match = /^([a-z0-9-]{1,64});(.+)$/isu.exec(orcpt);
  const type = match?.[1];
  const address = match?.[2];
  if (type === undefined || address === undefined) return undefined;
  const isUtf8 = type.toLowerCase() === "utf-8";
  if (isUtf8 && (!/^[!-*,-<>-~\u00a0-\u{10ffff}]+$/u.test(address) || !(smtputf8 || isAscii(address)))) {
    return undefined;
  }
  const encoded = `${type};${isUtf8 ? address : encodeXtext(address)}`;
  return encoded.length <= MAX_ORCPT_CHARACTERS && (isUtf8 || isAscii(orcpt)) ? encoded : undefined;
}

/** xtext = *( xchar / hexchar ) (RFC 3461 §4). */
function encodeXtext(text: string): string {
  return text.replace(/[^!-*,-<>-~]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code > 0x7e || code < 0x20 ? "" : `+${code.toString(16).toUpperCase().padStart(2, "0")}`;
  });
}
