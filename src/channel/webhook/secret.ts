/**
 * The form that secrets of Standard Webhooks have. It computes nothing, so that a configuration can be checked without
 * loading what does.
 */

const PREFIX = "whsec_";

/** What the standard asks for at least. */
const KEY_BYTES = 24;

export type SigningKey =
  | { readonly ok: true; readonly key: Uint8Array }
  | { readonly ok: false; readonly message: string };

/** The key in a secret: base64, "whsec_" before it or not, as receivers' libraries read it. */
export function signingKey(secret: string): SigningKey {
  const text = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret;
  if (!/^[A-Za-z0-9+/]+={0,2}$/u.test(text)) return { ok: false, message: "is not in base64" };
  let key: Uint8Array;
  try {
    key = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return { ok: false, message: "is not in base64" };
  }
  return key.length < KEY_BYTES ? { ok: false, message: `has less than ${KEY_BYTES} bytes` } : { ok: true, key };
}
