/**
 * `smtpd channel slave` and `smtpd sendmail -bs`: one session on standard input and output, or a batch from a file. Standard
 * output is the protocol: whatever goes wrong, the client gets one 421 there, and people are told on standard error. It must
 * not know how a session is served.
 */
import { interpretOptions, type SessionOptions } from "../config/channel_options.ts";
import type { ChannelConfig, Config } from "../config/config.ts";
import { quote } from "../config/diagnostic.ts";
import { readOptionFile } from "../config/import/imta_file.ts";
import { slaveOf } from "../config/slave_listener.ts";
import { nearest } from "../config/suggest.ts";
import type { LogLevel } from "../observe/log.ts";
import { type BufferedLog, createLog, type LogFormat } from "../observe/logtape.ts";
import { type Endpoint, FileError, type Runtime, type Transport } from "../runtime/runtime.ts";
import { Batch } from "../server/batch.ts";
import { findPeer, type FoundPeer } from "../server/peer.ts";
import { Slave, turnAway } from "../server/slave.ts";
import { StartError } from "../server/start_error.ts";
import { reply } from "../smtp/reply.ts";
import { SpoolError } from "../spool/spool.ts";
import { loadConfiguration } from "./configuration.ts";
import { CommandError, exitCode, exitCodeOf } from "./exit.ts";
import { visible, wantsColour } from "./terminal.ts";

export interface SlaveCommandOptions {
  readonly channel?: string;
  readonly config?: string;
  readonly peer?: Endpoint;
  readonly local?: Endpoint;
  readonly strictEnv: boolean;
  /** true: from standard input. */
  readonly batch?: string | true;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** The configuration may name the channel. */
  readonly isSendmail: boolean;
}

const MISCONFIGURED = reply(421, "4.3.5", "Not configured to take mail here; try again later");
const UNAVAILABLE = reply(421, "4.3.0", "Service not available; try again later");

export async function slaveCommand(runtime: Runtime, options: SlaveCommandOptions): Promise<number> {
  const { processes, clock } = runtime;
  processes.stdio.reserveOut();
  const log = createLog({
    level: options.logLevel,
    format: options.logFormat,
    colour: wantsColour(runtime, "err"),
    write: (text) => processes.stdio.writeErr(text),
    clock,
  });
  let slave: Slave | undefined;
  let signals = 0;
  const stop = () => {
    signals += 1;
    slave?.stop();
  };
  using _term = processes.onSignal("SIGTERM", stop);
  using _int = processes.onSignal("SIGINT", stop);
  try {
    slave = await open(runtime, options, log);
    await using _opened = slave;
    for (let missed = 0; missed < signals; missed++) slave.stop();
    if (options.batch !== undefined) return await runBatch(runtime, slave, options.batch, options);
    await slave.serve({ transport: processes.stdio.transport() });
    return exitCode.ok;
  } catch (error) {
    if (slave !== undefined) throw error;
    const failure = startFailure(error);
    const isOurs = failure instanceof CommandError && failure.exitCode === exitCode.configuration;
    if (options.batch === undefined) {
      await turnAway(processes.stdio.transport(), isOurs ? MISCONFIGURED : UNAVAILABLE);
    }
    throw failure;
  } finally {
    log.flush();
  }
}

/** Nothing could be begun: what sysexits.h says of that. */
function startFailure(error: unknown): unknown {
  if (error instanceof SpoolError) return new CommandError(error.message, exitCode.temporary, error);
  if (error instanceof StartError) {
    return new CommandError(
      error.message,
      error.kind === "configuration" ? exitCode.configuration : exitCode.unavailable,
      error,
    );
  }
  if (exitCodeOf(error) === exitCode.configuration && error instanceof Error) {
    return new CommandError(error.message, exitCode.configuration, error);
  }
  return error;
}

async function open(runtime: Runtime, options: SlaveCommandOptions, log: BufferedLog): Promise<Slave> {
  const { processes } = runtime;
  const name = options.channel ?? nonEmpty(processes.environment("PMDF_CHANNEL"));
  if (name === undefined && !options.isSendmail) {
    throw new CommandError(
      "No channel is named: give --channel NAME, or set PMDF_CHANNEL",
      exitCode.configuration,
    );
  }
  const config = await loadConfiguration(runtime, options.config);
  const channel = chooseChannel(config, name);
  if (config.spool.store.kind === "memory") {
    throw new CommandError(
      "The configuration keeps the spool in memory, where messages would be lost with this process: name a file in [spool] url",
      exitCode.unavailable,
    );
  }
  const found = await peerOf(runtime, options, log);
  const session = interpreted(await namedOptions(runtime, channel, log), log);
  return await Slave.open({ config, channel, session, found, runtime, log });
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}

