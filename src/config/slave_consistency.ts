/**
 * Channels that take mail in, as the tree has them, and the rules for that. It must not know what a session does.
 */
import { interpretOptions } from "./channel_options.ts";
import type { ConsistencyContext } from "./consistency.ts";
import { diagnostic, quote } from "./diagnostic.ts";
import { spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { tableAt, type TableNode, tablesAt, textAt } from "./tree.ts";

/**
 * Channels that are there for `channel slave`: of the type that is for it, with a key that only it reads, or named by
 * `sendmail_channel`. Any other channel may be named to it as well.
 */
export function inboundChannels(root: TableNode): readonly TableNode[] {
  const sendmail = textAt(root, "sendmail_channel")?.value;
  return tablesAt(root, "channel").filter((channel) =>
    textAt(channel, "type")?.value === "stdio" || channel.entries.has("slave") || channel.entries.has("trust") ||
    (sendmail !== undefined && textAt(channel, "name")?.value === sendmail)
  );
}

export function checkSlaves(root: TableNode, context: ConsistencyContext): void {
  const channels = tablesAt(root, "channel");
  for (const channel of channels) checkOptions(channel, context);
  const sendmail = textAt(root, "sendmail_channel");
  const names = channels.map((channel) => textAt(channel, "name")?.value);
  if (sendmail === undefined || !context.complete || names.includes(undefined) || names.includes(sendmail.value)) {
    return;
  }
  const place = spanOf(sendmail.place);
  const meant = nearest(sendmail.value, names.filter((name) => name !== undefined));
  context.report(diagnostic("SMTPD105", `There is no channel ${quote(sendmail.value)}`, place, {
    help: meant === undefined ? "Define it with [[channel]], or name another." : `Did you mean ${quote(meant)}?`,
    fix: meant === undefined
      ? undefined
      : { title: `Name the channel ${quote(meant)}`, edits: [{ span: place, text: JSON.stringify(meant) }] },
  }));
}

function checkOptions(channel: TableNode, context: ConsistencyContext): void {
  const options = tableAt(channel, "options");
  if (options === undefined) return;
  const named = [...options.entries].flatMap(([name, { node }]) => {
    if (node.kind !== "scalar" || node.value instanceof Date) return [];
    return [{ name, value: typeof node.value === "boolean" ? (node.value ? "1" : "0") : String(node.value) }];
  });
  for (const { option, message, help, meant } of interpretOptions(named).problems) {
    const entry = options.entries.get(option.name);
    if (entry === undefined) continue;
    const places = [entry.key, ...entry.again].map(spanOf);
    context.report(diagnostic("SMTPD206", message, spanOf(entry.key), {
      help,
      fix: meant === undefined ? undefined : {
        title: `Replace ${quote(option.name)} by ${quote(meant)}`,
        edits: places.map((span) => ({ span, text: meant })),
      },
    }));
  }
}
