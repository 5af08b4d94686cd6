/**
 * Parses and checks a certificate chain with its private key, for both runtimes. It must not know how a runtime shakes
 * hands: each keeps what it needs for that in the identity.
 */
import process from "node:process";
import { type TlsIdentity, TlsIdentityError, type TlsKeyPair } from "./runtime.ts";

/** A key pair that was found usable. `native` is what the runtime's TLS wants to be given. */
export class ParsedTlsIdentity<Native> implements TlsIdentity {
  readonly kind = "tls-identity";
  readonly notAfterMs: number;
  readonly native: Native;
  constructor(notAfterMs: number, native: Native) {
    this.notAfterMs = notAfterMs;
    this.native = native;
  }
}

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Checks the pair and gives the end of validity of its leaf certificate, in milliseconds since the epoch.
 * Throws `TlsIdentityError`. The cryptography is loaded here and not before, because most commands need none.
 */
export function checkKeyPair(pair: TlsKeyPair): number {
  const { X509Certificate, createPrivateKey } = process.getBuiltinModule("node:crypto");
  const blocks = pair.certificate.match(CERTIFICATE_BLOCK) ?? [];
  if (blocks.length === 0) {
    throw new TlsIdentityError(
      'Cannot read the certificate: it holds no "BEGIN CERTIFICATE" block. Give a PEM file, the leaf certificate first.',
      "certificate",
    );
  }
  const chain = blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      const which = `certificate ${index + 1} of ${blocks.length}`;
      throw new TlsIdentityError(`Cannot read ${which}: it is damaged. Give an intact PEM file.`, "certificate", cause);
    }
  });
  let key;
  try {
    key = createPrivateKey(pair.privateKey);
  } catch (cause) {
    const advice = pair.privateKey.includes("ENCRYPTED")
      ? "it is encrypted. Give it without a passphrase, readable by this service alone."
      : "it is no PEM private key. Give one unencrypted PKCS#8, PKCS#1 or SEC1 block.";
    throw new TlsIdentityError(`Cannot read the private key: ${advice}`, "privateKey", cause);
  }
  const leaf = chain[0];
  if (leaf === undefined || !leaf.checkPrivateKey(key)) {
    throw new TlsIdentityError(
      "The private key does not belong to the certificate. The leaf must be the file's first certificate; " +
        "give the key that its request was made with.",
      "pair",
    );
  }
  return Date.parse(leaf.validTo);
}

/** Makes sure that the TLS library takes the pair too; it refuses keys that are too weak, for example. */
export function secureContext(pair: TlsKeyPair): import("node:tls").SecureContext {
  const { createSecureContext } = process.getBuiltinModule("node:tls");
  try {
    return createSecureContext({ cert: pair.certificate, key: pair.privateKey, minVersion: "TLSv1.2" });
  } catch (cause) {
    const said = cause instanceof Error ? cause.message.replace(/[^\x20-\x7e]+/g, " ") : "no reason given";
    throw new TlsIdentityError(`The TLS library refuses the key pair: "${said}". Make a new one.`, "pair", cause);
  }
}

/** The name a client asked for, when it is fit to be shown. */
export function shownServerName(name: unknown): { readonly serverName?: string } {
  return typeof name === "string" && /^[\x21-\x7e]{1,255}$/.test(name) ? { serverName: name } : {};
}
