/**
 * The schema of a binding: its conditions, its outcome and its changes. Rules that concern more than one key, and the
 * meaning of patterns and templates, are in `binding_consistency.ts`. It must not know of files or positions.
 */
import * as v from "valibot";
import { isTimeZone, parseClockTime, parseDays } from "../binding/time_window.ts";
import { isFieldName } from "../message/edit.ts";
import { parseReplyText, type Reply, reply } from "../smtp/reply.ts";
import type { DsnCondition } from "./config.ts";
import { type PathMetadata, type ReferenceMetadata, sizeOption, textOption, textsOption } from "./option.ts";

const GIB = 1024 ** 3;
const WITHOUT_CONTROLS = /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u;

function plainText(maxLength: number) {
  return v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(maxLength, `must not be longer than ${maxLength} characters`),
    v.regex(WITHOUT_CONTROLS, "must not contain control characters or line ends"),
  );
}

/** A file that is read when the program runs, so that `check` looks whether it is there. */
function fileOption(description: string, example: string) {
  return v.pipe(
    plainText(4096),
    v.description(description),
    v.examples([example]),
    v.metadata({ path: true, reference: "list" } satisfies PathMetadata & ReferenceMetadata),
  );
}

/** One text or an array of texts, each of a kind. An array once loaded. */
function wordsOption(
  description: string,
  example: string,
  expected: string,
  accepts: (text: string) => boolean,
  message: string,
) {
  return v.pipe(
    v.union([plainText(1000), v.pipe(v.array(plainText(1000)), v.minLength(1, "must not be empty"))], expected),
    v.description(description),
    v.examples([[example]]),
    v.transform((value) => typeof value === "string" ? [value] : value),
    v.check((texts) => texts.every(accepts), message),
  );
}

const listFile = v.strictObject({
  file: fileOption("A file with one on each line, # for comments; read again when it changes.", "lists/blocked.txt"),
});
const listItem = v.union([plainText(1000), listFile], 'expected a text or { file = "…" }');
const listItems = v.pipe(v.array(listItem), v.minLength(1, "must not be empty"));

type Item = v.InferOutput<typeof listItem>;

function itemsOf(value: Item | Item[]): readonly Item[] {
  return Array.isArray(value) ? value : [value];
}

/** One pattern, a file of patterns, or an array of these. An array once loaded. */
function listOption(description: string, example: readonly string[]) {
  return v.pipe(
    v.union([plainText(1000), listFile, listItems], 'expected a text, { file = "…" } or an array of them'),
    v.description(description),
    v.examples([[...example], { file: "lists/blocked.txt" }]),
    v.transform(itemsOf),
  );
}

const flag = (description: string) => v.pipe(v.boolean(), v.description(description), v.examples([true]));

const tlsCondition = v.strictObject({
  min_version: v.optional(v.pipe(
    v.picklist(["1.0", "1.1", "1.2", "1.3"]),
    v.description("At least this version of TLS."),
    v.examples(["1.2"]),
  )),
  client_name: v.optional(listOption("The name in the client's certificate.", ["*.partner.example"])),
});

const timeWindow = v.strictObject({
  days: v.optional(
    wordsOption(
      "Days of the week, or ranges of them.",
      "mon-fri",
      "expected a day, a range of days or an array of them",
      (text) => parseDays(text) !== undefined,
      'must be days such as "mon" or "mon-fri"',
    ),
    ["mon-sun"],
  ),
  from: v.optional(clockTime("First minute of the day that counts.", "08:00"), "00:00"),
  to: v.optional(
    clockTime("First minute that does not count any more; before from: on the next day.", "18:00"),
    "24:00",
  ),
  zone: v.optional(
    v.pipe(
      v.string(),
      v.check(isTimeZone, 'must be a time zone such as "UTC" or "Europe/Berlin"'),
      v.description("The time zone: UTC, or a name of the IANA database."),
      v.examples(["Europe/Berlin"]),
    ),
    "UTC",
  ),
});

function clockTime(description: string, example: string) {
  return v.pipe(
    v.string(),
    v.check((text) => parseClockTime(text) !== undefined, 'must be a time such as "08:00" or "24:00"'),
    v.description(description),
    v.examples([example]),
  );
}

const DSN_WORDS: ReadonlySet<DsnCondition> = new Set(["report", "never", "success", "failure", "delay"] as const);

const sizeBounds = { minimum: 0, maximum: 4 * GIB };

