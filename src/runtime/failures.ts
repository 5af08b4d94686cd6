/**
 * Turns what the runtimes throw into the error classes of `runtime.ts`, with POSIX names for codes, and system
 * addresses into `Endpoint`s. It must not know what was being done: callers say it in the text they pass.
 */
import { type Endpoint, TransportError } from "./runtime.ts";

/** Deno's error classes that come without a `code`. */
const CODES_BY_NAME: Readonly<Record<string, string>> = {
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  BadResource: "ECONNABORTED",
  BrokenPipe: "EPIPE",
  ConnectionAborted: "ECONNABORTED",
  ConnectionReset: "ECONNRESET",
  Interrupted: "ECONNABORTED",
  NotCapable: "EACCES",
  NotConnected: "ENOTCONN",
  PermissionDenied: "EACCES",
  TimedOut: "ETIMEDOUT",
  UnexpectedEof: "ECONNRESET",
};

/** The POSIX name of what a runtime threw, or `fallback`. */
export function errorCode(error: unknown, fallback: string): string {
  if (!(error instanceof Error)) return fallback;
  if (error.name === "Interrupted") return "ECONNABORTED";
  const code: unknown = "code" in error ? error.code : undefined;
  if (typeof code === "string" && code !== "") return code;
  return CODES_BY_NAME[error.name] ?? fallback;
}

/** Wraps what a runtime threw on a connection; a `TransportError` stays as it is. */
export function transportError(doing: string, error: unknown, fallback = "ECONNRESET"): TransportError {
  if (error instanceof TransportError) return error;
  const code = errorCode(error, fallback);
  return new TransportError(`${doing}: the connection broke (${code}).`, code, error);
}

const IPV4_MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** IPv4 peers of a dual-stack socket are shown as what they are. */
export function ipEndpoint(address: string, port: number): Endpoint {
  const mapped = address.startsWith("::") ? IPV4_MAPPED.exec(address)?.[1] : undefined;
  return { kind: "ip", address: mapped ?? address, port };
}

/** The local ends of one listener's connections: few, and shared by all of them. */
export class EndpointCache {
  readonly #known = new Map<string, Endpoint>();

  get(address: string, port: number): Endpoint {
    const known = this.#known.get(address);
    if (known !== undefined) return known;
    const fresh = ipEndpoint(address, port);
    this.#known.set(address, fresh);
    return fresh;
  }
}

/** An address and port as people write them, for error texts. */
export function endpointText(address: string | undefined, port: number): string {
  if (address === undefined) return `port ${port}`;
  return address.includes(":") ? `"[${address}]:${port}"` : `"${address}:${port}"`;
}

/** A listener that could not be opened, with what to do about it. */
export function listenError(address: string | undefined, port: number, error: unknown): TransportError {
  const code = errorCode(error, "EADDRNOTAVAIL");
  const where = endpointText(address, port);
  const advice = LISTEN_ADVICE[code] ?? `The system says ${code}.`;
  return new TransportError(`Cannot listen on ${where}. ${advice}`, code, error);
}

const LISTEN_ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: "Another process uses this port: stop it or choose another port (EADDRINUSE).",
  EACCES: "Ports below 1024 need privileges: choose a higher port or grant CAP_NET_BIND_SERVICE (EACCES).",
  EADDRNOTAVAIL: "No interface of this machine has that address: correct it or leave it out (EADDRNOTAVAIL).",
};
