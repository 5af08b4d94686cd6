/**
 * A server session on standard input and output for one channel: what its configuration asks of it, its bindings, and the
 * spool that it stores into. What it accepts is committed there and left to whoever delivers. It must not know of command
 * lines, configuration files or signals.
 */
import { ListError, ListFiles } from "../binding/list.ts";
import { compileRoutes } from "../binding/route.ts";
import type { SessionOptions } from "../config/channel_options.ts";
import type { ChannelConfig, Config, ListenerConfig } from "../config/config.ts";
import { slaveListener, slaveOf } from "../config/slave_listener.ts";
import { formatId, ID_RANDOM_BYTES } from "../message/id.ts";
import type { Log } from "../observe/log.ts";
import {
  type Endpoint,
  endpointText,
  FileError,
  type Runtime,
  type Transport,
  TransportError,
} from "../runtime/runtime.ts";
import * as replies from "../smtp/replies.ts";
import { encodeReply, type Reply } from "../smtp/reply.ts";
import { createServerSession } from "../smtp/server.ts";
import type { ServerSession, ServerSessionOptions } from "../smtp/session.ts";
import { openSpool } from "../spool/open.ts";
import type { Spool } from "../spool/spool.ts";
import { Deadlines, type Watch } from "./deadlines.ts";
import type { Deliveries } from "./deliveries.ts";
import { drive } from "./drive.ts";
import { expiry, sessionOptions } from "./listener.ts";
import type { FoundPeer } from "./peer.ts";
import { Reception, type ReceptionServices } from "./reception.ts";
import { messageOf, StartError } from "./start_error.ts";
import { Transcript } from "./transcript.ts";

export interface SlaveOptions {
  readonly config: Config;
  readonly channel: ChannelConfig;
  /** What the options of the TCP/IP channel option file ask for. */
  readonly session: SessionOptions;
  readonly found: FoundPeer;
  readonly runtime: Runtime;
  readonly log: Log;
}

/** How one dialogue differs from that with somebody who waits for replies. */
export interface Dialogue {
  readonly transport: Transport;
  /** Told of the session before it begins. */
  readonly begin?: (session: ServerSession) => void;
  /** Nobody waits, so there is no hurry, and errors do not end it. */
  readonly isBatch?: true;
  readonly lineEndings?: "strict" | "normalize";
}

export interface SlaveEnd {
  readonly end: string;
  readonly messages: number;
}

const THIS_MACHINE: Endpoint = { kind: "ip", address: "127.0.0.1", port: 0 };
/** Whoever serves looks into the spool by himself. */
const LEFT_TO_OTHERS: Deliveries = {
  claimable: () => false,
  accept() {},
  nudge() {},
  deciding: new Set(),
  decide: () => Promise.resolve(undefined),
};
const UNWATCHED: Watch = { within() {}, [Symbol.dispose]() {} };

function optionsOf(listener: ListenerConfig, { channel, session }: SlaveOptions): ServerSessionOptions {
  const { bannerAddition = [], maxMessagesAt, commandTimeoutMs, dataTimeoutMs } = session;
  return {
    ...sessionOptions(listener, false),
    ...(slaveOf(channel).requiresTls ? { tls: "impossible" } : {}),
    ...(bannerAddition.length > 1 ? { bannerLines: bannerAddition.slice(1) } : {}),
    ...(maxMessagesAt === undefined ? {} : { maxMessagesAt }),
    ...(commandTimeoutMs === undefined ? {} : { commandTimeoutMs }),
    ...(dataTimeoutMs === undefined ? {} : { dataTimeoutMs }),
  };
}

/** Who the client counts as: local trust is for those of whom nothing says that they come from elsewhere. */
export function trustedPeer(channel: ChannelConfig, found: FoundPeer): Endpoint {
  const isUnknown = found.peer.kind === "unknown" && found.mayBeLocal;
  return isUnknown && slaveOf(channel).trust === "local" ? THIS_MACHINE : found.peer;
}

export class Slave implements AsyncDisposable {
  readonly #options: SlaveOptions;
  readonly #listener: ListenerConfig;
  readonly #services: ReceptionServices;
  readonly #spool: Spool;
  #live: { readonly session: ServerSession; readonly transport: Transport } | undefined;
  #stops = 0;

  private constructor(options: SlaveOptions, listener: ListenerConfig, services: ReceptionServices, spool: Spool) {
    this.#options = options;
    this.#listener = listener;
    this.#services = services;
    this.#spool = spool;
  }

