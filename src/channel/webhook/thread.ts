/**
 * The thread's side of formatting: holds one message that was taken apart and makes payloads of it. It must not know who
 * asks, or of requests.
 */
import type { ParsedFormat } from "../webhook.ts";
import { formatForm, formatJson } from "./json.ts";
import { formatMailgun } from "./mailgun.ts";
import { UnreadableMessageError } from "./error.ts";
import { ParsedMessage } from "./message.ts";
import type { FormatMessage } from "./payload.ts";
import { formatPostmark } from "./postmark.ts";
import type { FromThread, ToThread } from "./protocol.ts";
import { formatSendgrid } from "./sendgrid.ts";

const FORMATS: Readonly<Record<ParsedFormat, FormatMessage>> = {
  json: formatJson,
  form: formatForm,
  postmark: formatPostmark,
  mailgun: formatMailgun,
  sendgrid: formatSendgrid,
};

export class FormatThread {
  #message: ParsedMessage | undefined;

  async receive(question: ToThread): Promise<FromThread> {
    try {
      if (question.kind === "load") {
        this.#message = undefined;
        this.#message = await ParsedMessage.parse(question.raw);
        return { kind: "loaded" };
      }
      if (this.#message === undefined) throw new Error("No message was loaded");
      return { kind: "payload", payload: FORMATS[question.format](this.#message, question.dispatch) };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { kind: error instanceof UnreadableMessageError ? "unreadable" : "broken", message };
    }
  }
}
