/**
 * Pages of the codes about names, references and combinations that prevent a start, SMTPD104 and on. It must not know the
 * rules.
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

export const structurePages = {
  SMTPD104: {
    what: "Two listeners, bindings or channels have the same name, whatever their kinds. Both places are shown.",
    why: "Logs, metrics and commands say which one they mean by the name alone.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE.replace("everyone", "archive")}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD105: {
    what: "A binding delivers to a channel that is not defined.",
    why: "Its recipients would be accepted, and their mail could go nowhere.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE.replace('["archive"]', '["archiv"]')}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD106: {
    what: "There is no channel of this type. The types there are stand in the help.",
    why: "The type decides which options a channel has and how mail leaves by it.",
    bad: { text: `${LISTENER}\n${ARCHIVE.replace('"maildir"', '"mail-dir"')}\n${EVERYONE}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD107: {
    what: "A pattern of a binding is none of the forms there are, such as an address, a domain or a network.",
    why: "It would never match, and the mail it was written for would be refused or taken by a later binding.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE.replace("*@example.com", "@example.com")}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD108: {
    what: "Two listeners want the same port on the same address, or on addresses of which one takes in the other. A " +
      "listener without listen_ip takes every address.",
    why: "The system gives a port to one of them only; the server would not start.",
    bad: { text: `${LISTENER}\n[[listener]]\nname = "local"\nlisten_ip = "127.0.0.1"\nport = 2525\n` },
    good: { text: `${LISTENER}\n[[listener]]\nname = "local"\nlisten_ip = "127.0.0.1"\nport = 2526\n` },
  },
  SMTPD109: {
    what: "The configuration defines no listener.",
    why: "The server would have nothing to do. Often an include that was meant to bring the listeners does not.",
    bad: { text: `${ARCHIVE}\n${EVERYONE}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD110: {
    what: "A listener offers TLS and says not, or only half, which key pair to use.",
    why: "Without certificate and private key there is no handshake: clients would get an error instead of encryption.",
    bad: {
      text: `${LISTENER}\n[listener.tls]\nmode = "starttls"\ncertificate = "tls/cert.pem"\n`,
      files: { "tls/cert.pem": "a certificate" },
    },
    good: {
      text: `${LISTENER}
[listener.tls]
mode = "starttls"
certificate = "tls/cert.pem"
private_key = "tls/key.pem"
`,
      files: { "tls/cert.pem": "a certificate", "tls/key.pem": "its key" },
    },
  },
  SMTPD111: {
    what: "A binding says not what becomes of its recipients, or says two things that exclude each other.",
    why: "The first binding that matches decides, so it must decide one thing.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}reject = "550 5.1.1 No such user"\n` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}` },
  },
  SMTPD112: {
    what: "Two settings cannot both be meant, such as a longest wait that is shorter than the first.",
    why: "One of the two would be without effect, and nobody can tell which one was intended.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n[channel.retry]\nfirst_delay = "1h"\nmax_delay = "5m"\n\n${EVERYONE}` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n[channel.retry]\nfirst_delay = "5m"\nmax_delay = "1h"\n\n${EVERYONE}` },
  },
  SMTPD113: {
    what: "A binding is for listeners of a name or tag that no listener has.",
    why: "It would never match, and the mail it was written for would go another way.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}listeners = "submission"\n` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}listeners = "inbound"\n` },
  },
  SMTPD114: {
    what: "A text with places for what was matched asks for something that is not there.",
    why: "The place would stay empty, and an address or a header field would not say what was meant.",
    bad: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}subject_prefix = "[case $1]"\n` },
    good: { text: `${LISTENER}\n${ARCHIVE}\n${EVERYONE}subject_prefix = "[\${local}]"\n` },
  },
} as const satisfies Readonly<Record<string, PageContent>>;
