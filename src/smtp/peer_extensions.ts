/**
 * What a server's EHLO or LHLO reply says that it can do (RFC 5321 §4.1.1.1). What is malformed counts as not offered. It
 * must not know what a client makes of it.
 */
import { MAX_SIZE_DIGITS } from "./limits.ts";
import type { Reply } from "./reply.ts";

export interface PeerExtensions {
  readonly pipelining: boolean;
  readonly eightBitMime: boolean;
  readonly smtputf8: boolean;
  readonly chunking: boolean;
  readonly binaryMime: boolean;
  readonly dsn: boolean;
  readonly startTls: boolean;
  /** SIZE is offered. */
  readonly size: boolean;
  /** RFC 1870 §4; absent: no limit is known. */
  readonly maxSizeBytes?: number;
  /** Names of SASL mechanisms in upper case. */
  readonly auth: readonly string[];
  /** RFC 9422 §4: transactions in the session, and recipients of one. */
  readonly maxMessages?: number;
  readonly maxRecipients?: number;
}

/** After HELO, and before EHLO. */
export const NO_EXTENSIONS: PeerExtensions = {
  pipelining: false,
  eightBitMime: false,
  smtputf8: false,
  chunking: false,
  binaryMime: false,
  dsn: false,
  startTls: false,
  size: false,
  auth: [],
};

/** ehlo-line = ehlo-keyword *( SP ehlo-param ), behind the line with the server's name (RFC 5321 §4.1.1.1). */
export function parseExtensions(reply: Reply): PeerExtensions {
  const offered = new Map<string, readonly string[]>();
  for (const line of reply.lines.slice(1)) {
    // Old servers write "AUTH=LOGIN".
    const [keyword = "", ...values] = line.trim().replace(/^AUTH=/iu, "AUTH ").split(/ +/u);
    const name = keyword.toUpperCase();
    offered.set(name, [...offered.get(name) ?? [], ...values]);
  }
  const limits = new Map((offered.get("LIMITS") ?? []).map(nameAndValue));
  return {
    pipelining: offered.has("PIPELINING"),
    eightBitMime: offered.has("8BITMIME"),
    smtputf8: offered.has("SMTPUTF8"),
    chunking: offered.has("CHUNKING"),
    // RFC 3030 §3: without CHUNKING there is no way to send it.
    binaryMime: offered.has("BINARYMIME") && offered.has("CHUNKING"),
    dsn: offered.has("DSN"),
    startTls: offered.has("STARTTLS"),
    size: offered.has("SIZE"),
    ...positive("maxSizeBytes", offered.get("SIZE")?.[0]),
    auth: [...new Set((offered.get("AUTH") ?? []).map((mechanism) => mechanism.toUpperCase()))],
    ...positive("maxMessages", limits.get("MAILMAX")),
    ...positive("maxRecipients", limits.get("RCPTMAX")),
  };
}

function nameAndValue(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text.toUpperCase(), ""] : [text.slice(0, at).toUpperCase(), text.slice(at + 1)];
}

/** RFC 1870 §4: SIZE 0 means no fixed limit. */
function positive<Key extends string>(key: Key, digits: string | undefined): { readonly [K in Key]?: number } {
  const isNumber = digits !== undefined && /^\d+$/u.test(digits) && digits.length <= MAX_SIZE_DIGITS;
  const value = isNumber ? Number(digits) : 0;
  return value === 0 ? {} : { [key]: value } as { readonly [K in Key]?: number };
}
