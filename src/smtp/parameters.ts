/**
 * The ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.1.11): one table row for each keyword, none twice, none unknown.
 * It must not know what a session does with them.
 */
import { decodeXtext, malformed, type Parsed, parsed } from "./grammar.ts";
import { MAX_ENVID_CHARACTERS, MAX_ORCPT_CHARACTERS, MAX_SIZE_DIGITS } from "./limits.ts";
import { reply } from "./reply.ts";
import type { BodyKind, DsnNotify, DsnReturn, MailParameters, RecipientParameters } from "./transaction.ts";

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** Takes the value into `into`; false when it is malformed. An absent value is undefined. */
type ParameterReader<Into> = (value: string | undefined, into: Mutable<Into>) => boolean;

const MAIL_PARAMETERS: ReadonlyMap<string, ParameterReader<MailParameters>> = new Map<
  string,
  ParameterReader<MailParameters>
>([
  ["SIZE", readSize],
  ["BODY", readBody],
  ["SMTPUTF8", readSmtputf8],
  ["RET", readRet],
  ["ENVID", readEnvid],
]);

const RECIPIENT_PARAMETERS: ReadonlyMap<string, ParameterReader<RecipientParameters>> = new Map<
  string,
  ParameterReader<RecipientParameters>
>([
  ["NOTIFY", readNotify],
  ["ORCPT", readOrcpt],
]);

const NO_MAIL_PARAMETERS: MailParameters = { body: "7bit", smtputf8: false };
const NO_RECIPIENT_PARAMETERS: RecipientParameters = {};

export function parseMailParameters(text: string, at: number): Parsed<MailParameters> {
  if (isBlank(text, at)) return parsed(NO_MAIL_PARAMETERS, text.length);
  return parseParameters(text, at, MAIL_PARAMETERS, { ...NO_MAIL_PARAMETERS });
}

export function parseRecipientParameters(text: string, at: number): Parsed<RecipientParameters> {
  if (isBlank(text, at)) return parsed(NO_RECIPIENT_PARAMETERS, text.length);
  return parseParameters(text, at, RECIPIENT_PARAMETERS, {});
}

function isBlank(text: string, at: number): boolean {
  return at >= text.length || text.slice(at).trim() === "";
}

/** Mail-parameters = esmtp-param *(SP esmtp-param), esmtp-param = esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2). */
function parseParameters<Into>(
  text: string,
  at: number,
  known: ReadonlyMap<string, ParameterReader<Into>>,
  into: Mutable<Into>,
): Parsed<Into> {
  if (text.charAt(at) !== " ") return malformed(reply(501, "5.5.4", "Malformed parameters"), at);
  const seen = new Set<string>();
  for (const word of text.slice(at).split(" ")) {
    if (word === "") continue;
    const match = /^([a-z0-9][a-z0-9-]*)(?:=([!-<>-~\u00a0-\u{10ffff}]+))?$/iu.exec(word);
    if (match?.[1] === undefined) return malformed(reply(501, "5.5.4", "Malformed parameter"), at);
    const keyword = match[1].toUpperCase();
    const read = known.get(keyword);
    if (read === undefined) return malformed(reply(555, "5.5.4", `Parameter ${keyword} is not recognized`), at);
    if (seen.has(keyword)) return malformed(reply(501, "5.5.4", `Parameter ${keyword} is repeated`), at);
    seen.add(keyword);
    if (!read(match[2], into)) return malformed(reply(501, "5.5.4", `Malformed value of parameter ${keyword}`), at);
  }
  return parsed(into as Into, text.length);
}

/** size-value = 1*20DIGIT (RFC 1870 §3). */
function readSize(value: string | undefined, into: Mutable<MailParameters>): boolean {
  if (value === undefined || !/^\d{1,20}$/.test(value)) return false;
  const digits = value.replace(/^0+(?=\d)/, "");
  into.sizeBytes = digits.length > MAX_SIZE_DIGITS ? Number.MAX_SAFE_INTEGER : Number(digits);
  return true;
}

const BODY_KINDS: ReadonlyMap<string, BodyKind> = new Map<string, BodyKind>([
  ["7BIT", "7bit"],
  ["8BITMIME", "8bitmime"],
  ["BINARYMIME", "binarymime"],
]);

/** body-value = "7BIT" / "8BITMIME" / "BINARYMIME" (RFC 6152, RFC 3030 §3). */
function readBody(value: string | undefined, into: Mutable<MailParameters>): boolean {
  const body = BODY_KINDS.get(value?.toUpperCase() ?? "");
  if (body === undefined) return false;
  into.body = body;
  return true;
}

/** SMTPUTF8 has no value (RFC 6531 §3.1). */
function readSmtputf8(value: string | undefined, into: Mutable<MailParameters>): boolean {
  into.smtputf8 = true;
  return value === undefined;
}

/** ret-value = "FULL" / "HDRS" (RFC 3461 §4.3). */
function readRet(value: string | undefined, into: Mutable<MailParameters>): boolean {
  const kinds: Readonly<Record<string, DsnReturn>> = { FULL: "full", HDRS: "headers" };
  const ret = kinds[value?.toUpperCase() ?? ""];
  if (ret === undefined) return false;
  into.ret = ret;
  return true;
}

/** envid-parameter = "ENVID=" xtext, at most 100 characters (RFC 3461 §4.4). */
function readEnvid(value: string | undefined, into: Mutable<MailParameters>): boolean {
  if (value === undefined || value.length > MAX_ENVID_CHARACTERS) return false;
  const envid = decodeXtext(value);
  if (envid === undefined) return false;
  into.envid = envid;
  return true;
}

/** notify-esmtp-value = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ) (RFC 3461 §4.1). */
function readNotify(value: string | undefined, into: Mutable<RecipientParameters>): boolean {
  const words = value?.toLowerCase().split(",") ?? [];
  if (words.length === 0 || new Set(words).size !== words.length) return false;
  for (const word of words) {
    if (word !== "never" && word !== "success" && word !== "failure" && word !== "delay") return false;
  }
  if (words.includes("never") && words.length > 1) return false;
  into.notify = words as unknown as DsnNotify;
  return true;
}

/** original-recipient-address = addr-type ";" xtext, at most 500 characters (RFC 3461 §4.2; utf-8 form: RFC 6533 §3). */
function readOrcpt(value: string | undefined, into: Mutable<RecipientParameters>): boolean {
  if (value === undefined || value.length > MAX_ORCPT_CHARACTERS) return false;
  const match = /^([a-z0-9-]+);(.+)$/iu.exec(value);
  if (match?.[1] === undefined || match[2] === undefined) return false;
  const utf8 = match[1].toLowerCase() === "utf-8";
  const address = utf8 ? match[2] : decodeXtext(match[2]);
  if (address === undefined || address === "") return false;
  into.orcpt = `${match[1]};${address}`;
  return true;
}
