/**
 * The channel that sends mail to SMTP servers: its type and its options. What speaks the protocol is loaded when a
 * configuration has such a channel. It must not know of connections.
 */
import * as v from "valibot";
import { integerOption } from "../config/option.ts";
import type { ChannelDefinition } from "./channel.ts";
import { HALF_IDENTITY, hasWholeIdentity, hostOption, sharedEntries, TLS_MODES } from "./smtp_options.ts";

const schema = v.pipe(
  v.strictObject({
    host: v.optional(hostOption(
      "The server that takes all mail, or several, of which the next is asked when one cannot be reached. Absent: each " +
        "recipient's own, which the DNS knows (MX records).",
    )),
    port: v.optional(integerOption('TCP port. Absent: 25, or 465 when tls is "implicit".', 1, 65_535, 587)),
    tls: v.optional(
      v.pipe(
        v.picklist(TLS_MODES),
        v.description(
          "off; opportunistic: encrypted when the server offers it, whatever its certificate says; required: no mail " +
            "without encryption; verified: nor to a server without a valid certificate for its name; implicit: verified, " +
            "and encrypted from the first byte.",
        ),
        v.examples(["verified"]),
      ),
      "opportunistic",
    ),
    ...sharedEntries,
  }),
  v.check((options) => hasWholeIdentity(options), HALF_IDENTITY),
  v.check(
    ({ host, auth }) => auth === undefined || host !== undefined,
    "has auth without a host: passwords are not for any server that the DNS names",
  ),
);

export const smtpChannel: ChannelDefinition<v.InferOutput<typeof schema>> = {
  type: "smtp",
  summary: "Sends mail to an SMTP server, or to those that the DNS names for each recipient.",
  schema,
  async open(options, context) {
    const { openSmtpChannel } = await import("./smtp_delivery.ts");
    const port = options.port ?? (options.tls === "implicit" ? 465 : 25);
    return await openSmtpChannel({ ...options, protocol: "smtp", port }, context);
  },
};
