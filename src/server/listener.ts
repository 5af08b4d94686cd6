/**
 * A listener: accepts connections on its endpoint, keeps them within its limits, and runs a session on each. An exception
 * in one session ends that session alone. It must not know of bindings or of the spool.
 */
import type { ListenerConfig } from "../config/config.ts";
import { formatId, ID_RANDOM_BYTES } from "../message/id.ts";
import type { Log } from "../observe/log.ts";
import {
  type Clock,
  type Endpoint,
  endpointText,
  type Listening,
  type Network,
  type Transport,
  TransportError,
} from "../runtime/runtime.ts";
import { EMPTY } from "../smtp/bytes.ts";
import * as replies from "../smtp/replies.ts";
import { encodeReply, type Reply } from "../smtp/reply.ts";
import { createServerSession } from "../smtp/server.ts";
import type { ServerSession, ServerSessionOptions } from "../smtp/session.ts";
import type { Deadlines, Watch } from "./deadlines.ts";
import { drive, HANDSHAKE_TIMEOUT_MS } from "./drive.ts";
import { Reception, type ReceptionServices } from "./reception.ts";

/** A refusal is polite only as long as it costs little: so many at one time, the rest are cut off. */
const MAX_REFUSALS = 256;
/** How long a refused client may take to read its reply, or to finish its handshake before it. */
const REFUSAL_TIMEOUT_MS = 10_000;

export interface ListenerServices extends ReceptionServices {
  readonly clock: Clock;
  readonly network: Network;
  readonly deadlines: Deadlines;
  readonly log: Log;
}

interface LiveSession {
  readonly session: ServerSession;
  readonly transport: Transport;
}

export class Listener {
  /** For new connections; each keeps what it began with. */
  #services: ListenerServices;
  #options: ServerSessionOptions;
  readonly #sessions = new Set<LiveSession>();
  readonly #refusals = new Set<Transport>();
  /** Connections from accept to close, handshakes included. */
  #connections = 0;
  #listening: Listening | undefined;
  #closing = false;
  #whenEmpty: (() => void) | undefined;

  constructor(services: ListenerServices) {
    this.#services = services;
    this.#options = sessionOptions(services.listener, services.identity !== undefined);
  }

  /** New connections are served with these from now on. */
  serveWith(services: ListenerServices): void {
    this.#services = services;
    this.#options = sessionOptions(services.listener, services.identity !== undefined);
  }

  /** Rejects with `TransportError` when the endpoint cannot be had. */
  async open(): Promise<void> {
    const { listener, network } = this.#services;
    const address = listener.listenIp;
    const endpoint = address === undefined ? { port: listener.port } : { address, port: listener.port };
    this.#listening = await network.listen(endpoint, (transport) => this.#accept(transport));
  }

  get config(): ListenerConfig {
    return this.#services.listener;
  }

  get local(): Endpoint {
    return this.#listening?.local ?? { kind: "unknown" };
  }

  get connections(): number {
    return this.#connections;
  }

  /** Stops accepting; sessions end as soon as no transaction is in progress in them. */
  async drain(): Promise<void> {
    this.#closing = true;
    await this.#listening?.close();
    this.#stopSessions("between-transactions");
    for (const transport of this.#refusals) transport.abort();
  }

  /** Ends the sessions that are left, in mid-data too. */
  cut(): void {
    this.#stopSessions("now");
  }

  /** Ends the connections that are left, without a word. */
  abort(): void {
    for (const live of this.#sessions) live.transport.abort();
  }

  /** Resolves when no connection is left. */
  async empty(): Promise<void> {
    if (this.#connections === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenEmpty = resolve;
    });
  }

  #stopSessions(when: "now" | "between-transactions"): void {
    for (const { session, transport } of this.#sessions) {
      session.stop(replies.SHUTTING_DOWN, when);
      if (when === "now" || !session.inTransaction) transport.interrupt();
    }
  }

