/**
 * Building blocks for schemas of options: paths, durations, sizes, numbers, texts and secrets, each with a description and
 * an example, bounds, and messages that read well. Channel types use them for their own options.
 *
 * Messages of checks continue the sentence `Invalid value 0 for "port": …`.
 */
import * as v from "valibot";
import type { Secret } from "./config.ts";
import { formatDuration, type Parsed, parseDuration } from "./duration.ts";
import { formatSize, parseSize } from "./size.ts";

/**
 * Metadata of a string that holds a path: the loader makes it absolute, relative to the file it stands in. `after` is a
 * prefix that comes before the path, as in `sqlite:spool/smtpd.db`.
 */
export interface PathMetadata {
  readonly path: true;
  readonly after?: string;
}

/**
 * Metadata of an option that names a file or a variable to be read when the program runs, so that `check` can look
 * whether it is there. A plain text is the file's path, the secret itself, or a text that is none (`text`); `list` is a path
 * of a file without secrets.
 */
export interface ReferenceMetadata {
  readonly reference: "path" | "value" | "text" | "list";
}

/** Metadata of a number or text with a unit; bounds in milliseconds or bytes. */
export interface QuantityMetadata extends Bounds {
  readonly quantity: "duration" | "size";
}

// Control characters have no business in a configuration's texts: they would reach logs, headers and terminals.
const WITHOUT_CONTROLS = /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u;

/** A path, absolute once loaded. */
export function pathOption(description: string, example = "mail/archive") {
  return v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(4096, "is longer than any path"),
    v.regex(WITHOUT_CONTROLS, "must not contain control characters"),
    v.description(description),
    v.examples([example]),
    v.metadata({ path: true } satisfies PathMetadata),
  );
}

/** One line of text. */
export function textOption(description: string, example: string, maxLength = 1000) {
  return v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(maxLength, `must not be longer than ${maxLength} characters`),
    v.regex(WITHOUT_CONTROLS, "must not contain control characters or line ends"),
    v.description(description),
    v.examples([example]),
  );
}

/** A whole number within bounds, both included. */
export function integerOption(description: string, minimum: number, maximum: number, example: number) {
  const message = `must be a whole number from ${minimum} to ${maximum}`;
  return v.pipe(
    v.number(),
    v.integer(message),
    v.minValue(minimum, message),
    v.maxValue(maximum, message),
    v.description(description),
    v.examples([example]),
  );
}

export interface Bounds {
  readonly minimum: number;
  readonly maximum: number;
}

/** A duration within bounds in milliseconds; milliseconds once loaded. */
export function durationOption(description: string, example: string, bounds: Bounds) {
  return quantityOption(
    'a number of seconds or text such as "5m"',
    description,
    example,
    parseDuration,
    formatDuration,
    { quantity: "duration", ...bounds },
  );
}

/** A size within bounds in bytes; bytes once loaded. */
export function sizeOption(description: string, example: string, bounds: Bounds) {
  return quantityOption(
    'a number of bytes or text such as "25MiB"',
    description,
    example,
    parseSize,
    formatSize,
    { quantity: "size", ...bounds },
  );
}

function quantityOption(
  expected: string,
  description: string,
  example: string,
  parse: (input: number | string) => Parsed,
  format: (value: number) => string,
  bounds: QuantityMetadata,
) {
  return v.pipe(
    v.union([v.number(), v.string()], `expected ${expected}`),
    v.description(description),
    v.examples([example]),
    v.metadata({ ...bounds }),
    v.rawTransform<number | string, number>(({ dataset, addIssue, NEVER }) => {
      const parsed = parse(dataset.value);
      if (!parsed.ok) {
        addIssue({ message: parsed.message });
        return NEVER;
      }
      if (parsed.value < bounds.minimum || parsed.value > bounds.maximum) {
        addIssue({ message: `must lie between ${format(bounds.minimum)} and ${format(bounds.maximum)}` });
        return NEVER;
      }
      return parsed.value;
    }),
  );
}

/** One text or an array of texts, an array once loaded. */
export function textsOption(description: string, example: readonly string[], item = "one text or an array of texts") {
  const text = v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(1000, "must not be longer than 1000 characters"),
    v.regex(WITHOUT_CONTROLS, "must not contain control characters or line ends"),
  );
  return v.pipe(
    v.union([text, v.pipe(v.array(text), v.minLength(1, "must not be empty"))], `expected ${item}`),
    v.description(description),
    v.examples([[...example]]),
    v.transform((value) => typeof value === "string" ? [value] : value),
  );
}

/**
 * A secret: `{ file = "…" }`, `{ env = "…" }` or a plain string, which is a path (a PEM file), the secret itself, or a text
 * where a secret may but need not stand.
 */
export function secretOption(description: string, plain: "path" | "value" | "text") {
  const forms = `{ file = "…" }, { env = "…" } or ${plain === "path" ? "the path of a file" : "a text"}`;
  return v.pipe(
    v.union([
      plain === "path"
        ? pathOption("The file that holds it.", "tls/key.pem")
        : textOption("The secret itself.", "s3cret"),
      v.strictObject({ file: pathOption("The file that holds it.", "secrets/key") }),
      v.strictObject({
        env: v.pipe(
          v.string(),
          v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/u, "must be the name of an environment variable"),
          v.description("The environment variable that holds it."),
          v.examples(["SMTPD_SECRET"]),
        ),
      }),
    ], `expected ${forms}`),
    v.description(description),
    v.examples(
      plain === "path" ? ["tls/key.pem", { env: "SMTPD_KEY" }] : [{ file: "secrets/key" }, { env: "SMTPD_SECRET" }],
    ),
    v.metadata({ reference: plain } satisfies ReferenceMetadata),
    v.transform((value): Secret => {
      if (typeof value !== "string") {
        return "file" in value ? { kind: "file", path: value.file } : { kind: "env", name: value.env };
      }
      return plain === "path" ? { kind: "file", path: value } : { kind: "inline", value };
    }),
  );
}
