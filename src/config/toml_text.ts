/**
 * Values, keys and comments as TOML text. What comes out can be shown on a terminal: control and direction characters are
 * escaped. It must not know what is written.
 */

/** What a basic string or a terminal cannot have as it is; half a surrogate pair cannot be written at all. */
const ESCAPED = /["\\\p{Cc}\p{Cs}\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

const SHORT: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\b", "\\b"],
  ["\t", "\\t"],
  ["\n", "\\n"],
  ["\f", "\\f"],
  ["\r", "\\r"],
]);

/** A basic string on one line. */
export function tomlString(text: string): string {
  const escaped = text.replace(ESCAPED, (character) => {
    const code = character.codePointAt(0) ?? 0;
    const point = code >= 0xd800 && code <= 0xdfff ? 0xfffd : code;
    return SHORT.get(character) ?? `\\u${point.toString(16).padStart(4, "0")}`;
  });
  return `"${escaped}"`;
}

export function tomlKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/u.test(key) ? key : tomlString(key);
}

/** A value on one line: tables as inline tables. What TOML has no form for is written as a text. */
export function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? tomlString("") : value.toISOString();
  switch (typeof value) {
    case "number":
      return tomlNumber(value);
    case "boolean":
    case "bigint":
      return String(value);
    case "object":
      if (value !== null) return tomlInline(value);
      break;
  }
  return tomlString(String(value));
}

function tomlInline(table: object): string {
  const entries = Object.entries(table).map(([key, inner]) => `${tomlKey(key)} = ${tomlValue(inner)}`);
  return entries.length === 0 ? "{}" : `{ ${entries.join(", ")} }`;
}

function tomlNumber(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  // 1e21 would be a float; integers stay integers while they are in TOML's range.
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 63) return BigInt(value).toString();
  return String(value).replace(/e\+?/u, "e");
}

/**
 * A comment line. A text that could be read as an instruction to the program, `smtpd: …`, is put in brackets: comments that
 * come from elsewhere give no instructions.
 */
export function tomlComment(text: string): string {
  const line = text
    .replace(/[\p{Cc}\p{Cs}\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+/gu, " ")
    .trimEnd();
  if (line.trim() === "") return "#";
  return /^\s*smtpd:/iu.test(line) ? `# (${line.trim()})` : `# ${line}`;
}
