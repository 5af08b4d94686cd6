/**
 * Commands (RFC 5321 §4.1.1): the table of what the server understands, and the parse of one line into a command. The table
 * says when a command may come; what it does is the session's.
 */
import { type ForwardPath, needsSmtputf8, parseForwardPath, parseReversePath, type ReversePath } from "./address.ts";
import { isAscii } from "./bytes.ts";
import { type Chunk, parseChunk } from "./chunking.ts";
import { malformed, type Parsed, parsed } from "./grammar.ts";
import { MAX_DOMAIN_OCTETS } from "./limits.ts";
import { parseMailParameters, parseRecipientParameters } from "./parameters.ts";
import { reply } from "./reply.ts";
import type { MailParameters, RecipientParameters } from "./transaction.ts";

export type Command =
  | { readonly verb: "HELO" | "EHLO" | "LHLO"; readonly name: string }
  | { readonly verb: "MAIL"; readonly reversePath: ReversePath; readonly parameters: MailParameters }
  | { readonly verb: "RCPT"; readonly forwardPath: ForwardPath; readonly parameters: RecipientParameters }
  | { readonly verb: "BDAT"; readonly chunk: Chunk }
  | { readonly verb: "VRFY" | "EXPN"; readonly text: string }
  | { readonly verb: "DATA" | "RSET" | "NOOP" | "QUIT" | "HELP" | "STARTTLS" };

export type Verb = Command["verb"];

/** What must have come before (RFC 5321 §4.1.4). */
type Precondition = "none" | "hello" | "no transaction" | "transaction" | "recipients";

export interface CommandRule {
  readonly verb: Verb;
  /** Where the command is defined. */
  readonly section: string;
  readonly after: Precondition;
  /** May come while TLS is required and not yet there (RFC 3207 §4). */
  readonly beforeTls: boolean;
  readonly protocols: "smtp" | "lmtp" | "both";
  /** Reads what stands behind the verb, from `at` on. */
  readonly parse: (text: string, at: number) => Parsed<Command>;
}

const RULES: readonly CommandRule[] = [
  {
    verb: "HELO",
    section: "RFC 5321 §4.1.1.1",
    after: "none",
    beforeTls: false,
    protocols: "smtp",
    parse: hello("HELO"),
  },
  {
    verb: "EHLO",
    section: "RFC 5321 §4.1.1.1",
    after: "none",
    beforeTls: true,
    protocols: "smtp",
    parse: hello("EHLO"),
  },
  { verb: "LHLO", section: "RFC 2033 §4.1", after: "none", beforeTls: true, protocols: "lmtp", parse: hello("LHLO") },
  {
    verb: "MAIL",
    section: "RFC 5321 §4.1.1.2",
    after: "no transaction",
    beforeTls: false,
    protocols: "both",
    parse: parseMail,
  },
  {
    verb: "RCPT",
    section: "RFC 5321 §4.1.1.3",
    after: "transaction",
    beforeTls: false,
    protocols: "both",
    parse: parseRcpt,
  },
  {
    verb: "DATA",
    section: "RFC 5321 §4.1.1.4",
    after: "recipients",
    beforeTls: false,
    protocols: "both",
    parse: alone("DATA"),
  },
  { verb: "BDAT", section: "RFC 3030 §2", after: "recipients", beforeTls: false, protocols: "both", parse: parseBdat },
  {
    verb: "RSET",
    section: "RFC 5321 §4.1.1.5",
    after: "none",
    beforeTls: false,
    protocols: "both",
    parse: alone("RSET"),
  },
  {
    verb: "VRFY",
    section: "RFC 5321 §4.1.1.6",
    after: "none",
    beforeTls: false,
    protocols: "both",
    parse: argument("VRFY"),
  },
  {
    verb: "EXPN",
    section: "RFC 5321 §4.1.1.7",
    after: "none",
    beforeTls: false,
    protocols: "both",
    parse: argument("EXPN"),
  },
  {
    verb: "HELP",
    section: "RFC 5321 §4.1.1.8",
    after: "none",
    beforeTls: false,
    protocols: "both",
    parse: anything("HELP"),
  },
  {
    verb: "NOOP",
    section: "RFC 5321 §4.1.1.9",
    after: "none",
    beforeTls: true,
    protocols: "both",
    parse: anything("NOOP"),
  },
  {
    verb: "QUIT",
    section: "RFC 5321 §4.1.1.10",
    after: "none",
    beforeTls: true,
    protocols: "both",
    parse: alone("QUIT"),
  },
  {
    verb: "STARTTLS",
    section: "RFC 3207 §4",
    after: "hello",
    beforeTls: true,
    protocols: "both",
    parse: alone("STARTTLS"),
  },
];

export const COMMANDS: ReadonlyMap<string, CommandRule> = new Map(RULES.map((rule) => [rule.verb, rule]));

