/**
 * Bytes to text and back, for the core: it may not use the platform's encoders, which are not part of the language.
 * It must not know what the bytes mean.
 */

export const NUL = 0x00;
export const LF = 0x0a;
export const CR = 0x0d;
export const DOT = 0x2e;

export const EMPTY = new Uint8Array(0);

/** `text` must be ASCII; other characters lose their high bits. */
export function asciiBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index) & 0x7f;
  return bytes;
}

/** One character per byte, U+0000 to U+00FF. For short inputs such as command lines. */
export function latin1Text(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}

/** Whether any byte is above 0x7F, given one character per byte. */
export function isAscii(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/[^\x00-\x7f]/.test(text);
}

/** Tab, space and visible ASCII only: what may stand in a reply's text (RFC 5321 §4.2). */
export function isPrintableAscii(text: string): boolean {
  return !/[^\t\x20-\x7e]/.test(text);
}

/** Decodes UTF-8 given as one character per byte; undefined when it is malformed (RFC 3629 §4). */
export function utf8Text(latin1: string): string | undefined {
  if (isAscii(latin1)) return latin1;
  let escaped = "";
  for (let index = 0; index < latin1.length; index++) {
    const code = latin1.charCodeAt(index);
    escaped += code < 0x80 && code !== 0x25 ? latin1.charAt(index) : `%${code.toString(16).padStart(2, "0")}`;
  }
  try {
    return decodeURIComponent(escaped);
  } catch {
    return undefined;
  }
}

/** Encodes as UTF-8; lone surrogates become U+FFFD. */
export function utf8Bytes(text: string): Uint8Array {
  if (isAscii(text)) return asciiBytes(text);
  const escaped = encodeURIComponent(text.toWellFormed());
  const bytes: number[] = [];
  for (let index = 0; index < escaped.length; index++) {
    if (escaped.charAt(index) === "%") {
      bytes.push(Number.parseInt(escaped.slice(index + 1, index + 3), 16));
      index += 2;
    } else bytes.push(escaped.charCodeAt(index));
  }
  return Uint8Array.from(bytes);
}

export function concatBytes(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1 && pieces[0] !== undefined) return pieces[0];
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    joined.set(piece, offset);
    offset += piece.length;
  }
  return joined;
}
