/**
 * Channel types that lint rules know and that examples use, with the options the rules look at. A type that the program has
 * takes the place of its stand-in, so that the examples then hold for the real one.
 */
import * as v from "valibot";
import { channelTypes } from "../../../src/channel/registry.ts";
import type { ChannelKind } from "../../../src/config/load.ts";
import { integerOption, secretOption, textOption } from "../../../src/config/option.ts";

const endpoint = v.strictObject({
  host: textOption("Host.", "mx.example.com"),
  port: v.optional(integerOption("Port.", 1, 65_535, 25)),
});

const standIns: readonly ChannelKind[] = [
  { type: "smtp", summary: "Relays to another server.", schema: endpoint },
  { type: "lmtp", summary: "Hands mail to a store.", schema: endpoint },
  {
    type: "webhook",
    summary: "Sends requests to an application.",
    schema: v.strictObject({
      url: textOption("Where to.", "https://app.example.com/inbound"),
      secret: v.optional(secretOption("For signatures.", "value")),
    }),
  },
];

export const exampleChannels: ReadonlyMap<string, ChannelKind> = new Map([
  ...standIns.map((kind) => [kind.type, kind] as const),
  ...channelTypes,
]);
