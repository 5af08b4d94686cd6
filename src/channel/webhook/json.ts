/** smtpd's own formats: one JSON object, and the same as a form with files. They must not know how requests are made. */
import type { Attachment, ParsedMessage } from "./message.ts";
import { type Dispatch, Form, type FormatMessage, jsonPayload } from "./payload.ts";

export const formatJson: FormatMessage = (message, dispatch) =>
  jsonPayload({
    ...facts(message, dispatch),
    text: message.text ?? null,
    html: message.html ?? null,
    attachments: message.attachments.map((attachment) => ({
      ...attachmentFacts(attachment),
      content: attachment.base64,
    })),
    ...(dispatch.includeRaw ? { raw: message.rawBase64 } : {}),
  });

/** Objects and lists are JSON in fields of their own. */
export const formatForm: FormatMessage = (message, dispatch) => {
  const form = new Form();
  for (const [name, value] of Object.entries(facts(message, dispatch))) {
    if (value !== null) form.field(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  if (message.text !== undefined) form.field("text", message.text);
  if (message.html !== undefined) form.field("html", message.html);
  form.field("attachments", JSON.stringify(message.attachments.map(attachmentFacts)));
  for (const [index, attachment] of message.attachments.entries()) form.file(`attachment${index + 1}`, attachment);
  if (dispatch.includeRaw) {
    form.file("raw", { fileName: "message.eml", contentType: "message/rfc822", bytes: message.raw });
  }
  return form.multipart(dispatch.nonce);
};

function facts(message: ParsedMessage, { id, message: stored, recipient, values }: Dispatch) {
  const { envelope, receivedAtMs } = stored;
  const { origin } = envelope;
  const { delivery } = recipient;
  return {
    id,
    attempt: recipient.attempts + 1,
    channel: delivery.channel,
    binding: delivery.binding,
    receivedAt: new Date(receivedAtMs).toISOString(),
    envelope: {
      from: envelope.reversePath,
      to: delivery.recipient,
      originalTo: delivery.originalRecipient ?? delivery.recipient,
      extension: values.extension,
      body: envelope.body,
      smtputf8: envelope.smtputf8,
      ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
      ...(envelope.ret === undefined ? {} : { ret: envelope.ret }),
      ...(delivery.notify === undefined ? {} : { notify: delivery.notify }),
      ...(delivery.orcpt === undefined ? {} : { orcpt: delivery.orcpt }),
    },
    client: { listener: origin.listener, address: origin.address, helo: origin.helo, protocol: origin.protocol },
    messageId: message.field("message-id") || null,
    date: message.date ?? null,
    subject: message.field("subject"),
    from: message.mailboxes("from"),
    replyTo: message.mailboxes("reply-to"),
    to: message.mailboxes("to"),
    cc: message.mailboxes("cc"),
    headers: message.headers,
  };
}

function attachmentFacts({ givenName, contentType, disposition, contentId, bytes }: Attachment) {
  return {
    fileName: givenName ?? null,
    contentType,
    disposition: disposition ?? null,
    contentId: contentId ?? null,
    sizeBytes: bytes.length,
  };
}
