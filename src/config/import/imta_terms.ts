/**
 * What is known of Messaging Server's channel keywords and channel options that are not translated: how many arguments a
 * keyword takes, and what to tell people about it. It must not know how the others are translated.
 */

export interface Term {
  /** Arguments of a keyword: a number of them, or as many numbers or durations as follow. */
  readonly takes?: number | "list";
  /** smtpd does this without being told; otherwise there is no equivalent, and this says what comes near it. */
  readonly isAlways?: true;
  readonly note?: string;
}

const NO_AUTH = "there is no authentication";
const NO_CLIENT = "smtpd does not send to other servers";
const NO_DIRECTORY = "there is no directory and no alias";
const CHUNKS = "CHUNKING is always offered";
const EIGHT_BIT = "8BITMIME is always offered, and content is never changed";

/** Keywords in lower case. Those that are translated are here for the number of their arguments. */
export const KEYWORDS: ReadonlyMap<string, Term> = new Map<string, Term>([
  // Protocol: translated for channels that become listeners.
  ...names(["smtp", "smtp_cr", "smtp_crlf", "smtp_lf", "smtp_crorlf", "nosmtp"], {}),
  ...names(["lmtp", "lmtp_cr", "lmtp_crlf", "lmtp_lf", "lmtp_crorlf"], {}),
  ...names(["maytls", "maytlsserver", "musttls", "musttlsserver", "notls", "notlsserver"], {}),
  ...names(["recipientlimit", "blocklimit", "sourceblocklimit", "disconnectbadcommandlimit"], { takes: 1 }),
  ["description", { takes: 1 }],
  ["maxjobs", { takes: 1 }],
  ["backoff", { takes: "list" }],
  ["notices", { takes: "list" }],
  // The rest.
  ...names(["maytlsclient", "musttlsclient", "notlsclient", "ehlo", "checkehlo", "noehlo"], { note: NO_CLIENT }),
  ["daemon", { takes: 1, note: NO_CLIENT }],
  ...names(["port", "interfaceaddress", "lastresort", "mailhost"], { takes: 1, note: NO_CLIENT }),
  ...names(["mx", "nomx", "nodns", "defaultmx", "randommx", "nonrandommx", "nameservers"], { note: NO_CLIENT }),
  ...names(["single", "single_sys", "multiple", "sendetrn", "nosendetrn", "domainvrfy"], { note: NO_CLIENT }),
  ["tlsswitchchannel", { takes: 1, note: "a session keeps its listener" }],
  ["saslswitchchannel", { takes: 1, note: "a session keeps its listener" }],
  ...names(["switchchannel", "noswitchchannel", "allowswitchchannel"], { note: "a session keeps its listener" }),
  ...names(["maysasl", "maysaslserver", "mustsasl", "mustsaslserver"], { note: NO_AUTH }),
  ...names(["nosasl", "nosaslserver"], { isAlways: true, note: NO_AUTH }),
  ["msexchange", { note: "the old forms of AUTH and TLS are not offered" }],
  ["nomsexchange", { isAlways: true, note: "the old forms of AUTH and TLS are not offered" }],
  ...names(["chunkingserver", "chunkingclient"], { isAlways: true, note: CHUNKS }),
  ...names(["nochunkingserver", "nochunkingclient"], { note: CHUNKS }),
  ...names(["eightnegotiate", "eightbit"], { isAlways: true, note: EIGHT_BIT }),
  ...names(["sevenbit", "eightstrict"], { note: EIGHT_BIT }),
  ["blocketrn", { isAlways: true, note: "ETRN is not offered" }],
  ...names(["allowetrn", "domainetrn", "silentetrn"], { note: "ETRN is not offered" }),
  ...names(["vrfyhide", "vrfydefault"], { isAlways: true, note: "VRFY is answered with 252" }),
  ...names(["localvrfy", "novrfy", "vrfyallow"], { note: "VRFY is answered with 252" }),
  ...names(["master_debug", "slave_debug"], { note: "start smtpd serve with --log-level debug" }),
  ...names(["nomaster_debug", "noslave_debug"], {
    isAlways: true,
    note: "nothing is logged in detail without --log-level debug",
  }),
  ["logging", { isAlways: true, note: "every message is logged" }],
  ["recipientcutoff", { takes: 1, note: "max_recipients refuses single recipients, not the message" }],
  ["holdlimit", { takes: 1, note: "no message is held because of its recipients" }],
  ...names(["urgentbackoff", "normalbackoff", "nonurgentbackoff"], {
    takes: "list",
    note: "retries know no priorities",
  }),
  ...names(["urgentnotices", "normalnotices", "nonurgentnotices"], {
    takes: "list",
    note: "max_age knows no priorities",
  }),
  ...names(["pool", "threaddepth", "after", "subdirs", "addrsperfile", "addrsperjob", "filesperjob"], {
    takes: 1,
    note: "the queue is one database, whose work is shared out by itself",
  }),
  ...names(["alternatechannel", "alternateblocklimit", "alternatelinelimit", "alternaterecipientlimit"], { takes: 1 }),
  ...names(["filter", "sourcefilter", "destinationfilter"], {
    takes: 1,
    note: "there is no Sieve; bindings come nearest",
  }),
  ...names(["defaulthost"], { takes: "list", note: "addresses are not completed" }),
  ...names(["linelength", "linelimit", "maxheaderaddrs", "maxheaderchars", "headerlimit"], {
    takes: 1,
    note: "content is not changed",
  }),
  ...names(["defragment", "nodefragment", "inner", "noinner", "innertrim", "headertrim"], {
    note: "content is not changed",
  }),
  ...names([
    "rewrite",
    "dequeue_removeroute",
    "identnonelimited",
    "identnone",
    "identnonesymbolic",
    "identnonenumeric",
    "identtcp",
  ], {}),
  ...names(["aliaslocal", "aliasmagic", "viaaliasoptional", "viaaliasrequired"], { note: NO_DIRECTORY }),
  ...names(["expandchannel", "expandlimit", "caption", "fileinto", "missingrecipientpolicy"], { takes: 1 }),
  ...names(["authrewrite", "remotehost", "noremotehost", "localbehavior", "loopcheck", "noloopcheck"], {}),
  ...names(["immediate", "immnonurgent", "immnormal", "immurgent", "periodic", "bidirectional", "master", "slave"], {
    isAlways: true,
    note: "a delivery is attempted at once",
  }),
  ...names(["sendpost", "nosendpost", "copysendpost", "errsendpost"], { note: "no reports are sent" }),
  ...names(["warnpost", "nowarnpost", "copywarnpost", "errwarnpost"], { note: "no reports are sent" }),
]);

