/**
 * The schema of the configuration: every key with its type, bounds, default, description and an example, from which the
 * loader, the editor's JSON Schema and the reference are made. Rules that concern more than one key are in
 * `consistency.ts`; options of channel types come from those types. It must not know of files or positions.
 */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import * as v from "valibot";
import { bindingEntries } from "./binding_schema.ts";
import {
  durationOption,
  integerOption,
  pathOption,
  type ReferenceMetadata,
  secretOption,
  sizeOption,
  textOption,
  textsOption,
} from "./option.ts";
import { routingTest } from "./routing_test.ts";
import { rateLimitOption } from "./rate_limit.ts";
import { sessionEntries } from "./session_schema.ts";
import { slaveEntries } from "./slave_schema.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const GIB = 1024 ** 3;

/** Keys that people coming from elsewhere write, lower case without `_` and `-`. Case and underscores alone need no entry. */
export const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ["portnum", "port"],
  ["portnumber", "port"],
  ["address", "listen_ip"],
  ["listenaddress", "listen_ip"],
  ["ip", "listen_ip"],
  ["bind", "listen_ip"],
  ["hostname", "host_name"],
  ["cert", "certificate"],
  ["certfile", "certificate"],
  ["key", "private_key"],
  ["keyfile", "private_key"],
  ["to", "recipients"],
  ["match", "recipients"],
  ["from", "senders"],
  ["sender", "senders"],
  ["recipient", "recipients"],
  ["client", "clients"],
  ["network", "clients"],
  ["networks", "clients"],
  ["ehlo", "helo"],
  ["user", "authenticated"],
  ["users", "authenticated"],
  ["drop", "discard"],
  ["alias", "aliases"],
  ["quarantine", "hold"],
  ["redirect", "rewrite_recipient"],
  ["forward", "rewrite_recipient"],
  ["channels", "deliver"],
  ["maxconnections", "max_concurrency"],
  ["maxmessages", "session_max_messages"],
  ["maxsize", "max_message_size"],
]);

