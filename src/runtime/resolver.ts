/** Addresses of hosts as this machine finds them: its hosts file, then DNS. It must not know what they are for. */
import { errorCode } from "./failures.ts";
import { type Resolver, TransportError } from "./runtime.ts";

export function systemResolver(): Resolver {
  return { addresses };
}

async function addresses(host: string): Promise<readonly string[]> {
  // Few processes look anything up; those that do not need not load what it takes.
  const { lookup } = await import("node:dns/promises");
  let code = "ENOTFOUND";
  let cause: unknown;
  try {
    const found = await lookup(host, { all: true });
    if (found.length > 0) return found.map(({ address }) => address);
  } catch (error) {
    code = errorCode(error, "ENOTFOUND");
    cause = error;
  }
  const what = code === "ENOTFOUND" ? "there is no such host" : "the look-up failed";
  throw new TransportError(`Cannot find the address of "${host}": ${what} (${code})`, code, cause);
}
