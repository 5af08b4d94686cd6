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

export const routingPages = {
  SMTPD211: {
    what: "No binding delivers to this channel.",
    why: "Whoever wrote it expects mail there. Often a binding was removed, or names another channel than was meant.",
    bad: { text: `${LISTENER}\n${EVERYONE}\n${ARCHIVE}\n[[channel]]\nname = "nowhere"\ntype = "discard"\n` },
    good: { text: `${LISTENER}\n${EVERYONE}\n${ARCHIVE}` },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
