/** Email Workers in the shape of the examples that Cloudflare's documentation has, written for these tests. */

/** Everything to one address. */
export const FORWARD = `
export default {
  async email(message, env, ctx) {
    await message.forward("inbox@corp.example");
  },
} satisfies ExportedHandler<Env>;

interface Env { readonly QUEUE: string }
type ExportedHandler<Bindings> = { email(message: any, env: Bindings, ctx: any): Promise<void> };
`;

/** Senders that are not wanted. */
export const BLOCK_LIST = `
export default {
  async email(message, env, ctx) {
    const blockList = ["hates@example.org", "spam@example.net"];
    if (blockList.indexOf(message.from) === -1) {
      await message.forward("inbox@corp.example");
    } else {
      message.setReject("Address is blocked");
    }
  },
};
`;

/** Senders that are, and a mark on what is forwarded. */
export const ALLOW_LIST = `
const allowList = ["sender@example.org"];

export default {
  async email(message, env, ctx) {
    if (!allowList.includes(message.from)) return message.setReject("Address not allowed");
    const marks = new Headers();
    marks.set("X-Allowed-By", "list; " + message.headers.get("Subject"));
    await message.forward("inbox@corp.example", marks);
    await message.forward("archive@corp.example");
  },
};
`;

/** A ticket number back to whoever wrote. */
export const AUTO_REPLY = `
import { EmailMessage } from "cloudflare:email";
import { createMimeMessage } from "./mime.ts";

export default {
  async email(message, env, ctx) {
    const ticket = env.PREFIX + "-7";
    const msg = createMimeMessage();
    msg.setHeader("In-Reply-To", message.headers.get("Message-ID"));
    msg.setSender({ name: "Thank you for your contact", addr: message.to });
    msg.setRecipient(message.from);
    msg.setSubject("Email Routing Auto-reply");
    msg.addMessage({ contentType: "text/plain", data: "We got your message, your ticket number is " + ticket });
    const replyMessage = new EmailMessage(message.to, message.from, msg.asRaw());
    await message.reply(replyMessage);
  },
};
`;

/** As much of a composing library as the reply needs; a lone LF ends each line, as it does with some of them. */
export const MIME = `
interface Part { readonly contentType: string; readonly data: string }

export function createMimeMessage() {
  const headers: string[] = [];
  let body: Part = { contentType: "text/plain", data: "" };
  return {
    setHeader: (name: string, value: string | null) => void headers.push(name + ": " + value),
    setSender: ({ name, addr }: { name: string; addr: string }) => void headers.push("From: " + name + " <" + addr + ">"),
    setRecipient: (addr: string) => void headers.push("To: <" + addr + ">"),
    setSubject: (text: string) => void headers.push("Subject: " + text),
    addMessage: (part: Part) => { body = part; },
    asRaw: () => [...headers, "Content-Type: " + body.contentType, "", body.data].join("\\n"),
  };
}
`;

/** The message to a web service, in the background. */
export const NOTIFY = `
async function post(url, message) {
  const text = await new Response(message.raw).text();
  const at = text.indexOf("\\r\\n\\r\\n");
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      from: message.from,
      to: message.to,
      subject: message.headers.get("subject"),
      size: message.rawSize,
      body: text.slice(at + 4),
    }),
  });
  if (!response.ok) throw new Error("The service answered " + response.status);
}

export default {
  async email(message, env, ctx) {
    ctx.passThroughOnException();
    ctx.waitUntil(post(env.URL, message));
  },
};
`;
