/** What the tests of the smtp and lmtp channels share: channels on real sockets, and what a job came to. */
import * as v from "valibot";
import type { Channel, ChannelContext, Job, Outcome } from "../../src/channel/channel.ts";
import { lmtpChannel } from "../../src/channel/lmtp.ts";
import { smtpChannel } from "../../src/channel/smtp.ts";
import { systemDns } from "../../src/runtime/dns.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobFor } from "./channel_world.ts";
import type { DnsServer } from "./dns_server.ts";

export type Options = Readonly<Record<string, unknown>>;

/** Sends everything to that port of 127.0.0.1. */
export function gateway(port: number, options: Options = {}): Options {
  return { host: "127.0.0.1", port, tls: "off", ...options };
}

export async function openSmtp(options: Options, context: ChannelContext = contextOf()): Promise<Channel> {
  return await smtpChannel.open(v.parse(smtpChannel.schema, options), context);
}

export async function openLmtp(options: Options, context: ChannelContext = contextOf()): Promise<Channel> {
  return await lmtpChannel.open(v.parse(lmtpChannel.schema, options), context);
}

/** A context that asks that DNS server. */
export function contextWith(dns: DnsServer, changes: Partial<ChannelContext> = {}): ChannelContext {
  const context = contextOf();
  const runtime = { ...context.runtime, dns: systemDns({ servers: () => dns.server, roundsMs: [300] }) };
  return { ...context, runtime, ...changes };
}

/** One job over a channel of its own. */
export async function sendOnce(options: Options, job: Job = jobFor(["b@example.net"]), context?: ChannelContext) {
  await using channel = await openSmtp(options, context);
  return await outcomesOf(channel, job);
}

export function kinds(outcomes: readonly Outcome[]): readonly string[] {
  return [...outcomes].sort((one, other) => one.deliveryId - other.deliveryId).map(({ kind }) => kind);
}
