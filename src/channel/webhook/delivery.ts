/**
 * Deliveries to an application: one request for each recipient, judged by its answer. It must not know of leases or
 * retries; the time limit is whoever aborts the signal.
 */
import type { Secret } from "../../config/config.ts";
import { readSecret, SecretError } from "../../config/secret.ts";
import { FileError, type HttpBody, type HttpClient, TransportError } from "../../runtime/runtime.ts";
import type { Channel, ChannelContext, Job, JobRecipient, Outcome } from "../channel.ts";
import { Mutex, oneLine } from "../content.ts";
import { templateValues } from "../template.ts";
import {
  BOUNCE_STATUS,
  isFieldValue,
  type ParsedFormat,
  POSTMARK_BOUNCE_STATUS,
  type WebhookOptions,
} from "../webhook.ts";
import { UnreadableMessageError } from "./error.ts";
import { FormatError, Formatter } from "./formatter.ts";
import { type Verdict, verdictOf } from "./outcome.ts";
import type { Dispatch } from "./payload.ts";
import { RawContent, wholeContent } from "./raw.ts";
import { signingKey } from "./secret.ts";
import { Signature, unixSeconds } from "./signature.ts";
import { checkAddress, permittedAddresses, PrivateAddressError } from "./target.ts";

/** A message taken apart and put together again takes several times its size: those above this go one by one. */
const LARGE_BYTES = 1_024 * 1_024;

/** What the largest of the things made of it takes. */
const NONCE_BYTES = 25;

type Fields = readonly (readonly [name: string, value: string])[];

/** Secrets as they are at the moment of an attempt, so that a new one needs no new configuration. */
interface Credentials {
  readonly fields: Fields;
  /** For Standard Webhooks. */
  readonly keys: readonly Uint8Array[];
  /** For formats with signatures of their own. */
  readonly secret: string | undefined;
}

/** Makes the content type, the body and perhaps further fields of one request. */
type Prepare = (
  dispatch: Dispatch,
  signature: Signature | undefined,
) => Promise<{ readonly contentType: string; readonly fields: Fields; readonly body: HttpBody }>;

export async function openWebhook(options: WebhookOptions, context: ChannelContext): Promise<Channel> {
  const { http, resolver, files } = context.runtime;
  const { allow_private, ca_file } = options;
  const client = await http.open({
    addressesOf: (host) => permittedAddresses(host, resolver, allow_private),
    ...(ca_file === undefined ? {} : { authorities: await files.readText(ca_file) }),
  });
  return new WebhookChannel(options, context, client);
}

class WebhookChannel implements Channel {
  readonly #options: WebhookOptions;
  readonly #context: ChannelContext;
  readonly #client: HttpClient;
  readonly #url: URL;
  readonly #bounceStatus: readonly number[];
  readonly #formatter: Formatter;
  readonly #large = new Mutex();

  constructor(options: WebhookOptions, context: ChannelContext, client: HttpClient) {
    this.#options = options;
    this.#context = context;
    this.#client = client;
    this.#formatter = new Formatter(context.runtime.workers, context.runtime.clock);
    this.#url = new URL(options.url);
    this.#bounceStatus = options.bounce_status ??
      (options.format === "postmark" ? POSTMARK_BOUNCE_STATUS : BOUNCE_STATUS);
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    const { format } = this.#options;
    const { sizeBytes } = job.message;
    using _turn = format !== "raw" && sizeBytes > LARGE_BYTES ? await this.#large.acquire(signal) : undefined;
    const prepare = format === "raw" ? this.#raw(job, signal) : this.#parsed(job, format, signal);
    for (const recipient of job.recipients) {
      if (signal.aborted) return;
      yield { ...await this.#attempt(job, recipient, prepare, signal), deliveryId: recipient.deliveryId };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#formatter[Symbol.asyncDispose]();
    await this.#client[Symbol.asyncDispose]();
  }

  async #attempt(job: Job, recipient: JobRecipient, prepare: Prepare, signal: AbortSignal): Promise<Verdict> {
    const { clock } = this.#context.runtime;
    try {
      checkAddress(this.#url, this.#options.allow_private);
      const { fields, keys, secret } = await this.#credentials();
      const dispatch = this.#dispatch(job, recipient, secret);
      const signature = keys.length === 0 ? undefined : new Signature(keys, dispatch.id, dispatch.nowMs);
      const prepared = await prepare(dispatch, signature);
      const response = await this.#client.request({
        method: this.#options.method,
        url: this.#url,
        headers: [
          ...fields,
          ["Content-Type", prepared.contentType],
          ...prepared.fields,
          ["webhook-id", dispatch.id],
          ...signatureFields(dispatch, signature),
        ],
        body: prepared.body,
        keepBytes: this.#options.max_response,
      }, signal);
      return verdictOf(response, { host: this.#url.host, bounceStatus: this.#bounceStatus, nowMs: clock.nowMs() });
    } catch (error) {
      if (error instanceof UnreadableMessageError) return { kind: "failed", detail: oneLine(error.message) };
      // All of it can be put right: by the receiver, by the network, or in the configuration.
      if (!isExpected(error)) throw error;
      return { kind: "deferred", detail: oneLine(error.message) };
    }
  }

  #dispatch(job: Job, recipient: JobRecipient, secret: string | undefined): Dispatch {
    const { clock, random } = this.#context.runtime;
    return {
      // The number alone begins again when a spool is made anew.
      id: `${job.message.id}-${recipient.deliveryId}`,
      message: job.message,
      recipient: { deliveryId: recipient.deliveryId, delivery: recipient.delivery, attempts: recipient.attempts },
      values: templateValues(job.message, recipient.delivery, this.#context),
      nowMs: clock.nowMs(),
      nonce: random.bytes(NONCE_BYTES),
      includeRaw: this.#options.include_raw,
      path: this.#url.pathname,
      secret,
    };
  }

  #raw(job: Job, signal: AbortSignal): Prepare {
    const content = new RawContent(job, signal);
    return async (dispatch, signature) => ({
      contentType: "message/rfc822",
      fields: envelopeFields(dispatch),
      body: await content.bodyFor(dispatch, signature),
    });
  }

  #parsed(job: Job, format: ParsedFormat, signal: AbortSignal): Prepare {
    const maxBytes = this.#options.max_parsed_size;
    let whole: Promise<Uint8Array | undefined> | undefined;
    return async (dispatch, signature) => {
      const raw = await (whole ??= wholeContent(job, maxBytes, signal));
      if (raw === undefined) {
        throw new UnreadableMessageError(
          `The message is larger than ${maxBytes} bytes; raise max_parsed_size, or use format = "raw"`,
        );
      }
      const { contentType, pieces } = await this.#formatter.payload(raw, format, dispatch, signal);
      for (const piece of pieces) signature?.update(piece);
      const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      return { contentType, fields: [], body: { sizeBytes, pieces: () => pieces } };
    };
  }

