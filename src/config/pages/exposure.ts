/**
 * Pages of the codes about key pairs and secrets, SMTPD230 to SMTPD249. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

const EVERYONE = `[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["application"]
`;

function withTls(before = ""): string {
  return `${before}${LISTENER}
[listener.tls]
mode = "starttls"
certificate = "tls/cert.pem"
private_key = "tls/key.pem"
`;
}

function webhook(options: string): string {
  return `${LISTENER}
${EVERYONE}
[[channel]]
name = "application"
type = "webhook"
${options}`;
}

const PAIR = { "tls/cert.pem": "a certificate", "tls/key.pem": "its key" } as const;

export const exposurePages = {
  SMTPD230: {
    what:
      "The certificate and the private key of a listener cannot be used: one of them is damaged or encrypted, they do not " +
      "belong together, the certificate has expired, or its time has not begun.",
    why:
      "With a pair that does not fit, the server does not start. With an expired certificate, clients that check it send " +
      "nothing, and their mail waits until it is returned.",
    bad: { text: withTls(), files: PAIR, world: { keyPair: { notAfter: "2025-12-24T00:00:00Z" } } },
    good: { text: withTls(), files: PAIR, world: { keyPair: { notAfter: "2026-06-30T00:00:00Z" } } },
  },
  SMTPD231: {
    what: "The certificate of a listener expires within 21 days.",
    why:
      "Certificates that are renewed automatically are renewed earlier than that, so this renewal has most likely failed. " +
      "There is still time to find out why.",
    bad: { text: withTls(), files: PAIR, world: { keyPair: { notAfter: "2026-01-12T00:00:00Z" } } },
    good: { text: withTls(), files: PAIR, world: { keyPair: { notAfter: "2026-06-30T00:00:00Z" } } },
  },
  SMTPD232: {
    what:
      "The certificate of a listener does not name its host_name. A listener on a loopback address may also have one for " +
      "localhost or for its address. Nothing is said when host_name is left to the system.",
    why:
      "Clients that check the certificate look for the name that they connected to. When it is not there, they send " +
      "nothing, or send without encryption.",
    bad: {
      text: withTls('host_name = "mail.example.com"\n\n'),
      files: PAIR,
      world: { keyPair: { names: ["www.example.com"] } },
    },
    good: {
      text: withTls('host_name = "mail.example.com"\n\n'),
      files: PAIR,
      world: { keyPair: { names: ["mail.example.com"] } },
    },
  },
  SMTPD240: {
    what:
      "A file with a private key or another secret can be read or changed by every user of this machine. Files that hold " +
      "certificates only are for everybody; access for the file's group is left to you.",
    why: "Any program on the machine, whoever runs it, can take the secret and stand in for the server with it.",
    bad: { text: withTls(), files: PAIR, world: { modes: { "tls/key.pem": 0o644 } } },
    good: { text: withTls(), files: PAIR, world: { modes: { "tls/key.pem": 0o600 } } },
  },
  SMTPD241: {
    what: "A secret stands in the configuration itself instead of in a file or an environment variable of its own.",
    why:
      "Configurations are copied, mailed, printed and kept in version control, where a secret stays readable for ever.",
    bad: {
      text: webhook(
        'url = "https://app.example.com/inbound"\nsecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="\n',
      ),
    },
    good: {
      text: webhook('url = "https://app.example.com/inbound"\nsecret = { file = "secrets/application" }\n'),
      files: { "secrets/application": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" },
    },
  },
  SMTPD242: {
    what: "A webhook sends mail to another host over plain http.",
    why: "Everybody on the way can read the messages and change them, and learns how to send forged ones.",
    bad: { text: webhook('url = "http://app.example.com/inbound"\n') },
    good: { text: webhook('url = "https://app.example.com/inbound"\n') },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
