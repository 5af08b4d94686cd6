/** What receivers of Mailgun's routes expect: forward() with the parts, or whole to a path that ends in "mime". */
import type { ParsedMessage } from "./message.ts";
import { type Dispatch, Form, type FormatMessage, hexDigits } from "./payload.ts";
import { splitReply } from "./reply.ts";
import { hexHmac, unixSeconds } from "./signature.ts";

/**
 * Header fields become fields of the form under their own names. A sender must not be able to set what the service itself
 * says, not even for a receiver to which upper and lower case are the same.
 */
const OWN_FIELDS =
  /^(?:recipient|from|sender|subject|timestamp|token|signature|domain|body-.*|stripped-.*|attachment.*|message-(?:headers|url)|content-id-map)$/u;

export const formatMailgun: FormatMessage = (message, dispatch) => {
  const form = new Form();
  form.field("recipient", dispatch.recipient.delivery.recipient);
  form.field("sender", dispatch.message.envelope.reversePath);
  form.field("from", message.field("from"));
  form.field("subject", message.field("subject"));
  const isWhole = dispatch.path.endsWith("mime");
  if (isWhole || dispatch.includeRaw) form.field("body-mime", new TextDecoder().decode(message.raw));
  if (!isWhole) addParts(form, message);
  sign(form, dispatch);
  return form.hasFiles ? form.multipart(dispatch.nonce) : form.urlencoded();
};

function addParts(form: Form, message: ParsedMessage): void {
  const text = message.text ?? "";
  const { reply, signature } = splitReply(text);
  form.field("body-plain", text);
  form.field("stripped-text", reply);
  form.field("stripped-signature", signature);
  if (message.html !== undefined) {
    form.field("body-html", message.html);
    form.field("stripped-html", message.html);
  }
  form.field("message-headers", JSON.stringify(message.headers.map(({ name, value }) => [name, value])));
  const seen = new Set<string>();
  for (const { name } of message.headers) {
    const lower = name.toLowerCase();
    if (seen.has(lower) || OWN_FIELDS.test(lower) && !/^(?:from|sender|subject)$/u.test(lower)) continue;
    seen.add(lower);
    form.field(capitalised(lower), message.field(lower));
  }
  const { attachments } = message;
  if (attachments.length === 0) return;
  form.field("attachment-count", String(attachments.length));
  const ids = attachments.flatMap(({ contentId }, index) =>
    contentId === undefined ? [] : [[`<${contentId}>`, `attachment-${index + 1}`]]
  );
  if (ids.length > 0) form.field("content-id-map", JSON.stringify(Object.fromEntries(ids)));
  for (const [index, attachment] of attachments.entries()) form.file(`attachment-${index + 1}`, attachment);
}

/** `Message-Id`, `Mime-Version`, as the service writes them. */
function capitalised(lower: string): string {
  return lower.replace(/(?:^|-)[a-z]/gu, (start) => start.toUpperCase());
}

/** Receivers refuse a token they have seen, so that each attempt has its own. */
function sign(form: Form, { nowMs, nonce, secret }: Dispatch): void {
  const timestamp = unixSeconds(nowMs);
  const token = hexDigits(nonce);
  form.field("timestamp", timestamp);
  form.field("token", token);
  if (secret !== undefined) form.field("signature", hexHmac(secret, timestamp + token));
}
