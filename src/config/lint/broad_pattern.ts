/**
 * Patterns that match more than they look like: regular expressions for a domain that are open at one of its ends or have
 * dots that stand for any character, and wildcards that reach into other domains. It reports well-known slips by the form
 * of the pattern and leaves alone what may be meant. It must not know what bindings do.
 */
import { isGlob } from "../../binding/glob.ts";
import { parsePattern, type PatternRole } from "../../binding/match.ts";
import { isRegexText } from "../../binding/regex.ts";
import { quote } from "../diagnostic.ts";
import { asText } from "../tree.ts";
import { addressLists } from "./address_list.ts";
import type { LintRule } from "./rule.ts";

interface Slip {
  /** Continues `The pattern "…" `. */
  readonly what: string;
  readonly help: string;
}

export const broadPattern: LintRule = {
  code: "SMTPD213",
  check({ root, report }) {
    for (const { items, role } of addressLists(root)) {
      for (const item of items) {
        const text = asText(item);
        if (text === undefined) continue;
        const slip = isRegexText(text.value) ? regexSlip(text.value) : wildcardSlip(text.value, role);
        if (slip === undefined) continue;
        report(`The pattern ${quote(text.value)} ${slip.what}`, text.place, { help: slip.help });
      }
    }
  },
};

function wildcardSlip(text: string, role: PatternRole): Slip | undefined {
  // Most patterns have no wildcard in their domain, and need no closer look.
  if (!isGlob(text.slice(text.lastIndexOf("@") + 1))) return undefined;
  const parsed = parsePattern(text, role);
  if (!parsed.ok || parsed.pattern.kind !== "glob") return undefined;
  const [localPart, domain] = [parsed.pattern.localPart.text, parsed.pattern.domain.text];
  if (/^\*+$/u.test(domain) && /^\*+$/u.test(localPart)) {
    return { what: "matches every address", help: 'Write "*" if that is meant.' };
  }
  const open = /^\*+([a-z0-9-]+\.[^*?]*)$/u.exec(domain)?.[1];
  if (open === undefined) return undefined;
  return {
    what: `also matches domains that only end in ${quote(open)}, such as ${quote(`not${open}`)}`,
    help: `Write "${localPart}@${open}" for the domain and "${localPart}@*.${open}" for those below it.`,
  };
}

function regexSlip(text: string): Slip | undefined {
  const body = text.slice(1, Math.max(1, text.lastIndexOf("/")));
  if (isEverything(body)) return { what: "matches every address", help: 'Write "*" if that is meant.' };
  const at = body.lastIndexOf("@");
  const domain = body.slice(at + 1);
  // Without a literal name there is no domain to protect: /^case-\d+@/ means any.
  if (!/[a-z0-9-]\\?\.[a-z]{2}/iu.test(domain)) return undefined;
  // Trailing wildcards say that the end is meant to be open.
  if (/\.[*+]\??\$?$/u.test(body)) return undefined;
  if (!isClosedAtEnd(body)) {
    return { what: `is open at its end${also(domain, (name) => `x@${name}.example.net`)}`, help: "End it with $." };
  }
  if (at < 0 && /^\(*[a-z0-9]/iu.test(domain)) {
    return {
      what: `is open at its beginning${also(domain, (name) => `x@not${name}`)}`,
      help: `Begin the domain with @, as in "/@${domain}/".`,
    };
  }
  if (/[a-z0-9-]\.(?=[a-z0-9-])/iu.test(domain.replace(/\\./gu, "\\"))) {
    return {
      what: "has a dot that stands for any character",
      help: "Write \\. for a dot; in TOML, put the pattern in '…', where backslashes are plain.",
    };
  }
  return undefined;
}

/** What it matches by accident, where the domain is plain enough to make an example of. */
function also(domain: string, example: (name: string) => string): string {
  const name = domain.replace(/(?<!\\)\$$/u, "").replace(/\\(.)/gu, "$1");
  return /^[a-z0-9.-]{1,60}$/iu.test(name) ? `: it also matches ${quote(example(name))}` : "";
}

/** `.*`, `@`, `^.+@.+$` and the like: nothing in it asks for anything an address need not have. */
function isEverything(body: string): boolean {
  return body === "." ||
    /^\^?(?:\(?\.[*+]\??\)?|\(?\[\^@\][*+]\)?)?(?:@(?:\(?\.[*+]\??\)?|\(?\[\^@\][*+]\)?)?)?\$?$/u.test(body);
}

/** `$` or `\z` behind the last name, whatever brackets close after it; every alternative may have its own. */
function isClosedAtEnd(body: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*(?:\$|\\z)\)*$/u.test(body);
}
