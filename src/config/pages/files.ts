/**
 * Pages of the codes about files and their syntax, SMTPD0xx. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

export const filePages = {
  SMTPD001: {
    what:
      "The file is not TOML. What follows the place is not read, so that further mistakes may show up once it is right.",
    why: "Nothing in a file that cannot be parsed can be trusted, so the server does not start with it.",
    bad: { text: `[[listener]]\nname = "inbound\nport = 2525\n` },
    good: { text: LISTENER },
  },
  SMTPD002: {
    what:
      "The configuration file, or one that it includes, cannot be opened: it is not there, it is a directory, it is " +
      "too large, or this user may not read it.",
    why: "A part of the configuration would be missing, and mail would be refused or sent the wrong way.",
    bad: { text: `include = ["listeners.toml"]\n` },
    good: { text: `include = ["listeners.toml"]\n`, files: { "listeners.toml": LISTENER } },
  },
  SMTPD003: {
    what: "A pattern in include matches no file, or more files are included than can be meant.",
    why: "A pattern without a match is most often a misspelt directory. The parts that were meant to be there are not.",
    bad: { text: `include = ["conf.d/*.toml"]\n\n${LISTENER}` },
    good: { text: `include = ["conf.d/*.toml"]\n`, files: { "conf.d/inbound.toml": LISTENER } },
  },
  SMTPD004: {
    what: "A file includes itself, directly or by way of others. The note shows the way around.",
    why: "Such a configuration has no end, and no order in which its bindings could be tried.",
    bad: {
      text: `include = ["more.toml"]\n\n${LISTENER}`,
      files: { "more.toml": `include = ["smtpd.toml"]\n` },
    },
    good: { text: `include = ["more.toml"]\n\n${LISTENER}`, files: { "more.toml": `shutdown_grace = "10s"\n` } },
  },
  SMTPD005: {
    what:
      "Two files of one configuration set the same key. Tables and lists of tables are joined, single settings are not.",
    why: "Included files have no order of precedence, so that nobody could tell which of the two counts.",
    bad: {
      text: `include = ["name.toml"]\nhost_name = "mx.example.com"\n\n${LISTENER}`,
      files: { "name.toml": `host_name = "mail.example.com"\n` },
    },
    good: {
      text: `include = ["name.toml"]\n\n${LISTENER}`,
      files: { "name.toml": `host_name = "mail.example.com"\n` },
    },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
