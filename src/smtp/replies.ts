/**
 * The constant replies of the server session, encoded once. Texts are short, say what to do, and tell nothing of the
 * inside. Codes: RFC 5321 §4.2.3 and §4.3.2; enhanced codes: RFC 3463, RFC 5248.
 */
import type { DataFault } from "./data.ts";
import { prepared, type Reply, reply } from "./reply.ts";

function fixed(code: number, enhanced: string | undefined, ...lines: readonly string[]): Reply {
  return prepared(reply(code, enhanced, ...lines));
}

export const OK = fixed(250, "2.0.0", "OK");
export const SENDER_OK = fixed(250, "2.1.0", "Sender OK");
export const RECIPIENT_OK = fixed(250, "2.1.5", "Recipient OK");
export const RESET = fixed(250, "2.0.0", "Reset");
export const COMMITTED = fixed(250, "2.0.0", "Accepted");
export const BYE = fixed(221, "2.0.0", "Bye");
export const CANNOT_VERIFY = fixed(252, "2.5.0", "Not verified; send mail to find out");
export const START_INPUT = fixed(354, undefined, "Send the message, end with a line of one dot");
export const READY_FOR_TLS = fixed(220, "2.0.0", "Ready to start TLS");
export const HELP = fixed(
  214,
  "2.0.0",
  "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS",
  "See RFC 5321",
);

export const TOO_MANY_MESSAGES = fixed(451, "4.5.3", "No more transactions in this session");
export const TOO_MANY_RECIPIENTS = fixed(452, "4.5.3", "Too many recipients; send the rest in another transaction");
export const TOO_LARGE = fixed(552, "5.3.4", "Message too large");
export const NEEDS_SMTPUTF8 = fixed(553, "5.6.7", "The address needs SMTPUTF8");

export const UNKNOWN_COMMAND = fixed(500, "5.5.1", "Command not recognized");
export const LINE_TOO_LONG = fixed(500, "5.5.2", "Line too long");
export const MALFORMED_UTF8 = fixed(500, "5.5.2", "Malformed UTF-8");
export const BAD_LINE_ENDING: Readonly<Record<DataFault, Reply>> = {
  "bare LF": fixed(500, "5.5.2", "Bare LF; lines end with CRLF"),
  "bare CR": fixed(500, "5.5.2", "Bare CR; lines end with CRLF"),
  "NUL": fixed(500, "5.5.2", "NUL in a command"),
};
export const BAD_DATA = fixed(550, "5.6.0", "Bare CR, bare LF or NUL in the message; lines end with CRLF");

export const BAD_SEQUENCE = fixed(503, "5.5.1", "Bad sequence of commands");
export const HELLO_FIRST = fixed(503, "5.5.1", "Send EHLO first");
export const LHLO_FIRST = fixed(503, "5.5.1", "Send LHLO first");
export const MAIL_FIRST = fixed(503, "5.5.1", "Send MAIL first");
export const UNWELCOME = fixed(503, "5.5.1", "No service for you; send QUIT");
export const RCPT_FIRST = fixed(503, "5.5.1", "Send RCPT first");
export const NESTED_MAIL = fixed(503, "5.5.1", "A transaction is in progress; send RSET to end it");
export const CHUNKS_GOING_ON = fixed(503, "5.5.1", "A message is being sent with BDAT");
export const NO_VALID_RECIPIENTS = fixed(554, "5.5.1", "No valid recipients");
export const BINARY_NEEDS_BDAT = fixed(503, "5.5.1", "BINARYMIME needs BDAT");
export const EXPN_NOT_OFFERED = fixed(502, "5.5.1", "EXPN is not offered");
export const TLS_REQUIRED = fixed(530, "5.7.0", "Send STARTTLS first");
export const TLS_IMPOSSIBLE = fixed(530, "5.7.0", "Encryption is required here, and this connection cannot have it");
export const TLS_ACTIVE = fixed(503, "5.5.1", "TLS is active already");
export const TLS_UNAVAILABLE = fixed(502, "5.5.1", "TLS is not offered");

export const TOO_MANY_ERRORS = fixed(421, "4.7.0", "Too many errors; closing");
export const NOT_SMTP = fixed(421, "4.7.0", "This is a mail server; closing");
export const LOST_IN_CHUNK = fixed(421, "4.5.2", "Unreadable chunk size; closing");
export const SHUTTING_DOWN = fixed(421, "4.3.2", "Shutting down; try again later");
export const TOO_MANY_CONNECTIONS = fixed(421, "4.3.2", "Too many connections; try again later");
export const TIMED_OUT = fixed(421, "4.4.2", "Timed out; closing");
export const INTERNAL_ERROR = fixed(421, "4.3.0", "Internal error; closing");

/** Replies that follow from a refusal of ours when the client has pipelined on. */
export const CONSEQUENCES: ReadonlySet<Reply> = new Set([MAIL_FIRST, RCPT_FIRST, NO_VALID_RECIPIENTS]);
