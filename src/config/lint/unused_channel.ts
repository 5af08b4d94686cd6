/**
 * Channels that no binding delivers to, no other channel forwards to, no notification goes to, and that do not take mail
 * in either. It must not know what channels do.
 */
import { quote } from "../diagnostic.ts";
import { inboundChannels } from "../slave_consistency.ts";
import { tableAt, tablesAt, textAt, textsAt } from "../tree.ts";
import type { LintRule } from "./rule.ts";

export const unusedChannel: LintRule = {
  code: "SMTPD211",
  check({ root, config, report }) {
    // With errors about, a name may be misspelt, and the channel that was meant would look unused.
    if (config === undefined) return;
    const bindings = [
      ...tablesAt(root, "binding"),
      ...tablesAt(root, "listener").flatMap((listener) => tablesAt(listener, "binding")),
    ];
    const used = new Set(bindings.flatMap((binding) => textsAt(binding, "deliver").map((text) => text.value)));
    const notifications = tableAt(root, "notifications");
    if (notifications !== undefined) { for (const { value } of textsAt(notifications, "channel")) used.add(value); }
    const channels = tablesAt(root, "channel");
    for (const channel of channels) {
      const target = textAt(channel, "forward_channel");
      if (target !== undefined) used.add(target.value);
    }
    const inbound = inboundChannels(root);
    for (const channel of channels) {
      const name = textAt(channel, "name");
      if (name === undefined || used.has(name.value) || inbound.includes(channel)) continue;
      report(`No binding delivers to the channel ${quote(name.value)}`, name.place, {
        help: `Name it in the "deliver" of a binding, or remove the channel.`,
      });
    }
  },
};
