/**
 * The messages that every client sends: the project's own below tests/corpus, and those of a further directory when there
 * is one: $SMTPD_CORPUS, or ../shared/corpus/mail beside the project. It must not know how they are sent.
 */
import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { projectRoot } from "../helpers/server_process.ts";

export interface Letter {
  /** Its file, for messages of failed tests. */
  readonly name: string;
  /** As it stands on the wire, before dots are doubled: each line ends with CRLF; the last one may have no end. */
  readonly bytes: Buffer;
}

let loaded: Promise<readonly Letter[]> | undefined;

/** All of them, in the same order each time. */
export function letters(): Promise<readonly Letter[]> {
  return loaded ??= load();
}

/** One of the project's own, by the name of its file without the ending. */
export async function letter(name: string): Promise<Letter> {
  const found = (await letters()).find((candidate) => candidate.name === `corpus/${name}.eml`);
  if (found === undefined) throw new Error(`There is no message "${name}" in tests/corpus`);
  return found;
}

async function load(): Promise<readonly Letter[]> {
  const own = join(projectRoot, "tests/corpus");
  const named = process.env["SMTPD_CORPUS"];
  const beside = join(projectRoot, "../shared/corpus/mail");
  const further = named ?? (await stat(beside).then((found) => found.isDirectory(), () => false) ? beside : undefined);
  const found = await lettersBelow(own);
  assert.ok(found.length >= 12, `There are only ${found.length} messages in ${own}`);
  return further === undefined ? found : [...found, ...await lettersBelow(further)];
}

async function lettersBelow(directory: string): Promise<readonly Letter[]> {
  const entries = await readdir(directory, { recursive: true });
  const names = entries.map((entry) => entry.replaceAll("\\", "/")).filter((entry) => entry.endsWith(".eml")).sort();
  assert.ok(names.length > 0, `There are no messages in ${directory}`);
  return await Promise.all(names.map(async (name) => ({
    name: `${basename(directory)}/${name}`,
    bytes: withCrlf(await readFile(join(directory, name))),
  })));
}

/** Every line end as CRLF, whatever it was. */
function withCrlf(bytes: Buffer): Buffer {
  return Buffer.from(bytes.toString("latin1").replace(/\r\n|\r|\n/g, "\r\n"), "latin1");
}

/** The message as DATA can carry it: the end of data stands at the start of a line, so the last line has an end. */
export function asData(bytes: Buffer): Buffer {
  const ended = bytes.length === 0 || bytes.subarray(-2).equals(CRLF);
  return ended ? bytes : Buffer.concat([bytes, CRLF]);
}

/** What a client writes behind the 354: dots doubled (RFC 5321 §4.5.2), and the end of data. */
export function onTheWire(bytes: Buffer): Buffer {
  const stuffed = asData(bytes).toString("latin1").replace(/^\./gm, "..");
  return Buffer.from(`${stuffed}.\r\n`, "latin1");
}

const CRLF = Buffer.from("\r\n");

/** Fails with the place of the first difference, which is more use than two long messages. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  let at = 0;
  while (at < actual.length && at < expected.length && actual[at] === expected[at]) at++;
  const around = (bytes: Uint8Array) => {
    return JSON.stringify(Buffer.from(bytes.subarray(Math.max(0, at - 20), at + 30)).toString("latin1"));
  };
  assert.fail(
    `${what}: ${actual.length} octets instead of ${expected.length}; from octet ${at} on they differ: ` +
      `${around(actual)} instead of ${around(expected)}`,
  );
}
