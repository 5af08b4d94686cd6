/**
 * What the server stored in a maildir: the fields that it added on top, and the rest, which is what was sent. It must not
 * know who sent it.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface StoredMail {
  readonly returnPath: string;
  readonly deliveredTo: string;
  /** Unfolded, from `from` to the date. */
  readonly received: string;
  /** Everything below the fields that were added. */
  readonly content: Buffer;
}

/** Deliveries follow the reply within milliseconds; on a busy machine with a slow disk within seconds. */
const DELIVERY_TIMEOUT_MS = 60_000;

/** The mail of a maildir, each file read once. */
export class MaildirReader {
  readonly #path: string;
  readonly #seen = new Set<string>();
  readonly #mail: StoredMail[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** Everything stored until now. */
  async all(): Promise<readonly StoredMail[]> {
    for (const name of await readdir(join(this.#path, "new"))) {
      if (this.#seen.has(name)) continue;
      this.#seen.add(name);
      const bytes = await readFile(join(this.#path, "new", name));
      assert.equal(/,S=(\d+)$/.exec(name)?.[1], String(bytes.length), "The size in the file's name");
      this.#mail.push(parseStored(bytes));
    }
    return this.#mail;
  }

  /** Waits for the mail of a recipient, and fails when there is more than one. */
  async of(recipient: string): Promise<StoredMail> {
    const [mail] = await this.ofEach([recipient]);
    if (mail === undefined) throw new Error(`There is no mail for <${recipient}>`);
    return mail;
  }

  /** The same for several recipients, in their order. */
  async ofEach(recipients: readonly string[]): Promise<readonly StoredMail[]> {
    const deadline = Date.now() + DELIVERY_TIMEOUT_MS;
    for (;;) {
      const byRecipient = Map.groupBy(await this.all(), (mail) => mail.deliveredTo);
      const missing = recipients.filter((recipient) => !byRecipient.has(recipient));
      if (missing.length === 0) {
        return recipients.map((recipient) => {
          const [first, ...more] = byRecipient.get(recipient) ?? [];
          assert.equal(more.length, 0, `There is more than one copy for <${recipient}>`);
          return first as StoredMail;
        });
      }
      if (Date.now() > deadline) throw new Error(`There is no mail for ${missing.join(", ")}`);
      await sleep(25);
    }
  }
}

export function parseStored(bytes: Buffer): StoredMail {
  const text = bytes.toString("latin1");
  const top = /^Return-Path: <(.*)>\r\nDelivered-To: (.*)\r\nReceived: ((?:.*\r\n\t){2}.*)\r\n/.exec(text);
  assert.ok(top !== null, `The stored message begins otherwise: ${JSON.stringify(text.slice(0, 300))}`);
  const [all, returnPath = "", deliveredTo = "", received = ""] = top;
  return {
    returnPath: fromUtf8(returnPath),
    deliveredTo: fromUtf8(deliveredTo),
    received: fromUtf8(received.replace(/\r\n\t/g, " ")),
    content: bytes.subarray(all.length),
  };
}

function fromUtf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}
