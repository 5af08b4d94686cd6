/**
 * Texts with `${variables}` of a delivery, for the options of channels: compiled once, with what is wrong said in words for
 * `check`. A path made of one never leaves its root, whatever the address, and two addresses share a path only when routing
 * takes them for the same address. It must not know what the paths and texts are for.
 */
import * as v from "valibot";
import { canonicalDomain, canonicalLocalPart } from "../binding/match.ts";
import { type PathMetadata, pathOption, textOption } from "../config/option.ts";
import { nearest } from "../config/suggest.ts";
import { type Mailbox, parseMailbox } from "../smtp/address.ts";
import type { NewDelivery, StoredMessage } from "../spool/spool.ts";

/** The variables there are, for documentation and messages. */
export const VARIABLES = {
  recipient: "the recipient's address, after bindings have changed it",
  local: 'the part before the "@", without a "+extension"',
  domain: 'the part behind the "@"; for a recipient without one (postmaster), the host name',
  extension: 'what follows the first "+" in the part before the "@"; empty when there is none',
  sender: "the sender's address; empty for bounces",
  message: "the id of the message in the queue",
  channel: "the name of the channel",
} as const;

export type Variable = keyof typeof VARIABLES;
export type TemplateValues = Readonly<Record<Variable, string>>;

/** A value cannot stand where the template puts it. The message says which. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

/** What the variables are for one delivery, as programs get them: nothing folded, nothing encoded. */
export function templateValues(
  message: Pick<StoredMessage, "id" | "envelope">,
  delivery: Pick<NewDelivery, "recipient">,
  context: { readonly name: string; readonly hostName: string },
): TemplateValues {
  const { localPart, domain } = split(delivery.recipient);
  const plus = localPart.indexOf("+");
  // A "+" at either end separates nothing: "+x" and "x+" are names of their own.
  const isDivided = plus > 0 && plus < localPart.length - 1;
  return {
    recipient: delivery.recipient,
    local: isDivided ? localPart.slice(0, plus) : localPart,
    domain: domain === "" ? context.hostName : domain,
    extension: isDivided ? localPart.slice(plus + 1) : "",
    sender: message.envelope.reversePath,
    message: message.id,
    channel: context.name,
  };
}

/** An address as the envelope's grammar reads it; of anything else, the last "@" divides. */
function split(address: string): Mailbox {
  const parsed = parseMailbox(address, 0);
  if (parsed.ok && parsed.end === address.length) return parsed.value;
  const at = address.lastIndexOf("@");
  return at < 0
    ? { localPart: address, domain: "" }
    : { localPart: address.slice(0, at), domain: address.slice(at + 1) };
}

type Part = { readonly kind: "text"; readonly text: string } | { readonly kind: "variable"; readonly name: Variable };

type Parsed<Value> =
  | { readonly ok: true; readonly value: Value }
  /** Continues the sentence `Invalid value … for "path": …`. */
  | { readonly ok: false; readonly message: string };

const MARKS = /\$\$\{|\$\{([^}]*)(\}?)/gu;

/** `${name}` is a variable, `$${` stands for `${`, every other `$` for itself. */
function parseParts(text: string): Parsed<readonly Part[]> {
  const parts: Part[] = [];
  let literal = "";
  let end = 0;
  for (const mark of text.matchAll(MARKS)) {
    literal += text.slice(end, mark.index);
    end = mark.index + mark[0].length;
    const name = mark[1];
    if (name === undefined) {
      literal += "${";
      continue;
    }
    if (mark[2] === "") return { ok: false, message: 'a "${" has no "}" behind it; for a plain "${" write "$${"' };
    if (!Object.hasOwn(VARIABLES, name)) return { ok: false, message: unknownVariable(name) };
    if (literal !== "") parts.push({ kind: "text", text: literal });
    literal = "";
    parts.push({ kind: "variable", name: name as Variable });
  }
  literal += text.slice(end);
  if (literal !== "") parts.push({ kind: "text", text: literal });
  return { ok: true, value: parts };
}

function unknownVariable(name: string): string {
  const names = Object.keys(VARIABLES);
  const meant = nearest(name, names);
  const hint = meant === undefined
    ? `there are ${names.map((known) => `"\${${known}}"`).join(", ")}`
    : `did you mean "\${${meant}}"?`;
  return `there is no variable "\${${name}}"; ${hint}`;
}

