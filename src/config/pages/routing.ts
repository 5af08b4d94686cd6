/**
 * Pages of the codes about where mail goes, SMTPD210 to SMTPD229. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

const ARCHIVE = `[[channel]]
name = "archive"
type = "maildir"
path = "mail/archive"
`;

const EVERYONE = `[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["archive"]
`;

const INFO = `[[binding]]
name = "old-address"
recipients = ["info@example.com"]
reject = "550 5.1.1 Please write to support@example.com"
`;

function team(recipients: string): string {
  return EVERYONE.replace("everyone", "team").replace('"*@example.com"', recipients);
}

function smartHost(condition: string): string {
  return `${LISTENER}
[[binding]]
name = "outbound"
recipients = ["*"]
${condition}deliver = ["smarthost"]

[[channel]]
name = "smarthost"
type = "smtp"
host = "smtp.example.net"
port = 25
`;
}

function office(host: string): string {
  return `${LISTENER}
[[binding]]
name = "office"
recipients = ["*@office.example.com"]
deliver = ["exchange"]

[[channel]]
name = "exchange"
type = "smtp"
host = "${host}"
port = 2525
`;
}

export const routingPages = {
  SMTPD210: {
    what:
      "Everything that a binding, or one of its patterns, would match is taken by bindings before it; those are shown. " +
      "Earlier bindings with further conditions, and those that continue, do not count, because they may let it pass.",
    why:
      "Bindings are tried in order, and the first that matches decides. What was written here never happens: a special case " +
      "behind the rule that it is an exception from, most often.",
    bad: { text: `${LISTENER}\n${EVERYONE}\n${INFO}\n${ARCHIVE}` },
    good: { text: `${LISTENER}\n${INFO}\n${EVERYONE}\n${ARCHIVE}` },
  },
  SMTPD211: {
    what: "No binding delivers to this channel.",
    why: "Whoever wrote it expects mail there. Often a binding was removed, or names another channel than was meant.",
    bad: { text: `${LISTENER}\n${EVERYONE}\n${ARCHIVE}\n[[channel]]\nname = "nowhere"\ntype = "discard"\n` },
    good: { text: `${LISTENER}\n${EVERYONE}\n${ARCHIVE}` },
  },
  SMTPD212: {
    what: "A pattern stands twice in one list of a binding, perhaps written in another way.",
    why: "The second one changes nothing. Most often another address was meant, and its mail is refused.",
    bad: { text: `${LISTENER}\n${team('"ann@example.com", "bob@example.com", "Ann@example.com"')}\n${ARCHIVE}` },
    good: { text: `${LISTENER}\n${team('"ann@example.com", "bob@example.com"')}\n${ARCHIVE}` },
  },
  SMTPD213: {
    what:
      "A pattern matches addresses that it does not look like: a regular expression for a domain is open at one of its " +
      "ends, or has a dot that stands for any character; a wildcard takes in other domains; or every address matches.",
    why:
      "Mail for domains that are not yours is taken, or a rule that was meant for one sender can be met by anybody who " +
      "registers a longer name.",
    bad: { text: `${LISTENER}\n${team("'/^(ann|bob)@example\\.com/'")}\n${ARCHIVE}` },
    good: { text: `${LISTENER}\n${team("'/^(ann|bob)@example\\.com$/'")}\n${ARCHIVE}` },
  },
  SMTPD220: {
    what:
      "A stranger, a client from anywhere that has not logged in, can connect to a listener and send mail to a domain that " +
      "no binding names, and the mail leaves by a channel that relays. To find out, check sends imaginary mail through the " +
      "bindings as the server would. Conditions on clients, authenticated or listeners close a relay; senders and helo do " +
      "not, because anybody can say to be anybody. Listeners on a loopback address are left alone.",
    why:
      "An open relay is found and used for spam within days. Its address is then on block lists, and its own mail is refused " +
      "everywhere.",
    bad: { text: smartHost("") },
    good: { text: smartHost('clients = ["192.0.2.0/24"]\n') },
  },
  SMTPD221: {
    what:
      "A stranger can send mail to a domain that no binding names, and it is kept, given to an application, or discarded. " +
      "Listeners on a loopback address are left alone, so that a server that catches the mail of tests may take everything.",
    why:
      "Mail for other people's domains has no business here: it fills the disk, and those who look for open relays see one. " +
      "Mistyped addresses vanish instead of coming back to their senders.",
    bad: { text: `${LISTENER}\n${EVERYONE.replace("*@example.com", "*")}\n${ARCHIVE}` },
    good: { text: `${LISTENER}\n${EVERYONE}\n${ARCHIVE}` },
  },
  SMTPD222: {
    what:
      "A channel sends mail to a listener of this configuration, whose bindings give it to the same channel again, " +
      "perhaps by way of others. The note names a recipient to whom that happens.",
    why:
      "The message comes back again and again, larger each time, until it has a hundred Received lines. Only then is it " +
      "refused, and its sender learns that it did not arrive.",
    bad: { text: office("127.0.0.1") },
    good: { text: office("exchange.example.com") },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
