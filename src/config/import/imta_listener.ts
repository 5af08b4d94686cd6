/**
 * A channel of Messaging Server that receives by SMTP, as a listener: what its keywords and options become. It must not
 * know of other channels or of files.
 */
import { canonicalHostName } from "../schema.ts";
import { quote } from "../diagnostic.ts";
import { describable, ImportedTable } from "./imported.ts";
import type { OptionLine } from "./imta_file.ts";

export interface Keyword {
  /** In lower case. */
  readonly name: string;
  /** As it is written, with its arguments. */
  readonly text: string;
  readonly arguments: readonly string[];
  readonly line: number;
}

/** What came of a keyword or an option: translated, perhaps with something to tell, or not. */
export type Outcome = { readonly kind: "done"; readonly remark?: string } | { readonly kind: "unknown" } | {
  /** The file is wrong here. */
  readonly kind: "wrong";
  readonly text: string;
};

const DONE: Outcome = { kind: "done" };
const UNKNOWN: Outcome = { kind: "unknown" };

const LINE_ENDINGS: ReadonlyMap<string, "strict" | "normalize"> = new Map([
  ["", "strict"],
  ["_crlf", "strict"],
  ["_cr", "normalize"],
  ["_lf", "normalize"],
  ["_crorlf", "normalize"],
]);

const TLS: ReadonlyMap<string, "off" | "starttls" | "required"> = new Map([
  ["maytls", "starttls"],
  ["maytlsserver", "starttls"],
  ["musttls", "required"],
  ["musttlsserver", "required"],
  ["notls", "off"],
  ["notlsserver", "off"],
]);

export class ImtaListener {
  #protocol: "smtp" | "lmtp" = "smtp";
  #lineEndings: "strict" | "normalize" | undefined;
  #tls: "off" | "starttls" | "required" = "off";
  #banner: readonly string[] = [];
  #hostName: string | undefined;
  readonly #values = new Map<string, unknown>();

  get protocol(): "smtp" | "lmtp" {
    return this.#protocol;
  }

  /** Whether the file says which line ends are taken. */
  get hasLineEndings(): boolean {
    return this.#lineEndings !== undefined;
  }

  get hasTls(): boolean {
    return this.#tls !== "off";
  }

  keyword({ name, arguments: [first = ""] }: Keyword): Outcome {
    const [, protocol, ends = ""] = /^(smtp|lmtp)(_\w+)?$/u.exec(name) ?? [];
    const lineEndings = LINE_ENDINGS.get(ends);
    if ((protocol === "smtp" || protocol === "lmtp") && lineEndings !== undefined) {
      this.#protocol = protocol;
      this.#lineEndings = lineEndings;
      return DONE;
    }
    const tls = TLS.get(name);
    if (tls !== undefined) {
      this.#tls = tls;
      return DONE;
    }
    switch (name) {
      case "recipientlimit":
        return this.#number("max_recipients", first, 1, 1_000_000);
      case "blocklimit":
      case "sourceblocklimit":
        // Blocks have 1,024 octets, unless BLOCK_SIZE says otherwise.
        return this.#number("max_message_size", first, 1, 4 * 1024 ** 2, (blocks) => `${blocks}KiB`);
      case "disconnectbadcommandlimit":
        return this.#number("max_errors", first, 1, 1_000_000);
      case "description":
        return this.#set("description", describable(first));
    }
    return UNKNOWN;
  }

  option({ name, value }: OptionLine): Outcome {
    switch (name.toUpperCase()) {
      case "ALLOW_TRANSACTIONS_PER_SESSION":
        return this.#integer("session_max_messages", value, 1, 1_000_000_000);
      case "ALLOW_RECIPIENTS_PER_TRANSACTION":
        return this.#integer("max_recipients", value, 1, 1_000_000);
      case "BANNER_ADDITION":
        return this.#addBanner([this.#banner[0] ?? "", value]);
      case "CUSTOM_VERSION_STRING":
        return this.#addBanner([value, this.#banner[1] ?? ""]);
      case "BANNER_HOST":
        return this.host(value);
    }
    return UNKNOWN;
  }