/** A text for an argument or an environment variable. Values are put in as they are. */
export class TextTemplate {
  readonly #parts: readonly Part[];

  private constructor(parts: readonly Part[]) {
    this.#parts = parts;
  }

  static parse(text: string): Parsed<TextTemplate> {
    const parts = parseParts(text);
    return parts.ok ? { ok: true, value: new TextTemplate(parts.value) } : parts;
  }

  /** The template of a text that was checked. */
  static compile(text: string): TextTemplate {
    return checked(text, TextTemplate.parse(text));
  }

  get beginsWithVariable(): boolean {
    return this.#parts[0]?.kind === "variable";
  }

  get hasVariables(): boolean {
    return this.#parts.some((part) => part.kind === "variable");
  }

  /** Throws `TemplateError` for a NUL, which would end the text early where it is used. */
  expand(values: TemplateValues): string {
    let text = "";
    for (const part of this.#parts) {
      if (part.kind === "text") text += part.text;
      else if (values[part.name].includes("\0")) throw new TemplateError(`The ${part.name} contains a NUL character`);
      else text += values[part.name];
    }
    return text;
  }
}

/** All but these are written as "%" and two hexadecimal digits for each octet. */
const UNSAFE = /[^A-Za-z0-9._+=~-]/gu;

/** File systems take names of 255 octets; room is left for what users of a path add, such as ".lock". */
const NAME_MAX = 200;

const encoder = new TextEncoder();

/** Any text as a part of a file's name. Different texts have different encodings. */
export function encodeName(text: string): string {
  return text.replace(UNSAFE, (character) => {
    let encoded = "";
    for (const octet of encoder.encode(character)) encoded += `%${octet.toString(16).padStart(2, "0")}`;
    return encoded;
  });
}

/** The forms in which routing compares addresses, encoded; the "@" of a whole address is kept. */
function encodeValue(name: Variable, values: TemplateValues): string {
  switch (name) {
    case "local":
    case "extension":
      return encodeName(canonicalLocalPart(values[name]));
    case "domain":
      return encodeName(canonicalDomain(values.domain));
    case "recipient":
      return encodeAddress(values.recipient, values.domain);
    case "sender":
      return encodeAddress(values.sender, "");
    case "message":
    case "channel":
      return encodeName(values[name]);
  }
}

function encodeAddress(address: string, domainWhenBare: string): string {
  if (address === "") return "";
  const { localPart, domain } = split(address);
  const at = domain === "" ? domainWhenBare : domain;
  const local = encodeName(canonicalLocalPart(localPart));
  return at === "" ? local : `${local}@${encodeName(canonicalDomain(at))}`;
}

interface Segment {
  /** "/" or "\", as written; "" at the start of a relative path. */
  readonly separator: string;
  readonly parts: readonly Part[];
}

/**
 * A path with variables. Case does not count in addresses, as for routing; octets that are not letters, digits or one of
 * `. _ + = ~ -` are percent-encoded, and so is a dot that begins a name; a name that would be empty is "%"; one too long for
 * a file system goes on in a folder of its own. So a value is always a name below the root, and its own.
 */
export class PathTemplate {
  /** The directory below which every expansion lies; for a path without variables, the path itself. */
  readonly root: string;
  readonly hasVariables: boolean;
  readonly #segments: readonly Segment[];

  private constructor(text: string, parts: readonly Part[], segments: readonly Segment[], fixed: number) {
    this.hasVariables = parts.some((part) => part.kind === "variable");
    this.#segments = segments.slice(fixed);
    const start = segments.slice(0, fixed).map(literalOf).join("");
    this.root = this.hasVariables ? start || "/" : text;
  }

  static parse(text: string): Parsed<PathTemplate> {
    const parts = parseParts(text);
    if (!parts.ok) return parts;
    const segments = segmentsOf(parts.value);
    const first = segments.findIndex((segment) => segment.parts.some((part) => part.kind === "variable"));
    const fixed = first < 0 ? segments.length : first;
    const behind = segments.slice(fixed);
    if (behind.some((segment) => /^[/\\]?\.\.?$/.test(literalOf(segment)))) {
      return { ok: false, message: 'must not have "." or ".." as a name behind a variable' };
    }
    if (behind.some(isAmbiguous)) {
      return {
        ok: false,
        message: 'two variables in one name need a "," between them (or stand in names of their own), ' +
          "or different addresses could share a path",
      };
    }
    return { ok: true, value: new PathTemplate(text, parts.value, segments, fixed) };
  }

