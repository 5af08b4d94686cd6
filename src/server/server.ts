/**
 * The server: opens what the configuration names in the order in which it can fail, or nothing at all, and closes it in the
 * order in which nothing is lost. It must not know of files of configuration, of signals or of terminals.
 */
import { compileRoutes } from "../binding/route.ts";
import type { Channel, ChannelContext, ChannelDefinition } from "../channel/channel.ts";
import type { ChannelConfig, Config, ListenerConfig } from "../config/config.ts";
import { readSecret } from "../config/secret.ts";
import { type ConfiguredChannel, JobController } from "../controller/controller.ts";
import type { Log } from "../observe/log.ts";
import { FileError, type Runtime, type TlsIdentity, TlsIdentityError, TransportError } from "../runtime/runtime.ts";
import { openSpool } from "../spool/open.ts";
import type { Spool } from "../spool/spool.ts";
import { Deadlines } from "./deadlines.ts";
import { Listener } from "./listener.ts";

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

/** The server cannot start; the message says what to do. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly kind: "configuration" | "system";
  constructor(message: string, kind: StartError["kind"], cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

export class Server {
  readonly #options: ServerOptions;
  /** What is open, in the order of opening; closed in reverse. */
  readonly #open = new AsyncDisposableStack();
  readonly #listeners: Listener[] = [];
  #controller: JobController | undefined;
  #stopped: Promise<void> | undefined;
  #hasten: (() => void) | undefined;

  private constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** Rejects with `StartError`, and then nothing is left open. */
  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(options);
    try {
      await server.#start();
      return server;
    } catch (error) {
      await server.#open.disposeAsync();
      throw error;
    }
  }

  get listeners(): readonly Listener[] {
    return this.#listeners;
  }

  /**
   * Stops accepting and lets transactions in progress finish for the configured grace; then ends what is left with 421.
   * A second call ends the grace at once.
   */
  stop(): Promise<void> {
    if (this.#stopped === undefined) this.#stopped = this.#stop();
    else this.#hasten?.();
    return this.#stopped;
  }

  async #start(): Promise<void> {
    const { config, runtime, log } = this.#options;
    const chosen = chooseListeners(config.listeners, this.#options.listeners);
    const identities = new Map<ListenerConfig, TlsIdentity | undefined>();
    for (const listener of chosen) identities.set(listener, await this.#identity(listener));
    const spool = this.#open.use(await openSpool(config.spool, runtime, log));
    const controller = await this.#openController(spool);
    const deadlines = this.#open.use(new Deadlines(runtime.clock));
    for (const config of chosen) await this.#openListener(config, identities.get(config), spool, controller, deadlines);
    controller.start();
    this.#controller = controller;
  }

  async #openController(spool: Spool): Promise<JobController> {
    const { config, runtime, log } = this.#options;
    const channels = new Map<string, ConfiguredChannel>();
    for (const channel of config.channels) {
      channels.set(channel.name, { config: channel, channel: this.#open.use(await this.#openChannel(channel)) });
    }
    const { clock, random } = runtime;
    const controller = new JobController({ spool, channels, clock, random, log });
    this.#open.defer(() => controller.stop(0));
    return controller;
  }

  async #openChannel(config: ChannelConfig): Promise<Channel> {
    const { runtime, log, channelTypes } = this.#options;
    const definition = channelTypes.get(config.type);
    if (definition === undefined) throw new Error(`Channel "${config.name}" has the unknown type "${config.type}"`);
    const context: ChannelContext = {
      name: config.name,
      hostName: this.#options.config.hostName,
      runtime,
      log: log.with({ channel: config.name }),
    };
    try {
      return await definition.open(config.options, context);
    } catch (error) {
      throw new StartError(`Cannot open channel "${config.name}": ${messageOf(error)}`, "system", error);
    }
  }

  async #openListener(
    config: ListenerConfig,
    identity: TlsIdentity | undefined,
    spool: Spool,
    controller: JobController,
    deadlines: Deadlines,
  ): Promise<void> {
    const { runtime, log } = this.#options;
    const { network, clock, random } = runtime;
    const router = compileRoutes(config, this.#options.config.bindings);
    const listener = new Listener({
      listener: config,
      router,
      spool,
      controller,
      identity,
      clock,
      random,
      network,
      deadlines,
      log,
    });
    try {
      await listener.open();
    } catch (error) {
      throw new StartError(listenFailure(config, error), "system", error);
    }
    this.#listeners.push(listener);
    this.#open.defer(async () => {
      await listener.drain();
      listener.abort();
    });
  }

  async #identity(listener: ListenerConfig): Promise<TlsIdentity | undefined> {
    const { tls } = listener;
    if (tls.mode === "off") return undefined;
    const { files, processes, network } = this.#options.runtime;
    const about = `the TLS key pair of listener "${listener.name}"`;
    try {
      const certificate = await files.readText(tls.certificate);
      const environment = (name: string) => processes.environment(name);
      const privateKey = await readSecret(tls.privateKey, { files, environment });
      return network.tlsIdentity({ certificate, privateKey });
    } catch (error) {
      if (error instanceof TlsIdentityError || error instanceof FileError || isSecretError(error)) {
        throw new StartError(`Cannot use ${about}: ${messageOf(error)}`, "configuration", error);
      }
      throw error;
    }
  }

  async #stop(): Promise<void> {
    const { runtime, config } = this.#options;
    await Promise.all(this.#listeners.map((listener) => listener.drain()));
    const empty = Promise.all(this.#listeners.map((listener) => listener.empty()));
    await this.#within(empty, config.shutdownGraceMs);
    for (const listener of this.#listeners) listener.cut();
    await Promise.race([empty, sleep(runtime, CUT_MS)]);
    await this.#controller?.stop(0);
    await this.#open.disposeAsync();
  }

  /** Waits for the work, the time, or the second call of `stop`. */
  async #within(work: Promise<unknown>, timeMs: number): Promise<void> {
    const hastened = new Promise<void>((resolve) => {
      this.#hasten = resolve;
    });
    await Promise.race([work, sleep(this.#options.runtime, timeMs), hastened]);
  }
}

function sleep(runtime: Runtime, timeMs: number): Promise<void> {
  return new Promise((resolve) => {
    runtime.clock.after(timeMs, resolve);
  });
}

function chooseListeners(all: readonly ListenerConfig[], names: readonly string[]): readonly ListenerConfig[] {
  if (names.length === 0) return all;
  return names.map((name) => {
    const listener = all.find((candidate) => candidate.name === name);
    if (listener !== undefined) return listener;
    const known = all.map((candidate) => `"${candidate.name}"`).join(", ");
    throw new StartError(`There is no listener "${name}"; the configuration has ${known}`, "configuration");
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

function isSecretError(error: unknown): boolean {
  return error instanceof Error && error.name === "SecretError";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
