/**
 * Key pairs of listeners: whether certificate and key can be read and belong together, whether they are valid now and for
 * a while, and whether the certificate names the host. Files that are missing are another rule's. It must not know how
 * certificates are read.
 */
import type { ListenerConfig, Secret } from "../config.ts";
import { quote } from "../diagnostic.ts";
import { type Place, spanOf } from "../source.ts";
import { tableAt, type TableNode, tablesAt, textAt } from "../tree.ts";
import { isReachable } from "./host.ts";
import type { KeyPairFacts, LintContext, LintEnvironment, LintRule } from "./rule.ts";

const DAY_MS = 24 * 3_600_000;

/** Enough to renew by hand, holidays included; certificates that live for 90 days are renewed 30 days before their end. */
const SOON_MS = 21 * DAY_MS;

export const unusableKeyPair: LintRule = {
  code: "SMTPD230",
  async check(context) {
    const { environment: { nowMs }, report } = context;
    for (const { facts, certificate, key } of await keyPairs(context)) {
      if (!facts.ok) {
        const other = { ...spanOf(certificate), label: "the certificate" };
        // The first sentence says what is wrong, the others what to do.
        const [reason = "", ...advice] = facts.reason.split(/(?<=\.)\s+/u);
        report(reason.replace(/\.$/u, ""), facts.field === "certificate" ? certificate : key, {
          secondary: facts.field === "pair" ? [other] : [],
          ...(advice.length === 0 ? {} : { help: advice.join(" ") }),
        });
      } else if (facts.notAfterMs <= nowMs) {
        report(`This certificate expired on ${dateText(facts.notAfterMs)}`, certificate, { help: "Renew it." });
      } else if (facts.notBeforeMs > nowMs) {
        report(`This certificate is not valid before ${dateText(facts.notBeforeMs)}`, certificate, {
          help: "Check the clock of this machine, or install a certificate that is valid now.",
        });
      }
    }
  },
};

export const expiringCertificate: LintRule = {
  code: "SMTPD231",
  async check(context) {
    const { environment: { nowMs }, report } = context;
    for (const { facts, certificate } of await keyPairs(context)) {
      if (!facts.ok || facts.notAfterMs <= nowMs || facts.notAfterMs - nowMs > SOON_MS) continue;
      const days = Math.floor((facts.notAfterMs - nowMs) / DAY_MS);
      const left = days === 0 ? "in less than a day" : days === 1 ? "in one day" : `in ${days} days`;
      report(`This certificate expires ${left}, on ${dateText(facts.notAfterMs)}`, certificate, {
        help: "Renew it, or find out why its renewal has not run.",
      });
    }
  },
};

export const uncoveredHostName: LintRule = {
  code: "SMTPD232",
  async check(context) {
    const { root, report } = context;
    const common = textAt(root, "host_name");
    for (const { facts, certificate, listener, table } of await keyPairs(context)) {
      const name = textAt(table, "host_name") ?? common;
      // The system's own name is that of the machine the check runs on, which need not be the server's.
      if (!facts.ok || name === undefined || covers(facts, listener)) continue;
      const [first, ...others] = facts.names;
      const list = first === undefined
        ? "It names no host at all."
        : others.length < 10
        ? `It names ${facts.names.map(quote).join(", ")}.`
        : `It names ${quote(first)} and ${others.length} others.`;
      report(`This certificate does not name the host ${quote(listener.hostName)}`, certificate, {
        secondary: [{ ...spanOf(name.place), label: "what clients expect" }],
        notes: [list],
        help: "Get a certificate for this name, or set host_name to one that it has.",
      });
    }
  },
};

/** Where only this machine connects, clients may as well expect the address or `localhost`. */
function covers(facts: KeyPairFacts & { readonly ok: true }, listener: ListenerConfig): boolean {
  const { hostName, listenIp } = listener;
  const literal = /^\[(?:IPv6:)?(.+)\]$/u.exec(hostName)?.[1];
  if (literal === undefined ? facts.covers(hostName) : facts.names.includes(literal)) return true;
  return !isReachable(listener) && (facts.covers("localhost") || facts.names.includes(listenIp ?? ""));
}

interface KeyPair {
  readonly facts: KeyPairFacts;
  readonly certificate: Place;
  readonly key: Place;
  readonly listener: ListenerConfig;
  readonly table: TableNode;
}

/** Every rule here asks for the same; a configuration object belongs to one run. */
const known = new WeakMap<object, Promise<readonly KeyPair[]>>();

/** The key pairs whose halves can both be read, each for its listener. */
function keyPairs({ root, config, environment }: LintContext): Promise<readonly KeyPair[]> {
  if (config === undefined) return Promise.resolve([]);
  const asked = known.get(config);
  if (asked !== undefined) return asked;
  const made = readKeyPairs(root, config.listeners, environment);
  known.set(config, made);
  return made;
}

async function readKeyPairs(
  root: TableNode,
  listeners: readonly ListenerConfig[],
  environment: LintEnvironment,
): Promise<readonly KeyPair[]> {
  const pairs: KeyPair[] = [];
  const parsed = new Map<string, KeyPairFacts>();
  for (const [index, table] of tablesAt(root, "listener").entries()) {
    const listener = listeners[index];
    const tls = tableAt(table, "tls");
    const certificate = tls?.entries.get("certificate")?.node.place;
    const key = tls?.entries.get("private_key")?.node.place;
    if (listener === undefined || listener.tls.mode === "off" || certificate === undefined || key === undefined) {
      continue;
    }
    const [chain, privateKey] = [
      await readFile(listener.tls.certificate, environment),
      await readKey(listener.tls.privateKey, environment),
    ];
    if (chain === undefined || privateKey === undefined) continue;
    const texts = `${chain}\0${privateKey}`;
    const facts = parsed.get(texts) ?? environment.keyPair(chain, privateKey);
    parsed.set(texts, facts);
    pairs.push({ facts, certificate, key, listener, table });
  }
  return pairs;
}

async function readKey(secret: Secret, environment: LintEnvironment): Promise<string | undefined> {
  if (secret.kind === "file") return await readFile(secret.path, environment);
  const text = secret.kind === "env" ? environment.variable(secret.name) : secret.value;
  return text === "" ? undefined : text;
}

async function readFile(path: string, { files }: LintEnvironment): Promise<string | undefined> {
  const result = await files.readText(path);
  return "text" in result && result.text.trim() !== "" ? result.text : undefined;
}

function dateText(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}
