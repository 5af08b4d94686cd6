/**
 * An HTTP/1.1 client over `node:http`, which both runtimes have. Bodies stream with back-pressure in both directions, and
 * connections are kept for later requests. It must not know what is sent, or which hosts may be connected to.
 */
import http from "node:http";
import https from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { errorCode } from "./failures.ts";
import {
  type HttpClient,
  type HttpClientOptions,
  type HttpRequest,
  type HttpResponse,
  TransportError,
} from "./runtime.ts";

/** A connection without a request is closed after this, before most servers' own limits. */
const IDLE_MS = 4_000;

/** Connections kept for later, for each host. */
const IDLE_MAX = 16;

/** The rest of an answer that is longer than wanted is read up to this, so that its connection can be used again. */
const DRAIN_BYTES = 64 * 1_024;

/** How long an answer may follow a connection's refusal to take more: it was sent before, and comes to light after it. */
const LATE_ANSWER_MS = 250;

/** The largest header section of an answer. */
const HEADER_BYTES = 16 * 1_024;

type Lookup = (
  host: string,
  options: { readonly all?: boolean },
  answer: (error: Error | null, found: string | { address: string; family: number }[], family?: number) => void,
) => void;

export class NodeHttpClient implements HttpClient {
  readonly #options: HttpClientOptions;
  readonly #plain: http.Agent;
  readonly #secure: https.Agent;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    const keep = { keepAlive: true, maxFreeSockets: IDLE_MAX, timeout: IDLE_MS };
    this.#plain = new http.Agent(keep);
    this.#secure = new https.Agent(keep);
  }

  async request(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const isSecure = request.url.protocol === "https:";
    const agent = isSecure ? this.#secure : this.#plain;
    const first = new Exchange(request, this.#options, agent, signal);
    try {
      return await first.run();
    } catch (error) {
      if (!first.wasStale) throw error;
    }
    // The server had closed the idle connection before the request reached it.
    return await new Exchange(request, this.#options, false, signal).run();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#plain.destroy();
    this.#secure.destroy();
    return Promise.resolve();
  }
}

/** One request and its answer. */
class Exchange {
  /** A connection that was kept broke before anything came back on it. */
  wasStale = false;
  readonly #request: HttpRequest;
  readonly #signal: AbortSignal;
  readonly #client: HttpClientOptions;
  readonly #agent: http.Agent | false;
  #outgoing!: http.ClientRequest;
  #settled = false;
  #resolve!: (response: HttpResponse) => void;
  #reject!: (error: unknown) => void;
  #answered = false;
  /** Nothing more of the body is to be sent. */
  #stopped = false;
  /** Something of the body was taken by the system, so there was a connection. */
  #sent = false;
  /** What the look-up or the body failed with: it says more than the broken connection that follows. */
  #cause: { readonly error: unknown } | undefined;
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(request: HttpRequest, client: HttpClientOptions, agent: http.Agent | false, signal: AbortSignal) {
    this.#request = request;
    this.#client = client;
    this.#agent = agent;
    this.#signal = signal;
  }

  async run(): Promise<HttpResponse> {
    this.#signal.throwIfAborted();
    const aborted = () => this.#fail(this.#signal.reason);
    this.#signal.addEventListener("abort", aborted, { once: true });
    try {
      return await new Promise<HttpResponse>((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
        this.#start();
      });
    } finally {
      clearTimeout(this.#late);
      this.#signal.removeEventListener("abort", aborted);
    }
  }

  #start(): void {
    const { url, method, headers, body } = this.#request;
    const module = url.protocol === "https:" ? https : http;
    const lookup: Lookup = (host, options, answer) => void this.#lookUp(host, options, answer);
    const outgoing = module.request({
      method,
      host: url.hostname.replace(/^\[(.*)\]$/u, "$1"),
      ...(url.port === "" ? {} : { port: url.port }),
      path: `${url.pathname}${url.search}`,
      headers: { Host: url.host, ...Object.fromEntries(headers), "Content-Length": String(body.sizeBytes) },
      agent: this.#agent,
      maxHeaderSize: HEADER_BYTES,
      // The type knows answers of one address alone.
      lookup: lookup as LookupFunction,
      ...(this.#client.authorities === undefined ? {} : { ca: this.#client.authorities }),
    });
    this.#outgoing = outgoing;
    outgoing.on("response", (incoming) => this.#receive(incoming));
    // Deno begins again by itself when a kept connection breaks, and then sends nothing of a body that came in pieces.
    outgoing.once("socket", () => outgoing.once("socket", () => this.#restarted()));
    outgoing.on("error", (error) => this.#broken(error));
    outgoing.on("close", () => this.#broken(undefined));
    void this.#send();
  }

  async #lookUp(host: string, options: { readonly all?: boolean }, answer: Parameters<Lookup>[2]): Promise<void> {
    try {
      const found = (await this.#client.addressesOf(host)).map((address) => ({ address, family: isIP(address) }));
      const [first] = found;
      if (first === undefined) throw new TransportError(`The host "${host}" has no address`, "ENOTFOUND");
      if (options.all === true) answer(null, found);
      else answer(null, first.address, first.family);
    } catch (error) {
      this.#cause = { error };
      answer(error instanceof Error ? error : new Error(String(error)), "");
    }
  }

  async #send(): Promise<void> {
    const { body } = this.#request;
    const outgoing = this.#outgoing;
    let sentBytes = 0;
    try {
      for await (const piece of body.pieces()) {
        if (this.#stopped) return;
        sentBytes += piece.length;
        if (sentBytes > body.sizeBytes) break;
        if (piece.length > 0) await this.#write(piece);
      }
      if (this.#stopped) return;
      if (sentBytes !== body.sizeBytes) {
        throw new Error(`The body has not the ${body.sizeBytes} bytes it was said to have`);
      }
      outgoing.end();
    } catch (error) {
      this.#cause = { error };
      this.#fail(error);
    }
  }

  /** Resolves when the bytes are the system's, so that they can be used again, or when nothing more goes out. */
  #write(piece: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      const outgoing = this.#outgoing;
      const done = () => {
        outgoing.off("close", done);
        resolve();
      };
      outgoing.once("close", done);
      outgoing.write(piece, (error) => {
        if (error === null || error === undefined) this.#sent = true;
        done();
      });
    });
  }

  #receive(incoming: http.IncomingMessage): void {
    this.#answered = true;
    clearTimeout(this.#late);
    const status = incoming.statusCode ?? 0;
    // Who refuses does not want the rest; who takes it may want to read on.
    if (status < 200 || status > 299) this.#stopped = true;
    const { keepBytes } = this.#request;
    const kept: Uint8Array[] = [];
    let receivedBytes = 0;
    const finish = () => {
      this.#succeed(incoming, status, kept);
      // Nobody listens on a connection whose answer came before the end of the question.
      if (!this.#outgoing.writableFinished || !incoming.complete) this.#outgoing.destroy();
    };
    incoming.on("data", (piece: Uint8Array) => {
      const wanted = keepBytes - receivedBytes;
      if (wanted > 0) kept.push(Uint8Array.from(piece.subarray(0, wanted)));
      receivedBytes += piece.length;
      if (receivedBytes > Math.max(DRAIN_BYTES, keepBytes)) finish();
    });
    incoming.on("end", finish);
    // The status has been said; that the rest of the answer broke off does not change it.
    incoming.on("error", finish);
    incoming.on("close", finish);
  }

  #succeed(incoming: http.IncomingMessage, status: number, kept: readonly Uint8Array[]): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#stopped = true;
    const { headers, statusMessage } = incoming;
    this.#resolve({
      status,
      statusText: statusMessage ?? "",
      header(name) {
        const value = Object.hasOwn(headers, name) ? headers[name] : undefined;
        return typeof value === "string" ? value : value?.[0];
      },
      body: Buffer.concat(kept),
    });
  }

  /** The connection does not go on. An answer that was sent before may still be on its way. */
  #broken(error: Error | undefined): void {
    this.#stopped = true;
    if (this.#answered || this.#settled) return;
    if (this.#cause !== undefined) return this.#fail(this.#cause.error);
    if (this.#late !== undefined) return;
    this.wasStale = this.#outgoing.reusedSocket;
    const failure = connectionError(this.#request.url, error);
    if (this.wasStale || !this.#sent) return this.#fail(failure);
    this.#late = setTimeout(() => this.#fail(failure), LATE_ANSWER_MS);
  }

  #restarted(): void {
    this.wasStale = true;
    this.#fail(connectionError(this.#request.url, undefined));
  }

  #fail(error: unknown): void {
    this.#stopped = true;
    if (this.#settled) return;
    this.#settled = true;
    this.#reject(error);
    this.#outgoing.destroy();
  }
}

/** What people may expect to read; the code stands behind it. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ECONNRESET: "the connection was closed without an answer",
  EPIPE: "the connection was closed without an answer",
  ETIMEDOUT: "there was no connection in time",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  CERT_HAS_EXPIRED: "its certificate has expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate comes from an authority that is not trusted here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate comes from an authority that is not trusted here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate comes from an authority that is not trusted here",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another host",
};

function connectionError(url: URL, error: Error | undefined): TransportError {
  const code = errorCode(firstOf(error), "ECONNRESET");
  const reason = REASONS[code] ?? (error === undefined ? REASONS["ECONNRESET"] : error.message);
  return new TransportError(`Cannot send to "${url.host}": ${reason} (${code})`, code, error);
}

/** A host with several addresses fails with a failure for each. */
function firstOf(error: Error | undefined): unknown {
  return error instanceof AggregateError && errorCode(error, "") === "" ? error.errors[0] : error;
}
