/**
 * What the greeting, EHLO and LHLO replies say (RFC 5321 §4.1.1.1): exactly the extensions that work in the state the session
 * is in.
 */
import { prepared, type Reply, reply } from "./reply.ts";
import type { ServerSessionOptions } from "./session.ts";

/** Greeting = "220 " Domain [ SP textstring ] CRLF, or several lines (RFC 5321 §4.2). */
export function greeting({ hostName, banner, bannerLines = [] }: ServerSessionOptions): Reply {
  return reply(220, undefined, `${hostName} ${banner}`, ...bannerLines);
}

/** `plain`: no TLS yet. `encrypted`: over TLS. */
export type ChannelSecurity = "plain" | "encrypted";

interface HelloReplies {
  readonly plain: Reply;
  readonly encrypted: Reply;
}

const REPLIES = new WeakMap<ServerSessionOptions, HelloReplies>();

/** Encoded once for all sessions that share the options. */
export function helloReply(options: ServerSessionOptions, security: ChannelSecurity): Reply {
  let replies = REPLIES.get(options);
  if (replies === undefined) {
    replies = { plain: makeReply(options, "plain"), encrypted: makeReply(options, "encrypted") };
    REPLIES.set(options, replies);
  }
  return replies[security];
}

function makeReply(options: ServerSessionOptions, security: ChannelSecurity): Reply {
  return prepared(reply(250, undefined, options.hostName, ...extensionLines(options, security)));
}

function extensionLines(options: ServerSessionOptions, security: ChannelSecurity): readonly string[] {
  const plain = security === "plain";
  const startTls = plain && (options.tls === "offered" || options.tls === "required") ? ["STARTTLS"] : [];
  if (plain && (options.tls === "required" || options.tls === "impossible")) {
    return ["PIPELINING", "ENHANCEDSTATUSCODES", ...startTls];
  }
  return [
    "PIPELINING",
    `SIZE ${options.maxMessageSizeBytes}`,
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "SMTPUTF8",
    "DSN",
    "CHUNKING",
    "BINARYMIME",
    ...startTls,
    limitsLine(options),
    "HELP",
  ];
}

/** LIMITS with the names of RFC 9422 §4. */
function limitsLine(options: ServerSessionOptions): string {
  const mailMax = options.maxMessages === undefined ? "" : ` MAILMAX=${options.maxMessages}`;
  return `LIMITS${mailMax} RCPTMAX=${options.maxRecipients}`;
}