/** The verbs of other protocols: whoever sends one is a browser that was lured here, or a scanner. */
export const FOREIGN_VERBS: ReadonlySet<string> = new Set(["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"]);

/** Splits a line into verb and rest; the verb in capitals (RFC 5321 §2.4: verbs are case-insensitive). */
export function verbOf(line: string): { readonly verb: string; readonly at: number } {
  const space = line.indexOf(" ");
  const end = space < 0 ? line.length : space;
  const written = line.slice(0, end);
  // Nearly all clients write capitals; the rest pay for the conversion.
  return { verb: COMMANDS.has(written) ? written : written.toUpperCase(), at: end };
}

/** ehlo = "EHLO" SP ( Domain / address-literal ) CRLF (RFC 5321 §4.1.1.1). */
// Deviation, RFC 5321 §4.1.1.1: any visible characters are taken as the name, because real clients send host names with
// underscores and bare addresses, and the name proves nothing (§4.1.4). It is made safe before it reaches a header.
function hello(verb: "HELO" | "EHLO" | "LHLO"): CommandRule["parse"] {
  return (text, at) => {
    const name = text.slice(at).trim();
    if (name === "") return malformed(reply(501, "5.5.4", `Syntax: ${verb} hostname`), at);
    if (name.length > MAX_DOMAIN_OCTETS || !/^[!-~\u00a0-\u{10ffff}]+$/u.test(name)) {
      return malformed(reply(501, "5.5.4", "Malformed host name"), at);
    }
    return parsed({ verb, name }, text.length);
  };
}

/** mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF (RFC 5321 §4.1.1.2). */
function parseMail(text: string, at: number): Parsed<Command> {
  const start = pathStart(text, at, "FROM:");
  if (start < 0) return malformed(reply(501, "5.5.4", "Syntax: MAIL FROM:<address>"), at);
  const path = parseReversePath(text, start);
  if (!path.ok) return path;
  const parameters = parseMailParameters(text, path.end);
  if (!parameters.ok) return parameters;
  const unannounced = !parameters.value.smtputf8 && path.value !== null && needsSmtputf8(path.value);
  if (unannounced) return malformed(reply(553, "5.6.7", "The address needs SMTPUTF8"), start);
  return parsed({ verb: "MAIL", reversePath: path.value, parameters: parameters.value }, text.length);
}

/** rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF (RFC 5321 §4.1.1.3). */
function parseRcpt(text: string, at: number): Parsed<Command> {
  const start = pathStart(text, at, "TO:");
  if (start < 0) return malformed(reply(501, "5.5.4", "Syntax: RCPT TO:<address>"), at);
  const path = parseForwardPath(text, start);
  if (!path.ok) return path;
  const parameters = parseRecipientParameters(text, path.end);
  if (!parameters.ok) return parameters;
  return parsed({ verb: "RCPT", forwardPath: path.value, parameters: parameters.value }, text.length);
}

/** Where the path begins behind `FROM:` or `TO:`; -1 when the keyword is not there. */
// Deviation, RFC 5321 §3.3: spaces between the colon and the path are skipped, because many clients send them and nothing
// else can be meant.
function pathStart(text: string, at: number, keyword: string): number {
  let start = at;
  while (text.charAt(start) === " ") start++;
  if (start === at) return -1;
  const matches = text.startsWith(keyword, start) ||
    text.slice(start, start + keyword.length).toUpperCase() === keyword;
  if (!matches) return -1;
  start += keyword.length;
  while (text.charAt(start) === " ") start++;
  return start;
}

function parseBdat(text: string, at: number): Parsed<Command> {
  const chunk = parseChunk(text.slice(at));
  return chunk.ok ? parsed({ verb: "BDAT", chunk: chunk.value }, text.length) : chunk;
}

/** Commands without an argument; trailing spaces are tolerated (RFC 5321 §4.1.1). */
function alone(verb: "DATA" | "RSET" | "QUIT" | "STARTTLS"): CommandRule["parse"] {
  return (text, at) => {
    if (text.slice(at).trim() !== "") return malformed(reply(501, "5.5.4", `${verb} takes no argument`), at);
    return parsed({ verb }, text.length);
  };
}

/** String = Atom / Quoted-string, required (RFC 5321 §4.1.1.6, §4.1.1.7). */
function argument(verb: "VRFY" | "EXPN"): CommandRule["parse"] {
  return (text, at) => {
    const given = text.slice(at).trim();
    if (given === "") return malformed(reply(501, "5.5.4", `Syntax: ${verb} name`), at);
    if (!isAscii(given) && !/ SMTPUTF8$/i.test(given)) {
      return malformed(reply(553, "5.6.7", "The address needs SMTPUTF8"), at);
    }
    return parsed({ verb, text: given }, text.length);
  };
}

/** An optional argument that is ignored (RFC 5321 §4.1.1.8, §4.1.1.9). */
function anything(verb: "HELP" | "NOOP"): CommandRule["parse"] {
  return (text) => parsed({ verb }, text.length);
}
