/**
 * Ports that this user may not listen on. It must not know how the system decides that.
 */
import { tablesAt } from "../tree.ts";
import type { LintRule } from "./rule.ts";

export const privilegedPort: LintRule = {
  code: "SMTPD250",
  async check({ root, environment: { privileges }, report }) {
    for (const listener of tablesAt(root, "listener")) {
      const node = listener.entries.get("port")?.node;
      if (node?.kind !== "scalar" || typeof node.value !== "number") continue;
      const port = node.value;
      if (!Number.isInteger(port) || port < 1 || port > 65_535) continue;
      if (await privileges.mayListen(port) !== false) continue;
      report(`This user may not listen on port ${port}`, node.place, {
        help: "Start the server with the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=, container: " +
          "--cap-add NET_BIND_SERVICE), or choose a port from 1024 and redirect to it.",
      });
    }
  },
};
