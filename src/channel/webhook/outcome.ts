/**
 * What an answer means for a delivery, in a line that people can read. Everything in an answer is the receiver's: it is
 * bounded and made safe here. It must not know how answers come.
 */
import type { HttpResponse } from "../../runtime/runtime.ts";
import type { Outcome } from "../channel.ts";
import { oneLine } from "../content.ts";

/** Longer first lines are cut: pages meant for browsers say little. */
const LINE_MAX = 300;

/** An outcome before it is known whose it is. */
export type Verdict<Each = Outcome> = Each extends Outcome ? Omit<Each, "deliveryId"> : never;

export interface Judgement {
  /** The receiver's name for the detail. */
  readonly host: string;
  readonly bounceStatus: readonly number[];
  readonly nowMs: number;
}

export function verdictOf(response: HttpResponse, { host, bounceStatus, nowMs }: Judgement): Verdict {
  const { status } = response;
  const answer = `"${host}" answered ${oneLine(`${status} ${response.statusText}`.slice(0, LINE_MAX)).trim()}`;
  const line = firstLine(response.body);
  const detail = oneLine(line === "" ? answer : `${answer}: ${line}`);
  if (status >= 200 && status <= 299) return { kind: "delivered", detail };
  if (bounceStatus.includes(status)) return { kind: "failed", detail };
  const retryAfterMs = retryAfter(response.header("retry-after"), nowMs);
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (status >= 300 && status <= 399) return { kind: "deferred", detail: redirect(answer, response), ...wait };
  return { kind: "deferred", detail, ...wait };
}

function redirect(answer: string, response: HttpResponse): string {
  const location = response.header("location");
  const where = location === undefined ? "" : ` and points to "${oneLine(location.slice(0, LINE_MAX))}"`;
  return oneLine(`${answer}${where}; redirects are not followed: put the final address into url`);
}

/** Of a text its first line that is not empty, of a page its title. */
function firstLine(body: Uint8Array): string {
  const text = new TextDecoder().decode(body).trim();
  const title = text.startsWith("<") ? /<title>([^<]{1,500})<\/title>/iu.exec(text)?.[1] : undefined;
  const line = (title ?? text).split(/[\r\n]/u).find((candidate) => candidate.trim() !== "") ?? "";
  return oneLine(line.slice(0, LINE_MAX).toWellFormed()).trim();
}

/** Retry-After = HTTP-date / delay-seconds (RFC 9110 §10.2.3), as a wait from now; undefined when it says nothing of use. */
export function retryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^[0-9]{1,9}$/u.test(text)) return Number(text) * 1_000;
  // IMF-fixdate, the only form that may still be sent (RFC 9110 §5.6.7).
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/u.test(text)) return undefined;
  const waitMs = Date.parse(text) - nowMs;
  return waitMs > 0 ? waitMs : undefined;
}
