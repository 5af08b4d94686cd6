/**
 * `smtpd explain ADDRESS`: plays a message on the listeners of a configuration with the code of `serve`, and says what
 * becomes of it. It must not know how bindings decide, nor how the text is laid out.
 */
import { ListError, ListFiles } from "../binding/list.ts";
import { compileRoutes, type Step } from "../binding/route.ts";
import type { Config, ListenerConfig } from "../config/config.ts";
import { quote } from "../config/diagnostic.ts";
import { canMeet, type ImaginedMessage, parseAddress, type Rehearsal, STRANGER } from "../config/rehearsal.ts";
import { receiversOf } from "../config/slave_listener.ts";
import { nearest } from "../config/suggest.ts";
import { silentLog } from "../observe/log.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { rehearse } from "../server/rehearsal.ts";
import { formatMailbox, type Mailbox } from "../smtp/address.ts";
import { channelDecides, channelPlace } from "./channel_place.ts";
import { loadConfiguration } from "./configuration.ts";
import { CommandError, exitCode } from "./exit.ts";
import type { ExplainOptions } from "./explain.ts";
import { explanationText } from "./explain_text.ts";
import { wantsColour } from "./terminal.ts";

/** What becomes of the message on one listener. */
export interface Explanation {
  readonly rehearsal: Rehearsal;
  readonly tried: readonly Step[];
  /** One for each delivery, in their order. */
  readonly channels: readonly ChannelView[];
}

export interface ChannelView {
  readonly type: string;
  /** "" when the channel has none. */
  readonly place: string;
  /** Its verdict is the reply at the end of the data; the reply that is shown is the one when it accepts. */
  readonly decides: boolean;
}

export async function explainAddress(runtime: Runtime, subject: string, options: ExplainOptions): Promise<number> {
  const to = parseAddress(subject) ?? undefined;
  if (to === undefined) {
    throw new CommandError(
      `Cannot explain ${
        quote(subject)
      }: it is neither an address such as "support@example.com" nor a code such as SMTPD101`,
      exitCode.usage,
    );
  }
  const config = await loadConfiguration(runtime, options.config);
  const message = messageOf(to, options, runtime.clock.nowMs());
  const listeners = chooseListeners(config, options);
  const explanations = await explain(runtime, config, listeners, message);
  const { stdio } = runtime.processes;
  if (options.json === true) stdio.writeOut(`${JSON.stringify(explanations.map(jsonOf(message)), undefined, 2)}\n`);
  else stdio.writeOut(explanationText(message, explanations, wantsColour(runtime, "out")));
  const outcomes = explanations.map(({ rehearsal }) => rehearsal.outcome);
  if (outcomes.includes("reject")) return exitCode.no;
  return outcomes.includes("defer") ? exitCode.temporary : exitCode.ok;
}

function messageOf(to: Mailbox, options: ExplainOptions, nowMs: number): ImaginedMessage {
  const { from, ip, helo, tls, user, size, header, time } = options;
  return {
    to,
    from: from === undefined ? STRANGER.from : from.mailbox,
    ip: ip ?? STRANGER.ip,
    helo: helo ?? STRANGER.helo,
    ...(tls === undefined ? {} : { tls }),
    ...(user === undefined ? {} : { user }),
    ...(size === undefined ? {} : { sizeBytes: size }),
    headers: header,
    timeMs: time ?? nowMs,
  };
}

/** By name channels as well, which take mail in by `channel slave`. */
function chooseListeners(config: Config, { listener: names, tls }: ExplainOptions): readonly ListenerConfig[] {
  const receivers = receiversOf(config);
  for (const name of names) {
    if (receivers.some((receiver) => receiver.name === name)) continue;
    const known = receivers.map((receiver) => receiver.name);
    const meant = nearest(name, known);
    const hint = meant === undefined
      ? `the configuration has ${known.map(quote).join(", ")}`
      : `did you mean ${quote(meant)}?`;
    throw new CommandError(`There is no listener ${quote(name)}; ${hint}`, exitCode.usage);
  }
  if (names.length > 0) return receivers.filter(({ name }) => names.includes(name));
  const inbound = config.listeners.length > 0 ? config.listeners : receivers;
  const met = inbound.filter((listener) => canMeet(listener, tls));
  if (met.length === 0) throw new CommandError("No listener has TLS; leave --tls out", exitCode.usage);
  return met;
}

async function explain(
  runtime: Runtime,
  config: Config,
  listeners: readonly ListenerConfig[],
  message: ImaginedMessage,
): Promise<readonly Explanation[]> {
  const lists = new ListFiles({ files: runtime.files, clock: runtime.clock, log: silentLog });
  const routers = listeners.map((listener) => compileRoutes(listener, config.bindings, lists));
  try {
    await lists.load();
  } catch (error) {
    if (error instanceof ListError) throw new CommandError(error.message, exitCode.configuration, error);
    throw error;
  }
  const channels = new Map(config.channels.map((channel) => [channel.name, channel]));
  const explanations: Explanation[] = [];
  for (const [index, listener] of listeners.entries()) {
    const router = routers[index];
    if (router === undefined) continue;
    const rehearsal = await rehearse(listener, router, message);
    const views = rehearsal.deliveries.map((delivery) => {
      const channel = channels.get(delivery.channel);
      const sender = formatMailbox(message.from);
      const place = channel === undefined ? "" : channelPlace(channel, { delivery, sender, hostName: config.hostName });
      return { type: channel?.type ?? "", place, decides: channel !== undefined && channelDecides(channel) };
    });
    explanations.push({ rehearsal, tried: rehearsal.explain(), channels: views });
  }
  return explanations;
}

function jsonOf({ to, from, ip, helo, user, tls, sizeBytes, headers, timeMs }: ImaginedMessage) {
  const message = {
    to: formatMailbox(to),
    from: formatMailbox(from),
    ip,
    helo,
    user: user ?? null,
    tls: tls ?? null,
    size: sizeBytes ?? null,
    headers,
    time: new Date(timeMs).toISOString(),
  };
  return ({ rehearsal, tried, channels }: Explanation) => ({
    listener: rehearsal.listener,
    message,
    outcome: rehearsal.outcome,
    binding: rehearsal.binding ?? null,
    tried,
    deliveries: rehearsal.deliveries.map(({ channel, binding, recipient, sender, edits, held }, index) => ({
      channel,
      type: channels[index]?.type ?? "",
      place: channels[index]?.place ?? "",
      decides: channels[index]?.decides ?? false,
      binding,
      recipient,
      sender: sender ?? message.from,
      edits,
      held,
    })),
    dialogue: rehearsal.dialogue.map(({ command, reply: { code, enhanced, lines } }) => ({
      command,
      code,
      enhanced: enhanced ?? null,
      lines,
    })),
  });
}
