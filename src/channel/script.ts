/**
 * The channel that hands each message to a TypeScript or JavaScript module: its type and its options. What runs the module is
 * loaded when a configuration has such a channel. It must not know of threads.
 */
import * as v from "valibot";
import {
  durationOption,
  type PathMetadata,
  type ReferenceMetadata,
  secretOption,
  sizeOption,
  textOption,
} from "../config/option.ts";
import type { ChannelDefinition } from "./channel.ts";

const MIB = 1024 * 1024;

const schema = v.strictObject({
  module: v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(4096, "is longer than any path"),
    v.regex(/^[^\p{Cc}]*$/u, "must not contain control characters"),
    v.description(
      "TypeScript or JavaScript file with the interface of Cloudflare's Email Workers: export default { async " +
        "email(message, env, ctx) { … } }. It is loaded again when it changes. The end of the handler: delivered; " +
        "message.setReject(reason): failed; an error, or no end in time: tried again.",
    ),
    v.examples(["workers/tickets.ts"]),
    v.metadata({ path: true, reference: "list" } satisfies PathMetadata & ReferenceMetadata),
  ),
  env: v.optional(
    v.pipe(
      v.record(
        v.pipe(v.string(), v.regex(/^[A-Za-z_$][\w$]{0,255}$/u, "has a name that is no identifier")),
        secretOption("A text, or where a secret is.", "text"),
      ),
      v.description("What the handler gets as its second argument: texts, or secrets read when the module is loaded."),
      // As it is written; the type wants what becomes of it.
      v.examples([{ QUEUE: "support", API_KEY: { env: "TICKET_API_KEY" } }] as never[]),
    ),
    {},
  ),
  forward_channel: v.optional(
    textOption(
      "Name of the channel that gets what message.forward() and message.reply() send. Absent: they fail.",
      "relay",
      64,
    ),
  ),
  when: v.optional(
    v.pipe(
      v.picklist(["queued", "rcpt-data"]),
      v.description(
        "queued: the message is accepted first, and what the handler throws is tried again. rcpt-data: the handler runs " +
          "while the client waits at the end of the data, and decides the reply: message.setReject(reason) answers 550 " +
          "with the reason, an error or no end in time answers 451, and nothing of the message is kept. SMTP has one reply " +
          "for all recipients: a refusal for one of them refuses the message for all. LMTP has one for each.",
      ),
      v.examples(["rcpt-data"]),
    ),
    "queued",
  ),
  time_limit: v.optional(
    durationOption("How long one message may take; then the thread is ended and the delivery tried again.", "30s", {
      minimum: 100,
      maximum: 3_600_000,
    }),
    "30s",
  ),
  memory_limit: v.optional(
    sizeOption(
      "Memory that the module may take; then its thread is ended and the delivery tried again.",
      "256MiB",
      { minimum: 32 * MIB, maximum: 64 * 1024 * MIB },
    ),
    "256MiB",
  ),
});

export type ScriptOptions = v.InferOutput<typeof schema>;

export const scriptChannel: ChannelDefinition<ScriptOptions> = {
  type: "script",
  summary: "Hands each message to a TypeScript or JavaScript module written for Cloudflare's Email Workers.",
  schema,
  async open(options, context) {
    const { ScriptChannel } = await import("./script/delivery.ts");
    const channel = new ScriptChannel(options, context);
    await channel.create();
    return channel;
  },
};
