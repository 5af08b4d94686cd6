/**
 * Text outside ASCII in header fields (RFC 2047): encoded for fields that are added, decoded for rules that read them.
 * Whatever text is given, what comes out can stand in one field and cannot begin another.
 */
import { isAscii, utf8Bytes } from "../smtp/bytes.ts";

/** Text of these bytes in that charset; undefined for a charset that is not known. Conversion is the platform's business. */
export type CharsetDecoder = (charset: string, bytes: Uint8Array) => string | undefined;

/** RFC 2047 §2: an encoded-word has 75 characters at most, `=?utf-8?B?` and `?=` included; base64 works in threes. */
const MAX_WORD_OCTETS = 45;

const CONTROLS = /[\p{Cc}\p{Cs}\u2028\u2029]+/gu;

/** One line without control characters, of at most `maxCharacters`. */
export function safeFieldText(text: string, maxCharacters: number): string {
  const line = text.slice(0, maxCharacters).toWellFormed().replace(CONTROLS, " ");
  return line.trim();
}

/** ASCII as it is, anything else as encoded-words, folded (RFC 2047 §2). The text must have no control characters. */
export function encodeWords(text: string): string {
  // What looks like an encoded-word would be decoded at the other end.
  if (isAscii(text) && !text.includes("=?")) return text;
  const words: string[] = [];
  let chunk = "";
  let octets = 0;
  for (const character of text) {
    const length = utf8Length(character);
    if (octets + length > MAX_WORD_OCTETS) {
      words.push(encodeWord(chunk));
      chunk = "";
      octets = 0;
    }
    chunk += character;
    octets += length;
  }
  if (chunk !== "") words.push(encodeWord(chunk));
  return words.join("\r\n ");
}

function utf8Length(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

function encodeWord(text: string): string {
  return `=?utf-8?B?${utf8Bytes(text).toBase64()}?=`;
}

// encoded-word = "=?" charset [ "*" language ] "?" encoding "?" encoded-text "?=" (RFC 2047 §2, RFC 2231 §5)
const WORD = /=\?([!-)+->@-~]+)(?:\*[!-)+->@-~]*)?\?([bq])\?([!->@-~ ]*)\?=/giu;

/** Replaces encoded-words by what they say; one that cannot be decoded stays as it is. */
export function decodeWords(text: string, decode: CharsetDecoder): string {
  if (!text.includes("=?")) return text;
  // White space between two encoded-words is not part of the text (RFC 2047 §6.2).
  return text.replace(/(\?=)[ \t]+(?==\?)/gu, "$1").replace(
    WORD,
    (word, charset: string, encoding: string, encoded: string) => {
      const bytes = encoding.toLowerCase() === "b" ? base64Bytes(encoded) : quotedBytes(encoded);
      return bytes === undefined ? word : decode(charset, bytes) ?? word;
    },
  );
}

function base64Bytes(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}

function quotedBytes(text: string): Uint8Array {
  const latin1 = text.replaceAll("_", " ").replace(
    /=([0-9a-f]{2})/giu,
    (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return Uint8Array.from(latin1, (character) => character.charCodeAt(0));
}
