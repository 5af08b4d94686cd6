/**
 * Octets of a file to text, by its byte order mark, by what an XML declaration says, or by trying. It must not know what
 * the text means.
 */

export type Decoded = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly reason: string };

/** UTF-8, or else ISO 8859-1, in which every octet is a character. */
export function decodeText(bytes: Uint8Array): Decoded {
  const marked = decodeMarked(bytes);
  if (marked !== undefined) return marked;
  const utf8 = decodeAs(bytes, "utf-8");
  return utf8.ok ? utf8 : { ok: true, text: latin1(bytes) };
}

/** Encodings that an XML declaration may name, lower case. */
const XML_ENCODINGS: ReadonlySet<string> = new Set(["utf-8", "utf8", "us-ascii", "ascii"]);
const LATIN_ENCODINGS: ReadonlySet<string> = new Set(["iso-8859-1", "iso_8859-1", "latin1", "windows-1252", "cp1252"]);

export function decodeXml(bytes: Uint8Array): Decoded {
  const marked = decodeMarked(bytes);
  if (marked !== undefined) return marked;
  const head = latin1(bytes.subarray(0, 200));
  const encoding = /^\s*<\?xml[^>]*\sencoding\s*=\s*["']([^"']*)["']/u.exec(head)?.[1]?.toLowerCase() ?? "utf-8";
  if (LATIN_ENCODINGS.has(encoding)) return decodeAs(bytes, "windows-1252");
  if (XML_ENCODINGS.has(encoding)) return decodeAs(bytes, "utf-8");
  return { ok: false, reason: "its XML declaration names an encoding that is not known here; save it as UTF-8" };
}

/** By the byte order mark, if there is one. */
function decodeMarked(bytes: Uint8Array): Decoded | undefined {
  const [first, second, third] = bytes;
  if (first === 0xff && second === 0xfe) return decodeAs(bytes, "utf-16le");
  if (first === 0xfe && second === 0xff) return decodeAs(bytes, "utf-16be");
  if (first === 0xef && second === 0xbb && third === 0xbf) return decodeAs(bytes, "utf-8");
  return undefined;
}

function decodeAs(bytes: Uint8Array, encoding: string): Decoded {
  try {
    return { ok: true, text: new TextDecoder(encoding, { fatal: true }).decode(bytes) };
  } catch {
    return { ok: false, reason: `it is not ${encoding.toUpperCase()}` };
  }
}

function latin1(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 8192) parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  return parts.join("");
}
