/**
 * A stable name for each finding, by which tools recognise it in the next run: made of what is wrong, not of where, so
 * that lines added above do not change it. It must not know any format.
 */
import type { Diagnostic } from "../diagnostic.ts";
import { fileName, type Report } from "./report.ts";

/** One fingerprint per finding, in order, 16 hexadecimal digits each, all different. */
export function fingerprints({ findings, sources }: Report): readonly string[] {
  const seen = new Map<string, number>();
  return findings.map((finding) => {
    const text = identity(finding, sources.get(finding.primary.file)?.line(finding.primary.start.line) ?? "");
    const count = seen.get(text) ?? 0;
    seen.set(text, count + 1);
    return hash(count === 0 ? text : `${text}\0${count}`);
  });
}

function identity({ code, message, primary }: Diagnostic, line: string): string {
  return [code, fileName(primary.file), message, line.trim().replace(/\s+/gu, " ")].join("\0");
}

/** FNV-1a of 64 bits. Nobody gains anything by a collision, so that a cryptographic hash is not needed. */
function hash(text: string): string {
  let value = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  }
  return value.toString(16).padStart(16, "0");
}
