/**
 * The types of channel there are. It must not know their options; a type that needs much code loads it when it is opened.
 */
import type { ChannelDefinition } from "./channel.ts";
import { directoryChannel } from "./directory.ts";
import { discardChannel } from "./discard.ts";
import { lmtpChannel } from "./lmtp.ts";
import { maildirChannel } from "./maildir.ts";
import { mboxChannel } from "./mbox.ts";
import { pipeChannel } from "./pipe.ts";
import { webhookChannel } from "./webhook.ts";
import { scriptChannel } from "./script.ts";
import { stdioChannel } from "./stdio.ts";
import { smtpChannel } from "./smtp.ts";

const definitions: readonly ChannelDefinition<unknown>[] = [
  directoryChannel,
  discardChannel,
  lmtpChannel,
  maildirChannel,
  mboxChannel,
  pipeChannel,
  webhookChannel,
  scriptChannel,
  stdioChannel,
  smtpChannel,
];

/** By the name that `type = "…"` uses. */
export const channelTypes: ReadonlyMap<string, ChannelDefinition<unknown>> = new Map(
  definitions.map((definition) => [definition.type, definition]),
);
