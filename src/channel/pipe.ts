/**
 * The channel that hands each message to a program: its type and its options. What runs the program is loaded when a
 * configuration has such a channel. It must not know of processes.
 */
import { isAbsolute } from "node:path";
import * as v from "valibot";
import { pathOption, type ReferenceMetadata, secretOption, sizeOption } from "../config/option.ts";
import type { ChannelDefinition } from "./channel.ts";
import { TextTemplate, textTemplateOption } from "./template.ts";

/** What a program always gets in its environment; none of these can be set by `env`. */
export const ENVELOPE_VARIABLES = {
  SENDER: "the sender's address, empty for bounces",
  RECIPIENT: "the recipient's address",
  ORIGINAL_RECIPIENT: "the recipient's address before bindings changed it",
  LOCAL: 'the part of the recipient before the "@", without a "+extension"',
  DOMAIN: 'the part of the recipient behind the "@"',
  EXTENSION: 'what follows the first "+" before the "@"; empty when there is none',
  CLIENT_ADDRESS: "the address of the client that sent the message, empty when unknown",
  CLIENT_HELO: "the name the client gave in HELO or EHLO",
  CLIENT_PROTOCOL: "the protocol, such as ESMTPS",
  MESSAGE_ID: "the id of the message in the queue",
  SIZE: "the size of the message in bytes, without the fields that this delivery adds",
  LISTENER: "the name of the listener that took the message",
  CHANNEL: "the name of this channel",
} as const;

/** Taken over from the environment of the server, because programs do not work well without. Nothing else is. */
export const INHERITED_VARIABLES = ["PATH", "HOME", "TZ", "LANG"] as const;

const KIB = 1_024;

const variable = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/u, "has a name that no environment variable can have"),
  v.check((name) => !Object.hasOwn(ENVELOPE_VARIABLES, name), "has a name that the envelope already uses"),
);

/** A text with variables, or where a secret is. */
const value = v.pipe(
  secretOption("A text that may have variables, or where a secret is.", "text"),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed || dataset.value.kind !== "inline") return;
    const parsed = TextTemplate.parse(dataset.value.value);
    if (!parsed.ok) addIssue({ message: parsed.message });
  }),
  v.metadata({ reference: "text" } satisfies ReferenceMetadata),
);

const schema = v.strictObject({
  command: v.pipe(
    v.array(textTemplateOption("The program, then its arguments.", "${recipient}", 4_096)),
    v.minLength(1, "must name a program"),
    v.check(
      ([program = ""]) => isAbsolute(program) || !/[/\\]/u.test(program),
      "must begin with an absolute path, or with a name to look for in PATH",
    ),
    v.check(
      ([program = ""]) => !TextTemplate.parse(program).ok || !TextTemplate.compile(program).hasVariables,
      "must name the program without variables",
    ),
    v.description(
      "Program and arguments, each a text of its own that may have variables; no shell reads them. The program is an " +
        "absolute path or is looked for in PATH. It gets the message on its standard input (use the descriptor, not " +
        "/dev/stdin) and the envelope in its environment: " + Object.keys(ENVELOPE_VARIABLES).join(", ") + ". " +
        "Exit code 0: delivered; 75, a signal, or no end in time: tried again; any other: failed, with the first line " +
        'of its output as the reason. An argument that would begin with a "-" out of an address is refused unless it ' +
        'stands behind "--".',
    ),
    v.examples([["/usr/local/bin/ticket", "--queue", "support", "--", "${recipient}"]]),
  ),
  env: v.optional(
    v.pipe(
      v.record(variable, value),
      v.description(
        `Further environment variables: texts that may have variables, or secrets. Of the server's own environment, a ` +
          `program gets ${INHERITED_VARIABLES.join(", ")}.`,
      ),
      // As it is written; the type wants what becomes of it.
      v.examples([{ QUEUE: "support", API_KEY: { env: "TICKET_API_KEY" } }] as never[]),
    ),
    {},
  ),
  cwd: v.optional(pathOption("Directory in which the program runs. Absent: the root directory.", "/var/lib/tickets")),
  add_headers: v.optional(
    v.pipe(
      v.boolean(),
      v.description("Whether Return-Path and Delivered-To stand above the message."),
      v.examples([false]),
    ),
    true,
  ),
  max_output: v.optional(
    sizeOption("How much of the program's output is kept; the rest is read and thrown away.", "8KiB", {
      minimum: 256,
      maximum: 1_024 * KIB,
    }),
    "8KiB",
  ),
});

export type PipeOptions = v.InferOutput<typeof schema>;

export const pipeChannel: ChannelDefinition<PipeOptions> = {
  type: "pipe",
  summary: "Hands each message to a program on its standard input, with the envelope in its environment.",
  schema,
  async open(options, context) {
    const { PipeChannel } = await import("./pipe_delivery.ts");
    return new PipeChannel(options, context);
  },
};