  #accept(transport: Transport): void {
    if (this.#closing || this.#connections >= this.config.maxConcurrency) {
      void this.#turnAway(transport, this.#closing ? replies.SHUTTING_DOWN : replies.TOO_MANY_CONNECTIONS);
      return;
    }
    this.#connections += 1;
    void this.#serve(transport).finally(() => {
      this.#connections -= 1;
      if (this.#connections === 0) this.#whenEmpty?.();
    });
  }

  /** Says why there is no session, without giving the client a place among those that have one. */
  async #turnAway(transport: Transport, reason: Reply): Promise<void> {
    const { clock, identity, log } = this.#services;
    log.warn("connection refused", { peer: endpointText(transport.peer), reply: reason.lines[0] ?? "" });
    if (this.#refusals.size >= MAX_REFUSALS) return transport.abort();
    this.#refusals.add(transport);
    const limit = clock.after(REFUSAL_TIMEOUT_MS, () => transport.abort());
    try {
      if (this.config.tls.mode === "implicit" && identity !== undefined) await transport.startTls?.(identity, EMPTY);
      await transport.write(encodeReply(reason));
      await transport.close();
    } catch {
      // The client left before it was told; there is nobody to tell any more.
      transport.abort();
    } finally {
      limit[Symbol.dispose]();
      this.#refusals.delete(transport);
    }
  }

  async #serve(transport: Transport): Promise<void> {
    const { clock, random, deadlines } = this.#services;
    const id = formatId(clock.nowMs(), random.bytes(ID_RANDOM_BYTES));
    const log = this.#services.log.with({ session: id, listener: this.config.name });
    const session = createServerSession(this.#options);
    const reception = new Reception(this.#services, id, transport.peer, log);
    const live: LiveSession = { session, transport };
    this.#sessions.add(live);
    const watch = deadlines.watch(this.config.sessionTimeoutMs ?? Infinity, expiry(session, transport));
    const startedMs = clock.monotonicMs();
    let end: string = "broken";
    try {
      if (this.config.tls.mode === "implicit") await handshake(reception, transport, watch);
      end = await drive(session, transport, reception, watch);
    } catch (error) {
      end = await this.#failed(error, transport, log);
    } finally {
      watch[Symbol.dispose]();
      this.#sessions.delete(live);
      reception.abandon();
      log.info("session ended", {
        peer: endpointText(transport.peer),
        helo: reception.helo,
        tls: reception.tls?.version,
        messages: reception.messages,
        seconds: Math.round(clock.monotonicMs() - startedMs) / 1000,
        end,
      });
    }
  }

  /** The connection broke, or we are wrong: then this session ends with 421, and no other is touched. */
  async #failed(error: unknown, transport: Transport, log: Log): Promise<string> {
    if (error instanceof TransportError) {
      transport.abort();
      return error.code;
    }
    const shown = error instanceof Error ? error.stack ?? error.message : String(error);
    log.error("session failed", { error: shown });
    try {
      await transport.write(encodeReply(replies.INTERNAL_ERROR));
      await transport.close();
    } catch {
      transport.abort();
    }
    return "internal error";
  }
}

async function handshake(reception: Reception, transport: Transport, watch: Watch): Promise<void> {
  watch.within(HANDSHAKE_TIMEOUT_MS);
  await reception.startTls(transport, EMPTY);
}

/** First the session is asked to end with 421; what is still there at the second tick after is cut off. */
export function expiry(session: ServerSession, transport: Transport): () => void {
  let calls = 0;
  return () => {
    calls += 1;
    if (calls === 1) {
      session.stop(replies.TIMED_OUT, "now");
      transport.interrupt();
    } else if (calls === 3) transport.abort();
  };
}

/** What the session on each connection is told; `hasIdentity`: TLS can be offered. */
export function sessionOptions(listener: ListenerConfig, hasIdentity: boolean): ServerSessionOptions {
  const modes = { off: "unavailable", starttls: "offered", required: "required", implicit: "active" } as const;
  return {
    protocol: listener.protocol,
    hostName: listener.hostName,
    banner: listener.banner,
    maxMessageSizeBytes: listener.maxMessageSizeBytes,
    maxRecipients: listener.maxRecipients,
    ...(listener.sessionMaxMessages === undefined ? {} : { maxMessages: listener.sessionMaxMessages }),
    maxErrors: listener.maxErrors,
    lineEndings: listener.lineEndings,
    tls: hasIdentity ? modes[listener.tls.mode] : "unavailable",
  };
}
