/**
 * Makes a binding as the program uses it from its checked settings. It must not know of TOML or of positions.
 */
import type {
  BindingConfig,
  BindingOutcome,
  Changes,
  Conditions,
  DsnCondition,
  HeaderTemplate,
  TlsCondition,
} from "./config.ts";
import type { BindingSettings } from "./schema.ts";

export function buildBinding(binding: BindingSettings): BindingConfig {
  const { hold, continue: continues } = binding;
  return {
    name: binding.name,
    ...present("description", binding.description),
    tags: binding.tags,
    ...buildConditions(binding),
    ...present("not", binding.not === undefined ? undefined : buildConditions(binding.not)),
    outcome: buildOutcome(binding),
    ...present("changes", buildChanges(binding)),
    ...(hold === true ? { hold } : {}),
    ...(continues === true ? { continues } : {}),
  };
}

type ConditionSettings = NonNullable<BindingSettings["not"]>;

function buildConditions(settings: ConditionSettings): Conditions {
  const { tls, size } = settings;
  return {
    ...present("recipients", settings.recipients),
    ...present("senders", settings.senders),
    ...present("listeners", settings.listeners),
    ...present("clients", settings.clients),
    ...present("authenticated", settings.authenticated),
    ...present("helo", settings.helo),
    ...present("tls", typeof tls === "object" ? buildTls(tls) : tls),
    ...present("size", size === undefined ? undefined : { ...present("min", size.min), ...present("max", size.max) }),
    ...present("headers", settings.headers),
    ...present("dsn", settings.dsn as readonly DsnCondition[] | undefined),
    ...present("time", settings.time),
  };
}

function buildTls(tls: Exclude<ConditionSettings["tls"], boolean | undefined>): TlsCondition {
  return { ...present("minVersion", tls.min_version), ...present("clientName", tls.client_name) };
}

/** Which outcome there is, the consistency check has seen to. */
function buildOutcome({ deliver, reject, defer, discard, aliases }: BindingSettings): BindingOutcome {
  if (deliver !== undefined) return { kind: "deliver", channels: [...new Set(deliver)] };
  const refusal = reject ?? defer;
  if (refusal !== undefined) return { kind: "reject", reply: refusal };
  if (discard === true) return { kind: "discard" };
  return aliases === undefined ? { kind: "none" } : { kind: "aliases", file: aliases };
}

function buildChanges(settings: BindingSettings): Changes | undefined {
  const changes: Changes = {
    ...present("rewriteRecipient", settings.rewrite_recipient),
    ...present("rewriteSender", settings.rewrite_sender),
    ...present("removeHeaders", settings.remove_headers),
    ...present("setHeaders", headerTemplates(settings.set_headers)),
    ...present("addHeaders", headerTemplates(settings.add_headers)),
    ...present("subjectPrefix", settings.subject_prefix),
  };
  return Object.keys(changes).length === 0 ? undefined : changes;
}

function headerTemplates(
  headers: Readonly<Record<string, string | readonly string[]>> | undefined,
): readonly HeaderTemplate[] | undefined {
  if (headers === undefined) return undefined;
  return Object.entries(headers).flatMap(([name, values]) =>
    (typeof values === "string" ? [values] : values).map((value) => ({ name, value }))
  );
}

/** A property that is absent, not undefined, when there is no value. */
export function present<Key extends string, Value>(
  key: Key,
  value: Value | undefined,
): { readonly [K in Key]?: Value } {
  return value === undefined ? {} : { [key]: value } as { readonly [K in Key]?: Value };
}
