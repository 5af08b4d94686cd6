/**
 * The message as a script sees it: the objects of Cloudflare's Email Workers, made from what the channel sends. Runs in the
 * script's thread. It must not know how bytes and requests travel.
 */
import { CR, LF } from "../../smtp/bytes.ts";
import { MAX_REPLY_BYTES } from "./protocol.ts";

type Raw = string | ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer> | ArrayBuffer | Blob;

const rawOf = new WeakMap<EmailMessage, Raw>();

/** What `import { EmailMessage } from "cloudflare:email"` gives: a new message, to be sent with `reply`. */
export class EmailMessage {
  readonly from: string;
  readonly to: string;

  constructor(from: string, to: string, raw: Raw) {
    if (typeof from !== "string" || typeof to !== "string") throw new TypeError("EmailMessage needs two addresses");
    this.from = from;
    this.to = to;
    rawOf.set(this, raw);
  }
}

/** How a message reaches the channel. Rejections are errors for the script. */
export interface MessageLink {
  /** The next piece; undefined at the end. */
  pull(): Promise<Uint8Array | undefined>;
  forward(to: string, headers: readonly (readonly [string, string])[]): Promise<string>;
  reply(from: string, to: string, content: Uint8Array): Promise<string>;
}

export interface MessageFacts {
  readonly from: string;
  readonly to: string;
  readonly sizeBytes: number;
  readonly canBeForwarded: boolean;
  readonly first: Uint8Array;
  readonly isWhole: boolean;
}

/** What was sent with `forward` or `reply`. */
export interface SendResult {
  readonly messageId: string;
}

/** Cloudflare's ForwardableEmailMessage. */
export class ScriptMessage {
  readonly from: string;
  readonly to: string;
  readonly headers: Headers;
  readonly raw: ReadableStream<Uint8Array>;
  readonly rawSize: number;
  readonly canBeForwarded: boolean;
  readonly #link: MessageLink;
  #reason: string | undefined;
  #isReplied = false;

  constructor(facts: MessageFacts, link: MessageLink) {
    this.from = facts.from;
    this.to = facts.to;
    this.headers = headersOf(facts.first);
    this.raw = streamOf(facts, link);
    this.rawSize = facts.sizeBytes;
    this.canBeForwarded = facts.canBeForwarded;
    this.#link = link;
  }

  setReject(reason: string): void {
    this.#reason = String(reason);
  }

  async forward(rcptTo: string, headers?: HeadersInit): Promise<SendResult> {
    if (!this.canBeForwarded) {
      throw new Error('This message cannot be forwarded: the channel has no "forward_channel"');
    }
    const fields = [...new Headers(headers)];
    const wrong = fields.find(([name]) => !/^x-/iu.test(name));
    if (wrong !== undefined) {
      throw new Error(`The header "${wrong[0]}" cannot be added when forwarding: only X- headers can`);
    }
    return { messageId: await this.#link.forward(String(rcptTo), fields) };
  }

  async reply(message: EmailMessage): Promise<SendResult> {
    if (!this.canBeForwarded) {
      throw new Error('This message cannot be replied to: the channel has no "forward_channel"');
    }
    const raw = rawOf.get(message);
    if (raw === undefined) throw new TypeError('A reply must be an EmailMessage from "cloudflare:email"');
    if (this.#isReplied) throw new Error("This message was already replied to");
    // RFC 3834 §2: an automatic response never answers an automatic message, or two of them never end.
    const automatic = this.headers.get("auto-submitted");
    if (automatic !== null && !/^\s*no\b/iu.test(automatic)) {
      throw new Error("This message was sent by a program and must not be replied to (Auto-Submitted)");
    }
    this.#isReplied = true;
    try {
      return { messageId: await this.#link.reply(message.from, message.to, await bytesOf(raw)) };
    } catch (error) {
      this.#isReplied = false;
      throw error;
    }
  }

  /** Why the script rejected the message, or undefined. Not a method of the message, so that no script finds it. */
  static reasonOf(message: ScriptMessage): string | undefined {
    return message.#reason;
  }
}

/** A byte stream that begins with what is there already and asks for the rest when it is read. */
function streamOf(facts: MessageFacts, link: MessageLink): ReadableStream<Uint8Array> {
  let first: Uint8Array | undefined = facts.first;
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const bytes: Uint8Array | undefined = first ?? (facts.isWhole ? undefined : await link.pull());
      first = undefined;
      if (bytes !== undefined && bytes.length > 0) return controller.enqueue(bytes.slice());
      controller.close();
      // A reader with a buffer of its own waits until it gets that back.
      controller.byobRequest?.respond(0);
    },
  });
}

/**
 * The header section, each octet a character, as far as the platform's Headers can hold it: a field that has no proper name
 * or value is left out.
 */
export function headersOf(bytes: Uint8Array): Headers {
  const headers = new Headers();
  let field = "";
  for (const line of headerLines(bytes)) {
    if (/^[ \t]/u.test(line)) {
      field += line;
      continue;
    }
    append(headers, field);
    field = line;
  }
  append(headers, field);
  return headers;
}

function append(headers: Headers, field: string): void {
  const colon = field.indexOf(":");
  if (colon <= 0) return;
  try {
    headers.append(field.slice(0, colon).trimEnd(), field.slice(colon + 1).trim());
  } catch {
    // Not a name or a value that a Headers object may have.
  }
}

/** Lines without their ends, up to the empty one. */
function* headerLines(bytes: Uint8Array): Iterable<string> {
  const latin1 = new TextDecoder("latin1");
  for (let at = 0; at < bytes.length;) {
    const lf = bytes.indexOf(LF, at);
    const end = lf < 0 ? bytes.length : lf;
    const line = bytes.subarray(at, end > at && bytes[end - 1] === CR ? end - 1 : end);
    if (line.length === 0) return;
    yield latin1.decode(line);
    at = end + 1;
  }
}

async function bytesOf(raw: Raw): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  const stream = raw instanceof ReadableStream ? raw : new Response(raw).body;
  if (stream !== null) {
    for await (const piece of stream as unknown as AsyncIterable<Uint8Array | string>) {
      const bytes = typeof piece === "string" ? new TextEncoder().encode(piece) : piece;
      sizeBytes += bytes.length;
      if (sizeBytes > MAX_REPLY_BYTES) throw new Error(`A reply must not be larger than ${MAX_REPLY_BYTES} octets`);
      pieces.push(bytes);
    }
  }
  const all = new Uint8Array(sizeBytes);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
