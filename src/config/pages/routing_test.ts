/**
 * Pages of the codes about routing tests, SMTPD280 to SMTPD289. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const CONFIGURATION = `[[listener]]
name = "inbound"
port = 2525

[[binding]]
name = "support"
recipients = ["support@example.com"]
deliver = ["tickets"]

[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["archive"]

[[channel]]
name = "archive"
type = "maildir"
path = "mail/archive"

[[channel]]
name = "tickets"
type = "maildir"
path = "mail/tickets"
`;

function test(to: string, expect: string): string {
  return `\n[[test]]\nto = "${to}"\nexpect = { ${expect} }\n`;
}

const SUPPORT = test("support@example.com", 'binding = "support", deliver = ["tickets"]');

export const routingTestPages = {
  SMTPD280: {
    what:
      "A [[test]] expects something else than what the server would do. check plays the message on every listener that the " +
      "test is for, with the code that serves mail, and compares. The notes say what would happen.",
    why:
      "Either a change of the bindings had an effect that nobody wanted, which is what the test is there to find, or the " +
      "test has to follow what is wanted now. serve does not run tests.",
    bad: { text: CONFIGURATION + test("support+urgent@example.com", 'binding = "support"') },
    good: { text: CONFIGURATION + SUPPORT },
  },
  SMTPD281: {
    what:
      "A [[test]] names a listener, a binding or a channel that the configuration does not have. The test is not run.",
    why: "It was renamed or removed, or is misspelt, and the test protects nothing.",
    bad: { text: CONFIGURATION + test("support@example.com", 'deliver = ["ticket"]') },
    good: { text: CONFIGURATION + SUPPORT },
  },
  SMTPD282: {
    what:
      "With --coverage: no routing test has a message that this binding matches. A binding that continues, or whose aliases " +
      "lead on, counts as well as the one that decides.",
    why: "A change that breaks it is not noticed before mail goes astray.",
    bad: { text: CONFIGURATION + SUPPORT, world: { coverage: {} } },
    good: {
      text: CONFIGURATION + SUPPORT + test("ann@example.com", 'binding = "everyone"'),
      world: { coverage: {} },
    },
  },
  SMTPD283: {
    what: "With --min-coverage: the routing tests reach a smaller part of the bindings than is wanted.",
    why: "A configuration grows faster than its tests; this says so when a binding comes without one.",
    bad: { text: CONFIGURATION + SUPPORT, world: { coverage: { minPercent: 100 } } },
    good: {
      text: CONFIGURATION + SUPPORT + test("ann@example.com", 'binding = "everyone"'),
      world: { coverage: { minPercent: 100 } },
    },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