  /** The template of a path that was checked. */
  static compile(text: string): PathTemplate {
    return checked(text, PathTemplate.parse(text));
  }

  expand(values: TemplateValues): string {
    if (!this.hasVariables) return this.root;
    let path = this.root === "/" ? "" : this.root;
    for (const segment of this.#segments) path += segment.separator + nameOf(segment, values);
    return path;
  }
}

function segmentsOf(parts: readonly Part[]): readonly Segment[] {
  const segments: { separator: string; parts: Part[] }[] = [{ separator: "", parts: [] }];
  for (const part of parts) {
    if (part.kind === "variable") segments.at(-1)?.parts.push(part);
    else {
      for (const [index, piece] of part.text.split(/([/\\])/).entries()) {
        if (index % 2 === 1) segments.push({ separator: piece, parts: [] });
        else if (piece !== "") segments.at(-1)?.parts.push({ kind: "text", text: piece });
      }
    }
  }
  // Nothing stands before the first separator of an absolute path; doubled ones, and one at the end, mean nothing.
  return segments.filter((segment) => segment.parts.length > 0);
}

function literalOf(segment: Segment): string {
  return segment.separator + segment.parts.map((part) => part.kind === "text" ? part.text : "${}").join("");
}

/** Whether two variables meet without a character between them that their values cannot have. */
function isAmbiguous(segment: Segment): boolean {
  const hasAddress = segment.parts.some((part) =>
    part.kind === "variable" && (part.name === "recipient" || part.name === "sender")
  );
  const divides = hasAddress ? /[^A-Za-z0-9._+=~%@-]/u : /[^A-Za-z0-9._+=~%-]/u;
  let between: string | undefined;
  for (const part of segment.parts) {
    if (part.kind === "text") between = between === undefined ? undefined : between + part.text;
    else if (between !== undefined && !divides.test(between)) return true;
    else between = "";
  }
  return false;
}

function nameOf(segment: Segment, values: TemplateValues): string {
  let name = "";
  let isFixed = true;
  for (const part of segment.parts) {
    if (part.kind === "text") name += part.text;
    else {
      isFixed = false;
      const value = encodeValue(part.name, values);
      name += name === "" && value.startsWith(".") ? `%2e${value.slice(1)}` : value;
    }
  }
  return isFixed ? name : safeName(name);
}

/** Names that mean something to the system or to those who keep files beside their own. */
function safeName(name: string): string {
  if (name === "") return "%";
  if (name === "." || name === "..") return "%2e".repeat(name.length);
  // Nobody's mailbox is the lock of another one.
  const safe = name.replace(/\.(lock(?:\.break)?)$/iu, "%2e$1");
  if (safe.length <= NAME_MAX) return safe;
  const pieces: string[] = [];
  for (let at = 0; at < safe.length; at += NAME_MAX) pieces.push(safe.slice(at, at + NAME_MAX));
  // A "%" alone at the end or the start of a name comes from nothing else.
  return pieces.join("%/%");
}

function checked<Value>(text: string, parsed: Parsed<Value>): Value {
  if (parsed.ok) return parsed.value;
  throw new TypeError(`The template "${text}" was not checked: ${parsed.message}`);
}

const SYNTAX = `Variables: ${Object.keys(VARIABLES).map((name) => `\${${name}}`).join(", ")}.`;

/** A path that may have variables, absolute once loaded. */
export function pathTemplateOption(description: string, example: string) {
  return v.pipe(
    pathOption(description, example),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const parsed = PathTemplate.parse(dataset.value);
      if (!parsed.ok) addIssue({ message: parsed.message });
    }),
    v.description(`${description.replace(/\.?$/u, ".")} ${SYNTAX}`),
    v.examples([example]),
    v.metadata({ path: true } satisfies PathMetadata),
  );
}

/** One line of text that may have variables. */
export function textTemplateOption(description: string, example: string, maxLength?: number) {
  return v.pipe(
    textOption(description, example, maxLength),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const parsed = TextTemplate.parse(dataset.value);
      if (!parsed.ok) addIssue({ message: parsed.message });
    }),
    v.description(`${description.replace(/\.?$/u, ".")} ${SYNTAX}`),
    v.examples([example]),
  );
}
