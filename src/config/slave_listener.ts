/**
 * A channel that takes mail in, as the listener that it is to bindings, limits and logs. It must not know how a session is
 * served.
 */
import { DEFAULT_MAX_ERRORS, DEFAULT_MAX_MESSAGE_SIZE_BYTES, DEFAULT_MAX_RECIPIENTS } from "../smtp/limits.ts";
import type { SessionOptions } from "./channel_options.ts";
import type { ChannelConfig, Config, ListenerConfig, SlaveConfig } from "./config.ts";

/** For configurations that were not loaded. */
const UNTOLD: SlaveConfig = {
  trust: "none",
  lineEndings: "strict",
  options: [],
  protocol: "smtp",
  sessionTimeoutMs: 3600_000,
  maxMessageSizeBytes: DEFAULT_MAX_MESSAGE_SIZE_BYTES,
  maxRecipients: DEFAULT_MAX_RECIPIENTS,
  maxErrors: DEFAULT_MAX_ERRORS,
  requiresTls: false,
};

export function slaveOf(channel: ChannelConfig): SlaveConfig {
  return channel.slave ?? UNTOLD;
}

/** To bindings, limits and logs, the channel is a listener of its name. */
export function slaveListener(
  config: Pick<Config, "hostName">,
  channel: ChannelConfig,
  session: SessionOptions = {},
): ListenerConfig {
  const slave = slaveOf(channel);
  const { protocol } = slave;
  const maxMessages = session.maxMessages ?? slave.sessionMaxMessages;
  const banner = session.banner ?? slave.banner ?? (protocol === "lmtp" ? "LMTP smtpd" : "ESMTP smtpd");
  const addition = session.bannerAddition?.[0] ?? "";
  return {
    name: channel.name,
    tags: channel.tags,
    protocol,
    port: 0,
    hostName: slave.localHostAlias ?? session.hostName ?? config.hostName,
    banner: addition === "" ? banner : `${banner} ${addition}`,
    maxConcurrency: 1,
    ...(maxMessages === undefined ? {} : { sessionMaxMessages: maxMessages }),
    sessionTimeoutMs: session.sessionTimeoutMs ?? slave.sessionTimeoutMs,
    maxMessageSizeBytes: slave.maxMessageSizeBytes,
    maxRecipients: session.maxRecipients ?? slave.maxRecipients,
    maxErrors: slave.maxErrors,
    lineEndings: slave.lineEndings,
    tls: { mode: "off" },
    bindings: [],
  };
}

/** Everything that may take mail in: the listeners in their order, then every channel. */
export function receiversOf(config: Config): readonly ListenerConfig[] {
  let receivers = known.get(config);
  if (receivers === undefined) {
    receivers = [...config.listeners, ...config.channels.map((channel) => slaveListener(config, channel))];
    known.set(config, receivers);
  }
  return receivers;
}

/** Each receiver is one object for a configuration, so that routers and findings agree on it. */
const known = new WeakMap<Config, readonly ListenerConfig[]>();