  async #credentials(): Promise<Credentials> {
    const { format, headers, secret, old_secret } = this.#options;
    const fields: [string, string][] = [];
    const named = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
    if (!named.has("user-agent")) fields.push(["User-Agent", "smtpd"]);
    if (!named.has("authorization") && this.#url.username !== "") fields.push(["Authorization", basic(this.#url)]);
    for (const [name, where] of Object.entries(headers)) {
      const value = await this.#read(where);
      if (!isFieldValue(value)) {
        throw new SecretError(`The value for the header field "${name}" has characters that no header field may have`);
      }
      fields.push([name, value]);
    }
    if (format === "mailgun") {
      return { fields, keys: [], secret: secret === undefined ? undefined : await this.#read(secret) };
    }
    const keys: Uint8Array[] = [];
    for (const [name, where] of Object.entries({ secret, old_secret })) {
      if (where === undefined) continue;
      const key = signingKey(await this.#read(where));
      if (!key.ok) throw new SecretError(`The ${name} cannot be used for signatures: it ${key.message}`);
      keys.push(key.key);
    }
    return { fields, keys, secret: undefined };
  }

  #read(secret: Secret): Promise<string> | string {
    if (secret.kind === "inline") return secret.value;
    const { files, processes } = this.#context.runtime;
    return readSecret(secret, { files, environment: (name) => processes.environment(name) });
  }
}

function isExpected(error: unknown): error is Error {
  return error instanceof TransportError || error instanceof PrivateAddressError || error instanceof SecretError ||
    error instanceof FileError || error instanceof FormatError;
}

function signatureFields(dispatch: Dispatch, signature: Signature | undefined): Fields {
  if (signature === undefined) return [];
  return [["webhook-timestamp", unixSeconds(dispatch.nowMs)], ["webhook-signature", signature.finish()]];
}

/** What the URL says before its host (RFC 7617 §2). */
function basic({ username, password }: URL): string {
  const text = `${decoded(username)}:${decoded(password)}`;
  return `Basic ${new TextEncoder().encode(text).toBase64()}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A "%" that stands for itself.
    return text;
  }
}

/** The envelope for a body that has none. */
function envelopeFields({ id, message, recipient, values }: Dispatch): Fields {
  const { envelope, receivedAtMs } = message;
  const { delivery } = recipient;
  const { origin } = envelope;
  const fields: readonly (readonly [string, string | undefined])[] = [
    ["Delivery-Id", id],
    ["Message-Id", message.id],
    ["Attempt", String(recipient.attempts + 1)],
    ["Sender", envelope.reversePath],
    ["Recipient", delivery.recipient],
    ["Original-Recipient", delivery.originalRecipient ?? delivery.recipient],
    ["Extension", values.extension],
    ["Received-At", new Date(receivedAtMs).toISOString()],
    ["Listener", origin.listener],
    ["Client-Address", origin.address],
    ["Client-Helo", origin.helo],
    ["Client-Protocol", origin.protocol],
    ["Channel", delivery.channel],
    ["Envid", envelope.envid],
  ];
  return fields.flatMap(([name, value]) =>
    value === undefined ? [] : [[`X-Smtpd-${name}`, headerText(value)] as const]
  );
}

/** ASCII as it is; controls, everything outside ASCII, and "%" for a way back, as "%" and two digits for each octet. */
function headerText(text: string): string {
  return text.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]|^ | $/gu, (character) => encodeURIComponent(character));
}
