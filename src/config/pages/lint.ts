/**
 * Pages of the codes about what is unwise, or wrong where it runs, SMTPD2xx. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

const TLS = `${LISTENER}
[listener.tls]
mode = "starttls"
certificate = "tls/cert.pem"
`;

const UPLINK = `[[channel]]
name = "uplink"
type = "stdio"

`;

export const lintPages = {
  SMTPD201: {
    what: "A limit is lower than what RFC 5321 §4.5.3.1 promises to every client: 100 recipients, 64 KiB of message.",
    why:
      "Clients may count on the minimum. Some do not split a message with more recipients, and it comes back to its sender.",
    bad: { text: `${LISTENER}max_recipients = 10\n` },
    good: { text: `${LISTENER}max_recipients = 1000\n` },
  },
  SMTPD202: {
    what: "A certificate, key or secret stands in a file that is not there, is empty, or may not be read by this user.",
    why:
      "The server does not start without it. Where configurations are checked on another machine than they run on, turn " +
      'it down there: --severity SMTPD202=off, or [check] severity = { SMTPD202 = "warning" }.',
    bad: { text: `${TLS}private_key = { file = "tls/key.pem" }\n`, files: { "tls/cert.pem": "a certificate" } },
    good: {
      text: `${TLS}private_key = { file = "tls/key.pem" }\n`,
      files: { "tls/cert.pem": "a certificate", "tls/key.pem": "its key" },
    },
  },
  SMTPD203: {
    what:
      "A secret comes from an environment variable that is not set, or is empty, where the check runs. With --strict " +
      "this is an error.",
    why: "The server does not start without it.",
    bad: { text: `${TLS}private_key = { env = "SMTPD_KEY" }\n`, files: { "tls/cert.pem": "a certificate" } },
    good: {
      text: `${TLS}private_key = { env = "SMTPD_KEY" }\n`,
      files: { "tls/cert.pem": "a certificate" },
      world: { variables: { SMTPD_KEY: "the key" } },
    },
  },
  SMTPD204: {
    what: "A comment # smtpd: allow is not understood, gives no reason, or names a code that does not exist or " +
      "cannot be silenced. The finding that it was meant for is reported all the same.",
    why: "Whoever reads the configuration next must see why a warning does not count here.",
    bad: { text: `${LISTENER}max_recipients = 10 # smtpd: allow SMTPD201\n` },
    good: { text: `${LISTENER}max_recipients = 10 # smtpd: allow SMTPD201 because only one device sends here\n` },
  },
  SMTPD205: {
    what:
      "A comment silences a finding that is not there. It counts for its own line, or for the line below when it stands " +
      "alone.",
    why: "What it once silenced is gone or has moved, and it would hide the next mistake.",
    bad: {
      text: `# smtpd: allow SMTPD201 because only one device sends here\n${LISTENER}max_recipients = 1000\n`,
    },
    good: {
      text: `${LISTENER}# smtpd: allow SMTPD201 because only one device sends here\nmax_recipients = 10\n`,
    },
  },
  SMTPD206: {
    what:
      "An option in [channel.options] is not known, has a value that it cannot have, or asks for what smtpd does not do. " +
      "It is left out; the others count.",
    why: "The names are long and easily mistyped, and a limit that was meant to hold does not.",
    bad: { text: `${UPLINK}[channel.options]\nALLOW_TRANSACTION_PER_SESSION = 10\n` },
    good: { text: `${UPLINK}[channel.options]\nALLOW_TRANSACTIONS_PER_SESSION = 10\n` },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
