/**
 * Where a channel takes a delivery: the directory, the host, the address, the program. Read from the options that channel
 * types have in common. It must not open anything, and shows no password.
 */
import { PathTemplate, TemplateError, templateValues } from "../channel/template.ts";
import type { ChannelConfig } from "../config/config.ts";
import type { RehearsedDelivery } from "../config/rehearsal.ts";

/** What the variables of a place stand for. */
export interface PlacedDelivery {
  readonly delivery: Pick<RehearsedDelivery, "recipient" | "sender">;
  readonly sender: string;
  readonly hostName: string;
}

/** "" for a channel that has no place; without a delivery, the place as it is written. */
export function channelPlace({ name, options }: ChannelConfig, placed?: PlacedDelivery): string {
  const given = options as Readonly<Record<string, unknown>> | null | undefined;
  const text = (key: string) => typeof given?.[key] === "string" ? given[key] : undefined;
  const path = text("path");
  if (path !== undefined) {
    if (placed === undefined) return path;
    const { delivery, sender, hostName } = placed;
    const envelope = { reversePath: delivery.sender ?? sender } as Parameters<typeof templateValues>[0]["envelope"];
    return expanded(path, () => templateValues({ id: "ID", envelope }, delivery, { name, hostName }));
  }
  const url = text("url");
  if (url !== undefined) return withoutPassword(url);
  const host = text("host");
  if (host !== undefined) {
    const port = given?.["port"];
    return typeof port === "number" ? `${host.includes(":") ? `[${host}]` : host}:${port}` : host;
  }
  const command = given?.["command"];
  if (Array.isArray(command)) return command.map(String).join(" ");
  return text("module") ?? "";
}

/** Whether the channel's verdict is the reply at the end of the data, which nobody can know before it is asked. */
export function channelDecides({ options }: ChannelConfig): boolean {
  return (options as { readonly when?: unknown } | null | undefined)?.when === "rcpt-data";
}

function expanded(path: string, values: () => ReturnType<typeof templateValues>): string {
  const template = PathTemplate.parse(path);
  if (!template.ok) return path;
  try {
    return template.value.expand(values());
  } catch (error) {
    // This address cannot stand in the path; the delivery says so when it is tried.
    if (error instanceof TemplateError) return path;
    throw error;
  }
}

function withoutPassword(text: string): string {
  const url = URL.parse(text);
  if (url === null || (url.username === "" && url.password === "")) return text;
  url.username = "";
  url.password = "";
  return url.href;
}
