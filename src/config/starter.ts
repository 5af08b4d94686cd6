/**
 * A configuration to start from, with comments that explain it: text that the loader takes without a finding. It must not
 * know where the answers come from nor where the text goes.
 */
import { tomlString, tomlValue } from "./toml_text.ts";

export interface Starter {
  /** inbound: mail from other servers for own domains; capture: everything that programs on this machine send. */
  readonly purpose: "inbound" | "capture";
  /** Domains whose mail is accepted; for capture none means all. */
  readonly domains: readonly string[];
  /** Needed for inbound. */
  readonly hostName?: string;
  readonly port?: number;
}

const DEFAULT_PORT = 2525;

export function starterConfiguration(starter: Starter): string {
  const sections = starter.purpose === "inbound" ? inbound(starter) : capture(starter);
  return `${[...sections, ""].join("\n")}`;
}

const ABOUT = [
  '# Lines that begin with "#" are comments. Paths are relative to this file. Durations and sizes are numbers (seconds,',
  '# bytes) or texts ("5m", "25MiB"). Try changes with: smtpd check. For help in an editor, write the schema with',
  '# "smtpd schema > smtpd.schema.json" and begin this file with the line "#:schema ./smtpd.schema.json".',
];

function spool(): readonly string[] {
  return [
    "# Messages are on the disk here before their senders get a 250, and stay until they are delivered.",
    "[spool]",
    'url = "sqlite:var/spool/smtpd.db"',
    'min_free_space = "64MiB" # below this, senders are asked to try again later',
  ];
}

function inbound({ domains, hostName = "localhost", port = DEFAULT_PORT }: Starter): readonly string[] {
  const [first = "example.com"] = domains;
  return [
    "# Configuration of smtpd: takes mail from other servers for our own domains.",
    "#",
    ...ABOUT,
    "",
    "# The name of this server in DNS, where the MX records of its domains point.",
    `host_name = ${tomlString(hostName)}`,
    "",
    ...spool(),
    "",
    "[[listener]]",
    'name = "inbound"',
    'description = "mail from other servers"',
    ...(port === 25 ? [] : [
      "# Other servers deliver to port 25. Ports below 1024 need the capability CAP_NET_BIND_SERVICE, or a redirection.",
    ]),
    `port = ${port}`,
    '# listen_ip = "192.0.2.25" # without it: every address',
    "max_concurrency = 200 # one client more gets 421 and is closed",
    'max_message_size = "25MiB"',
    "",
    "# Encryption, as soon as there are a certificate and a key in these files:",
    "# [listener.tls]",
    '# mode = "starttls" # required: nothing without it; implicit: from the first byte',
    '# certificate = "tls/cert.pem"',
    '# private_key = "tls/key.pem"',
    "",
    "# What becomes of a recipient: the first binding that matches decides. Without one: 550 5.7.1, so nothing is relayed.",
    "# An address that is no longer in use, for example:",
    "# [[binding]]",
    '# name = "retired"',
    `# recipients = ${tomlValue([`old@${first}`])}`,
    '# reject = "550 5.1.1 This address has been retired"',
    "",
    "[[binding]]",
    'name = "everyone"',
    'description = "every address of our domains, and postmaster"',
    `recipients = ${tomlValue([...domains.map((domain) => `*@${domain}`), "postmaster"])}`,
    'deliver = ["inbox"]',
    "",
    "# Where mail goes: a maildir, a folder with one file for each message.",
    "[[channel]]",
    'name = "inbox"',
    'type = "maildir"',
    'path = "var/mail/inbox"',
    'max_age = "5d" # a delivery that still fails after this is given up and kept as failed',
  ];
}

function capture({ domains, hostName, port = DEFAULT_PORT }: Starter): readonly string[] {
  return [
    "# Configuration of smtpd: catches the mail that programs on this machine send, and delivers none of it further.",
    "#",
    ...ABOUT,
    "",
    ...(hostName === undefined ? [] : [`host_name = ${tomlString(hostName)}`, ""]),
    ...spool(),
    "",
    "# Only for programs on this machine.",
    "[[listener]]",
    'name = "capture"',
    'description = "mail under test"',
    'listen_ip = "127.0.0.1"',
    `port = ${port}`,
    'max_message_size = "25MiB"',
    "",
    domains.length === 0
      ? "# Every recipient is accepted."
      : "# A recipient in any other domain is refused with 550 5.7.1.",
    "[[binding]]",
    'name = "everything"',
    `recipients = ${tomlValue(domains.length === 0 ? ["*"] : domains.map((domain) => `*@${domain}`))}`,
    'deliver = ["captured"]',
    "",
    "# A maildir: a folder with one file for each message.",
    "[[channel]]",
    'name = "captured"',
    'type = "maildir"',
    'path = "var/mail/captured"',
  ];
}