/** Characters of names: they appear in logs, on command lines and in the spool, so plain ASCII without spaces and quotes. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/u;

const name = v.pipe(
  v.string(),
  v.maxLength(64, "must not be longer than 64 characters"),
  v.regex(NAME, 'must begin with a letter or digit and contain only letters, digits, ".", "_" and "-"'),
  v.description("Name, unique over the whole configuration whatever the kind."),
  v.examples(["inbound"]),
);

const description = v.optional(textOption("What it is for, in your words.", "mail from the Internet"));

const tags = v.optional(
  v.pipe(
    v.union([v.string(), v.array(v.string())], "expected words separated by spaces, or an array of words"),
    v.description("Words to filter by in commands, logs and metrics."),
    v.examples(["listener smtp", ["listener", "smtp"]]),
    v.transform((value) => typeof value === "string" ? value.split(/\s+/u).filter((tag) => tag !== "") : value),
    v.array(v.pipe(v.string(), v.regex(NAME, 'must be words of letters, digits, ".", "_" and "-"'))),
  ),
  [],
);

/** A DNS name as A-labels, or an address literal (RFC 5321 §4.1.3). */
export function canonicalHostName(text: string): string | undefined {
  const literal = /^\[(IPv6:)?([0-9A-Fa-f:.]+)\]$/u.exec(text);
  if (literal !== null) return isIP(literal[2] ?? "") === (literal[1] === undefined ? 4 : 6) ? text : undefined;
  if (/[\p{Cc}\s%/\\:@?#[\]]/u.test(text)) return undefined;
  const ascii = /^[!-~]*$/u.test(text) ? text : domainToASCII(text);
  const label = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/u;
  return ascii.length <= 255 && ascii.split(".").every((part) => label.test(part)) ? ascii : undefined;
}

function hostName(text: string) {
  return v.pipe(
    v.string(),
    v.description(text),
    v.examples(["mail.example.com"]),
    v.rawTransform<string, string>(({ dataset, addIssue, NEVER }) => {
      const canonical = canonicalHostName(dataset.value);
      if (canonical !== undefined) return canonical;
      addIssue({ message: "must be a host name such as mail.example.com" });
      return NEVER;
    }),
  );
}

const binding = v.strictObject({ name, description, tags, ...bindingEntries });

const tls = v.strictObject({
  mode: v.pipe(
    v.picklist(["off", "starttls", "required", "implicit"]),
    v.description("off; starttls: offered; required: nothing else before it; implicit: encrypted from the first byte."),
    v.examples(["starttls"]),
  ),
  certificate: v.optional(v.pipe(
    v.union([
      pathOption("PEM file.", "tls/cert.pem"),
      v.strictObject({ file: pathOption("PEM file.", "tls/cert.pem") }),
    ], "expected the path of a PEM file"),
    v.description("PEM file with the certificate and its chain, the server's own first."),
    v.examples(["tls/cert.pem"]),
    v.metadata({ reference: "path" } satisfies ReferenceMetadata),
    v.transform((value) => typeof value === "string" ? value : value.file),
  )),
  private_key: v.optional(secretOption("PEM file with the private key, or where else the key is.", "path")),
});

const auth = v.strictObject({
  mode: v.pipe(
    v.picklist(["off"], 'must be "off": authentication is not available'),
    v.description("off: clients do not log in."),
    v.examples(["off"]),
  ),
});

function listener(lowestPort: number) {
  return v.strictObject({
    name,
    description,
    tags,
    ...sessionEntries,
    listen_ip: v.optional(v.pipe(
      v.string(),
      v.check((text) => isIP(text) !== 0, "must be an IPv4 or IPv6 address, such as 127.0.0.1 or ::1"),
      v.description("Address to listen on. Absent: every address, IPv4 and IPv6."),
      v.examples(["127.0.0.1"]),
    )),
    port: integerOption("TCP port.", lowestPort, 65_535, 2525),
    host_name: v.optional(
      hostName("Name in banner, greeting and Received. Absent: the host_name of the configuration."),
    ),
    max_concurrency: v.optional(
      integerOption("Clients connected at one time; one more gets 421 4.3.2.", 1, 1_000_000, 50),
      200,
    ),
    line_endings: v.optional(
      v.pipe(
        v.picklist(["strict", "normalize"]),
        v.description("strict: only CRLF ends a line, the rest is refused; normalize: bare CR and LF are repaired."),
        v.examples(["normalize"]),
      ),
      "strict",
    ),
    tls: v.optional(v.pipe(tls, v.description("Encryption. Absent: off.")), { mode: "off" }),
    auth: v.optional(v.pipe(auth, v.description("Log-in of clients. Absent: off."))),
    binding: v.optional(v.pipe(v.array(binding), v.description("Rules of this listener, before the shared ones.")), []),
  });
}

const spool = v.strictObject({
  url: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(?:memory:|sqlite:(?:[^\p{Cc}]+))$/u, 'must be "sqlite:PATH" or "memory:"'),
      v.description('Where accepted messages are kept: "sqlite:PATH", or "memory:" which forgets them at the end.'),
      v.examples(["sqlite:spool/smtpd.db"]),
      v.metadata({ path: true, after: "sqlite:" }),
    ),
    "sqlite:spool/smtpd.db",
  ),
  min_free_space: v.optional(
    sizeOption("Below this much free disk space, new mail gets 452 4.3.1.", "64MiB", {
      minimum: 0,
      maximum: 1024 * GIB,
    }),
    "64MiB",
  ),
});

const retry = v.strictObject({
  first_delay: v.optional(
    durationOption("Wait after the first failure; doubled after each further one.", "1m", {
      minimum: SECOND,
      maximum: DAY,
    }),
    "1m",
  ),
  max_delay: v.optional(
    durationOption("The longest wait between two attempts.", "1h", { minimum: SECOND, maximum: 7 * DAY }),
    "1h",
  ),
});

