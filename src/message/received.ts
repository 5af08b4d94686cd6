/**
 * The Received header field (RFC 5321 §4.4) with the protocol names of RFC 3848 and RFC 6531 §4.3. Names that came from a
 * peer are made harmless here: nothing in them can end a line or a comment.
 */
import { utf8Bytes } from "../smtp/bytes.ts";
import { formatDate } from "./date.ts";

export interface ReceivedTrace {
  /** What HELO, EHLO or LHLO said. */
  readonly helo: string;
  /** The client's IP address, or "" when it is not known. */
  readonly clientAddress: string;
  readonly hostName: string;
  readonly protocol: string;
  readonly tls?: { readonly version: string; readonly cipher: string };
  readonly id: string;
  /** Given only for a message with one recipient: the field must not tell one recipient of another (RFC 5321 §7.2). */
  readonly recipient?: string;
  readonly timeMs: number;
}

/** Time-stamp-line = "Received:" FWS From-domain By-domain Opt-info ";" FWS date-time CRLF (RFC 5321 §4.4). */
export function receivedField(trace: ReceivedTrace): Uint8Array {
  const from = `from ${safeName(trace.helo)}${tcpInfo(trace.clientAddress)}`;
  const cipher = trace.tls === undefined ? "" : ` (${safeName(trace.tls.version)} ${safeName(trace.tls.cipher)})`;
  const recipient = trace.recipient === undefined ? "" : ` for <${safePath(trace.recipient)}>`;
  return utf8Bytes(
    `Received: ${from}\r\n\tby ${safeName(trace.hostName)} with ${trace.protocol}${cipher}\r\n` +
      `\tid ${trace.id}${recipient}; ${formatDate(trace.timeMs)}\r\n`,
  );
}

/** `SMTP`, `ESMTP`, `ESMTPS`, `LMTP`, `UTF8SMTPS`, … (RFC 3848 §2, RFC 6531 §4.3). */
export function protocolName(
  verb: "HELO" | "EHLO" | "LHLO",
  features: { readonly tls: boolean; readonly authenticated: boolean; readonly smtputf8: boolean },
): string {
  // RFC 3848 has no names for HELO with TLS: the TLS comment says it.
  if (verb === "HELO") return "SMTP";
  const base = features.smtputf8 ? (verb === "LHLO" ? "UTF8LMTP" : "UTF8SMTP") : verb === "LHLO" ? "LMTP" : "ESMTP";
  return `${base}${features.tls ? "S" : ""}${features.authenticated ? "A" : ""}`;
}

/** TCP-info = address-literal / ( Domain FWS address-literal ) (RFC 5321 §4.4). */
function tcpInfo(address: string): string {
  if (address === "") return "";
  return ` ([${address.includes(":") ? "IPv6:" : ""}${safeName(address)}])`;
}

function safeName(name: string): string {
  return name === "" ? "unknown" : name.replace(/[^a-z0-9.:_[\]\-\u00a0-\u{10ffff}]/giu, "?");
}

function safePath(path: string): string {
  return path.replace(/[^\x20-\x7e\u00a0-\u{10ffff}]|[<>]/gu, "?");
}