  /** Rejects with `StartError` or `SpoolError`, and then nothing is left open. */
  static async open(options: SlaveOptions): Promise<Slave> {
    const { config, channel, session, runtime, log } = options;
    const { clock, random, files } = runtime;
    const listener = slaveListener(config, channel, session);
    const lists = new ListFiles({ files, clock, log });
    const router = compileRoutes(listener, config.bindings, lists);
    await loadLists(lists);
    const spool = await openSpool(config.spool, runtime, log);
    const services = { listener, router, spool, deliveries: LEFT_TO_OTHERS, identity: undefined, clock, random };
    return new Slave(options, listener, services, spool);
  }

  get protocol(): "smtp" | "lmtp" {
    return this.#listener.protocol;
  }

  /** Serves one client to the end. Rejects only when we are wrong; the client then has its 421. */
  async serve(dialogue: Dialogue): Promise<SlaveEnd> {
    const { clock, random } = this.#options.runtime;
    const { channel, found } = this.#options;
    const { transport } = dialogue;
    const id = formatId(clock.nowMs(), random.bytes(ID_RANDOM_BYTES));
    const log = this.#options.log.with({ session: id, channel: channel.name });
    const peer = trustedPeer(channel, found);
    const { origin, application = {} } = found;
    log.info("session started", {
      peer: endpointText(peer),
      local: endpointText(found.local),
      origin,
      statedHelo: application.helo,
      statedTls: application.tls,
    });
    const reception = new Reception(this.#services, id, peer, log);
    await using transcript = await this.#transcript(id, log);
    transcript?.note("-", `opened for ${endpointText(peer)}, known from ${origin}`);
    const session = this.#session(dialogue, transcript);
    dialogue.begin?.(session);
    this.#live = { session, transport };
    if (this.#stops > 0) this.#interrupt();
    using deadlines = new Deadlines(clock);
    const totalMs = this.#listener.sessionTimeoutMs ?? Infinity;
    using watch = dialogue.isBatch === true ? UNWATCHED : deadlines.watch(totalMs, expiry(session, transport));
    const startedMs = clock.monotonicMs();
    let end: string = "broken";
    try {
      end = await drive(session, transport, reception, watch);
    } catch (error) {
      end = await broken(error, transport, log);
    } finally {
      this.#live = undefined;
      reception.abandon();
      log.info("session ended", {
        peer: endpointText(peer),
        helo: reception.helo,
        messages: reception.messages,
        seconds: Math.round(clock.monotonicMs() - startedMs) / 1000,
        end,
      });
    }
    return { end, messages: reception.messages };
  }

  /** The first call lets a transaction in progress finish; the second does not. */
  stop(): void {
    this.#stops += 1;
    this.#interrupt();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }

  #interrupt(): void {
    if (this.#live === undefined) return;
    const { session, transport } = this.#live;
    session.stop(replies.SHUTTING_DOWN, this.#stops > 1 ? "now" : "between-transactions");
    if (this.#stops > 1 || !session.inTransaction) transport.interrupt();
  }

  #session({ lineEndings, isBatch }: Dialogue, transcript: Transcript | undefined): ServerSession {
    const session = createServerSession({
      ...optionsOf(this.#listener, this.#options),
      ...(lineEndings === undefined ? {} : { lineEndings }),
      ...(isBatch === true ? { maxErrors: Infinity } : {}),
      ...(transcript === undefined ? {} : { heard: transcript.heard }),
    });
    return transcript === undefined ? session : transcript.listen(session);
  }

  async #transcript(id: string, log: Log): Promise<Transcript | undefined> {
    const { debugFile } = slaveOf(this.#options.channel);
    if (debugFile === undefined) return undefined;
    const { files, clock } = this.#options.runtime;
    try {
      return await Transcript.open(debugFile, files, clock, id);
    } catch (error) {
      log.warn("no transcript", { error: messageOf(error) });
      return undefined;
    }
  }
}

/** The files that bindings name must be there when mail comes. */
async function loadLists(lists: ListFiles): Promise<void> {
  try {
    await lists.load();
  } catch (error) {
    if (!(error instanceof ListError) && !(error instanceof FileError)) throw error;
    throw new StartError(error.message, "configuration", error);
  }
}

/** The client has gone, or we are wrong: then it is told. */
async function broken(error: unknown, transport: Transport, log: Log): Promise<string> {
  if (error instanceof TransportError) {
    transport.abort();
    return error.code;
  }
  log.error("session failed", { error: error instanceof Error ? error.stack ?? error.message : String(error) });
  await turnAway(transport, replies.INTERNAL_ERROR);
  throw error;
}

/** One reply in place of a session; a client that has left need not be told. */
export async function turnAway(transport: Transport, reason: Reply): Promise<void> {
  try {
    await transport.write(encodeReply(reason));
    await transport.close();
  } catch {
    transport.abort();
  }
}
