/**
 * The channel that hands mail to an LMTP server (RFC 2033), such as a mail store: its type and its options. It must not know
 * of connections.
 */
import * as v from "valibot";
import { integerOption, pathOption } from "../config/option.ts";
import type { ChannelDefinition } from "./channel.ts";
import { HALF_IDENTITY, hasWholeIdentity, hostOption, sharedEntries, TLS_MODES } from "./smtp_options.ts";

const schema = v.pipe(
  v.strictObject({
    host: v.optional(hostOption("The server, or several, of which the next is asked when one cannot be reached.")),
    port: v.optional(integerOption("TCP port.", 1, 65_535, 24), 24),
    socket_path: v.optional(pathOption("UNIX socket of the server, in place of host.", "/run/dovecot/lmtp")),
    tls: v.optional(
      v.pipe(
        v.picklist(TLS_MODES),
        v.description(
          "off; opportunistic: encrypted when the server offers it; required; verified: with a valid certificate; " +
            "implicit: verified, and encrypted from the first byte.",
        ),
        v.examples(["verified"]),
      ),
      "opportunistic",
    ),
    ...sharedEntries,
  }),
  v.check((options) => hasWholeIdentity(options), HALF_IDENTITY),
  v.check(
    ({ host, socket_path }) => (host === undefined) !== (socket_path === undefined),
    "needs either a host or a socket_path",
  ),
);

export const lmtpChannel: ChannelDefinition<v.InferOutput<typeof schema>> = {
  type: "lmtp",
  summary: "Hands mail to an LMTP server, which answers for each recipient.",
  schema,
  async open(options, context) {
    const { openSmtpChannel } = await import("./smtp_delivery.ts");
    return await openSmtpChannel({ ...options, protocol: "lmtp" }, context);
  },
};
