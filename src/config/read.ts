/**
 * TOML to a tree of values with places. The one file that knows the parser. Any text gives a tree or one diagnostic at the
 * right place, never an exception. It must not know what the keys mean.
 */
import { type AST, ParseError, parseTOML } from "toml-eslint-parser";
import { type Diagnostic, diagnostic, quote } from "./diagnostic.ts";
import { type Place, type Source, spanOf } from "./source.ts";
import { type ArrayNode, newTable, type Node, type TableNode } from "./tree.ts";

export type ReadResult =
  | {
    readonly ok: true;
    readonly root: TableNode;
    /** Comments that are addressed to the program: `# smtpd: …`. */
    readonly directives: readonly Place[];
  }
  | { readonly ok: false; readonly diagnostic: Diagnostic };

/** No configuration needs more; it keeps every walk over the tree within the stack. */
const MAX_DEPTH = 32;

/** A comment that means to silence something; one that only begins with the program's name does not. */
const DIRECTIVE = /^\s*smtpd:\s*(?:allow\b|ignore\b|disable\b|.*\bSMTPD\d)/iu;

export function readToml(source: Source): ReadResult {
  try {
    const program = parseTOML(source.text, { tomlVersion: "1.0" });
    const directives = program.comments.filter((comment) => DIRECTIVE.test(comment.value));
    return {
      ok: true,
      root: buildTree(source, program),
      directives: directives.map((comment) => placeOf(source, comment)),
    };
  } catch (error) {
    if (error instanceof ParseError) return syntaxError(source, error.index, error.message);
    if (error instanceof TooDeep) return failure(source, error.offset, "Values are nested too deeply", undefined);
    // The parser recurses on brackets and ran out of stack; it cannot say where.
    if (error instanceof RangeError) {
      const at = source.text.search(/(?:[[{]\s*){32}/u);
      return failure(source, Math.max(at, 0), "Values are nested too deeply", undefined);
    }
    return failure(source, 0, "This file is not valid TOML", undefined);
  }
}

class TooDeep extends Error {
  readonly offset: number;
  constructor(offset: number) {
    super("Too deep");
    this.offset = offset;
  }
}

/** Plainer words than the parser's, and what to do. `$` stands for what is found at the place. */
const SYNTAX_HELP: ReadonlyMap<string, readonly [message: string, help: string]> = new Map([
  ["Unterminated string constant", [
    "This string has no end",
    'Close it on the same line with the quote that opened it; text of several lines stands between """ and """.',
  ]],
  ["Unterminated array", ["This array has no end", 'Close it with "]".']],
  ["Unterminated inline table", ["This inline table has no end", 'Close it with "}".']],
  ["Unterminated table-key", [
    "This table header has no end",
    "Write [name] for a table, [[name]] for one of several.",
  ]],
  ["Defining a key multiple times is invalid", [
    "$ is defined twice",
    "Keep one of the two. For a further entry of the same kind write [[…]] with double brackets.",
  ]],
  ["Expected equal (=) token", ['Expected "=" behind the key', "Write key = value; text values stand in quotes."]],
  ["Unspecified values are invalid", ["A value is missing here", "Text values stand in quotes, numbers do not."]],
  ["Must be a newline", ["Expected the end of the line here", "Each key = value stands on a line of its own."]],
  ["Expected comma (,) token", ['Expected "," here', "Separate values with commas."]],
  ["Invalid character in escape sequence", [
    "This backslash begins no known escape",
    "Write \\\\ for a backslash, or put the text in '…', where backslashes are plain.",
  ]],
  ["The key, equals sign, and value must be on the same line", [
    "Key, = and value must stand on one line",
    "Arrays may go over several lines once their bracket is open.",
  ]],
  ["No newlines are allowed between the curly braces unless they are valid within a value", [
    "An inline table must stand on one line",
    "Keep { … } on one line, or write a [table] of its own.",
  ]],
  ["Trailing comma is not permitted in an inline table", ["An inline table has no comma before }", "Remove it."]],
  ["Leading zeros are not allowed", ["Numbers have no leading zeros", "Remove the zeros; for octal write 0o17."]],
  ["Unexpected character", ["Unexpected $", "Text values stand in quotes."]],
  ["Unexpected token", ["Unexpected $", "Expected a key, a [table] header or a value here."]],
]);

function syntaxError(source: Source, parserIndex: number, parserMessage: string): ReadResult {
  const [index, known] = betterPlace(source.text, parserIndex, parserMessage);
  const [message, help] = SYNTAX_HELP.get(known) ?? [known, undefined];
  const atEnd = index >= source.text.trimEnd().length;
  const found = atEnd ? "end of the file" : quote(tokenAt(source.text, index));
  return failure(source, index, message.replace("$", () => found), help);
}

/** Where the parser points behind what is wrong: the place and the message that fit. */
function betterPlace(text: string, index: number, message: string): readonly [index: number, message: string] {
  if (message === "Invalid character in escape sequence" && text[index - 1] === "\\") return [index - 1, message];
  if (message === "The key, equals sign, and value must be on the same line") {
    const before = text.slice(0, index).trimEnd();
    const line = before.slice(before.lastIndexOf("\n") + 1).trimStart();
    if (line.startsWith("[")) return [before.length, "Unterminated table-key"];
  }
  return [index, message];
}

function failure(source: Source, index: number, message: string, help: string | undefined): ReadResult {
  // Behind the last line there is nothing to look at: point behind the last character instead.
  const start = Math.min(index, source.text.trimEnd().length);
  const end = start + (start === index ? tokenAt(source.text, start).length : 0);
  return { ok: false, diagnostic: diagnostic("SMTPD001", message, spanOf({ source, start, end }), { help }) };
}

/** The word or the character at an offset. */
function tokenAt(text: string, offset: number): string {
  const token = /[A-Za-z0-9_-]{1,80}|[^\n]/uy;
  token.lastIndex = offset;
  return token.exec(text)?.[0] ?? "";
}

function buildTree(source: Source, program: AST.TOMLProgram): TableNode {
  const root = newTable({ source, start: 0, end: 0 });
  for (const item of program.body[0].body) {
    if (item.type === "TOMLKeyValue") addKeyValue(source, root, item, 1);
    else {
      const table = openTable(source, root, item);
      for (const pair of item.body) addKeyValue(source, table, pair, item.key.keys.length);
    }
  }
  return root;
}

/** The table that a header `[a.b]` or `[[a.b]]` opens. */
function openTable(source: Source, root: TableNode, header: AST.TOMLTable): TableNode {
  const keys = header.key.keys;
  const brackets = header.kind === "array" ? 2 : 1;
  const place = { source, start: header.range[0], end: source.text.indexOf("]", header.key.range[1]) + brackets };
  if (keys.length > MAX_DEPTH) throw new TooDeep(header.range[0]);
  let table = root;
  keys.forEach((key, index) => {
    const last = index === keys.length - 1;
    if (last && header.kind === "array") table = appendTable(table, key, place);
    else table = descend(table, key, placeOf(source, key));
  });
  if (header.kind === "standard") table.place = place;
  return table;
}

function appendTable(table: TableNode, key: AST.TOMLBare | AST.TOMLQuoted, place: Place): TableNode {
  const name = keyName(key);
  const item = newTable(place);
  const existing = table.entries.get(name);
  if (existing?.node.kind === "array") {
    existing.node.items.push(item);
    existing.again.push(placeOf(place.source, key));
  } else {
    const node: ArrayNode = { kind: "array", place, items: [item] };
    table.entries.set(name, { key: placeOf(place.source, key), again: [], node });
  }
  return item;
}

/** The table under a key, made when it is not there yet; of an array of tables, the last one. */
function descend(table: TableNode, key: AST.TOMLBare | AST.TOMLQuoted, place: Place): TableNode {
  const name = keyName(key);
  const existing = table.entries.get(name);
  const found = existing?.node.kind === "array" ? existing.node.items.at(-1) : existing?.node;
  if (found?.kind === "table") {
    existing?.again.push(place);
    return found;
  }
  const made = newTable(place);
  table.entries.set(name, { key: place, again: [], node: made });
  return made;
}

function addKeyValue(source: Source, table: TableNode, pair: AST.TOMLKeyValue, depth: number): void {
  const keys = pair.key.keys;
  if (depth + keys.length > MAX_DEPTH) throw new TooDeep(pair.range[0]);
  let target = table;
  for (const key of keys.slice(0, -1)) target = descend(target, key, placeOf(source, key));
  const last = keys.at(-1);
  if (last === undefined) return;
  const node = toNode(source, pair.value, depth + keys.length);
  target.entries.set(keyName(last), { key: placeOf(source, last), again: [], node });
}

function toNode(source: Source, value: AST.TOMLContentNode, depth: number): Node {
  const place = placeOf(source, value);
  if (depth > MAX_DEPTH) throw new TooDeep(place.start);
  if (value.type === "TOMLArray") {
    const array: ArrayNode = {
      kind: "array",
      place,
      items: value.elements.map((item) => toNode(source, item, depth + 1)),
    };
    return array;
  }
  if (value.type === "TOMLInlineTable") {
    const table = newTable(place);
    for (const pair of value.body) addKeyValue(source, table, pair, depth);
    return table;
  }
  switch (value.kind) {
    case "string":
    case "integer":
    case "float":
    case "boolean":
      return { kind: "scalar", place, type: value.kind, value: value.value };
    default:
      return { kind: "scalar", place, type: "date", value: value.value };
  }
}

function keyName(key: AST.TOMLBare | AST.TOMLQuoted): string {
  return key.type === "TOMLBare" ? key.name : key.value;
}

function placeOf(source: Source, node: { readonly range: readonly [number, number] }): Place {
  return { source, start: node.range[0], end: node.range[1] };
}