const conditionEntries = {
  recipients: v.optional(listOption(
    'Recipients it takes: addresses, "*@domain", "*@*.domain", "user+*@domain", texts with * and ?, "/RE2/", ' +
      '"postmaster", or "*" for all.',
    ["support@example.com", "*@tickets.example.com"],
  )),
  senders: v.optional(listOption(
    'Senders of the envelope, in the same forms; "<>" is the null sender of reports.',
    ["*@partner.example", "<>"],
  )),
  listeners: v.optional(
    textsOption(
      'Names or tags of listeners; "notifications" stands for what senders are told of failures and delays.',
      ["inbound"],
      "the name or tag of a listener or an array of them",
    ),
  ),
  clients: v.optional(listOption("IP addresses and networks of clients.", ["10.0.0.0/8", "2001:db8::/32"])),
  authenticated: v.optional(v.pipe(
    v.union(
      [v.boolean(), plainText(1000), listFile, listItems],
      'expected true, false, a user, { file = "…" } or an array of users',
    ),
    v.description("Whether the client has logged in, or as whom: users, texts with * and ?, /RE2/."),
    v.examples([true, ["*@example.com"]]),
    v.transform((value) => typeof value === "boolean" ? value : itemsOf(value)),
  )),
  helo: v.optional(listOption("What the client said in HELO or EHLO: names, texts with * and ?, /RE2/.", ["*.local"])),
  tls: v.optional(v.pipe(
    v.union([v.boolean(), tlsCondition], "expected true, false or a table"),
    v.description("Whether the connection is encrypted, and how."),
    v.examples([true, { min_version: "1.2" }]),
  )),
  size: v.optional(v.pipe(
    v.strictObject({
      min: v.optional(sizeOption("The smallest message it takes.", "1MiB", sizeBounds)),
      max: v.optional(sizeOption("The largest message it takes.", "10MiB", sizeBounds)),
    }),
    v.description("Size of the message: the announced one at RCPT, the real one at the end of data."),
    v.examples([{ min: 10_485_760 }]),
  )),
  headers: v.optional(v.pipe(
    v.record(
      v.string(),
      listOption("Values of the field: whole texts, texts with * and ?, /RE2/.", ["*invoice*"]),
    ),
    v.description("Header fields that must all be there with one of their values; decided at the end of data."),
    v.examples([{ Subject: ["*invoice*"] }]),
  )),
  dsn: v.optional(wordsOption(
    "report: the message is a report with the null sender; never, success, failure, delay: RCPT asked so with NOTIFY.",
    "report",
    "expected a word or an array of words",
    (text) => DSN_WORDS.has(text as DsnCondition),
    `must be one of ${[...DSN_WORDS].map((word) => `"${word}"`).join(", ")}`,
  )),
  time: v.optional(v.pipe(
    v.union(
      [timeWindow, v.pipe(v.array(timeWindow), v.minLength(1, "must not be empty"))],
      "expected a table or tables",
    ),
    v.description("When it applies: days, hours and their time zone."),
    v.examples([{ days: ["mon-fri"], from: "08:00", to: "18:00", zone: "Europe/Berlin" }]),
    v.transform((value) => Array.isArray(value) ? value : [value]),
  )),
};

/** A whole reply with its code, or its text alone. */
function replyOption(description: string, example: string, codes: RegExp, defaults: readonly [number, string]) {
  return v.pipe(
    v.string(),
    v.description(description),
    v.examples([example]),
    v.rawTransform<string, Reply>(({ dataset, addIssue, NEVER }) => {
      const text = dataset.value.trim();
      // A text of its own does not begin as a reply does: a mistyped code must not become a part of the text.
      const parsed = /^\d/u.test(text)
        ? parseReplyText(text)
        : /^[ -~]{1,400}$/u.test(text)
        ? reply(...defaults, text)
        : undefined;
      if (parsed !== undefined && codes.test(String(parsed.code))) return parsed;
      addIssue({ message: `must be a text in ASCII, with or without its code, such as "${example}"` });
      return NEVER;
    }),
  );
}

function headersOption(description: string, example: Readonly<Record<string, string>>) {
  const texts = v.union([plainText(900), v.array(plainText(900))], "expected a text or an array of texts");
  return v.pipe(
    v.record(v.string(), texts),
    v.description(description),
    v.examples([{ ...example }]),
  );
}

/** The keys of a binding but for name, description and tags. */
export const bindingEntries = {
  ...conditionEntries,
  not: v.optional(
    v.pipe(
      v.strictObject(conditionEntries),
      v.description("Conditions of which none may hold; each header field counts by itself."),
      v.examples([{ clients: ["10.0.0.0/8"] }]),
    ),
  ),
  deliver: v.optional(
    textsOption(
      "Names of the channels that each get a copy.",
      ["archive"],
      "the name of a channel or an array of names",
    ),
  ),
  reject: v.optional(replyOption(
    "Refuses the recipient: code, enhanced code and text, or the text alone.",
    "550 5.1.1 This address has been retired",
    /^[45]/u,
    [550, "5.7.1"],
  )),
  defer: v.optional(replyOption(
    "Asks the sender to try again later: code, enhanced code and text, or the text alone.",
    "451 4.7.1 Try again in an hour",
    /^4/u,
    [451, "4.7.1"],
  )),
  discard: v.optional(flag("Takes the message and throws it away.")),
  aliases: v.optional(v.pipe(
    v.union([
      fileOption("A file of aliases.", "aliases.txt"),
      v.strictObject({ file: fileOption("A file of aliases.", "aliases.txt") }),
    ], 'expected { file = "…" }'),
    v.description(
      'Puts the addresses from lines "name: address, address" in place of the recipient and tries each of them from the ' +
        "first binding on.",
    ),
    v.examples([{ file: "aliases.txt" }]),
    v.transform((value) => typeof value === "string" ? value : value.file),
  )),
  hold: v.optional(flag("Stores the deliveries and keeps them until somebody releases them.")),
  continue: v.optional(flag("Goes on with the bindings that follow.")),
  rewrite_recipient: v.optional(textOption(
    "The recipient from here on. In this and the following texts: $1 for what a regular expression captured, ${local}, " +
      "${extension}, ${domain}, ${recipient}, ${sender}, ${sender_local}, ${sender_domain}, $$ for a dollar sign.",
    "${local}@new.example.com",
  )),
  rewrite_sender: v.optional(textOption(
    'The sender of the envelope from here on; "<>" for none.',
    "bounces+${extension}@example.com",
  )),
  add_headers: v.optional(headersOption("Header fields that are added on top.", { "X-Queue": "support" })),
  set_headers: v.optional(headersOption("Header fields that replace those of their name.", { "X-Spam": "no" })),
  remove_headers: v.optional(wordsOption(
    "Names of header fields that are taken out.",
    "X-Internal",
    "expected the name of a field or an array of names",
    isFieldName,
    "must be names of header fields, such as X-Internal",
  )),
  subject_prefix: v.optional(textOption("Text that is put before the subject.", "[ticket $1]", 200)),
};
