/**
 * The keys of a session, the same for a listener and for a channel that takes mail in. It must not know which of the two
 * has them.
 */
import * as v from "valibot";
import { DEFAULT_MAX_ERRORS, DEFAULT_MAX_MESSAGE_SIZE_BYTES, DEFAULT_MAX_RECIPIENTS } from "../smtp/limits.ts";
import { durationOption, integerOption, sizeOption } from "./option.ts";

const SECOND = 1000;
const DAY = 24 * 3600 * SECOND;
const KIB = 1024;
const GIB = 1024 ** 3;

/** Entries of a schema. */
export const sessionEntries = {
  protocol: v.optional(
    v.pipe(
      v.picklist(["smtp", "lmtp"]),
      v.description("smtp, or lmtp (RFC 2033: one reply for each recipient)."),
      v.examples(["lmtp"]),
    ),
    "smtp",
  ),
  banner: v.optional(v.pipe(
    v.string(),
    v.regex(/^[ -~]{1,400}$/u, "must be 1 to 400 ASCII characters on one line"),
    v.description("Text of the 220 line behind the host name. Absent: ESMTP or LMTP with the program's name."),
    v.examples(["ESMTP Example Ltd"]),
  )),
  session_max_messages: v.optional(
    integerOption("Messages in one session; one more gets 451 4.5.3. Absent: any number.", 1, 1_000_000_000, 4),
  ),
  // An hour is far more than a mail client or a relay needs, and an end to those who only hold connections open.
  session_timeout: v.optional(
    durationOption("How long a client may be connected in all.", "1h", { minimum: SECOND, maximum: 7 * DAY }),
    "1h",
  ),
  max_message_size: v.optional(
    sizeOption("Largest message.", "25MiB", { minimum: KIB, maximum: 4 * GIB }),
    DEFAULT_MAX_MESSAGE_SIZE_BYTES,
  ),
  max_recipients: v.optional(
    integerOption("Recipients of one message; RFC 5321 §4.5.3.1.8 wants at least 100.", 1, 1_000_000, 1000),
    DEFAULT_MAX_RECIPIENTS,
  ),
  max_errors: v.optional(
    integerOption("Erroneous commands before the session ends with 421.", 1, 1_000_000, 20),
    DEFAULT_MAX_ERRORS,
  ),
};
