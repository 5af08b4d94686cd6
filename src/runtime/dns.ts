/**
 * The DNS as the servers of this machine know it. Few processes ask it anything; those that do not need not load what it
 * takes. It must not know what the records are for.
 */
import process from "node:process";
import type { DnsRecord, DnsType } from "./dns_message.ts";
import type { Dns, MailExchanger } from "./runtime.ts";

/** How long each of the rounds over all servers waits for each of them. */
const ROUNDS_MS = [2_000, 4_000] as const;

/** The environment variable that names DNS servers in place of the system's: `192.0.2.53`, `127.0.0.1:5353`. */
export const DNS_VARIABLE = "SMTPD_DNS";

export interface DnsOptions {
  /** In place of the system's servers; asked for at each question. */
  readonly servers?: () => string | undefined;
  readonly roundsMs?: readonly number[];
}

export function systemDns(options: DnsOptions = {}): Dns {
  const { servers = () => process.env[DNS_VARIABLE], roundsMs = ROUNDS_MS } = options;
  const ask = async (name: string, type: DnsType): Promise<readonly DnsRecord[]> => {
    const { Query } = await import("./dns_query.ts");
    return await new Query(name, type, roundsMs).run(servers());
  };
  return {
    async mailExchangers(domain) {
      const records = await ask(domain, "MX");
      return records.flatMap((record): MailExchanger[] =>
        record.type === "MX" ? [{ preference: record.preference, host: record.exchange }] : []
      );
    },
    async addresses(host) {
      const outcomes = await Promise.allSettled([ask(host, "AAAA"), ask(host, "A")]);
      const found = outcomes.flatMap((outcome) => outcome.status === "fulfilled" ? addressesOf(outcome.value) : []);
      // With half of the answer there is a way to go on; and who is not sure of one half must not say that there is none.
      const failures = outcomes.flatMap((outcome) => outcome.status === "rejected" ? [outcome.reason] : []);
      if (found.length === 0 && failures.length > 0) {
        throw failures.find((failure) => failure?.code !== "ENOTFOUND") ?? failures[0];
      }
      return found;
    },
  };
}

function addressesOf(records: readonly DnsRecord[]): readonly string[] {
  return records.flatMap((record) => record.type === "MX" ? [] : [record.address]);
}
