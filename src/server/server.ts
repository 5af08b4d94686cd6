/**
 * The server: opens what the configuration names in the order in which it can fail, or nothing at all; replaces it by a new
 * configuration, whole or not at all; closes it in the order in which nothing is lost. It must not know of configuration
 * files, of signals or of terminals.
 */
import type { ChannelDefinition } from "../channel/channel.ts";
import type { Config, ListenerConfig, SpoolConfig } from "../config/config.ts";
import type { Log } from "../observe/log.ts";
import { type Runtime, TransportError } from "../runtime/runtime.ts";
import { openSpool } from "../spool/open.ts";
import type { Spool } from "../spool/spool.ts";
import { Deadlines } from "./deadlines.ts";
import { Generation } from "./generation.ts";
import { Listener, type ListenerServices } from "./listener.ts";
import { DeliveriesInForce } from "./deliveries.ts";
import { messageOf, StartError } from "./start_error.ts";

/** After the grace, sessions get this long to read their 421 and to see their commit through. */
const CUT_MS = 2_000;

export interface ServerOptions {
  readonly config: Config;
  /** Names of the listeners to open; empty: all. */
  readonly listeners: readonly string[];
  readonly channelTypes: ReadonlyMap<string, ChannelDefinition<unknown>>;
  readonly runtime: Runtime;
  readonly log: Log;
}

/** Listeners by endpoint: a reload keeps the socket of an endpoint that stays. */
type Endpoints = ReadonlyMap<string, Listener>;

export class Server {
  readonly #options: ServerOptions;
  readonly #spool: Spool;
  readonly #deadlines: Deadlines;
  readonly #deliveries: DeliveriesInForce;
  #generation: Generation;
  #endpoints: Endpoints = new Map();
  /** Listeners and generations that a reload has replaced and that still finish. */
  readonly #retiring = new Set<Promise<void>>();
  #reloading: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;
  #hasten: (() => void) | undefined;

  private constructor(
    options: ServerOptions,
    shared: { readonly spool: Spool; readonly deadlines: Deadlines; readonly deliveries: DeliveriesInForce },
    first: Generation,
  ) {
    this.#options = options;
    this.#spool = shared.spool;
    this.#deadlines = shared.deadlines;
    this.#deliveries = shared.deliveries;
    this.#generation = first;
  }

  /** Rejects with `StartError` or `SpoolError`, and then nothing is left open. */
  static async start(options: ServerOptions): Promise<Server> {
    const { config, runtime, log } = options;
    await using opened = new AsyncDisposableStack();
    const spool = opened.use(await openSpool(config.spool, runtime, log));
    const deadlines = opened.use(new Deadlines(runtime.clock));
    const shared = { spool, deadlines, deliveries: new DeliveriesInForce() };
    const generation = opened.use(await Generation.open({ ...options, ...shared }));
    shared.deliveries.take(generation.controller);
    const server = new Server(options, shared, generation);
    server.#endpoints = await openEndpoints(generation.services, new Map());
    generation.controller.start();
    opened.move();
    return server;
  }