/** Options in capitals. */
export const OPTIONS: ReadonlyMap<string, Term> = new Map<string, Term>([
  ...names(["ALLOW_TRANSACTIONS_PER_SESSION", "ALLOW_RECIPIENTS_PER_TRANSACTION"], {}),
  ...names(["BANNER_ADDITION", "BANNER_HOST", "CUSTOM_VERSION_STRING"], {}),
  ["522_PERMANENT_ERROR_STRING", { note: NO_CLIENT }],
  ["ALLOW_ETRNS_PER_SESSION", { note: "ETRN is not offered" }],
  ["REJECT_RECIPIENTS_PER_TRANSACTION", { note: "max_recipients refuses single recipients, not the transaction" }],
  ["ALLOW_REJECTIONS_BEFORE_DEFERRAL", { note: "max_errors ends a session after erroneous commands" }],
  ["TRANSACTION_LIMIT_RCPT_TO", { note: "the limit is told at MAIL" }],
  ["ATTEMPT_TRANSACTIONS_PER_SESSION", { note: NO_CLIENT }],
  ["BANNER_PURGE_DELAY", { note: "the banner is sent at once" }],
  ["CHECK_SOURCE", { note: "names are not looked up" }],
  ...names(["COMMAND_RECEIVE_TIME", "DATA_RECEIVE_TIME", "STATUS_TRANSMIT_TIME"], {
    note: "waits are those of RFC 5321 §4.5.3.2; session_timeout bounds the whole session",
  }),
  ...names(
    [
      "COMMAND_TRANSMIT_TIME",
      "DATA_TRANSMIT_TIME",
      "DOT_TRANSMIT_TIME",
      "MAIL_TRANSMIT_TIME",
      "RCPT_TRANSMIT_TIME",
      "STATUS_DATA_RECEIVE_TIME",
      "STATUS_DATA_RECV_PER_ADDR_TIME",
      "STATUS_DATA_RECV_PER_BLOCK_TIME",
      "STATUS_DATA_RECV_PER_ADDR_PER_BLOCK_TIME",
      "STATUS_MAIL_RECEIVE_TIME",
      "STATUS_RCPT_RECEIVE_TIME",
      "STATUS_RECEIVE_TIME",
      "SESSION_TIME",
      "MAX_CLIENT_THREADS",
      "MAX_A_RECORDS",
      "MAX_MX_RECORDS",
    ],
    { note: NO_CLIENT },
  ),
  ["TIMEOUT_MULTIPLIER", { note: "no time is translated" }],
  ...names(["FAST_SMTP_SESSION_TIME_LIMIT", "REUSE_TIMED_OUT_TRANSFERS"], {
    note: "a message is on the disk before its 250",
  }),
  ...names(["DISABLE_ADDRESS", "DISABLE_CIRCUIT", "DISABLE_GENERAL", "DISABLE_STATUS"], {
    note: "there are no private commands",
  }),
  ["DISABLE_EXPAND", { note: "EXPN is not offered" }],
  ["DISABLE_SEND", { note: "SEND, SAML and SOML are not offered" }],
  ["HIDE_VERIFY", { note: "VRFY is answered with 252" }],
  ...names(["LOG_BANNER", "LOG_CONNECTION", "LOG_TRANSPORTINFO", "TRACE_LEVEL", "MAX_J_ENTRIES"], {
    note: "connections are logged; --log-level debug tells more",
  }),
  ["MAX_HELO_DOMAIN_LENGTH", {}],
  ["PROXY_PASSWORD", {}],
  ["CONTINUATION_CHARS", {}],
]);

function names(words: readonly string[], term: Term): readonly (readonly [string, Term])[] {
  return words.map((word) => [word, term]);
}
