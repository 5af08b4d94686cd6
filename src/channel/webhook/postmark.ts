/** What receivers of Postmark's inbound webhook expect. It must not know how requests are made. */
import { createHash } from "node:crypto";
import type { NameAndAddress, ParsedMessage } from "./message.ts";
import { type Dispatch, type FormatMessage, hexDigits, jsonPayload, originalRecipient } from "./payload.ts";
import { splitReply } from "./reply.ts";

/** These have members of their own. */
const OWN_FIELDS: ReadonlySet<string> = new Set(["from", "to", "cc", "bcc", "reply-to", "subject", "date"]);

export const formatPostmark: FormatMessage = (message, dispatch) => {
  const [from] = message.mailboxes("from");
  const reply = splitReply(message.text ?? "");
  return jsonPayload({
    FromName: from?.name ?? "",
    MessageStream: "inbound",
    From: from?.address ?? "",
    FromFull: full(from ?? { name: "", address: "" }),
    ...addresses("To", message),
    ...addresses("Cc", message),
    ...addresses("Bcc", message),
    OriginalRecipient: originalRecipient(dispatch),
    Subject: message.field("subject"),
    MessageID: uuid(dispatch),
    ReplyTo: message.field("reply-to"),
    MailboxHash: dispatch.values.extension,
    Date: message.field("date"),
    TextBody: message.text ?? "",
    HtmlBody: message.html ?? "",
    StrippedTextReply: reply.hasQuote ? reply.reply : "",
    Tag: "",
    ...(dispatch.includeRaw ? { RawEmail: new TextDecoder().decode(message.raw) } : {}),
    Headers: message.headers
      .filter(({ name }) => !OWN_FIELDS.has(name.toLowerCase()))
      .map(({ name, value }) => ({ Name: name, Value: value })),
    Attachments: message.attachments.map(({ fileName, contentType, contentId, bytes, base64 }) => ({
      Name: fileName,
      Content: base64,
      ContentType: contentType,
      ContentLength: bytes.length,
      ContentID: contentId ?? "",
    })),
  });
};

function addresses(name: "To" | "Cc" | "Bcc", message: ParsedMessage) {
  const field = name.toLowerCase() as "to" | "cc" | "bcc";
  return { [name]: message.field(field), [`${name}Full`]: message.mailboxes(field).map(full) };
}

function full({ name, address }: NameAndAddress) {
  return { Email: address, Name: name, MailboxHash: hashOf(address) };
}

/** What follows the first "+" of the part before the "@". */
function hashOf(address: string): string {
  const local = address.slice(0, Math.max(0, address.lastIndexOf("@")));
  const plus = local.indexOf("+");
  return plus > 0 ? local.slice(plus + 1) : "";
}

/** The delivery's id in the form the service's have (RFC 9562 §5.8), the same at each attempt. */
function uuid({ id }: Dispatch): string {
  const bytes = Uint8Array.from(createHash("sha256").update(id).digest().subarray(0, 16));
  bytes[6] = 0x80 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return hexDigits(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/u, "$1-$2-$3-$4-");
}
