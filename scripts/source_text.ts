/**
 * A TypeScript file as the rules see it: code without comments and without the insides of texts, comments alone, and
 * the lengths of functions. It reads by characters and knows just enough of the language for that.
 */

export interface SourceText {
  /** The text with comments, strings, templates and regular expressions blanked; same length, same lines. */
  readonly code: string;
  /** The text with everything but comments blanked; same length, same lines. */
  readonly comments: string;
}

/** A slash after one of these starts a regular expression, after anything else it divides. */
const beforeRegex =
  /(?:^|[([{,;=:!&|?+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else|void|delete|throw|await|yield))\s*$/;

export function sourceText(text: string): SourceText {
  const code = [...blank(text)];
  const comments = [...blank(text)];
  const keep = (target: string[], from: number, to: number) => {
    for (let at = from; at < to; at++) target[at] = text[at] ?? " ";
  };
  // Depths of braces at which a template's ${…} ends.
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  let plainFrom = 0;
  const skip = (to: number) => {
    at = to;
    plainFrom = to;
  };
  if (text.startsWith("#!")) skip(lineEnd(text, 0));
  while (at < text.length) {
    const char = text[at];
    const two = text.slice(at, at + 2);
    if (two === "//" || two === "/*") {
      const end = two === "//" ? lineEnd(text, at) : after(text, "*/", at + 2);
      keep(comments, at, end);
      skip(end);
    } else if (char === '"' || char === "'") {
      skip(quotedEnd(text, at));
    } else if (char === "`" || (char === "}" && templates.at(-1) === depth)) {
      if (char === "}") templates.pop();
      const end = templateEnd(text, at + 1);
      if (text[end - 1] === "{") templates.push(depth);
      skip(end);
    } else if (char === "/" && beforeRegex.test(code.slice(Math.max(0, plainFrom - 20), at).join(""))) {
      skip(regexEnd(text, at));
    } else {
      if (char === "{") depth++;
      if (char === "}") depth--;
      code[at] = char ?? " ";
      at++;
    }
  }
  return { code: code.join(""), comments: comments.join("") };
}

function blank(text: string): string {
  return text.replace(/[^\n]/gu, (char) => " ".repeat(char.length));
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
}

function after(text: string, what: string, at: number): number {
  const found = text.indexOf(what, at);
  return found < 0 ? text.length : found + what.length;
}

function quotedEnd(text: string, at: number): number {
  const quote = text[at];
  for (let next = at + 1; next < text.length; next++) {
    if (text[next] === "\\") next++;
    else if (text[next] === quote || text[next] === "\n") return next + 1;
  }
  return text.length;
}

/** Behind the closing backquote, or behind the `${` of the next expression. */
function templateEnd(text: string, at: number): number {
  for (let next = at; next < text.length; next++) {
    if (text[next] === "\\") next++;
    else if (text[next] === "`") return next + 1;
    else if (text[next] === "$" && text[next + 1] === "{") return next + 2;
  }
  return text.length;
}

function regexEnd(text: string, at: number): number {
  let inClass = false;
  for (let next = at + 1; next < text.length && text[next] !== "\n"; next++) {
    if (text[next] === "\\") next++;
    else if (text[next] === "[") inClass = true;
    else if (text[next] === "]") inClass = false;
    else if (text[next] === "/" && !inClass) return next + 1;
  }
  return at + 1;
}

export interface FunctionSpan {
  /** Line of the opening brace, from 1. */
  readonly line: number;
  readonly lines: number;
}

/** What stands before the brace of a function's body: its parameters and perhaps a type, or an arrow. */
const functionHead = /(?:=>|\)(?:\s*:\s*[^;{}=]+)?)\s*$/;
/** The brace opens a type within the type of the result: `(): {`, `(): Promise<{`. */
const typeHead = /\)\s*:\s*(?:[^;{}=]*[<|&,([:]\s*)?$/;
const statementHead = /\b(?:if|for|while|switch|catch|with)\b[^;{}]*$/;

type Brace = "function" | "type" | "other";

function braceKind(head: string, followsType: boolean): Brace {
  if (head.trimEnd().endsWith("=>")) return "function";
  if (followsType && /^[^;{}=()]*$/.test(head)) return /[<|&,[:]\s*$/.test(head) ? "type" : "function";
  if (statementHead.test(head)) return "other";
  if (typeHead.test(head)) return "type";
  return functionHead.test(head) ? "function" : "other";
}

/** Bodies of functions in blanked code. */
export function functionSpans(code: string): readonly FunctionSpan[] {
  const spans: FunctionSpan[] = [];
  const open: { readonly line: number; readonly kind: Brace }[] = [];
  let line = 1;
  let closedType = false;
  for (let at = 0; at < code.length; at++) {
    const char = code[at];
    if (char === "\n") line++;
    else if (char === "{") {
      const before = code.slice(Math.max(0, at - 400), at);
      const head = before.slice(Math.max(before.lastIndexOf(";"), before.lastIndexOf("}")) + 1);
      open.push({ line, kind: braceKind(head, closedType) });
      closedType = false;
    } else if (char === "}") {
      const start = open.pop();
      closedType = start?.kind === "type";
      if (start?.kind === "function") spans.push({ line: start.line, lines: line - start.line + 1 });
    } else if (char === ";") closedType = false;
  }
  return spans;
}
