/**
 * The options that channels have which speak SMTP or LMTP to a server. It must not know how they are used.
 */
import * as v from "valibot";
import { durationOption, integerOption, pathOption, secretOption, textOption, textsOption } from "../config/option.ts";
import { canonicalHostName } from "../config/schema.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const auth = v.pipe(
  v.strictObject({
    user: textOption("Who logs in.", "relay@example.com", 255),
    password: secretOption("The password, or the token for xoauth2.", "value"),
    mechanism: v.optional(v.pipe(
      v.picklist(["plain", "login", "xoauth2"]),
      v.description("plain, login, or xoauth2. Absent: plain, or login where the server does not offer that."),
      v.examples(["plain"]),
    )),
  }),
  v.description(
    'Login at the server. Nothing is sent over a connection that is not encrypted, unless tls is "off".',
  ),
  // As it is written; the type wants what becomes of it.
  v.examples([{ user: "relay@example.com", password: { env: "RELAY_PASSWORD" } }] as never[]),
);

export const TLS_MODES = ["off", "opportunistic", "required", "verified", "implicit"] as const;
export type TlsMode = typeof TLS_MODES[number];

export function hostOption(description: string) {
  return v.pipe(
    textsOption(description, ["relay.example.com"], "a host or an array of hosts"),
    v.description(description),
    v.examples(["relay.example.com", ["relay1.example.com", "relay2.example.com"]] as never[]),
    v.maxLength(10, "must not be more than 10 hosts"),
    v.check(
      (hosts) => hosts.every(isHost),
      "must be names such as relay.example.com, or addresses such as 192.0.2.1 or [2001:db8::1]",
    ),
  );
}

function isHost(host: string): boolean {
  const bare = host.replace(/^\[(.+)\]$/u, "$1");
  // A name may be written as the DNS writes it, with a dot at the end.
  return canonicalHostName(host.replace(/\.$/u, "")) !== undefined || canonicalHostName(`[${bare}]`) !== undefined ||
    canonicalHostName(`[IPv6:${bare}]`) !== undefined;
}

/** Options of both types; `port` and `tls` have the type's own words. */
export const sharedEntries = {
  tls_ca: v.optional(pathOption("PEM file of authorities to trust in place of the system's.", "tls/ca.pem")),
  tls_server_name: v.optional(
    textOption("Name in the server's certificate. Absent: the host.", "relay.example.com", 255),
  ),
  tls_certificate: v.optional(pathOption("PEM file of a certificate to show to the server.", "tls/client.pem")),
  tls_private_key: v.optional(secretOption("PEM file with its private key, or where else the key is.", "path")),
  auth: v.optional(auth),
  helo_name: v.optional(v.pipe(
    v.string(),
    v.check((name) => canonicalHostName(name) !== undefined, "must be a host name such as mail.example.com"),
    v.description("Name in EHLO. Absent: the host_name of the configuration."),
    v.examples(["out.example.com"]),
  )),
  connect_timeout: v.optional(
    durationOption("How long a connection may take to come about, for each address.", "30s", {
      minimum: 100,
      maximum: 10 * MINUTE,
    }),
    "30s",
  ),
  reply_timeout: v.optional(
    durationOption("How long any reply may take. Absent: the limits of RFC 5321 §4.5.3.2, 2 to 10 minutes.", "1m", {
      minimum: 100,
      maximum: 10 * MINUTE,
    }),
  ),
  connection_idle: v.optional(
    durationOption("How long a connection is kept open for the next message. 0: not at all.", "5s", {
      minimum: 0,
      maximum: 5 * MINUTE,
    }),
    "5s",
  ),
  connection_max_messages: v.optional(integerOption("Messages over one connection.", 1, 100_000, 100), 100),
};

/** Certificate and key belong together. */
export function hasWholeIdentity(
  options: { readonly tls_certificate?: string | undefined; readonly tls_private_key?: unknown },
): boolean {
  return (options.tls_certificate === undefined) === (options.tls_private_key === undefined);
}

export const HALF_IDENTITY = "needs both tls_certificate and tls_private_key, or neither";

/** What both types come to. */
export type ClientOptions = v.InferOutput<v.StrictObjectSchema<typeof sharedEntries, undefined>> & {
  readonly protocol: "smtp" | "lmtp";
  /** Absent: each domain's own servers. */
  readonly host?: readonly string[] | undefined;
  readonly socket_path?: string | undefined;
  readonly port: number;
  readonly tls: TlsMode;
};