  get listeners(): readonly Listener[] {
    return [...this.#endpoints.values()];
  }

  /**
   * Takes over the new configuration: rejects with `StartError` and changes nothing, or applies it whole. Sessions that are
   * under way finish under the old one.
   */
  reload(config: Config): Promise<void> {
    const reloaded = this.#reloading.then(() => this.#reload(config));
    this.#reloading = reloaded.catch(() => {});
    return reloaded;
  }

  /**
   * Stops accepting and lets transactions in progress finish for the configured grace; then ends what is left with 421.
   * A second call ends the grace at once.
   */
  stop(): Promise<void> {
    if (this.#stopped === undefined) this.#stopped = this.#reloading.then(() => this.#stop());
    else this.#hasten?.();
    return this.#stopped;
  }

  async #reload(config: Config): Promise<void> {
    if (this.#stopped !== undefined) return;
    const before = this.#generation;
    if (!sameSpool(before.config.spool, config.spool)) {
      throw new StartError(
        "The spool cannot be changed while the server runs: restart it, or undo [spool]",
        "configuration",
      );
    }
    const shared = { spool: this.#spool, deadlines: this.#deadlines, deliveries: this.#deliveries };
    const next = await Generation.open({ ...this.#options, ...shared, config });
    let endpoints: Endpoints;
    try {
      endpoints = await openEndpoints(next.services, this.#endpoints);
    } catch (error) {
      await next[Symbol.asyncDispose]();
      throw error;
    }
    for (const services of next.services) endpoints.get(endpointKey(services.listener))?.serveWith(services);
    const gone = [...this.#endpoints.values()].filter((listener) => ![...endpoints.values()].includes(listener));
    this.#endpoints = endpoints;
    this.#generation = next;
    this.#deliveries.take(next.controller);
    next.controller.start();
    for (const listener of gone) this.#retire(finish(listener));
    this.#retire(before.retire(config.shutdownGraceMs));
  }

  #retire(work: Promise<void>): void {
    const watched = work.catch((error: unknown) => {
      this.#options.log.error("retiring the old configuration failed", { error: messageOf(error) });
    }).finally(() => this.#retiring.delete(watched));
    this.#retiring.add(watched);
  }

  async #stop(): Promise<void> {
    const { listeners } = this;
    await Promise.all(listeners.map((listener) => listener.drain()));
    const empty = Promise.all(listeners.map((listener) => listener.empty()));
    await this.#within(empty, this.#generation.config.shutdownGraceMs);
    for (const listener of listeners) listener.cut();
    await Promise.race([empty, sleep(this.#options.runtime, CUT_MS)]);
    for (const listener of listeners) listener.abort();
    await this.#generation[Symbol.asyncDispose]();
    await Promise.race([Promise.all(this.#retiring), sleep(this.#options.runtime, CUT_MS)]);
    this.#deadlines[Symbol.dispose]();
    await this.#spool[Symbol.asyncDispose]();
  }

  /** Waits for the work, the time, or the second call of `stop`. */
  async #within(work: Promise<unknown>, timeMs: number): Promise<void> {
    const hastened = new Promise<void>((resolve) => {
      this.#hasten = resolve;
    });
    await Promise.race([work, sleep(this.#options.runtime, timeMs), hastened]);
  }
}

/** Opens the endpoints that are not open yet; when one cannot be had, those opened here are closed again. */
async function openEndpoints(services: readonly ListenerServices[], present: Endpoints): Promise<Endpoints> {
  const endpoints = new Map<string, Listener>();
  const opened: Listener[] = [];
  try {
    for (const each of services) {
      const key = endpointKey(each.listener);
      const kept = present.get(key);
      const listener = kept ?? new Listener(each);
      if (kept === undefined) {
        await open(listener);
        opened.push(listener);
      }
      endpoints.set(key, listener);
    }
    return endpoints;
  } catch (error) {
    for (const listener of opened) {
      await listener.drain();
      listener.abort();
    }
    throw error;
  }
}

async function open(listener: Listener): Promise<void> {
  try {
    await listener.open();
  } catch (error) {
    throw new StartError(listenFailure(listener.config, error), "system", error);
  }
}

/** An endpoint that the new configuration has no longer: its transactions finish, then it is gone. */
async function finish(listener: Listener): Promise<void> {
  await listener.drain();
  await listener.empty();
}

function endpointKey(listener: ListenerConfig): string {
  return `${listener.listenIp ?? "*"} ${listener.port}`;
}

function sameSpool(left: SpoolConfig, right: SpoolConfig): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

function sleep(runtime: Runtime, timeMs: number): Promise<void> {
  return new Promise((resolve) => {
    runtime.clock.after(timeMs, resolve);
  });
}

function listenFailure(config: ListenerConfig, error: unknown): string {
  const where = `${config.listenIp ?? "any address"}, port ${config.port}`;
  const what = `Cannot open listener "${config.name}" on ${where}`;
  const code = error instanceof TransportError ? error.code : undefined;
  switch (code) {
    case "EADDRINUSE":
      return `${what}: the port is in use; stop the program that has it, or choose another port`;
    case "EACCES":
    case "EPERM":
      return `${what}: ports below 1024 need a privilege; run with CAP_NET_BIND_SERVICE, or choose a port of 1024 or more`;
    case "EADDRNOTAVAIL":
      return `${what}: this machine has no such address; correct listen_ip, or remove it to listen on every address`;
    default:
      return `${what}: ${messageOf(error)}`;
  }
}
