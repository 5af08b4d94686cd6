/**
 * date-time of RFC 5322 §3.3, always in UTC. It must not know what time it is: callers bring it.
 */
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;

let lastSecond = -1;
let lastText = "";

/** `Sat, 21 Nov 2026 22:05:04 +0000`. `timeMs` counts from the epoch. */
export function formatDate(timeMs: number): string {
  const second = Math.floor(timeMs / 1000);
  if (second !== lastSecond) {
    lastText = makeDate(second);
    lastSecond = second;
  }
  return lastText;
}

function makeDate(second: number): string {
  const date = new Date(second * 1000);
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(twoDigits).join(":");
  const day = `${DAYS[date.getUTCDay()]}, ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  return `${day} ${time} +0000`;
}

function twoDigits(value: number): string {
  return value.toString().padStart(2, "0");
}
