/**
 * The channel that sends messages to an application over HTTP: its name and its options. What sends them is loaded when a
 * channel is opened; this file must not know how.
 */
import * as v from "valibot";
import { integerOption, pathOption, type ReferenceMetadata, secretOption, sizeOption } from "../config/option.ts";
import type { ChannelDefinition } from "./channel.ts";
import { signingKey } from "./webhook/secret.ts";
import { hostOf, isPublicAddress, isThisMachine } from "./webhook/target.ts";

export const FORMATS = ["raw", "json", "form", "postmark", "mailgun", "sendgrid"] as const;

export type Format = typeof FORMATS[number];

/** Formats for which a message is taken apart. */
export type ParsedFormat = Exclude<Format, "raw">;

/** Answers after which trying again cannot help, when the configuration does not say: Postmark's receivers say 403 as well. */
export const BOUNCE_STATUS: readonly number[] = [406, 410];
export const POSTMARK_BOUNCE_STATUS: readonly number[] = [403, ...BOUNCE_STATUS];

const KIB = 1_024;
const MIB = 1_024 * KIB;

const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}$/u;

/** The request's own: what they say is true, and a receiver may rely on it. */
const RESERVED_FIELDS =
  /^(?:host|content-(?:type|length|encoding)|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|proxy-.*|webhook-.*|x-smtpd-.*)$/iu;

/** A value without line ends, control characters or anything that receivers read in different ways. */
export function isFieldValue(text: string): boolean {
  return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/u.test(text);
}

const headerName = v.pipe(
  v.string(),
  v.regex(FIELD_NAME, "has a name that no header field can have"),
  v.check((name) => !RESERVED_FIELDS.test(name), "has a name that the request itself uses"),
);

const headerValue = v.pipe(
  secretOption("A text, or where a secret is.", "text"),
  v.check(
    (value) => value.kind !== "inline" || isFieldValue(value.value),
    "must be ASCII without control characters, and must not begin or end with a space",
  ),
  v.metadata({ reference: "text" } satisfies ReferenceMetadata),
);

const url = v.pipe(
  v.string(),
  v.maxLength(4_096, "must not be longer than 4096 characters"),
  v.check(
    (text) => /^https?:\/\/[^\s\p{Cc}#]+$/iu.test(text) && URL.parse(text) !== null,
    'must be a URL with "https://" or "http://", without "#"',
  ),
  v.description(
    "Where to send messages. A user and password in it become an Authorization header. Redirects are not followed.",
  ),
  v.examples(["https://app.example.com/inbound"]),
);

const entries = v.strictObject({
  url,
  format: v.optional(
    v.pipe(
      v.picklist(FORMATS),
      v.description(
        "What is sent. raw: the message as it is (message/rfc822), the envelope in X-Smtpd- headers. json, form: envelope, " +
          "headers, text, html and attachments, as JSON or multipart/form-data. postmark, mailgun, sendgrid: what the " +
          "receivers of those services expect. One request for each recipient.",
      ),
      v.examples(["json"]),
    ),
    "raw",
  ),
  method: v.optional(
    v.pipe(v.picklist(["POST", "PUT", "PATCH"]), v.description("Method of the requests."), v.examples(["PUT"])),
    "POST",
  ),
  headers: v.optional(
    v.pipe(
      v.record(headerName, headerValue),
      v.description("Further header fields of the requests: texts or secrets."),
      // As it is written; the type wants what becomes of it.
      v.examples([{ "X-Source": "smtpd", Authorization: { env: "APP_AUTHORIZATION" } }] as never[]),
    ),
    {},
  ),
  secret: v.optional(secretOption(
    'Signs requests as Standard Webhooks do (webhook-id, webhook-timestamp, webhook-signature): "whsec_" and at least 24 ' +
      'random bytes in base64, as "openssl rand -base64 32" makes them. With format mailgun: the API signing key.',
    "value",
  )),
  old_secret: v.optional(secretOption(
    "A second secret that signs as well, until all receivers know the new one.",
    "value",
  )),
  bounce_status: v.optional(v.pipe(
    v.array(integerOption("A status.", 400, 599, 410)),
    v.description(
      "Answers that mean that trying again cannot help: the delivery fails. 2xx: delivered; all others are tried again. " +
        `Absent: ${BOUNCE_STATUS.join(", ")}; with format postmark ${POSTMARK_BOUNCE_STATUS.join(", ")}.`,
    ),
    v.examples([[...BOUNCE_STATUS]]),
  )),
  include_raw: v.optional(
    v.pipe(
      v.boolean(),
      v.description("Whether a format other than raw also has the whole message (sendgrid: in place of its parts)."),
      v.examples([true]),
    ),
    false,
  ),
  max_parsed_size: v.optional(
    sizeOption("Largest message for a format other than raw; a larger one fails.", "50MiB", {
      minimum: KIB,
      maximum: 256 * MIB,
    }),
    "50MiB",
  ),
  max_response: v.optional(
    sizeOption("How much of an answer is kept for the detail of a delivery.", "1KiB", {
      minimum: 0,
      maximum: 64 * KIB,
    }),
    "1KiB",
  ),
  allow_private: v.optional(
    v.pipe(
      v.boolean(),
      v.description(
        "Whether requests may go to this machine and to private, link-local and other addresses that are not public.",
      ),
      v.examples([true]),
    ),
    false,
  ),
  ca_file: v.optional(pathOption(
    "PEM file of the authorities that https receivers' certificates come from, in place of the system's.",
    "tls/internal-ca.pem",
  )),
});

type Options = v.InferOutput<typeof entries>;

/** Whether the URL names this machine or a private address by itself; other names show it when they are looked up. */
function leadsInside({ url, allow_private }: Options): boolean {
  const parsed = URL.parse(url);
  // What is no URL is another check's business.
  if (allow_private || parsed === null) return false;
  const host = hostOf(parsed);
  return host.kind === "address" ? !isPublicAddress(host.address) : isThisMachine(host.name);
}

const isUsable = (secret: Options["secret"]) => secret?.kind !== "inline" || signingKey(secret.value).ok;

const NOT_A_KEY = 'must be "whsec_" and 24 bytes or more in base64, as "openssl rand -base64 32" makes them';

const schema = v.pipe(
  entries,
  v.forward(
    v.check(
      (options) => !leadsInside(options),
      "is an address of this machine or of a private network; set allow_private = true if that is meant",
    ),
    ["url"],
  ),
  v.forward(v.check(({ format, secret }) => format === "mailgun" || isUsable(secret), NOT_A_KEY), ["secret"]),
  v.forward(v.check(({ format, old_secret }) => format === "mailgun" || isUsable(old_secret), NOT_A_KEY), [
    "old_secret",
  ]),
  v.forward(
    v.check(({ secret, old_secret }) => old_secret === undefined || secret !== undefined, "needs a secret beside it"),
    ["old_secret"],
  ),
  v.forward(
    v.check(
      ({ format, old_secret }) => format !== "mailgun" || old_secret === undefined,
      "means nothing with format mailgun: its requests have one signature",
    ),
    ["old_secret"],
  ),
  v.forward(
    v.check(({ format, include_raw }) => format !== "raw" || !include_raw, "means nothing with format raw"),
    ["include_raw"],
  ),
);

export type WebhookOptions = v.InferOutput<typeof schema>;

export const webhookChannel: ChannelDefinition<WebhookOptions> = {
  type: "webhook",
  summary: "Sends each message to an application over HTTP.",
  schema,
  async open(options, context) {
    const { openWebhook } = await import("./webhook/delivery.ts");
    return await openWebhook(options, context);
  },
};
