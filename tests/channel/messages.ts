/**
 * Small messages that are hard to store unchanged, and, when SMTPD_CORPUS names a directory, the files below it.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesOf } from "./channel_world.ts";

const HEADER = "From: Ann <ann@example.org>\r\nTo: bob@example.com\r\nSubject: Test\r\n\r\n";

/** Every byte but CR and LF, each followed by an "a", as one line. */
const EIGHT_BIT = Uint8Array.from([
  ...Array.from({ length: 256 }, (_, value) => value)
    .filter((value) => value !== 0x0a && value !== 0x0d)
    .flatMap((value) => [value, 0x61]),
  0x0d,
  0x0a,
]);

function joined(text: string, bytes: Uint8Array): Uint8Array {
  const head = bytesOf(text);
  const all = new Uint8Array(head.length + bytes.length);
  all.set(head);
  all.set(bytes, head.length);
  return all;
}

const written: Readonly<Record<string, Uint8Array>> = {
  plain: bytesOf(`${HEADER}Hello\r\n`),
  "no body": bytesOf("Subject: Only a header\r\n\r\n"),
  "no line end at the end": bytesOf(`${HEADER}The last line stops`),
  "ends in a lone CR": bytesOf(`${HEADER}odd\r`),
  "ends in From": bytesOf(`${HEADER}odd\r\nFrom`),
  "empty lines at the end": bytesOf(`${HEADER}Hello\r\n\r\n\r\n\r\n`),
  "lines like separators": bytesOf(
    `${HEADER}From here on\r\n>From quoted\r\n>>>>From deeper\r\nFrom\r\nFromage\r\n> From no\r\n From no\r\nfrom no\r\n` +
      `${">".repeat(5_000)}From very deep\r\n${
        ">".repeat(300)
      }\r\nFrom \r\n\r\nFrom ann@example.org Sat Aug  1 09:08:07 2026\r\n`,
  ),
  dots: bytesOf(`${HEADER}.\r\n..\r\n.From\r\n`),
  "bare line ends": bytesOf(`${HEADER}one\rtwo\r\rthree\r\r\nfour\r\n\r\r\n`),
  "every byte": joined(HEADER, EIGHT_BIT),
  "a line of 200,000": bytesOf(`${HEADER}${"x".repeat(200_000)}\r\n`),
  "UTF-8 header": bytesOf("Subject: Grüße ✉\r\n\r\nZwölf\r\n"),
};

/** By name, in a stable order. */
export async function messages(): Promise<readonly (readonly [name: string, content: Uint8Array])[]> {
  const corpus = process.env["SMTPD_CORPUS"];
  if (corpus === undefined) return Object.entries(written);
  const names = (await readdir(corpus, { recursive: true })).sort();
  const found: [string, Uint8Array][] = [];
  for (const name of names) {
    if (!/\.(eml|txt|msg)$|\/[^.]+$/.test(name)) continue;
    const content = await readFile(join(corpus, name)).catch(() => undefined);
    if (content !== undefined) found.push([name, Uint8Array.from(content)]);
  }
  return [...Object.entries(written), ...found];
}
