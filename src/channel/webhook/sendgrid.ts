/** What receivers of SendGrid's Inbound Parse expect: the parts, or with `include_raw` the whole message as `email`. */
import type { ParsedMessage } from "./message.ts";
import { Form, type FormatMessage } from "./payload.ts";

export const formatSendgrid: FormatMessage = (message, dispatch) => {
  const { envelope } = dispatch.message;
  const form = new Form();
  if (dispatch.includeRaw) form.field("email", new TextDecoder().decode(message.raw));
  else form.field("headers", message.headerText);
  // Nobody has checked these here, and the service always has them.
  form.field("dkim", "");
  form.field("SPF", "");
  for (const name of ["to", "cc", "from", "subject"]) form.field(name, message.field(name));
  form.field("sender_ip", envelope.origin.address);
  form.field("envelope", JSON.stringify({ to: [dispatch.recipient.delivery.recipient], from: envelope.reversePath }));
  if (!dispatch.includeRaw) addParts(form, message);
  return form.multipart(dispatch.nonce);
};

function addParts(form: Form, message: ParsedMessage): void {
  const charsets: Record<string, string> = { to: "UTF-8", cc: "UTF-8", from: "UTF-8", subject: "UTF-8" };
  for (const name of ["text", "html"] as const) {
    const text = message[name];
    if (text === undefined) continue;
    form.field(name, text);
    charsets[name] = "UTF-8";
  }
  // All text is decoded here.
  form.field("charsets", JSON.stringify(charsets));
  const { attachments } = message;
  form.field("attachments", String(attachments.length));
  if (attachments.length === 0) return;
  const info: Record<string, unknown> = {};
  const ids: Record<string, string> = Object.create(null);
  for (const [index, attachment] of attachments.entries()) {
    const name = `attachment${index + 1}`;
    const { fileName, contentType, contentId } = attachment;
    info[name] = {
      filename: fileName,
      name: fileName,
      type: contentType,
      ...(contentId === undefined ? {} : { "content-id": contentId }),
    };
    if (contentId !== undefined) ids[contentId] = name;
    form.file(name, attachment);
  }
  form.field("attachment-info", JSON.stringify(info));
  if (Object.keys(ids).length > 0) form.field("content-ids", JSON.stringify(ids));
}
