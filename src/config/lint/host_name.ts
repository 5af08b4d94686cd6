/**
 * Host names that other servers cannot make sense of. It must not know what they resolve to.
 */
import { quote } from "../diagnostic.ts";
import { type TableNode, tablesAt, type Text, textAt } from "../tree.ts";
import { isReachable } from "./host.ts";
import type { LintRule } from "./rule.ts";

const HELP = 'Give the name that the DNS has for this server, such as "mail.example.com".';

export const unqualifiedHostName: LintRule = {
  code: "SMTPD256",
  check({ root, config, environment, report }) {
    if (config === undefined) return;
    const reachable = config.listeners.map((listener, index) => ({
      listener,
      table: tablesAt(root, "listener")[index],
    }))
      .filter(({ listener }) => isReachable(listener));
    // Where only this machine connects, nobody looks the name up.
    if (reachable.length === 0) return;
    const common = textAt(root, "host_name");
    const own = reachable.map(({ table }) => table === undefined ? undefined : textAt(table, "host_name"));
    const names = new Set([common, ...own].filter((text) => text !== undefined));
    for (const name of names) if (!isQualified(name.value)) reportName(name, report);
    const nameless = reachable.find((_, index) => own[index] === undefined);
    if (nameless !== undefined && common === undefined && !isQualified(environment.hostName)) {
      reportSystem(environment.hostName, nameless.table, report);
    }
  },
};

type Report = Parameters<LintRule["check"]>[0]["report"];

function reportName(name: Text, report: Report): void {
  report(`The host name ${quote(name.value)} is not fully qualified`, name.place, { help: HELP });
}

function reportSystem(name: string, listener: TableNode | undefined, report: Report): void {
  if (listener === undefined) return;
  report(
    `There is no host_name, and the system's, ${quote(name)}, is not fully qualified`,
    textAt(listener, "name")?.place ?? listener.place,
    { help: `Set host_name in the configuration. ${HELP}` },
  );
}

/** Top-level domains that are never in the public DNS (RFC 6761, RFC 6762), or that systems make up. */
const LOCAL = new Set(["local", "localhost", "localdomain", "invalid", "test", "lan", "internal", "home", "arpa"]);

/** An address literal stands for a host without a name (RFC 5321 §4.1.3), which is its owner's choice. */
export function isQualified(name: string): boolean {
  if (name.startsWith("[")) return true;
  const labels = name.replace(/\.$/u, "").toLowerCase().split(".");
  const top = labels.at(-1) ?? "";
  return labels.length > 1 && !LOCAL.has(top) && !/^\d+$/u.test(top);
}
