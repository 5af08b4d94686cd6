/**
 * Options of the TCP/IP channel option file of Messaging Server and PMDF, under their own names: what they mean for sessions
 * that we serve, and what is wrong with the others. It must not know where they are written.
 */
import type { NamedOption } from "./config.ts";
import { quote } from "./diagnostic.ts";
import { optionInteger } from "./import/imta_listener.ts";
import { OPTIONS } from "./import/imta_terms.ts";
import { canonicalHostName } from "./schema.ts";
import { nearest } from "./suggest.ts";

/** What options ask of a session; absent: as it would be without. */
export interface SessionOptions {
  readonly maxRecipients?: number;
  readonly maxMessages?: number;
  readonly maxMessagesAt?: "mail" | "recipient";
  readonly hostName?: string;
  /** In place of the banner's text. */
  readonly banner?: string;
  /** Further text of the banner: what goes on its line, then further lines. */
  readonly bannerAddition?: readonly string[];
  readonly commandTimeoutMs?: number;
  readonly dataTimeoutMs?: number;
  readonly sessionTimeoutMs?: number;
}

export interface OptionProblem {
  readonly option: NamedOption;
  /** A sentence without its full stop. */
  readonly message: string;
  readonly help: string;
  /** The name that was meant. */
  readonly meant?: string;
}

export interface InterpretedOptions {
  readonly session: SessionOptions;
  readonly problems: readonly OptionProblem[];
}

/** The addition stands on the banner's own line up to this many characters. */
const MAX_ADDITION_ON_LINE = 80;
const MAX_BANNER_CHARACTERS = 400;
const DEFAULT_TIMEOUT_MULTIPLIER = 60;
const MAX_TIMEOUT_MS = 7 * 24 * 3600_000;

/** Options of the sending side, which stand in the same file. */
const OF_CLIENTS =
  /^(?:522_PERMANENT|ATTEMPT_TRANS|(?:COMMAND|DATA|DOT|MAIL|RCPT)_TRANSMIT|STATUS_\w*RECV?|MAX_(?:CLIENT|A_|MX_))/u;

type Interpretation = SessionOptions | { readonly wrong: string };
type Interpreter = (value: string, unitMs: number) => Interpretation;

/** Later ones of the same name count. */
export function interpretOptions(options: readonly NamedOption[]): InterpretedOptions {
  const problems: OptionProblem[] = [];
  const last = new Map(options.map((option) => [option.name.toUpperCase(), option]));
  const unitMs = multiplierOf(last.get("TIMEOUT_MULTIPLIER"), problems) * 1000;
  let session: SessionOptions = {};
  for (const [name, option] of last) {
    const interpret = INTERPRETERS.get(name);
    if (interpret === undefined) problems.push(...otherOption(name, option));
    else {
      const found = interpret(option.value, unitMs);
      if ("wrong" in found) problems.push({ option, message: wrongMessage(option, found.wrong), help: HELP });
      else session = { ...session, ...found };
    }
  }
  return { session, problems };
}

const HELP = "Correct it; it is left out until then.";

function wrongMessage({ name, value }: NamedOption, wanted: string): string {
  return `Invalid value ${quote(value)} for the option ${name}: it must be ${wanted}`;
}