  /** The name it goes by; the first that is given counts. */
  host(name: string): Outcome {
    const canonical = canonicalHostName(name);
    if (canonical === undefined) return { kind: "done", remark: `${quote(name)} is no host name` };
    if (this.#hostName !== undefined && this.#hostName !== canonical) {
      return { kind: "done", remark: `the name ${quote(this.#hostName)} is given already` };
    }
    this.#hostName = canonical;
    return DONE;
  }

  table(name: string, port: number): readonly ImportedTable[] {
    const listener = new ImportedTable("[[listener]]").set("name", name);
    const text = this.#values.get("description");
    if (text !== undefined) listener.set("description", text);
    if (this.#protocol === "lmtp") listener.set("protocol", "lmtp");
    listener.set("port", port);
    if (this.#hostName !== undefined) listener.set("host_name", this.#hostName);
    const banner = this.#banner.filter((part) => part !== "").join(" ");
    if (banner !== "") {
      listener.set("banner", `${this.#protocol === "lmtp" ? "LMTP" : "ESMTP"} ${banner}`.slice(0, 400));
    }
    for (const [key, value] of this.#values) if (key !== "description") listener.set(key, value);
    if (this.#lineEndings === "normalize") listener.set("line_endings", "normalize");
    if (this.#tls === "off") return [listener];
    const tls = new ImportedTable("[listener.tls]")
      .set("mode", this.#tls)
      .set("certificate", "tls/cert.pem", "to be set")
      .set("private_key", "tls/key.pem", "to be set");
    return [listener, tls];
  }

  #set(key: string, value: unknown): Outcome {
    if (value === undefined) return UNKNOWN;
    this.#values.set(key, value);
    return DONE;
  }

  #addBanner(parts: readonly [string, string]): Outcome {
    // A vertical bar is a line break there; here the banner is one line of printable ASCII.
    const cleaned = parts.map((part) => part.replace(/[|\s]+/gu, " ").replace(/[^ -~]+/gu, "?").trim());
    const isChanged = cleaned.some((part, index) => part !== parts[index]);
    this.#banner = cleaned;
    return isChanged ? { kind: "done", remark: "the banner is one line of printable ASCII" } : DONE;
  }

  /** A number from a keyword; what it means is known only within these bounds. */
  #number(
    key: string,
    text: string,
    minimum: number,
    maximum: number,
    write: (value: number) => unknown = (value) => value,
  ): Outcome {
    const value = /^[+-]?\d{1,15}$/u.test(text) ? Number(text) : undefined;
    if (value === undefined) return { kind: "wrong", text: `${quote(text)} is not a whole number` };
    if (value < minimum || value > maximum) {
      return { kind: "done", remark: `${value} is no value for ${key}, which keeps its default` };
    }
    return this.#set(key, write(value));
  }

  /** The same from an option, where a base may stand before the digits: `16%1F`. */
  #integer(key: string, text: string, minimum: number, maximum: number): Outcome {
    const value = optionInteger(text);
    if (value === undefined) {
      return { kind: "wrong", text: `${quote(text)} is not a whole number: write 10, or with a base 16%A` };
    }
    return this.#number(key, String(value), minimum, maximum);
  }
}

/** `10`, `16%A`: an integer with an optional base from 2 to 36. */
export function optionInteger(text: string): number | undefined {
  const [, sign = "", base = "10", digits = ""] = /^([+-]?)(?:(\d{1,2})%)?([0-9A-Za-z]{1,15})$/u.exec(text) ?? [];
  const radix = Number(base);
  if (digits === "" || radix < 2 || radix > 36) return undefined;
  const highest = Math.max(...[...digits.toLowerCase()].map((digit) => Number.parseInt(digit, 36)));
  if (highest >= radix) return undefined;
  const value = Number.parseInt(digits, radix);
  if (value > 999_999_999_999_999) return undefined;
  return sign === "-" ? -value : value;
}
