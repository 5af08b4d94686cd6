/**
 * What a client sees: reply lines cut from the server's bytes, held against what a dialog expects and against the rules
 * that hold for every reply (RFC 5321 §4.2, RFC 2034 §4). It must not know where the bytes come from.
 */
import type { Expectation } from "./dialog.ts";

/** Collects the server's bytes and gives out complete lines, without their CRLF. */
export class ReplyReader {
  #text = "";
  readonly #lines: string[] = [];

  push(bytes: Uint8Array): void {
    this.#text += String.fromCharCode(...bytes);
    for (;;) {
      const end = this.#text.indexOf("\r\n");
      if (end < 0) return;
      this.#lines.push(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 2);
    }
  }

  /** Lines that no expectation has taken yet, and what follows the last CRLF. */
  rest(): string {
    return [...this.#lines, this.#text].join("\r\n");
  }

  /**
   * Takes the lines that one expectation is about. Undefined: they have not all arrived. A string says what is wrong
   * with them.
   */
  take(expectation: Expectation): "met" | undefined | { readonly wrong: string } {
    const count = expectation.kind === "line" ? Math.min(1, this.#lines.length) : this.#replyLength();
    if (count === 0) return undefined;
    const lines = this.#lines.splice(0, count);
    const wrong = mismatch(expectation, lines);
    return wrong === undefined ? "met" : { wrong: `${wrong}\n  got:  ${lines.join("\n        ")}` };
  }

  /** How many lines the first reply has; 0 while its last line is missing. */
  #replyLength(): number {
    return this.#lines.findIndex((line) => line.charAt(3) !== "-") + 1;
  }
}

function mismatch(expectation: Expectation, lines: readonly string[]): string | undefined {
  const { prefix } = expectation;
  if (!lines.every((line) => line.startsWith(expectation.kind === "line" ? prefix : prefix.slice(0, 3)))) {
    return `Expected "${prefix}"`;
  }
  if (expectation.kind === "line") return undefined;
  const texts = lines.map((line) => line.slice(4));
  if (!`${lines[0]?.slice(0, 3)} ${texts[0]}`.startsWith(prefix)) return `Expected "${prefix}"`;
  for (const text of expectation.has) if (!texts.includes(text)) return `Expected a line "${text}"`;
  for (const word of expectation.lacks) {
    if (texts.some((text) => text === word || text.startsWith(`${word} `))) return `Expected no line "${word}"`;
  }
  return undefined;
}

/**
 * What is wrong with all that a server said, whatever was asked; undefined when nothing is. Enhanced codes are wanted on
 * every 2xx, 4xx and 5xx reply, but for the greeting and the answers to HELO, EHLO and LHLO (RFC 2034 §4): here, those
 * are the first reply and 250 replies that open with the server's name.
 */
export function replyFault(output: string, hostName: string): string | undefined {
  if (output !== "" && !output.endsWith("\r\n")) return "The output does not end with CRLF";
  let open: string | undefined;
  let bare = true;
  for (const [index, line] of output.split("\r\n").slice(0, -1).entries()) {
    const match = /^([2-5]\d\d)([ -])(?:([245]\.\d{1,3}\.\d{1,3})(?: |$))?/.exec(line);
    if (match === null) return `Not a reply line: ${JSON.stringify(line)}`;
    const [, code = "", separator, enhanced] = match;
    if (line.length > 510) return `Longer than 512 octets with CRLF: ${line}`;
    // Printable ASCII and tab: a reply must not carry the peer's control characters back.
    if (/[^\t\x20-\x7e]/.test(line)) return `Not printable: ${JSON.stringify(line)}`;
    if (open !== undefined && open !== code) return `The code changes within a reply: ${line}`;
    if (enhanced !== undefined && enhanced.charAt(0) !== code.charAt(0)) return `The codes disagree: ${line}`;
    if (open === undefined) bare = index === 0 || code.startsWith("3") || line.slice(4).startsWith(hostName);
    if (!bare && enhanced === undefined) return `An enhanced code is missing: ${line}`;
    open = separator === "-" ? code : undefined;
  }
  return open === undefined ? undefined : "The last reply has no last line";
}
