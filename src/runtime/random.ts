/** Random numbers of both runtimes: unpredictable bytes for identifiers, cheap fractions for jitter. */
import type { Random } from "./runtime.ts";

/** `getRandomValues` gives no more than this at once. */
const MAX_CHUNK_BYTES = 65_536;

/** The system's random numbers. `bytes` are fit for secrets; `fraction` is not. */
export function systemRandom(): Random {
  return {
    bytes(count) {
      const bytes = new Uint8Array(count);
      for (let at = 0; at < count; at += MAX_CHUNK_BYTES) {
        crypto.getRandomValues(bytes.subarray(at, Math.min(count, at + MAX_CHUNK_BYTES)));
      }
      return bytes;
    },
    fraction: () => Math.random(),
  };
}
