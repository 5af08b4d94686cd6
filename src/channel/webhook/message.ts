/**
 * A message taken apart for formats that have its parts: header fields, addresses, text, HTML, attachments. Whatever the
 * message says, names and types are made harmless for the places they are put in. It must not know the formats.
 */
import PostalMime, { type Address, addressParser, decodeWords, type Email } from "postal-mime";
import { oneLine } from "../content.ts";
import { UnreadableMessageError } from "./error.ts";

/** A message whose parts are nested deeper is made to hurt. */
const NESTING_MAX = 100;

const HEADER_MAX_BYTES = 1_024 * 1_024;

const MEDIA_TYPE = /^[a-z0-9!#$&^_.+-]{1,127}\/[a-z0-9!#$&^_.+-]{1,127}$/u;

export interface NameAndAddress {
  /** Decoded; "" when there is none. */
  readonly name: string;
  readonly address: string;
}

export interface HeaderField {
  readonly name: string;
  /** Unfolded, not decoded. */
  readonly value: string;
}

export interface Attachment {
  /** As the sender calls it, in one line; undefined when it has no name. */
  readonly givenName: string | undefined;
  /** Never empty. */
  readonly fileName: string;
  readonly contentType: string;
  readonly disposition: string | undefined;
  /** Without angle brackets. */
  readonly contentId: string | undefined;
  readonly bytes: Uint8Array;
  readonly base64: string;
}

export class ParsedMessage {
  /** The whole message. */
  readonly raw: Uint8Array;
  readonly text: string | undefined;
  readonly html: string | undefined;
  /** In order. */
  readonly headers: readonly HeaderField[];
  readonly attachments: readonly Attachment[];
  readonly #email: Email;

  /** Throws `UnreadableMessageError`. */
  static async parse(raw: Uint8Array): Promise<ParsedMessage> {
    try {
      const options = { maxNestingDepth: NESTING_MAX, maxHeadersSize: HEADER_MAX_BYTES, forceRfc822Attachments: true };
      return new ParsedMessage(raw, await PostalMime.parse(raw, options));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new UnreadableMessageError(`The message cannot be taken apart: ${oneLine(reason)}`, { cause: error });
    }
  }

  private constructor(raw: Uint8Array, email: Email) {
    this.raw = raw;
    this.#email = email;
    this.text = email.text;
    this.html = email.html;
    this.headers = email.headers.map(({ originalKey, value }) => ({ name: originalKey, value }));
    this.attachments = email.attachments.map((attachment, index) => new ParsedAttachment(attachment, index + 1));
  }

  get rawBase64(): string {
    return this.raw.toBase64();
  }

  /** The header section as it is, without the empty line. */
  get headerText(): string {
    const text = new TextDecoder().decode(this.raw.subarray(0, HEADER_MAX_BYTES));
    const end = /\r?\n\r?\n/u.exec(text);
    return end === null ? text : text.slice(0, end.index);
  }

  /** The decoded text of the first field of that name, which is given in lower case; "" when there is none. */
  field(name: string): string {
    const found = this.#email.headers.find(({ key }) => key === name);
    return found === undefined ? "" : oneText(decodeWords(found.value));
  }

  /** The mailboxes of all fields of that name, those in groups too. */
  mailboxes(name: "from" | "sender" | "reply-to" | "to" | "cc" | "bcc"): readonly NameAndAddress[] {
    const fields = this.#email.headers.filter(({ key }) => key === name);
    return fields.flatMap(({ value }) => addressParser(value).flatMap(flattened));
  }

  /** ISO 8601; undefined when there is no date or none that can be read. */
  get date(): string | undefined {
    const time = Date.parse(this.field("date"));
    return Number.isNaN(time) ? undefined : new Date(time).toISOString();
  }
}

class ParsedAttachment implements Attachment {
  readonly givenName: string | undefined;
  readonly fileName: string;
  readonly contentType: string;
  readonly disposition: string | undefined;
  readonly contentId: string | undefined;
  readonly bytes: Uint8Array;
  #base64: string | undefined;

  constructor(attachment: Email["attachments"][number], number: number) {
    const { filename, mimeType, disposition, contentId, content } = attachment;
    const name = oneText(filename ?? "");
    this.givenName = name === "" ? undefined : name;
    const type = mimeType.toLowerCase();
    this.contentType = MEDIA_TYPE.test(type) ? type : "application/octet-stream";
    this.fileName = this.givenName ?? (type === "message/rfc822" ? `message-${number}.eml` : `attachment-${number}`);
    this.disposition = disposition === null ? undefined : oneText(disposition);
    const id = oneText(contentId ?? "").replace(/^<|>$/gu, "");
    this.contentId = id === "" ? undefined : id;
    this.bytes = typeof content === "string" ? new TextEncoder().encode(content) : new Uint8Array(content);
  }

  /** Made once for all recipients. */
  get base64(): string {
    return this.#base64 ??= this.bytes.toBase64();
  }
}

function flattened(address: Address): readonly NameAndAddress[] {
  const mailboxes = address.group ?? [address];
  return mailboxes.map(({ name, address }) => ({ name: oneText(name), address: oneText(address) }));
}

/** One line of any length. */
function oneText(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
}
