/**
 * Limits that cannot all hold: of size and space, of sessions and the time a client needs, of connections and the files
 * this process may open. It must not know how they are enforced.
 */
import { COMMAND_TIMEOUT_MS } from "../../smtp/limits.ts";
import type { ListenerConfig } from "../config.ts";
import { formatDuration } from "../duration.ts";
import { formatSize } from "../size.ts";
import { type Place, spanOf } from "../source.ts";
import { tableAt, type TableNode, tablesAt, textAt } from "../tree.ts";
import type { LintContext, LintRule } from "./rule.ts";

export const sizeOverReserve: LintRule = {
  code: "SMTPD254",
  check({ root, config, report }) {
    if (config === undefined || config.spool.store.kind !== "sqlite") return;
    const reserveBytes = config.spool.minFreeSpaceBytes;
    // Whoever keeps nothing free has chosen to fill the disk.
    if (reserveBytes === 0) return;
    const spool = tableAt(root, "spool");
    const reservePlace = spool?.entries.get("min_free_space")?.node.place;
    for (const { listener, table } of listenersOf({ root, config })) {
      if (listener.maxMessageSizeBytes <= reserveBytes) continue;
      const size = table.entries.get("max_message_size")?.node.place;
      const reserve = formatSize(reserveBytes);
      report(
        `One message of "max_message_size" may take more than the ${reserve} that "min_free_space" keeps free`,
        size ?? reservePlace ?? placeOf(table),
        {
          secondary: size === undefined || reservePlace === undefined
            ? []
            : [{ ...spanOf(reservePlace), label: "kept free" }],
          help: `Raise min_free_space in [spool] to at least ${formatSize(listener.maxMessageSizeBytes)}, ` +
            "or lower max_message_size.",
        },
      );
    }
  },
};

/** RFC 5321 §4.5.3.2.7: what a server waits for one command, and so the longest a patient client may take for a phase. */
const LONGEST_PHASE_MS = COMMAND_TIMEOUT_MS;

export const shortSession: LintRule = {
  code: "SMTPD255",
  check({ root, config, report }) {
    if (config === undefined) return;
    for (const { listener, table } of listenersOf({ root, config })) {
      const place = table.entries.get("session_timeout")?.node.place;
      const { sessionTimeoutMs } = listener;
      if (place === undefined || sessionTimeoutMs === undefined || sessionTimeoutMs >= LONGEST_PHASE_MS) continue;
      const phase = formatDuration(LONGEST_PHASE_MS);
      report(`"session_timeout" ends sessions before a client has used its time for one command`, place, {
        notes: [
          `RFC 5321 §4.5.3.2 gives a client ${phase} for each command; the whole session gets ` +
          `${formatDuration(sessionTimeoutMs)} here.`,
        ],
        help: `Give it ${phase} at least, and enough for max_message_size over a slow line.`,
      });
    }
  },
};

/** A connection or an attempt takes one file or socket; some channels a second one. */
const FILES_PER_ATTEMPT = 2;
/** Spool, logs, listeners, libraries. */
const FILES_OF_OUR_OWN = 64;

export const fileLimit: LintRule = {
  code: "SMTPD257",
  async check({ root, config, environment, report }) {
    if (config === undefined) return;
    const limit = await environment.privileges.openFileLimit();
    if (limit === undefined) return;
    const sessions = config.listeners.reduce((sum, listener) => sum + listener.maxConcurrency, 0);
    const attempts = config.channels.reduce((sum, channel) => sum + channel.maxConcurrency, 0);
    const needed = sessions + attempts * FILES_PER_ATTEMPT + FILES_OF_OUR_OWN;
    if (needed <= limit) return;
    const widest = listenersOf({ root, config }).reduce<Listener | undefined>(
      (best, one) => best === undefined || one.listener.maxConcurrency > best.listener.maxConcurrency ? one : best,
      undefined,
    );
    if (widest === undefined) return;
    const place = widest.table.entries.get("max_concurrency")?.node.place ?? placeOf(widest.table);
    report("More connections are allowed than this process may have open", place, {
      notes: [
        `Listeners take up to ${sessions} clients, channels make up to ${attempts} attempts at one time: about ` +
        `${needed} files and sockets; the limit is ${limit}.`,
      ],
      help: `Lower max_concurrency, or raise the limit: ulimit -n ${needed}, LimitNOFILE=${needed} in a systemd unit.`,
    });
  },
};

interface Listener {
  readonly listener: ListenerConfig;
  readonly table: TableNode;
}

function listenersOf({ root, config }: Required<Pick<LintContext, "root" | "config">>): readonly Listener[] {
  const tables = tablesAt(root, "listener");
  return config.listeners.flatMap((listener, index) => {
    const table = tables[index];
    return table === undefined ? [] : [{ listener, table }];
  });
}

function placeOf(table: TableNode): Place {
  return textAt(table, "name")?.place ?? table.place;
}