/** Keys that channels of every type have. */
export const channelSchema = v.strictObject({
  name,
  type: v.pipe(v.string(), v.description("Kind of channel."), v.examples(["maildir"])),
  description,
  tags,
  max_concurrency: v.optional(integerOption("Deliveries attempted at one time.", 1, 1000, 10), 10),
  rate_limit: v.optional(rateLimitOption(
    "Deliveries begun in each second, minute or hour; those of a second at most at once. Absent: no limit.",
    "10/s",
  )),
  timeout: v.optional(
    durationOption("An attempt that takes longer has failed.", "5m", { minimum: SECOND, maximum: DAY }),
    "5m",
  ),
  retry: v.optional(v.pipe(retry, v.description("When failed attempts are repeated.")), {}),
  max_age: v.optional(
    durationOption("A message older than this is given up at the next failure.", "5d", {
      minimum: 0,
      maximum: 60 * DAY,
    }),
    "5d",
  ),
  notify: v.optional(
    v.pipe(
      v.picklist(["sender", "keep", "both"]),
      v.description(
        "What becomes of a delivery that is given up. sender: its sender is told, and it is removed; it is kept when the " +
          "sender cannot be told or does not want to be. keep: it is kept for smtpd queue retry, and the sender is told " +
          "nothing, of delays and successes neither. both: told and kept.",
      ),
      v.examples(["keep"]),
    ),
    "sender",
  ),
  notices: v.optional(
    v.pipe(
      v.array(durationOption("An age.", "4h", { minimum: MINUTE, maximum: 60 * DAY })),
      v.maxLength(20, "must not have more than 20 ages"),
      v.description("Ages at which the sender is warned that the message has not been delivered yet; [] for never."),
      // As it is written; the type wants what becomes of it.
      v.examples([["4h", "3d"]] as never[]),
    ),
    ["1d"],
  ),
  ...slaveEntries(hostName),
});

const notifications = v.strictObject({
  channel: v.optional(
    textOption(
      "Channel for notifications to senders whose address no shared binding takes, such as one that relays. Absent: they " +
        "are not told, and what failed is kept.",
      "relay",
      64,
    ),
  ),
});

const include = v.optional(textsOption(
  "Further files, relative to this one; * and ? are wildcards. Their tables come before this file's own.",
  ["conf.d/*.toml"],
  "a path or an array of paths",
));

const check = v.strictObject({
  severity: v.optional(
    v.pipe(
      v.record(v.string(), v.picklist(["off", "warning", "error"])),
      v.description("Severity of findings by their code, for codes from SMTPD200: off, warning or error."),
      v.examples([{ SMTPD201: "off" }]),
    ),
    {},
  ),
});

/** The whole configuration. What is in a channel's table depends on its type and is checked on its own. */
export function settingsSchema(lowestPort: 0 | 1) {
  return v.strictObject({
    // Known here for its description; the reader has taken it out of the tree.
    include,
    host_name: v.optional(hostName("Name in banners, greetings and Received. Absent: the system's host name.")),
    shutdown_grace: v.optional(
      durationOption("How long a stop waits for transactions in progress.", "30s", { minimum: 0, maximum: HOUR }),
      "30s",
    ),
    sendmail_channel: v.optional(
      textOption(
        'The channel that smtpd sendmail serves. Absent: the only one of type stdio or with trust = "local".',
        "local",
      ),
    ),
    spool: v.optional(v.pipe(spool, v.description("The durable store of accepted messages.")), {}),
    notifications: v.optional(
      v.pipe(notifications, v.description("What senders are told of failures, delays and successes (RFC 3464).")),
      {},
    ),
    listener: v.optional(v.pipe(v.array(listener(lowestPort)), v.description("Where clients connect.")), []),
    binding: v.optional(
      v.pipe(v.array(binding), v.description("Rules for recipients, tried in order after a listener's own.")),
      [],
    ),
    channel: v.optional(v.pipe(v.array(v.looseObject({})), v.description("Ways out for messages.")), []),
    test: v.optional(
      v.pipe(v.array(routingTest), v.description("Routing tests: what must become of a message. Run by smtpd check.")),
      [],
    ),
    check: v.optional(v.pipe(check, v.description("How smtpd check judges this configuration.")), {}),
  });
}

export type Settings = v.InferOutput<ReturnType<typeof settingsSchema>>;
export type ListenerSettings = Settings["listener"][number];
export type BindingSettings = Settings["binding"][number];
export type ChannelSettings = v.InferOutput<typeof channelSchema>;
