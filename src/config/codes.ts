/**
 * The registry of diagnostics: a stable code for each kind of finding, its title and its default severity. Numbers are
 * never given a second meaning: 0xx files and syntax, 1xx what prevents a start, 2xx what is unwise, or wrong where it
 * runs. It must not know how findings are made or shown.
 */

export type Severity = "error" | "warning";

export interface CodeEntry {
  readonly title: string;
  readonly severity: Severity;
  /**
   * The finding depends on more than the configuration: on the machine where the check runs, on the network, or on an option
   * that asks for it.
   */
  readonly depends?: "machine" | "network" | "option";
}

export const CODES = {
  SMTPD001: { title: "TOML syntax error", severity: "error" },
  SMTPD002: { title: "File cannot be read", severity: "error" },
  SMTPD003: { title: "Include matches no file", severity: "error" },
  SMTPD004: { title: "Files include each other in a circle", severity: "error" },
  SMTPD005: { title: "Setting defined in two files", severity: "error" },
  SMTPD101: { title: "Unknown key", severity: "error" },
  SMTPD102: { title: "Invalid value", severity: "error" },
  SMTPD103: { title: "Missing key", severity: "error" },
  SMTPD104: { title: "Name used twice", severity: "error" },
  SMTPD105: { title: "Delivery to a channel that does not exist", severity: "error" },
  SMTPD106: { title: "Unknown channel type", severity: "error" },
  SMTPD107: { title: "Invalid pattern", severity: "error" },
  SMTPD108: { title: "Two listeners on one address and port", severity: "error" },
  SMTPD109: { title: "No listener", severity: "error" },
  SMTPD110: { title: "TLS without certificate or private key", severity: "error" },
  SMTPD111: { title: "Binding without exactly one outcome", severity: "error" },
  SMTPD112: { title: "Settings that contradict each other", severity: "error" },
  SMTPD113: { title: "Condition on a listener that does not exist", severity: "error" },
  SMTPD114: { title: "Invalid template", severity: "error" },
  SMTPD201: { title: "Limit below the minimum of RFC 5321", severity: "warning" },
  SMTPD202: { title: "Named file cannot be read", severity: "error", depends: "machine" },
  SMTPD203: { title: "Environment variable not set", severity: "warning", depends: "machine" },
  SMTPD204: { title: "Invalid allow comment", severity: "warning" },
  SMTPD205: { title: "Allow comment without effect", severity: "warning" },
  SMTPD206: { title: "Channel option without effect", severity: "warning" },
  SMTPD210: { title: "Binding that can never match", severity: "warning" },
  SMTPD211: { title: "Channel never used", severity: "warning" },
  SMTPD212: { title: "Pattern given twice", severity: "warning" },
  SMTPD213: { title: "Pattern that matches more than it seems", severity: "warning" },
  SMTPD220: { title: "Open relay", severity: "error" },
  SMTPD221: { title: "Mail taken for every domain", severity: "warning" },
  SMTPD222: { title: "Relay that leads back here", severity: "error" },
  SMTPD230: { title: "Key pair that cannot be used", severity: "error", depends: "machine" },
  SMTPD231: { title: "Certificate expires soon", severity: "warning", depends: "machine" },
  SMTPD232: { title: "Certificate for another host name", severity: "warning", depends: "machine" },
  SMTPD240: { title: "Secret file open to others", severity: "warning", depends: "machine" },
  SMTPD241: { title: "Secret in the configuration", severity: "warning" },
  SMTPD242: { title: "Webhook without encryption", severity: "warning" },
  SMTPD250: { title: "Port that needs privileges", severity: "warning", depends: "machine" },
  SMTPD251: { title: "Spool directory that cannot be used", severity: "warning", depends: "machine" },
  SMTPD252: { title: "Spool on a file system that does not suit", severity: "warning", depends: "machine" },
  SMTPD253: { title: "No room for the largest message", severity: "warning", depends: "machine" },
  SMTPD254: { title: "Message size over the space kept free", severity: "warning" },
  SMTPD255: { title: "Session time-out below the RFC's times", severity: "warning" },
  SMTPD256: { title: "Host name not fully qualified", severity: "warning", depends: "machine" },
  SMTPD257: { title: "More connections than open files", severity: "warning", depends: "machine" },
  SMTPD270: { title: "Relay that cannot be found", severity: "warning", depends: "network" },
  SMTPD271: { title: "Mail that goes elsewhere", severity: "warning", depends: "network" },
  SMTPD272: { title: "Host name that the DNS does not confirm", severity: "warning", depends: "network" },
  SMTPD273: { title: "Endpoint that does not answer", severity: "warning", depends: "network" },
  SMTPD280: { title: "Routing test failed", severity: "error", depends: "machine" },
  SMTPD281: { title: "Routing test with a name that does not exist", severity: "error" },
  SMTPD282: { title: "Binding that no test reaches", severity: "warning", depends: "option" },
  SMTPD283: { title: "Tests reach too few bindings", severity: "error", depends: "option" },
} as const satisfies Readonly<Record<string, CodeEntry>>;

export type Code = keyof typeof CODES;

export function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text);
}

export function codeEntry(code: Code): CodeEntry {
  return CODES[code];
}

/** Whether findings of the code may be turned off. What prevents a start may not: what would not start does not pass. */
export function isAdjustable(code: Code): boolean {
  return code >= "SMTPD2";
}
