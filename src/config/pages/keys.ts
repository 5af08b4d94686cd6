/**
 * Pages of the codes about single keys and their values, SMTPD101 to SMTPD103. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

export const keyPages = {
  SMTPD101: {
    what:
      "There is no such key in this table. When a known key is close, it is proposed, and smtpd check --fix renames it.",
    why: "A key that is ignored is a limit that does not hold or a rule that is never applied, and nobody notices.",
    bad: { text: `[[listener]]\nname = "inbound"\nportNum = 2525\n` },
    good: { text: `[[listener]]\nname = "inbound"\nport = 2525\n` },
  },
  SMTPD102: {
    what: "The value is of the wrong kind, outside its bounds, or not one of those that are possible.",
    why: "The server would have to guess what was meant, so it does not start.",
    bad: { text: `[[listener]]\nname = "inbound"\nport = "2525"\n` },
    good: { text: `[[listener]]\nname = "inbound"\nport = 2525\n` },
  },
  SMTPD103: {
    what: "A key that this table needs is not there.",
    why:
      "It has no default that would be right for everybody, such as the port of a listener or the path of a maildir.",
    bad: { text: `[[listener]]\nname = "inbound"\n` },
    good: { text: `[[listener]]\nname = "inbound"\nport = 2525\n` },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
