/**
 * The part of a plain text that its writer wrote: without the message it answers and without the signature. A guess, as
 * every such thing is. It must not know where the text goes.
 */

export interface SplitText {
  readonly reply: string;
  readonly signature: string;
  /** Whether something was cut off that was quoted. */
  readonly hasQuote: boolean;
}

export function splitReply(text: string): SplitText {
  const lines = text.split(/\r?\n/u);
  const marked = lines.findIndex((_, index) => beginsQuote(lines, index));
  const end = marked < 0 ? quotedTail(lines) : marked;
  const written = lines.slice(0, end);
  const mark = written.findIndex((line) => line === "-- " || line === "--");
  const reply = mark < 0 ? written : written.slice(0, mark);
  return {
    reply: reply.join("\n").trim(),
    signature: mark < 0 ? "" : written.slice(mark + 1).join("\n").trim(),
    hasQuote: end < lines.length,
  };
}

function beginsQuote(lines: readonly string[], index: number): boolean {
  const line = (lines[index] ?? "").trim();
  if (/^-{2,}\s?(?:original|forwarded) message\s?-{2,}$/iu.test(line)) return true;
  // The line may be folded.
  if (line.startsWith("On ") && [line, (lines[index + 1] ?? "").trim()].some((part) => part.endsWith("wrote:"))) {
    return true;
  }
  return /^From: \S/u.test(line) && /^(?:Sent|Date|To|Subject): \S/u.test(lines[index + 1] ?? "");
}

/** Where the last lines begin when they are quoted, otherwise the end. */
function quotedTail(lines: readonly string[]): number {
  let at = lines.length;
  let hasQuote = false;
  for (; at > 0; at--) {
    const line = lines[at - 1] ?? "";
    if (line.startsWith(">")) hasQuote = true;
    else if (line.trim() !== "") break;
  }
  return hasQuote ? at : lines.length;
}
