/**
 * Messages that tell whether they are whole: each carries its id and the hash of its body, so that a maildir can be
 * checked without a list of what was sent. It must not know how messages travel.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Mulberry32: the same numbers for the same seed, in every runtime. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const POOL_BYTES = 1024 * 1024;
let pool: Buffer | undefined;

/** Lines of 8-bit text of many lengths, some of them beginning with dots. */
function linePool(): Buffer {
  if (pool !== undefined) return pool;
  const bytes = randomBytes(POOL_BYTES);
  // Any octet but NUL, CR and LF.
  for (let at = 0; at < bytes.length; at++) {
    const octet = bytes[at] ?? 0;
    if (octet === 0 || octet === 10 || octet === 13) bytes[at] = 0x2e;
  }
  for (let at = 0;;) {
    const length = (bytes[at] ?? 0) % 128;
    at += 2 + length;
    if (at + 3 > bytes.length) break;
    bytes.write("\r\n", at, "latin1");
    if (length % 16 === 0) bytes.write(".", at + 2, "latin1");
    at += 2;
  }
  return pool = bytes;
}

/** A message of about that size, header included. */
export function makeMail(id: string, sizeBytes: number): Uint8Array {
  const all = linePool();
  const wanted = Math.max(1, Math.min(sizeBytes - 130, POOL_BYTES - 2));
  const from = Math.floor((all.length - wanted) * ((hashOf(Buffer.from(id))[0] ?? 0) / 256));
  const start = all.indexOf("\r\n", from, "latin1") + 2;
  const lines = all.subarray(start, start + wanted);
  // Never half a line end at the cut.
  const whole = lines.subarray(0, Math.max(0, lines.lastIndexOf("\r\n") + 2));
  return mailWithBody(id, Buffer.concat([whole, Buffer.from(`the end of ${id}\r\n`)]));
}

/** A message with this body, which ends with CRLF. */
export function mailWithBody(id: string, body: Uint8Array): Uint8Array {
  const header = `X-Test-Id: ${id}\r\nX-Test-Body: ${hashOf(body).toString("hex")}\r\n\r\n`;
  return Buffer.concat([Buffer.from(header, "latin1"), body]);
}

function hashOf(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** The id in a stored message, and whether its body is as it was made. Undefined: there is no id in it. */
export function inspectMail(stored: Buffer): { readonly id: string; readonly whole: boolean } | undefined {
  const text = stored.subarray(0, 8192).toString("latin1");
  const found = /^X-Test-Id: (\S+)\r\nX-Test-Body: ([0-9a-f]{64})\r\n\r\n/m.exec(text);
  if (found === null) return undefined;
  const body = stored.subarray(found.index + found[0].length);
  return { id: found[1] ?? "", whole: hashOf(body).toString("hex") === found[2] };
}

export interface MaildirContents {
  /** How many copies there are of each id. */
  readonly copies: ReadonlyMap<string, number>;
  /** Files that are not whole messages. */
  readonly damaged: readonly string[];
}

/** What is in `new` of a maildir. Files in `tmp` are deliveries that did not come to their end. */
export async function readMaildir(directory: string): Promise<MaildirContents> {
  const copies = new Map<string, number>();
  const damaged: string[] = [];
  for (const name of await readdir(join(directory, "new")).catch(() => [] as string[])) {
    const mail = inspectMail(await readFile(join(directory, "new", name)));
    if (mail === undefined || !mail.whole) damaged.push(name);
    else copies.set(mail.id, (copies.get(mail.id) ?? 0) + 1);
  }
  return { copies, damaged };
}
