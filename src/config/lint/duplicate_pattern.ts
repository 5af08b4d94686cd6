/**
 * Patterns that stand twice in one list of a binding. It must not know what they match.
 */
import { parsePattern, type PatternRole } from "../../binding/match.ts";
import { isRegexText } from "../../binding/regex.ts";
import { isAscii } from "../../smtp/bytes.ts";
import { type Fix, quote } from "../diagnostic.ts";
import { spanOf } from "../source.ts";
import { asText, type Node, type Text } from "../tree.ts";
import { addressLists } from "./address_list.ts";
import type { LintRule } from "./rule.ts";

export const duplicatePattern: LintRule = {
  code: "SMTPD212",
  check({ root, report }) {
    for (const { items, role } of addressLists(root)) {
      if (items.length < 2) continue;
      const seen = new Map<string, Text>();
      for (const [index, item] of items.entries()) {
        const text = asText(item);
        if (text === undefined) continue;
        const key = canonicalText(text.value, role);
        const earlier = seen.get(key);
        if (earlier === undefined) seen.set(key, text);
        else {
          const as = earlier.value === text.value ? "" : `, as ${quote(earlier.value)}`;
          report(`${quote(text.value)} stands twice in this binding${as}`, text.place, {
            secondary: [{ ...spanOf(earlier.place), label: "first here" }],
            help: "Remove one of the two. If another address was meant, correct it.",
            fix: removal(items[index - 1], item),
          });
        }
      }
    }
  },
};

/** One text for all ways to write a pattern. Plain ASCII, which most are, differs in case alone. */
function canonicalText(text: string, role: PatternRole): string {
  if (isRegexText(text)) return text;
  if (isAscii(text) && !text.includes('"')) return text.toLowerCase();
  const parsed = parsePattern(text, role);
  const pattern = parsed.ok ? parsed.pattern : undefined;
  switch (pattern?.kind) {
    case "address":
    case "extensions":
      return pattern.key;
    case "domain":
      return `*@${pattern.domain}`;
    case "subdomains":
      return `*@*.${pattern.domain}`;
    case "glob":
      return `${pattern.localPart.text}@${pattern.domain.text}`;
    default:
      return text.toLowerCase();
  }
}

/** Removes an item together with the comma before it, unless a comment stands between. */
function removal(before: Node | undefined, item: Node): Fix | undefined {
  if (before === undefined) return undefined;
  const place = { ...item.place, start: before.place.end };
  if (place.source.text.slice(place.start, item.place.start).includes("#")) return undefined;
  return { title: "Remove the repetition", edits: [{ span: spanOf(place), text: "" }] };
}
