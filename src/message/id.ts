/**
 * Ids of messages and sessions: sortable by time, safe in file names, header fields and URLs. It must not know where time
 * and random bytes come from.
 */

/** Digits in rising order of their codes, so that text sorts as numbers do; no letter that is mistaken for a digit. */
const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const TIME_DIGITS = 9;
/** 50 random bits: two ids of one millisecond meet once in 10^15. */
export const ID_RANDOM_BYTES = 10;

let lastMs = -1;
let lastTime = "";

/** 9 digits of time (until the year 3084) and 10 random ones. Takes 5 bits of each of the 10 bytes. */
export function formatId(timeMs: number, random: Uint8Array): string {
  const millisecond = Math.floor(timeMs);
  if (millisecond !== lastMs) {
    lastTime = timeDigits(millisecond);
    lastMs = millisecond;
  }
  let text = lastTime;
  for (let index = 0; index < ID_RANDOM_BYTES; index++) text += DIGITS.charAt((random[index] ?? 0) & 31);
  return text;
}

function timeDigits(timeMs: number): string {
  let text = "";
  for (let rest = timeMs; text.length < TIME_DIGITS; rest = Math.floor(rest / 32)) {
    text = DIGITS.charAt(rest % 32) + text;
  }
  return text;
}

/** Whether the text has the form of an id: for arguments and file names that are to be trusted. */
export function isId(text: string): boolean {
  return /^[0-9a-hjkmnp-tv-z]{19}$/.test(text);
}
