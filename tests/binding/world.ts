/** Short ways to write bindings and queries. */
import { compileRoutes, type Query, type Router } from "../../src/binding/route.ts";
import type { BindingConfig } from "../../src/config/config.ts";
import type { ListFiles } from "../../src/binding/list.ts";
import type { Mailbox } from "../../src/smtp/address.ts";
import { reply } from "../../src/smtp/reply.ts";

export const HOST = "mx.example.com";
export const SENDER = "sender@example.org";

export type BindingParts = Partial<Omit<BindingConfig, "name" | "tags">>;

/** Delivers to `to-NAME` unless `parts` say otherwise. */
export function binding(name: string, parts: BindingParts = {}): BindingConfig {
  return { name, tags: [], outcome: { kind: "deliver", channels: [`to-${name}`] }, ...parts };
}

export function rejects(name: string, parts: BindingParts = {}): BindingConfig {
  return binding(name, { outcome: { kind: "reject", reply: reply(550, "5.1.1", name) }, ...parts });
}

/** Changes alone, and goes on. */
export function goesOn(name: string, parts: BindingParts = {}): BindingConfig {
  return binding(name, { outcome: { kind: "none" }, continues: true, ...parts });
}

export function mailbox(text: string): Mailbox {
  const at = text.lastIndexOf("@");
  return { localPart: text.slice(0, at), domain: text.slice(at + 1) };
}

/** At noon on Monday, 2 January 2023, UTC, before the end of data. */
export function query(recipient: string, more: Partial<Query> = {}): Query {
  return {
    recipient: mailbox(recipient),
    sender: mailbox(SENDER),
    clientAddress: "192.0.2.1",
    helo: "client.example.org",
    tls: undefined,
    user: undefined,
    notify: undefined,
    declaredSizeBytes: undefined,
    nowMs: Date.UTC(2023, 0, 2, 12),
    body: undefined,
    ...more,
  };
}

export function body(sizeBytes: number, fields: Readonly<Record<string, string>> = {}): NonNullable<Query["body"]> {
  return { sizeBytes, fields: Object.entries(fields).map(([name, value]) => ({ name: name.toLowerCase(), value })) };
}

export function router(
  shared: readonly BindingConfig[],
  own: readonly BindingConfig[] = [],
  lists?: ListFiles,
): Router {
  return compileRoutes({ name: "in", tags: ["public"], hostName: HOST, bindings: own }, shared, lists);
}

/** `accept NAME: channel>recipient …`, `refuse NAME CODE`, `undecided NAMES (key or none)`. */
export function routeText(using: Router, asked: Query): string {
  const route = using.route(asked);
  if (route.kind === "refuse") return `refuse ${route.binding ?? "-"} ${route.reply.code} ${route.reply.enhanced}`;
  if (route.kind === "undecided") {
    return `undecided ${route.bindings.join(",")}${route.refusalKey === undefined ? "" : " may be refused"}`;
  }
  const deliveries = route.deliveries.map(({ channel, recipient, held }) =>
    `${channel}${recipient === undefined ? "" : `>${recipient.localPart}@${recipient.domain}`}${held ? " held" : ""}`
  );
  return [`accept ${route.binding}:`, ...deliveries].join(" ");
}
