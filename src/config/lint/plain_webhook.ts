/**
 * Webhooks that carry mail over a network without encryption. It must not know how requests are made.
 */
import { quote } from "../diagnostic.ts";
import { tablesAt, textAt } from "../tree.ts";
import { isLoopback } from "./host.ts";
import type { LintRule } from "./rule.ts";

export const plainWebhook: LintRule = {
  code: "SMTPD242",
  check({ root, report }) {
    for (const channel of tablesAt(root, "channel")) {
      if (textAt(channel, "type")?.value !== "webhook") continue;
      const url = textAt(channel, "url");
      const parsed = url === undefined ? null : URL.parse(url.value);
      if (url === undefined || parsed?.protocol !== "http:" || isLoopback(parsed.hostname)) continue;
      report(`Mail goes to ${quote(parsed.host)} without encryption`, url.place, {
        help: "Use https, or send to a proxy on this machine (http://127.0.0.1:PORT/…).",
      });
    }
  },
};
