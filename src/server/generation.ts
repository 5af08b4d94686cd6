/**
 * One configuration in force: its key pairs, its channels, its job controller, and what its listeners serve with. A reload
 * opens the next generation before it lets go of the one before. It must not know of sockets or of reloads.
 */
import { ListError, ListFiles } from "../binding/list.ts";
import { compileRoutes } from "../binding/route.ts";
import type { Channel, ChannelContext, ChannelDefinition } from "../channel/channel.ts";
import { type ChannelConfig, type Config, type ListenerConfig, NOTIFICATIONS } from "../config/config.ts";
import { readSecret } from "../config/secret.ts";
import { type ConfiguredChannel, JobController } from "../controller/controller.ts";
import { Notifications } from "../controller/notification.ts";
import type { Log } from "../observe/log.ts";
import { FileError, type Runtime, type TlsIdentity, TlsIdentityError } from "../runtime/runtime.ts";
import type { Spool } from "../spool/spool.ts";
import type { Deadlines } from "./deadlines.ts";
import type { ListenerServices } from "./listener.ts";
import type { Deliveries } from "./deliveries.ts";
import { submitter } from "./submission.ts";
import { messageOf, StartError } from "./start_error.ts";

export interface GenerationOptions {
  readonly config: Config;
  /** Names of the listeners to serve; empty: all. */
  readonly listeners: readonly string[];
  readonly channelTypes: ReadonlyMap<string, ChannelDefinition<unknown>>;
  readonly runtime: Runtime;
  readonly log: Log;
  readonly spool: Spool;
  readonly deadlines: Deadlines;
  /** The controller in force, which is another one after a reload. */
  readonly deliveries: Deliveries;
}

export class Generation implements AsyncDisposable {
  readonly controller: JobController;
  readonly config: Config;
  /** What each chosen listener serves with. */
  readonly services: readonly ListenerServices[];
  readonly #channels: AsyncDisposableStack;

  private constructor(
    config: Config,
    controller: JobController,
    services: readonly ListenerServices[],
    channels: AsyncDisposableStack,
  ) {
    this.config = config;
    this.controller = controller;
    this.services = services;
    this.#channels = channels;
  }

  /** Rejects with `StartError`, and then nothing is left open. Nothing is attempted before `controller.start`. */
  static async open(options: GenerationOptions): Promise<Generation> {
    const { config, runtime, log, spool } = options;
    const services: ListenerServices[] = [];
    const lists = new ListFiles({ files: runtime.files, clock: runtime.clock, log });
    for (const listener of chooseListeners(config.listeners, options.listeners)) {
      services.push(listenerServices(options, listener, await tlsIdentity(listener, runtime), lists));
    }
    const notifications = openNotifications(options, lists);
    await loadLists(lists);
    const stack = new AsyncDisposableStack();
    try {
      const channels = new Map<string, ConfiguredChannel>();
      for (const channel of config.channels) {
        if (options.channelTypes.get(channel.type)?.pulled === true) continue;
        channels.set(channel.name, { config: channel, channel: stack.use(await openChannel(options, channel)) });
      }
      const { clock, random } = runtime;
      const controller = new JobController({ spool, channels, clock, random, log, notifications });
      return new Generation(config, controller, services, stack);
    } catch (error) {
      await stack.disposeAsync();
      throw error;
    }
  }

  /** Lets running attempts finish for the grace, gives the rest back to the spool, closes the channels. */
  async retire(graceMs: number): Promise<void> {
    await this.controller.stop(graceMs);
    await this.#channels.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.retire(0);
  }
}

function listenerServices(
  options: GenerationOptions,
  listener: ListenerConfig,
  identity: TlsIdentity | undefined,
  lists: ListFiles,
): ListenerServices {
  const { runtime: { network, clock, random }, config, spool, deliveries, deadlines, log } = options;
  const router = compileRoutes(listener, config.bindings, lists);
  return { listener, router, spool, deliveries, identity, clock, random, network, deadlines, log };
}

/** They go where the shared bindings send mail to the sender's address. */
export function openNotifications(
  options: Pick<GenerationOptions, "config" | "runtime" | "spool" | "log"> & {
    readonly deliveries: Pick<Deliveries, "nudge">;
  },
  lists: ListFiles,
): Notifications {
  const { config: { hostName, bindings, notifications }, runtime: { clock, random }, spool, log, deliveries } = options;
  const router = compileRoutes({ name: NOTIFICATIONS, tags: [], hostName, bindings: [] }, bindings, lists);
  const { nudge } = deliveries;
  return new Notifications({ spool, router, hostName, channel: notifications?.channel, clock, random, log, nudge });
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

function chooseListeners(all: readonly ListenerConfig[], names: readonly string[]): readonly ListenerConfig[] {
  if (names.length === 0) return all;
  return [...new Set(names)].map((name) => {
    const listener = all.find((candidate) => candidate.name === name);
    if (listener !== undefined) return listener;
    const known = all.map((candidate) => `"${candidate.name}"`).join(", ");
    throw new StartError(`There is no listener "${name}"; the configuration has ${known}`, "configuration");
  });
}

async function openChannel(options: GenerationOptions, config: ChannelConfig): Promise<Channel> {
  const definition = options.channelTypes.get(config.type);
  if (definition === undefined) throw new Error(`Channel "${config.name}" has the unknown type "${config.type}"`);
  const context: ChannelContext = {
    name: config.name,
    hostName: options.config.hostName,
    runtime: options.runtime,
    log: options.log.with({ channel: config.name }),
    submitTo(channel) {
      const isKnown = options.config.channels.some(({ name }) => name === channel);
      return isKnown ? submitter(channel, options) : undefined;
    },
    isOwnEndpoint: (address, port) =>
      options.config.listeners.some((listener) =>
        listener.port === port && (address === listener.listenIp || isOfThisHost(address))
      ),
  };
  try {
    return await definition.open(config.options, context);
  } catch (error) {
    throw new StartError(`Cannot open channel "${config.name}": ${messageOf(error)}`, "system", error);
  }
}

/** Loopback and unspecified addresses, of which a listener of any address has some. */
function isOfThisHost(address: string): boolean {
  return /^(?:127\.|0\.|::1?$|0:0:0:0:0:0:0:[01]$|::ffff:127\.)/iu.test(address);
}

async function tlsIdentity(listener: ListenerConfig, runtime: Runtime): Promise<TlsIdentity | undefined> {
  const { tls } = listener;
  if (tls.mode === "off") return undefined;
  const { files, processes, network } = runtime;
  try {
    const certificate = await files.readText(tls.certificate);
    const environment = (name: string) => processes.environment(name);
    const privateKey = await readSecret(tls.privateKey, { files, environment });
    return network.tlsIdentity({ certificate, privateKey });
  } catch (error) {
    const foreseen = error instanceof TlsIdentityError || error instanceof FileError ||
      (error instanceof Error && error.name === "SecretError");
    if (!foreseen) throw error;
    const what = `Cannot use the TLS key pair of listener "${listener.name}"`;
    throw new StartError(`${what}: ${messageOf(error)}`, "configuration", error);
  }
}
