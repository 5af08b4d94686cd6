/**
 * Loads the configuration: finds the file, reads it with its includes, checks it, and makes the `Config` the program uses.
 * The one loader of `serve`, `channel` and `check`. Problems of a configuration are diagnostics, all of one run together;
 * it never throws because of a configuration's content.
 */
import { dirname, join, resolve } from "node:path";
import { prepareRegex } from "../binding/regex.ts";
import { bindingTexts } from "./binding_consistency.ts";
import { buildBinding, present } from "./build_binding.ts";
import { adoptUnknown, type CheckContext, checkTable, keysOf, type Reference, type Schema } from "./check.ts";
import type { ChannelConfig, Config, ListenerConfig, ListenerTls, NotificationsConfig } from "./config.ts";
import { checkConsistency } from "./consistency.ts";
import { type Diagnostic, diagnostic, quote } from "./diagnostic.ts";
import { type ConfigFiles, readConfig } from "./include.ts";
import {
  canonicalHostName,
  channelSchema,
  type ChannelSettings,
  type ListenerSettings,
  type Settings,
  settingsSchema,
  SYNONYMS,
} from "./schema.ts";
import { checkSeverities } from "./severity.ts";
import { buildSlave } from "./slave_schema.ts";
import { type Place, type Source, spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { newTable, type TableNode, tablesAt, type Text, textAt } from "./tree.ts";

/** What the loader knows of a channel type. */
export interface ChannelKind {
  readonly type: string;
  readonly summary: string;
  /** The options of this type alone. */
  readonly schema: Schema;
}

export interface LoadContext {
  readonly files: ConfigFiles;
  readonly channels: ReadonlyMap<string, ChannelKind>;
  /** The system's host name, for a configuration that gives none. */
  readonly hostName: string;
  /** Lets the system choose ports, for tests. */
  readonly allowPortZero?: boolean;
}

export interface LoadResult {
  /** Present exactly when no diagnostic is an error. */
  readonly config?: Config;
  /** Sorted by place. */
  readonly diagnostics: readonly Diagnostic[];
  /** The texts that diagnostics point into, by file. */
  readonly sources: ReadonlyMap<string, Source>;
  /** What the lint rules look at. Keys that were misspelt stand in the tree under the names they were taken for. */
  readonly root: TableNode;
  readonly main: Source;
  /** Every file could be read: what is missing in the tree is missing indeed. */
  readonly complete: boolean;
  readonly references: readonly Reference[];
  /** Comments `# smtpd: …`. */
  readonly directives: readonly Place[];
}

/** Reads and checks a configuration. Findings name files as they were given; paths in the result are absolute. */
export async function loadConfig(file: string, context: LoadContext): Promise<LoadResult> {
  const read = await readConfig(file, context.files);
  const findings: Diagnostic[] = [...read.diagnostics];
  const report = (finding: Diagnostic) => void findings.push(finding);
  const references: Reference[] = [];
  const reference = (found: Reference) => void references.push(found);
  const check: CheckContext = { report, synonyms: SYNONYMS, reference };
  const settings = checkTable(settingsSchema(context.allowPortZero === true ? 0 : 1), read.root, check);
  const channels = checkChannels(read.root, context.channels, check);
  // An include that is still there was misspelt, and its files have not been read.
  const complete = read.complete && !read.root.entries.has("include");
  const bindings = [read.root, ...tablesAt(read.root, "listener")].flatMap((table) => tablesAt(table, "binding"));
  await prepareRegex(bindings.flatMap(bindingTexts));
  checkConsistency(read.root, { report, main: read.main, complete });
  checkSeverities(read.root, report);
  const diagnostics = sorted(findings, read.sources);
  const failed = settings === undefined || diagnostics.some((finding) => finding.severity === "error");
  return {
    ...(failed ? {} : { config: buildConfig(file, settings, channels, context) }),
    diagnostics,
    sources: read.sources,
    root: read.root,
    main: read.main,
    complete,
    references,
    directives: read.directives,
  };
}

/** By file in the order of reading, then by place; one finding for one cause at one place. */
export function sorted(findings: readonly Diagnostic[], sources: ReadonlyMap<string, Source>): readonly Diagnostic[] {
  const order = (finding: Diagnostic) => sources.get(finding.primary.file)?.order ?? 0;
  const keyOf = ({ code, primary }: Diagnostic) =>
    `${code} ${primary.start.offset} ${primary.end.offset} ${primary.file}`;
  const seen = new Set<string>();
  return findings
    .filter((finding) => {
      const key = keyOf(finding);
      // Several missing keys share the place of their table.
      const full = finding.code === "SMTPD103" ? `${key} ${finding.message}` : key;
      if (seen.has(full)) return false;
      seen.add(full);
      return true;
    })
    .sort((left, right) =>
      order(left) - order(right) || left.primary.start.offset - right.primary.start.offset ||
      (left.code < right.code ? -1 : left.code > right.code ? 1 : 0)
    );
}

interface CheckedChannel {
  readonly settings: ChannelSettings;
  readonly options: unknown;
}

function checkChannels(
  root: TableNode,
  kinds: ReadonlyMap<string, ChannelKind>,
  context: CheckContext,
): readonly CheckedChannel[] {
  const checked: CheckedChannel[] = [];
  const commonKeys = Object.keys(channelSchema.entries);
  for (const channel of tablesAt(root, "channel")) {
    if (!channel.entries.has("type")) adoptUnknown(commonKeys, channel, context, "type");
    const type = textAt(channel, "type");
    const kind = type === undefined ? undefined : kinds.get(type.value);
    if (type !== undefined && kind === undefined) reportType(type, kinds, context);
    const ownKeys = kind === undefined ? undefined : keysOf(kind.schema);
    if (ownKeys !== undefined) adoptUnknown([...commonKeys, ...ownKeys], channel, context);
    const common = newTable(channel.place);
    const own = newTable(channel.place);
    for (const [key, entry] of channel.entries) (commonKeys.includes(key) ? common : own).entries.set(key, entry);
    const settings = checkTable(channelSchema, common, context);
    if (kind === undefined) continue;
    const options = checkTable(kind.schema, own, context);
    if (settings !== undefined && options !== undefined) checked.push({ settings, options });
  }
  return checked;
}

function reportType(type: Text, kinds: ReadonlyMap<string, ChannelKind>, context: CheckContext): void {
  const place = spanOf(type.place);
  const meant = nearest(type.value, kinds.keys());
  const list = [...kinds.values()].map((kind) => `${kind.type} (${kind.summary.replace(/\.$/u, "")})`).join(", ");
  context.report(diagnostic("SMTPD106", `There is no channel type ${quote(type.value)}`, place, {
    help: meant === undefined ? `There are: ${list}.` : `Did you mean ${quote(meant)}?`,
    fix: meant === undefined
      ? undefined
      : { title: `Use the type ${quote(meant)}`, edits: [{ span: place, text: JSON.stringify(meant) }] },
  }));
}

function buildConfig(
  file: string,
  settings: Settings,
  channels: readonly CheckedChannel[],
  context: LoadContext,
): Config {
  const hostName = settings.host_name ?? canonicalHostName(context.hostName) ?? "localhost";
  const { url, min_free_space: minFreeSpaceBytes } = settings.spool;
  return {
    file: resolve(file),
    hostName,
    spool: {
      // A url that is given is absolute by now; the default is relative to the main file.
      store: url === "memory:"
        ? { kind: "memory" }
        : { kind: "sqlite", path: resolve(dirname(file), url.slice("sqlite:".length)) },
      minFreeSpaceBytes,
    },
    listeners: settings.listener.map((listener) => buildListener(listener, hostName)),
    bindings: settings.binding.map(buildBinding),
    channels: channels.map((channel) => buildChannel(channel, dirname(resolve(file)))),
    ...present("notifications", notificationsOf(settings)),
    ...present("sendmailChannel", settings.sendmail_channel),
    shutdownGraceMs: settings.shutdown_grace,
    ...(settings.test.length === 0 ? {} : { tests: settings.test }),
  };
}

function notificationsOf({ notifications: { channel } }: Settings): NotificationsConfig | undefined {
  return channel === undefined ? undefined : { channel };
}

function buildListener(listener: ListenerSettings, hostName: string): ListenerConfig {
  const protocol = listener.protocol;
  return {
    name: listener.name,
    ...present("description", listener.description),
    tags: listener.tags,
    protocol,
    ...present("listenIp", listener.listen_ip),
    port: listener.port,
    hostName: listener.host_name ?? hostName,
    banner: listener.banner ?? (protocol === "lmtp" ? "LMTP smtpd" : "ESMTP smtpd"),
    maxConcurrency: listener.max_concurrency,
    ...present("sessionMaxMessages", listener.session_max_messages),
    sessionTimeoutMs: listener.session_timeout,
    maxMessageSizeBytes: listener.max_message_size,
    maxRecipients: listener.max_recipients,
    maxErrors: listener.max_errors,
    lineEndings: listener.line_endings,
    tls: buildTls(listener.tls),
    bindings: listener.binding.map(buildBinding),
  };
}

function buildTls(tls: ListenerSettings["tls"]): ListenerTls {
  const { mode, certificate, private_key: privateKey } = tls;
  if (mode === "off" || certificate === undefined || privateKey === undefined) return { mode: "off" };
  return { mode, certificate, privateKey };
}

function buildChannel({ settings, options }: CheckedChannel, directory: string): ChannelConfig {
  return {
    name: settings.name,
    ...present("description", settings.description),
    tags: settings.tags,
    type: settings.type,
    maxConcurrency: settings.max_concurrency,
    ...present("rateLimit", settings.rate_limit),
    timeoutMs: settings.timeout,
    retry: {
      firstDelayMs: settings.retry.first_delay,
      maxDelayMs: settings.retry.max_delay,
      maxAgeMs: settings.max_age,
    },
    notify: settings.notify,
    noticesMs: settings.notices.toSorted((one, other) => one - other),
    options,
    slave: buildSlave(settings, join(directory, `${settings.name}_slave.log`)),
  };
}

export type FoundConfig =
  | { readonly file: string }
  /** None of these exists. */
  | { readonly tried: readonly string[] };

/**
 * The configuration file: `--config`, `$SMTPD_CONFIG`, `./smtpd.toml`, `/etc/smtpd/smtpd.toml`, the first that is given or
 * exists. One that is given is not looked for elsewhere when it is missing; loading it then says so.
 */
export async function findConfigFile(
  given: string | undefined,
  context: { readonly files: Pick<ConfigFiles, "info">; readonly environment: (name: string) => string | undefined },
): Promise<FoundConfig> {
  const chosen = given ?? context.environment("SMTPD_CONFIG");
  if (chosen !== undefined && chosen !== "") return { file: chosen };
  const tried = ["smtpd.toml", join("/etc", "smtpd", "smtpd.toml")];
  for (const file of tried) {
    const info = await context.files.info(file).catch(() => undefined);
    if (info?.kind === "file") return { file };
  }
  return { tried };
}
