/**
 * Makes a self-signed certificate for trying smtpd on this machine: localhost, 127.0.0.1 and ::1. Arguments: where the
 * certificate and where the private key go. A real server has a certificate that clients can verify.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { generate } from "selfsigned";

/** The longest that Apple's and other clients accept. */
const validDays = 825;

const [certificateFile, keyFile] = process.argv.slice(2);
if (certificateFile === undefined || keyFile === undefined) {
  console.error("certificate: Say where to write the certificate and where to write the key.");
  process.exit(64);
}

const now = Date.now();
const pair = await generate([{ name: "commonName", value: "localhost" }], {
  keyType: "ec",
  curve: "P-256",
  algorithm: "sha256",
  // A clock that is a little late must not find it not yet valid.
  notBeforeDate: new Date(now - 3_600_000),
  notAfterDate: new Date(now + validDays * 86_400_000),
  extensions: [
    { name: "basicConstraints", cA: false, critical: true },
    { name: "keyUsage", digitalSignature: true, critical: true },
    { name: "extKeyUsage", serverAuth: true },
    {
      name: "subjectAltName",
      altNames: [{ type: 2, value: "localhost" }, { type: 7, ip: "127.0.0.1" }, { type: 7, ip: "::1" }],
    },
  ],
});

/** Written beside and renamed, so that nobody finds half a file; the mode is right from the beginning. */
async function write(file: string, text: string, mode: number): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o755 });
  await writeFile(`${file}.new`, text.endsWith("\n") ? text : `${text}\n`, { mode });
  await rename(`${file}.new`, file);
}

await write(keyFile, pair.private, 0o600);
await write(certificateFile, pair.cert, 0o644);
console.log(`A self-signed certificate for localhost, valid for ${validDays} days: ${certificateFile}`);
