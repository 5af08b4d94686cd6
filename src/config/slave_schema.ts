/**
 * The keys of a channel that concern sessions on standard input and output, which `smtpd channel slave` serves, and what
 * they become. It must not know of other keys of a channel, nor how a session is served.
 */
import * as v from "valibot";
import type { SlaveConfig } from "./config.ts";
import { sessionEntries } from "./session_schema.ts";
import { pathOption } from "./option.ts";

/** The defaults are those of a listener. */
const slave = v.strictObject({
  ...sessionEntries,
  tls: v.optional(
    v.pipe(
      v.picklist(["off", "required"]),
      v.description("off; required: nothing is taken, because a pipe has no TLS. Every command gets 530."),
      v.examples(["off"]),
    ),
    "off",
  ),
});

/** Entries of the schema of every channel. `hostName` makes the schema of a host name out of its description. */
export function slaveEntries<HostName extends v.GenericSchema<string, string>>(hostName: (text: string) => HostName) {
  return {
    local_host_alias: v.optional(
      hostName("Name of this host in banner, EHLO and Received of this channel. Absent: the host_name."),
    ),
    trust: v.optional(
      v.pipe(
        v.picklist(["none", "local"]),
        v.description("local: a client of channel slave that nothing tells of counts as 127.0.0.1."),
        v.examples(["local"]),
      ),
      "none",
    ),
    line_endings: v.optional(
      v.pipe(
        v.picklist(["crlf", "lf", "crorlf"]),
        v.description(
          "What ends a line that channel slave reads. crlf: nothing else; lf: LF as well; crorlf: LF as well, and a CR " +
            "alone in a message is repaired. Replies end with CRLF.",
        ),
        v.examples(["lf"]),
      ),
      "crlf",
    ),
    slave_debug: v.optional(v.pipe(
      v.union([pathOption("The file.", "log/uplink_slave.log"), v.boolean()], "expected the path of a file, or true"),
      v.description(
        "File for the dialogues of channel slave, without secrets and content. true: NAME_slave.log beside this file.",
      ),
      v.examples(["log/uplink_slave.log", true]),
    )),
    options: v.optional(v.pipe(
      v.record(v.string(), v.union([v.string(), v.number(), v.boolean()], "expected a text or a number")),
      v.description("Options of the TCP/IP channel option file of Messaging Server, by their own names."),
      v.examples([{ ALLOW_TRANSACTIONS_PER_SESSION: 10 }]),
    )),
    slave: v.optional(v.pipe(slave, v.description("Limits of the sessions that channel slave serves.")), {}),
  };
}

export interface SlaveSettings {
  readonly local_host_alias?: string | undefined;
  readonly trust: "none" | "local";
  readonly line_endings: "crlf" | "lf" | "crorlf";
  readonly slave_debug?: string | boolean | undefined;
  readonly options?: Readonly<Record<string, string | number | boolean>> | undefined;
  readonly slave: v.InferOutput<typeof slave>;
}

/** `defaultDebugFile`: where the transcript goes when only that there is one is said. */
export function buildSlave(settings: SlaveSettings, defaultDebugFile: string): SlaveConfig {
  const { local_host_alias, trust, line_endings, slave_debug, options, slave: limits } = settings;
  const debugFile = slave_debug === true ? defaultDebugFile : slave_debug === false ? undefined : slave_debug;
  const { banner, session_max_messages } = limits;
  return {
    ...(local_host_alias === undefined ? {} : { localHostAlias: local_host_alias }),
    trust,
    lineEndings: line_endings === "crlf" ? "strict" : "normalize",
    ...(debugFile === undefined ? {} : { debugFile }),
    options: Object.entries(options ?? {}).map(([name, value]) => ({ name, value: optionText(value) })),
    protocol: limits.protocol,
    ...(banner === undefined ? {} : { banner }),
    ...(session_max_messages === undefined ? {} : { sessionMaxMessages: session_max_messages }),
    sessionTimeoutMs: limits.session_timeout,
    maxMessageSizeBytes: limits.max_message_size,
    maxRecipients: limits.max_recipients,
    maxErrors: limits.max_errors,
    requiresTls: limits.tls === "required",
  };
}

/** As it would stand in an option file. */
function optionText(value: string | number | boolean): string {
  return typeof value === "boolean" ? (value ? "1" : "0") : String(value);
}
