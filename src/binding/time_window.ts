/**
 * Time windows: days of the week and hours of the day in a time zone. The time is given; it must not know what time it is.
 */

export interface TimeWindow {
  /** 0 (Sunday) to 6. */
  readonly days: ReadonlySet<number>;
  /** Minutes since midnight; `to` is excluded. `from` after `to` goes over midnight and belongs to the day it begins on. */
  readonly fromMinutes: number;
  readonly toMinutes: number;
  readonly zone: string;
}

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;
const DAY_MINUTES = 24 * 60;

/** `mon`, `mon-fri`, `fri-mon`; undefined for anything else. */
export function parseDays(text: string): readonly number[] | undefined {
  const [first = "", last = first, more] = text.toLowerCase().split("-").map((part) => part.trim());
  const from = DAYS.indexOf(first as typeof DAYS[number]);
  const to = DAYS.indexOf(last as typeof DAYS[number]);
  if (from < 0 || to < 0 || more !== undefined) return undefined;
  const days: number[] = [];
  for (let day = from;; day = (day + 1) % 7) {
    days.push(day);
    if (day === to) return days;
  }
}

/** Minutes since midnight of `08:00` to `24:00`. */
export function parseClockTime(text: string): number | undefined {
  const match = /^(\d{1,2}):(\d{2})$/u.exec(text);
  if (match === null) return undefined;
  const minutes = Number(match[1]) * 60 + Number(match[2]);
  return Number(match[2]) < 60 && minutes <= DAY_MINUTES ? minutes : undefined;
}

export function isTimeZone(text: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: text });
    return true;
  } catch {
    return false;
  }
}

export function isWithin(window: TimeWindow, timeMs: number): boolean {
  const { day, minutes } = localTime(window.zone, timeMs);
  const { days, fromMinutes, toMinutes } = window;
  if (fromMinutes < toMinutes) return days.has(day) && minutes >= fromMinutes && minutes < toMinutes;
  // Over midnight; the same time twice is the whole day.
  return minutes >= fromMinutes ? days.has(day) : minutes < toMinutes && days.has((day + 6) % 7);
}

interface LocalTime {
  readonly day: number;
  readonly minutes: number;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function localTime(zone: string, timeMs: number): LocalTime {
  if (zone === "UTC") {
    const date = new Date(timeMs);
    return { day: date.getUTCDay(), minutes: date.getUTCHours() * 60 + date.getUTCMinutes() };
  }
  let format = formats.get(zone);
  if (format === undefined) {
    const options = { timeZone: zone, weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
    format = new Intl.DateTimeFormat("en-US", options);
    formats.set(zone, format);
  }
  const parts = new Map(format.formatToParts(timeMs).map(({ type, value }) => [type, value]));
  return {
    day: DAYS.indexOf((parts.get("weekday") ?? "").toLowerCase() as typeof DAYS[number]),
    minutes: Number(parts.get("hour")) % 24 * 60 + Number(parts.get("minute")),
  };
}

/** For explanations: `Sat 22:10 (Europe/Berlin)`. */
export function timeText(zone: string, timeMs: number): string {
  const { day, minutes } = localTime(zone, timeMs);
  const digits = (value: number) => String(value).padStart(2, "0");
  return `${DAYS[day] ?? "?"} ${digits(Math.floor(minutes / 60))}:${digits(minutes % 60)} (${zone})`;
}