const INTERPRETERS: ReadonlyMap<string, Interpreter> = new Map<string, Interpreter>([
  ["ALLOW_RECIPIENTS_PER_TRANSACTION", (value) => number(value, 1, (maxRecipients) => ({ maxRecipients }))],
  ["ALLOW_TRANSACTIONS_PER_SESSION", (value) => number(value, 1, (maxMessages) => ({ maxMessages }))],
  ["TRANSACTION_LIMIT_RCPT_TO", (value) => flag(value, (isSet) => ({ maxMessagesAt: isSet ? "recipient" : "mail" }))],
  ["BANNER_HOST", (value) => {
    const hostName = canonicalHostName(value);
    return hostName === undefined ? { wrong: "a host name" } : { hostName };
  }],
  ["BANNER_ADDITION", (value) => text(value, (addition) => ({ bannerAddition: bannerLines(addition) }))],
  ["CUSTOM_VERSION_STRING", (value) => text(value, (banner) => ({ banner: `ESMTP ${banner}` }))],
  ["COMMAND_RECEIVE_TIME", (value, unitMs) => time(value, unitMs, (commandTimeoutMs) => ({ commandTimeoutMs }))],
  ["DATA_RECEIVE_TIME", (value, unitMs) => time(value, unitMs, (dataTimeoutMs) => ({ dataTimeoutMs }))],
  ["SESSION_TIME", (value, unitMs) => time(value, unitMs, (sessionTimeoutMs) => ({ sessionTimeoutMs }))],
  // EXPN is never offered, VRFY never tells anything.
  ["DISABLE_EXPAND", (value) => always(value)],
  ["HIDE_VERIFY", (value) => always(value)],
  ["DISABLE_SEND", (value) => always(value)],
  ["DISABLE_ADDRESS", (value) => always(value)],
  ["DISABLE_CIRCUIT", (value) => always(value)],
  ["DISABLE_GENERAL", (value) => always(value)],
  ["DISABLE_STATUS", (value) => always(value)],
  ["TIMEOUT_MULTIPLIER", () => ({})],
]);

function multiplierOf(option: NamedOption | undefined, problems: OptionProblem[]): number {
  if (option === undefined) return DEFAULT_TIMEOUT_MULTIPLIER;
  const value = optionInteger(option.value);
  if (value !== undefined && value >= 1 && value <= 3600) return value;
  problems.push({ option, message: wrongMessage(option, "a whole number of seconds from 1 to 3600"), help: HELP });
  return DEFAULT_TIMEOUT_MULTIPLIER;
}

/** One that asks nothing of a session we serve, or that nobody knows. */
function otherOption(name: string, option: NamedOption): readonly OptionProblem[] {
  const term = OPTIONS.get(name);
  if (term !== undefined && OF_CLIENTS.test(name)) return [];
  if (term !== undefined) {
    const why = term.note === undefined ? "" : `: ${term.note}`;
    return [{ option, message: `The option ${name} has no effect${why}`, help: "Remove it." }];
  }
  const meant = nearest(name, OPTIONS.keys());
  return [{
    option,
    message: `There is no option ${quote(option.name)}`,
    help: meant === undefined ? "Remove it." : `Did you mean ${quote(meant)}?`,
    ...(meant === undefined ? {} : { meant }),
  }];
}

function number(value: string, minimum: number, make: (value: number) => SessionOptions): Interpretation {
  const found = optionInteger(value);
  const isRight = found !== undefined && found >= minimum && found <= 1_000_000_000;
  return isRight ? make(found) : { wrong: `a whole number from ${minimum} on, such as 10, or 16%A with its base` };
}

function flag(value: string, make: (isSet: boolean) => SessionOptions): Interpretation {
  const found = optionInteger(value);
  return found === 0 || found === 1 ? make(found === 1) : { wrong: "0 or 1" };
}

function always(value: string): Interpretation {
  return flag(value, () => ({}));
}

function text(value: string, make: (value: string) => SessionOptions): Interpretation {
  const isRight = value !== "" && value.length <= MAX_BANNER_CHARACTERS && /^[ -~]+$/u.test(value);
  return isRight ? make(value) : { wrong: `1 to ${MAX_BANNER_CHARACTERS} ASCII characters` };
}

function time(value: string, unitMs: number, make: (timeMs: number) => SessionOptions): Interpretation {
  const units = /^\d{1,6}\.\d{1,6}$/u.test(value) ? Number(value) : optionInteger(value);
  const timeMs = Math.round((units ?? 0) * unitMs);
  return timeMs >= 1000 && timeMs <= MAX_TIMEOUT_MS
    ? make(timeMs)
    : { wrong: "a number of units of TIMEOUT_MULTIPLIER, one second to seven days in all" };
}

/** "|" begins a line; text that is long has one of its own. */
function bannerLines(addition: string): readonly string[] {
  const lines = addition.split("|").map((line) => line.trim());
  return (lines[0]?.length ?? 0) > MAX_ADDITION_ON_LINE ? ["", ...lines] : lines;
}
