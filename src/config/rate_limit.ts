/** Rates in a configuration: `10/s`, `600/m`, `5000/h`. It must not know what is counted. */
import * as v from "valibot";

export interface RateLimit {
  readonly count: number;
  readonly periodMs: number;
}

const PERIODS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

const WRITTEN = /^([1-9][0-9]{0,5})\/([smh])$/u;

/** A count for each second, minute or hour. */
export function rateLimitOption(description: string, example: string) {
  return v.pipe(
    v.string('expected text such as "10/s"'),
    v.regex(WRITTEN, 'must be a number from 1 to 999999 and "/s", "/m" or "/h"'),
    v.description(description),
    v.examples([example]),
    v.transform((text): RateLimit => {
      const [, count = "1", period = "s"] = WRITTEN.exec(text) ?? [];
      return { count: Number(count), periodMs: PERIODS[period] ?? 1_000 };
    }),
  );
}
