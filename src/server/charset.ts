/**
 * Charsets as the platform knows them, for text in header fields. It must not know what the text is for.
 */

/** Malformed bytes become U+FFFD; undefined for a charset that nobody knows. */
export function decodeCharset(charset: string, bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return undefined;
  }
}
