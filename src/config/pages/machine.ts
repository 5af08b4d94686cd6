/**
 * Pages of the codes about the machine and its limits, SMTPD250 to SMTPD269. It must not know the rules.
 */
import type { PageContent } from "./page.ts";

const LISTENER = `[[listener]]
name = "inbound"
port = 2525
`;

const SPOOL = `[spool]
url = "sqlite:spool/smtpd.db"

${LISTENER}`;

export const machinePages = {
  SMTPD250: {
    what:
      "A listener's port may not be opened by the user that runs the check. Nothing is tried: the system's lowest " +
      "unprivileged port and the process's capabilities are looked at.",
    why: "If the server runs as the same user, it does not start.",
    bad: { text: LISTENER.replace("2525", "25"), world: { mayListenBelow1024: false } },
    good: { text: LISTENER, world: { mayListenBelow1024: false } },
  },
  SMTPD251: {
    what: "The directory of the spool may not be written to, is not there and may not be made, or is no directory.",
    why: "The spool is where a message is kept before its sender is told that it was accepted. Without it the server " +
      "does not start.",
    bad: { text: SPOOL, files: { "spool/smtpd.db": "messages" }, world: { notWritable: ["spool"] } },
    good: { text: SPOOL, files: { "spool/smtpd.db": "messages" } },
  },
  SMTPD252: {
    what:
      "The spool is on a file system that lives in memory (tmpfs), that goes away with a container (overlay), or that " +
      "other machines serve (nfs, cifs).",
    why:
      "Senders delete their copy once a message is accepted. In memory or in a container's own layer it is lost at the " +
      "next restart; on a network file system SQLite's files can be damaged.",
    bad: { text: SPOOL, world: { fileSystem: "overlay" } },
    good: { text: SPOOL, world: { fileSystem: "ext4" } },
  },
  SMTPD253: {
    what:
      "The disk of the spool has less space left than min_free_space and the largest message together. This looks at the " +
      "disk of the machine that the check runs on, at this moment.",
    why: "Senders of large messages, and soon all of them, are told to try again later (452 4.3.1).",
    bad: { text: SPOOL, world: { freeBytes: 70 * 1024 * 1024 } },
    good: { text: SPOOL, world: { freeBytes: 100 * 1024 * 1024 * 1024 } },
  },
  SMTPD254: {
    what:
      "A listener takes messages larger than the space that min_free_space keeps free. With min_free_space = 0 nothing " +
      "is kept free, and nothing is said.",
    why:
      "Whether there is room is asked before a message comes. One of the largest size may then fill the disk to the " +
      "end, which is what min_free_space is there to prevent.",
    bad: { text: `[spool]\nmin_free_space = "64MiB"\n\n${LISTENER}max_message_size = "100MiB"\n` },
    good: { text: `[spool]\nmin_free_space = "256MiB"\n\n${LISTENER}max_message_size = "100MiB"\n` },
  },
  SMTPD255: {
    what:
      "The session_timeout of a listener is shorter than the five minutes that RFC 5321 §4.5.3.2 gives a client for a " +
      "single command.",
    why:
      "Slow but correct clients are cut off in the middle of a message, try again, and are cut off again, until their " +
      "mail is returned.",
    bad: { text: `${LISTENER}session_timeout = "1m"\n` },
    good: { text: `${LISTENER}session_timeout = "15m"\n` },
  },
  SMTPD256: {
    what:
      "The host_name that other servers see is not a full name in the public DNS, such as a name without a dot. When there " +
      "is no host_name, the system's is looked at. Nothing is said when every listener is on a loopback address.",
    why:
      "Many servers refuse clients and bounces from such a name, and nobody can tell from a Received line which machine " +
      "it was.",
    bad: { text: `host_name = "mail"\n\n${LISTENER}` },
    good: { text: `host_name = "mail.example.com"\n\n${LISTENER}` },
  },
  SMTPD257: {
    what:
      "Clients and delivery attempts that max_concurrency allows, over all listeners and channels, take more files and " +
      "sockets than the system lets this process open.",
    why: "Under load, connections fail in ways that look like network trouble, long before the limits that you set.",
    bad: { text: `${LISTENER}max_concurrency = 2000\n`, world: { openFileLimit: 1024 } },
    good: { text: `${LISTENER}max_concurrency = 500\n`, world: { openFileLimit: 1024 } },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