/** Without a name, the one for `sendmail`. */
function chooseChannel({ channels, sendmailChannel }: Config, given: string | undefined): ChannelConfig {
  const name = given ?? sendmailChannel;
  if (name === undefined) {
    const [only, ...more] = channels.filter((channel) =>
      channel.type === "stdio" || slaveOf(channel).trust === "local"
    );
    if (only !== undefined && more.length === 0) return only;
    throw new CommandError(
      'Which channel sendmail serves is not said: give --channel NAME, or sendmail_channel = "NAME" in the configuration',
      exitCode.configuration,
    );
  }
  const channel = channels.find((candidate) => candidate.name === name);
  if (channel !== undefined) return channel;
  const known = channels.map((candidate) => candidate.name);
  const meant = nearest(name, known);
  const hint = meant !== undefined
    ? `did you mean ${quote(meant)}?`
    : known.length === 0
    ? "the configuration has none"
    : `the configuration has ${known.map(quote).join(", ")}`;
  throw new CommandError(`There is no channel ${quote(name)}; ${hint}`, exitCode.configuration);
}

async function peerOf(runtime: Runtime, options: SlaveCommandOptions, log: BufferedLog): Promise<FoundPeer> {
  const { peer, local, strictEnv } = options;
  const { environment, stdio } = runtime.processes;
  const found = await findPeer({
    ...(peer === undefined ? {} : { peer }),
    ...(local === undefined ? {} : { local }),
    environment: (name) => environment(name),
    input: () => stdio.input(),
  });
  const [problem] = found.problems;
  if (problem !== undefined && strictEnv) throw new CommandError(problem, exitCode.configuration);
  for (const each of found.problems) log.warn("environment not understood", { problem: each });
  return found;
}

/** Those of the configuration, which are checked already, and those of the file that the environment names. */
async function namedOptions(runtime: Runtime, channel: ChannelConfig, log: BufferedLog) {
  const { options } = slaveOf(channel);
  const file = nonEmpty(runtime.processes.environment("PMDF_CHANNEL_OPTION"));
  if (file === undefined) return { configured: options, fromFile: [] };
  try {
    return { configured: options, fromFile: readOptionFile(await runtime.files.readText(file)).options };
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    log.warn("option file not read", { error: error.message });
    return { configured: options, fromFile: [] };
  }
}

function interpreted(
  { configured, fromFile }: Awaited<ReturnType<typeof namedOptions>>,
  log: BufferedLog,
): SessionOptions {
  if (configured.length + fromFile.length === 0) return {};
  for (const { message, help } of interpretOptions(fromFile).problems) log.warn("option left out", { message, help });
  return interpretOptions([...configured, ...fromFile]).session;
}

async function runBatch(
  runtime: Runtime,
  slave: Slave,
  from: string | true,
  { logLevel }: SlaveCommandOptions,
): Promise<number> {
  const { stdio } = runtime.processes;
  const name = from === true ? "standard input" : from;
  const batch = new Batch(await batchSource(runtime, from), slave.protocol, ({ line, message, command }) => {
    const shown = command === undefined || command === "" ? "" : ` (${visible(command.slice(0, 200))})`;
    stdio.writeErr(`smtpd: ${visible(name)}:${line}: ${visible(message)}${shown}\n`);
  });
  // A file tells in its first line how its lines end, whatever the channel expects of clients.
  const lineEndings = await batch.lineEndings();
  const { messages } = await slave.serve({
    transport: batch,
    begin: (session) => batch.begin(session),
    isBatch: true,
    ...(lineEndings === "normalize" ? { lineEndings } : {}),
  });
  if (logLevel === "info" || logLevel === "debug" || batch.errors > 0) {
    const counted = (count: number, word: string) => `${count} ${word}${count === 1 ? "" : "s"}`;
    stdio.writeErr(`smtpd: ${counted(messages, "message")} accepted, ${counted(batch.errors, "error")}\n`);
  }
  return batch.errors === 0 ? exitCode.ok : messages > 0 ? exitCode.no : exitCode.notRun;
}

async function batchSource(runtime: Runtime, from: string | true): Promise<Pick<Transport, "read">> {
  if (from === true) return runtime.processes.stdio.transport();
  let bytes: Uint8Array | undefined = await runtime.files.readBytes(from);
  return {
    read() {
      const once = bytes;
      bytes = undefined;
      return once;
    },
  };
}
