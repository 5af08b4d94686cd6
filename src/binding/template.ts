/**
 * Texts of bindings with places for what was matched: `$1` to `$9` for what the regular expression captured, `$0` for all
 * that it matched, `${local}` and the like for parts of the addresses, `$$` for a dollar sign. It must not know what the
 * texts are for; whoever uses them makes them safe.
 */
import { EXTENSION_DELIMITER } from "./match.ts";
import type { Mailbox } from "../smtp/address.ts";
import { formatMailbox } from "../smtp/address.ts";

export interface TemplateValues {
  readonly recipient: Mailbox;
  /** Null: the null reverse-path. */
  readonly sender: Mailbox | null;
  /** Called only when the template has a place for a capture. */
  readonly captures: () => readonly string[] | undefined;
}

const VARIABLES = {
  local: ({ recipient }: TemplateValues) => dividedLocalPart(recipient.localPart).base,
  extension: ({ recipient }: TemplateValues) => dividedLocalPart(recipient.localPart).extension,
  domain: ({ recipient }: TemplateValues) => recipient.domain,
  recipient: ({ recipient }: TemplateValues) => formatMailbox(recipient),
  sender: ({ sender }: TemplateValues) => formatMailbox(sender),
  sender_local: ({ sender }: TemplateValues) => sender?.localPart ?? "",
  sender_domain: ({ sender }: TemplateValues) => sender?.domain ?? "",
} as const;

type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "variable"; readonly name: keyof typeof VARIABLES }
  | { readonly kind: "capture"; readonly index: number };

export interface Template {
  /** The highest capture it asks for; -1: none. */
  readonly highestCapture: number;
  expand(values: TemplateValues): string;
}

export type ParsedTemplate =
  | { readonly ok: true; readonly template: Template }
  | { readonly ok: false; readonly reason: string; readonly help: string };

const HELP = `Known are $0 to $9, ${Object.keys(VARIABLES).map((name) => `\${${name}}`).join(", ")}, and $$ for "$".`;

export function parseTemplate(text: string): ParsedTemplate {
  const parts: Part[] = [];
  let at = 0;
  let highestCapture = -1;
  for (const match of text.matchAll(/\$(?:(\$)|(\d)|\{([^}]*)\}|)/gu)) {
    if (match.index > at) parts.push({ kind: "text", text: text.slice(at, match.index) });
    at = match.index + match[0].length;
    const [whole, dollar, digit, name] = match;
    const index = digit ?? (/^\d{1,2}$/u.test(name ?? "") ? name : undefined);
    if (dollar !== undefined) parts.push({ kind: "text", text: "$" });
    else if (index !== undefined) {
      parts.push({ kind: "capture", index: Number(index) });
      highestCapture = Math.max(highestCapture, Number(index));
    } else if (name !== undefined && Object.hasOwn(VARIABLES, name)) {
      parts.push({ kind: "variable", name: name as keyof typeof VARIABLES });
    } else if (name !== undefined) return { ok: false, reason: `there is no ${whole}`, help: HELP };
    else return { ok: false, reason: 'a "$" stands alone', help: HELP };
  }
  if (at < text.length) parts.push({ kind: "text", text: text.slice(at) });
  return { ok: true, template: new CompiledTemplate(parts, highestCapture) };
}

class CompiledTemplate implements Template {
  readonly highestCapture: number;
  readonly #parts: readonly Part[];

  constructor(parts: readonly Part[], highestCapture: number) {
    this.#parts = parts;
    this.highestCapture = highestCapture;
  }

  expand(values: TemplateValues): string {
    const captures = this.highestCapture < 0 ? undefined : values.captures();
    let text = "";
    for (const part of this.#parts) {
      if (part.kind === "text") text += part.text;
      else if (part.kind === "variable") text += VARIABLES[part.name](values);
      else text += captures?.[part.index] ?? "";
    }
    return text;
  }
}

/** `user` and `extension` of `user+extension`. A delimiter at either end separates nothing. */
function dividedLocalPart(localPart: string): { readonly base: string; readonly extension: string } {
  const at = localPart.indexOf(EXTENSION_DELIMITER);
  if (at <= 0 || at === localPart.length - 1) return { base: localPart, extension: "" };
  return { base: localPart.slice(0, at), extension: localPart.slice(at + 1) };
}
