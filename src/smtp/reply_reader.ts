/**
 * Replies out of a byte stream (RFC 5321 §4.2), within bounds: what is not a well-formed reply ends the session, because
 * nobody knows then which reply belongs to which command. It must not know what a reply answers.
 */
import { latin1Text, utf8Text } from "./bytes.ts";
import { MAX_REPLY_LINE_OCTETS, MAX_REPLY_LINES } from "./limits.ts";
import { LineReader } from "./line.ts";
import type { Reply } from "./reply.ts";

export type ReplyStep =
  | { readonly kind: "reply"; readonly reply: Reply; readonly next: number }
  /** The peer does not speak the protocol. `fault` continues a sentence such as "The server sent …". */
  | { readonly kind: "bad"; readonly fault: string }
  /** The chunk is used up. */
  | { readonly kind: "more" };

const MORE: ReplyStep = { kind: "more" };

/** Reply-line (RFC 5321 §4.2); codes outside its ranges for the second digit exist in practice and harm nobody. */
const REPLY_LINE = /^([2-5]\d\d)(?:([ -])(.*))?$/su;
/** status-code (RFC 2034 §4, RFC 3463 §2). */
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?: +|$)/u;

export class ReplyReader {
  readonly #lines = new LineReader({ maxOctets: MAX_REPLY_LINE_OCTETS, bareLfEndsLine: false });
  #code = "";
  #texts: string[] = [];
  #hasPart = false;

  /** Whether a reply has begun and not ended. */
  get isWithin(): boolean {
    return this.#hasPart || this.#texts.length > 0;
  }

  read(chunk: Uint8Array, at: number): ReplyStep {
    for (let position = at;;) {
      const line = this.#lines.read(chunk, position);
      if (line.kind === "more") {
        this.#hasPart ||= position < chunk.length;
        return MORE;
      }
      this.#hasPart = false;
      position = line.next;
      if (line.kind === "bad") return { kind: "bad", fault: FAULTS[line.fault] };
      const step = this.#line(latin1Text(line.bytes), position);
      if (step !== undefined) return step;
    }
  }

  #line(latin1: string, next: number): ReplyStep | undefined {
    const match = REPLY_LINE.exec(latin1);
    const code = match?.[1];
    if (code === undefined) return { kind: "bad", fault: "a line that is no reply" };
    if (this.#texts.length > 0 && code !== this.#code) return { kind: "bad", fault: "a reply with two codes" };
    if (this.#texts.length >= MAX_REPLY_LINES) return { kind: "bad", fault: "a reply without end" };
    this.#code = code;
    this.#texts.push(shownText(match?.[3] ?? ""));
    if (match?.[2] === "-") return undefined;
    const texts = this.#texts;
    this.#texts = [];
    return { kind: "reply", reply: replyOf(Number(code), texts), next };
  }
}

const FAULTS: Readonly<Record<"too long" | "bare LF" | "bare CR" | "NUL", string>> = {
  "too long": "a line without end",
  "bare LF": "a bare LF",
  "bare CR": "a bare CR",
  "NUL": "a NUL",
};

/** UTF-8 may come over SMTPUTF8 (RFC 6531 §3.5); control characters have no business in logs. */
function shownText(latin1: string): string {
  return (utf8Text(latin1) ?? latin1).replace(/[\p{Cc}\u2028\u2029]/gu, "?");
}

function replyOf(code: number, texts: readonly string[]): Reply {
  const enhanced = ENHANCED.exec(texts[0] ?? "")?.[1];
  if (enhanced === undefined || enhanced.charAt(0) !== String(code).charAt(0)) return { code, lines: texts };
  return { code, enhanced, lines: texts.map((text) => text.startsWith(enhanced) ? text.replace(ENHANCED, "") : text) };
}
