/**
 * Every bound of the protocol core: the RFC's minimum, our value, our reason. Bounds an administrator may change are
 * session options; these are their defaults and the hard ends of their ranges.
 */

/** RFC 5321 §4.5.3.1.1: at least 64 octets. UTF-8 and old gateways need more; a path has its own bound. */
export const MAX_LOCAL_PART_OCTETS = 255;
/** RFC 5321 §4.5.3.1.2: at least 255 octets, which is also the DNS's maximum. */
export const MAX_DOMAIN_OCTETS = 255;
/** RFC 5321 §4.5.3.1.3: at least 256 octets. Room for a source route, which we ignore (§4.1.2). */
export const MAX_PATH_OCTETS = 1024;
/**
 * RFC 5321 §4.5.3.1.4: at least 512 octets with CRLF, raised by each extension: SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152),
 * RET and ENVID 108, NOTIFY and ORCPT 500+28 (RFC 3461 §4), SMTPUTF8 10 (RFC 6531 §3.1), AUTH 500 (RFC 4954 §3).
 */
export const MAX_COMMAND_LINE_OCTETS = 2048;
/** RFC 5321 §4.5.3.1.5: at most 512 octets with code and CRLF; the enhanced code takes up to 12. */
export const MAX_REPLY_TEXT_CHARACTERS = 490;
/**
 * RFC 5321 §4.5.3.1.6: at least 1000 octets with CRLF. Longer text lines are passed on as they are: real mail has them,
 * and the body is never held line by line, so they cost nothing.
 */
export const MIN_TEXT_LINE_OCTETS = 1000;
/** RFC 5321 §4.5.3.1.8: at least 100. */
export const MIN_RECIPIENTS = 100;
export const DEFAULT_MAX_RECIPIENTS = 1000;
export const DEFAULT_MAX_MESSAGE_SIZE_BYTES = 25 * 1024 * 1024;
/** Erroneous commands before 421: enough for a person at a keyboard, too few for a scanner. */
export const DEFAULT_MAX_ERRORS = 20;
/** RFC 3461 §4.4: at most 100 characters. */
export const MAX_ENVID_CHARACTERS = 100;
/** RFC 3461 §4.2: at most 500 characters. */
export const MAX_ORCPT_CHARACTERS = 500;
/** Digits of a SIZE or BDAT value (RFC 1870 §4: up to 20). Beyond 15 a double loses octets. */
export const MAX_SIZE_DIGITS = 15;
/** RFC 5321 §6.3: at least 100 Received lines before a loop is presumed. */
export const MAX_RECEIVED_HOPS = 100;

/** RFC 5321 §4.5.3.2.7: a server waits at least 5 minutes for the next command. */
export const COMMAND_TIMEOUT_MS = 5 * 60_000;
/** RFC 5321 §4.5.3.2.5 has 3 minutes for the client's side of a data block; we wait as long for the next piece. */
export const DATA_TIMEOUT_MS = 3 * 60_000;

/** RFC 5321 §4.5.3.1.5 has 512 octets for a line of a reply; some servers put long explanations and links there. */
export const MAX_REPLY_LINE_OCTETS = 2048;
/** Lines of one reply: the longest EHLO replies have some thirty. Who goes on is babbling. */
export const MAX_REPLY_LINES = 100;
/** Commands in one pipelined batch, so that the peer's replies to it fit into any socket's buffer (RFC 2920 §3.1). */
export const MAX_PIPELINED_COMMANDS = 50;
/** Octets of one BDAT chunk of ours, which are held in memory. */
export const CHUNK_OCTETS = 64 * 1024;
/** Chunks sent ahead of their replies. */
export const MAX_PIPELINED_CHUNKS = 8;
/** Challenges of one AUTH exchange: no mechanism has more than three. */
export const MAX_AUTH_CHALLENGES = 5;

/** RFC 5321 §4.5.3.2.1, §4.5.3.2.2, §4.5.3.2.3: the client waits at least 5 minutes for the greeting, MAIL and RCPT. */
export const REPLY_TIMEOUT_MS = 5 * 60_000;
/** RFC 5321 §4.5.3.2.4. */
export const DATA_REPLY_TIMEOUT_MS = 2 * 60_000;
/** RFC 5321 §4.5.3.2.5: for the peer to take a block of the data. */
export const DATA_BLOCK_TIMEOUT_MS = 3 * 60_000;
/** RFC 5321 §4.5.3.2.6: long, because giving up here makes a second copy of the message. */
export const DATA_END_TIMEOUT_MS = 10 * 60_000;
/** Nothing depends on the reply to QUIT. */
export const QUIT_TIMEOUT_MS = 5_000;
