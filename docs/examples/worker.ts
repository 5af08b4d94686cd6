/**
 * A worker for a script channel; see worker.toml. It refuses some senders, forwards to the team, and answers who asks for
 * help. The objects are those of Cloudflare's Email Workers.
 */
import { EmailMessage } from "cloudflare:email";

/** What `env` of the channel has. */
interface Env {
  readonly TEAM: string;
  readonly BLOCKED: string;
}

interface IncomingMessage {
  readonly from: string;
  readonly to: string;
  readonly headers: Headers;
  readonly raw: ReadableStream<Uint8Array>;
  readonly rawSize: number;
  setReject(reason: string): void;
  forward(address: string, headers?: Headers): Promise<unknown>;
  reply(message: EmailMessage): Promise<unknown>;
}

export default {
  async email(message: IncomingMessage, env: Env): Promise<void> {
    if (env.BLOCKED.split(" ").includes(message.from)) return message.setReject("Address is blocked");
    const subject = message.headers.get("subject") ?? "";
    // Only fields that begin with X- can be added.
    await message.forward(env.TEAM, new Headers({ "X-Urgent": /\burgent\b/i.test(subject) ? "yes" : "no" }));
    // What a program sent is never answered, or two of them would never end.
    if (/\bhelp\b/i.test(subject) && !message.headers.has("auto-submitted")) {
      await message.reply(new EmailMessage(message.to, message.from, answer(message)));
    }
    // The end: delivered. An error that is thrown: tried again later. What is logged is in the server's log.
    console.log(`${message.rawSize} bytes forwarded`);
  },
};

function answer({ from, to, headers }: IncomingMessage): string {
  const lines = [
    `From: <${to}>`,
    `To: <${from}>`,
    "Subject: We got your message",
    `In-Reply-To: ${headers.get("message-id") ?? ""}`,
    "Auto-Submitted: auto-replied",
    "Content-Type: text/plain; charset=utf-8",
    "",
    "Somebody will look at it soon.",
    "",
  ];
  return lines.join("\r\n");
}
