/**
 * What every format has in common: what it is made of, what comes out, and the two encodings of forms. It must not know
 * the formats.
 */
import type { StoredMessage } from "../../spool/spool.ts";
import type { JobRecipient } from "../channel.ts";
import type { TemplateValues } from "../template.ts";
import type { ParsedMessage } from "./message.ts";

/** One request to be made. Plain values alone: it goes to a thread. */
export interface Dispatch {
  /** Names the delivery for the receiver; the same at each attempt. */
  readonly id: string;
  readonly message: StoredMessage;
  readonly recipient: JobRecipient;
  readonly values: TemplateValues;
  readonly nowMs: number;
  /** 25 random bytes, new for each request. */
  readonly nonce: Uint8Array;
  readonly includeRaw: boolean;
  /** The path of the URL. */
  readonly path: string;
  /** The secret as it is configured, for formats with signatures of their own. */
  readonly secret: string | undefined;
}

export interface Payload {
  readonly contentType: string;
  readonly pieces: readonly Uint8Array[];
}

export type FormatMessage = (message: ParsedMessage, dispatch: Dispatch) => Payload;

const encoder = new TextEncoder();

export function jsonPayload(value: unknown): Payload {
  return { contentType: "application/json", pieces: [encoder.encode(JSON.stringify(value))] };
}

export function hexDigits(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** The envelope's recipient as RCPT gave it. */
export function originalRecipient({ recipient: { delivery } }: Dispatch): string {
  return delivery.originalRecipient ?? delivery.recipient;
}

/** A form in the making: urlencoded, or multipart/form-data (RFC 7578) as soon as it has a file or when that is wanted. */
export class Form {
  readonly #fields: (readonly [name: string, value: string])[] = [];
  readonly #files: {
    readonly name: string;
    readonly fileName: string;
    readonly type: string;
    readonly bytes: Uint8Array;
  }[] = [];

  field(name: string, value: string): void {
    this.#fields.push([name, value]);
  }

  file(
    name: string,
    file: { readonly fileName: string; readonly contentType: string; readonly bytes: Uint8Array },
  ): void {
    this.#files.push({ name, fileName: file.fileName, type: file.contentType, bytes: file.bytes });
  }

  get hasFiles(): boolean {
    return this.#files.length > 0;
  }

  urlencoded(): Payload {
    const text = new URLSearchParams(this.#fields.map(([name, value]) => [name, value.toWellFormed()])).toString();
    return { contentType: "application/x-www-form-urlencoded", pieces: [encoder.encode(text)] };
  }

  /** No content has the boundary in it: it has 128 random bits. */
  multipart(nonce: Uint8Array): Payload {
    const boundary = `smtpd-${hexDigits(nonce.subarray(0, 16))}`;
    const pieces: Uint8Array[] = [];
    const add = (text: string) => void pieces.push(encoder.encode(text));
    for (const [name, value] of this.#fields) {
      add(`--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"\r\n\r\n${value}\r\n`);
    }
    for (const { name, fileName, type, bytes } of this.#files) {
      add(
        `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"; filename="${quoted(fileName)}"\r\n` +
          `Content-Type: ${type}\r\n\r\n`,
      );
      pieces.push(bytes);
      add("\r\n");
    }
    add(`--${boundary}--\r\n`);
    return { contentType: `multipart/form-data; boundary=${boundary}`, pieces };
  }
}

/** As browsers do: nothing ends the name or its line. */
function quoted(name: string): string {
  return name.replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll('"', "%22");
}
