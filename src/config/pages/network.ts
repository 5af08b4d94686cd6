/**
 * Pages of the codes about the network, SMTPD270 and on, which smtpd check looks at with --online. It must not know the
 * rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

const RELAY = `${LISTENER}
[[binding]]
name = "office"
recipients = ["*@office.example.com"]
deliver = ["exchange"]

[[channel]]
name = "exchange"
type = "smtp"
host = "exchange.example.com"
port = 25
`;

const INBOUND = `host_name = "mx.example.com"

${LISTENER}
[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["archive"]

[[channel]]
name = "archive"
type = "maildir"
path = "mail/archive"
`;

const HERE = {
  addresses: { "mx.example.com": ["192.0.2.25"] },
  names: { "192.0.2.25": ["mx.example.com"] },
  mailExchangers: { "example.com": ["mx.example.com"] },
} as const;

const REACHED = {
  addresses: { "exchange.example.com": ["192.0.2.7"] },
  mailExchangers: { "office.example.com": ["box.example.net"] },
  answers: ["exchange.example.com:25"],
} as const;

export const networkPages = {
  SMTPD270: {
    what: "With --online: the host that a channel sends to is not in the DNS and does not answer.",
    why: "Its mail waits in the queue until it is given up, and is then returned to its senders.",
    bad: { text: RELAY, world: { network: { ...REACHED, addresses: {}, answers: [] } } },
    good: { text: RELAY, world: { network: REACHED } },
  },
  SMTPD271: {
    what:
      "With --online: bindings deliver mail for a domain, and neither its MX records nor, where it has none, its addresses " +
      "lead to a listener of this configuration, by name or by address.",
    why: "Senders look the MX records up and take the mail elsewhere, so that it never gets here.",
    bad: {
      text: INBOUND,
      world: {
        network: {
          ...HERE,
          mailExchangers: { "example.com": ["mail.example.org"] },
          addresses: { "mx.example.com": ["192.0.2.25"], "mail.example.org": ["198.51.100.3"] },
        },
      },
    },
    good: { text: INBOUND, world: { network: HERE } },
  },
  SMTPD272: {
    what: "With --online: the host_name has no address, or one of its addresses does not lead back to the name.",
    why:
      "Many servers refuse mail from a client whose name and address do not agree, because machines of spammers rarely " +
      "have such names.",
    bad: { text: INBOUND, world: { network: { ...HERE, names: { "192.0.2.25": ["192-0-2-25.pool.example.org"] } } } },
    good: { text: INBOUND, world: { network: HERE } },
  },
  SMTPD273: {
    what: "With --online: nothing takes a connection at the host and port that a channel sends to.",
    why: "Its mail waits in the queue until it is given up, and is then returned to its senders.",
    bad: { text: RELAY, world: { network: { ...REACHED, answers: [] } } },
    good: { text: RELAY, world: { network: REACHED } },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
