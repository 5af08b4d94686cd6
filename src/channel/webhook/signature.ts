/**
 * Signatures of requests as Standard Webhooks has them: an HMAC-SHA-256 over id, time and body, with one key or, while keys
 * are changed, with two. It must not know what a body is, and works on one of any size.
 */
import { createHmac } from "node:crypto";

/** One request's signature, made as its body goes by. */
export class Signature {
  readonly #hmacs: readonly ReturnType<typeof createHmac>[];

  /** `id` stays the same over retries, `timestampMs` does not. */
  constructor(keys: readonly Uint8Array[], id: string, timestampMs: number) {
    const start = `${id}.${unixSeconds(timestampMs)}.`;
    this.#hmacs = keys.map((key) => createHmac("sha256", key).update(start));
  }

  update(bytes: Uint8Array): void {
    for (const hmac of this.#hmacs) hmac.update(bytes);
  }

  /** The value of webhook-signature. */
  finish(): string {
    return this.#hmacs.map((hmac) => `v1,${hmac.digest("base64")}`).join(" ");
  }
}

export function unixSeconds(timeMs: number): string {
  return String(Math.floor(timeMs / 1_000));
}

/** HMAC-SHA-256 in hexadecimal digits. */
export function hexHmac(key: string, text: string): string {
  return createHmac("sha256", key).update(text).digest("hex");
}
