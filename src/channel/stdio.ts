/**
 * The channel whose mail leaves over the standard streams of `smtpd channel master`, and only when somebody starts that. Its
 * deliveries are stored and wait; the job controller leaves them alone. It must not know of SMTP.
 */
import * as v from "valibot";
import type { Channel, ChannelDefinition, Outcome } from "./channel.ts";

const schema = v.strictObject({});

const channel: Channel = {
  // A generator that yields nothing: whoever asks in spite of all gets every recipient back for later.
  async *deliver(): AsyncIterable<Outcome> {},
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

export const stdioChannel: ChannelDefinition<v.InferOutput<typeof schema>> = {
  type: "stdio",
  summary: "Keeps messages until smtpd channel master fetches them; channel slave takes mail in for it.",
  schema,
  pulled: true,
  open: () => channel,
};
