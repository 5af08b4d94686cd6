/**
 * Changes to the header section of a message as it streams by: fields added above it, taken out as a whole, and the Subject
 * given a prefix. Nothing is held but the beginning of a line, so memory does not depend on the message. Names and values
 * are made safe here, whoever chose them. It must not know why a message is changed.
 */
import { concatBytes, CR, EMPTY, LF, utf8Bytes } from "../smtp/bytes.ts";
import { encodeWords, safeFieldText } from "./encoded_word.ts";

export type HeaderEdit =
  /** One more field of that name. */
  | { readonly kind: "add"; readonly name: string; readonly value: string }
  /** The one field of that name, whatever there was. */
  | { readonly kind: "set"; readonly name: string; readonly value: string }
  /** No field of that name. */
  | { readonly kind: "remove"; readonly name: string }
  /** Put before the text of the Subject; a message without one gets one. */
  | { readonly kind: "prefix-subject"; readonly text: string };

/** With its name a line stays below the 998 characters of RFC 5322 §2.1.1. */
export const MAX_FIELD_VALUE_CHARACTERS = 900;
/** A prefix that hides the subject is of no use. */
export const MAX_SUBJECT_PREFIX_CHARACTERS = 200;
const MAX_NAME_CHARACTERS = 76;
/** As much of a line is held to find the end of its name; what has none by then is no field. */
const MAX_HELD_OCTETS = 1_000;

const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;

/** field-name = 1*ftext (RFC 5322 §2.2), of a length that leaves room for a value. */
export function isFieldName(text: string): boolean {
  return text.length <= MAX_NAME_CHARACTERS && /^[!-9;-~]+$/u.test(text);
}

/** What a list of edits comes to: the order among fields of one name is in it, so the stream need not know it. */
interface Plan {
  /** Fields above the section, the one that was added last on top. */
  readonly top: readonly string[];
  readonly removed: ReadonlySet<string>;
  /** For the first Subject of the stream, if there is one; else a field of its own. */
  readonly subjectPrefix: string;
}

function planOf(edits: readonly HeaderEdit[]): Plan {
  let top: { readonly name: string; readonly key: string; readonly value: string }[] = [];
  const removed = new Set<string>();
  let subjectPrefix = "";
  for (const edit of edits) {
    if (edit.kind === "prefix-subject") {
      const text = safeFieldText(edit.text, MAX_SUBJECT_PREFIX_CHARACTERS);
      const own = top.findIndex(({ key }) => key === "subject");
      const field = top[own];
      if (field !== undefined) top[own] = { ...field, value: joined(text, field.value) };
      else if (removed.has("subject")) top.unshift({ name: "Subject", key: "subject", value: text });
      else subjectPrefix = joined(text, subjectPrefix);
      continue;
    }
    if (!isFieldName(edit.name)) continue;
    const key = edit.name.toLowerCase();
    if (edit.kind !== "add") {
      removed.add(key);
      if (key === "subject") subjectPrefix = "";
      top = top.filter((field) => field.key !== key);
    }
    if (edit.kind === "remove") continue;
    top.unshift({ name: edit.name, key, value: safeFieldText(edit.value, MAX_FIELD_VALUE_CHARACTERS) });
  }
  return { top: top.map(({ name, value }) => `${name}: ${encodeWords(value)}\r\n`), removed, subjectPrefix };
}

function joined(prefix: string, text: string): string {
  return prefix === "" || text === "" ? prefix + text : `${prefix} ${text}`;
}

/** The content with the edits applied, in their order. Pieces are valid until the next one is asked for. */
export async function* editedContent(
  content: AsyncIterable<Uint8Array>,
  edits: readonly HeaderEdit[],
): AsyncIterable<Uint8Array> {
  const plan = planOf(edits);
  const editor = new Editor(plan);
  if (plan.top.length > 0) yield utf8Bytes(plan.top.join(""));
  for await (const bytes of content) {
    if (editor.done) {
      yield bytes;
      continue;
    }
    const edited = editor.edit(bytes);
    if (edited.length > 0) yield edited;
  }
  const rest = editor.end();
  if (rest.length > 0) yield rest;
}

class Editor {
  /** The header section is over: everything else passes. */
  done = false;
  readonly #plan: Plan;
  #output: Uint8Array[] = [];
  /** What cannot be decided before more has come: the beginning of a line, or of the Subject's text. */
  #held: Uint8Array = EMPTY;
  #state: "line begins" | "subject begins" | "keep" | "drop" = "line begins";
  /** Of the field before the line that begins, for lines that continue it. */
  #dropping = false;
  #prefixPending: boolean;

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#prefixPending = plan.subjectPrefix !== "";
  }

  edit(bytes: Uint8Array): Uint8Array {
    let at = 0;
    while (at < bytes.length && !this.done) {
      const lf = bytes.indexOf(LF, at);
      const end = lf < 0 ? bytes.length : lf + 1;
      if (this.#state === "line begins") at = this.#lineBegins(bytes, at, end, lf >= 0);
      else if (this.#state === "subject begins") at = this.#subjectBegins(bytes, at, end, lf >= 0);
      else {
        if (this.#state === "keep") this.#output.push(bytes.subarray(at, end));
        if (lf >= 0) this.#state = "line begins";
        at = end;
      }
    }
    if (at < bytes.length) this.#output.push(bytes.subarray(at));
    return this.#take();
  }

  /** What is still held when the message ends within its header section. */
  end(): Uint8Array {
    if (this.done) return EMPTY;
    if (this.#state === "subject begins") this.#prefixSubject();
    // Nothing but a Subject of our own may follow on a line without an end.
    const unended = this.#state !== "line begins" || this.#held.length > 0;
    this.#output.push(this.#held);
    this.#held = EMPTY;
    if (unended && this.#prefixPending) this.#output.push(utf8Bytes("\r\n"));
    this.#finish();
    return this.#take();
  }

  /** Gathers the beginning of a line until it is known which field it is. */
  #lineBegins(bytes: Uint8Array, from: number, end: number, complete: boolean): number {
    const colon = bytes.subarray(from, end).indexOf(COLON);
    const known = colon < 0 ? end : from + colon + 1;
    this.#held = concatBytes([this.#held, bytes.subarray(from, known)]);
    const first = this.#held[0];
    if (first === LF || (first === CR && this.#held[1] === LF)) {
      this.#finish();
      return known;
    }
    const continues = first === SPACE || first === TAB;
    if (colon < 0 && !complete && !continues && this.#held.length <= MAX_HELD_OCTETS) return known;
    const name = continues || colon < 0 ? "" : fieldName(this.#held);
    if (!continues) this.#dropping = this.#plan.removed.has(name);
    this.#state = this.#dropping ? "drop" : "keep";
    if (!this.#dropping) this.#output.push(this.#held);
    this.#held = EMPTY;
    if (!this.#dropping && this.#prefixPending && name === "subject") this.#state = "subject begins";
    else if (colon < 0 && complete) this.#state = "line begins";
    return known;
  }

  /** Gathers the beginning of the Subject's text until it is known whether it is encoded. */
  #subjectBegins(bytes: Uint8Array, from: number, end: number, complete: boolean): number {
    this.#held = concatBytes([this.#held, bytes.subarray(from, end)]);
    const enough = latin1(this.#held).trimStart().length >= 2 || this.#held.length > MAX_HELD_OCTETS;
    if (!enough && !complete) return end;
    this.#prefixSubject();
    this.#output.push(this.#held);
    this.#held = EMPTY;
    this.#state = complete ? "line begins" : "keep";
    return end;
  }

  #prefixSubject(): void {
    const { subjectPrefix } = this.#plan;
    const text = latin1(this.#held);
    const encoded = encodeWords(subjectPrefix);
    // Between two encoded-words white space does not count (RFC 2047 §6.2): then the space is part of the text.
    const isBeforeWord = text.trimStart().startsWith("=?") && encoded !== subjectPrefix;
    const prefix = isBeforeWord ? encodeWords(`${subjectPrefix} `) : encoded;
    this.#output.push(utf8Bytes(` ${prefix}${/^\s/u.test(text) ? "" : " "}`));
    this.#prefixPending = false;
  }

  /** At the empty line, which is held, or at the end. */
  #finish(): void {
    this.done = true;
    if (this.#prefixPending) {
      this.#prefixPending = false;
      this.#output.push(utf8Bytes(`Subject: ${encodeWords(this.#plan.subjectPrefix)}\r\n`));
    }
    this.#output.push(this.#held);
    this.#held = EMPTY;
  }

  #take(): Uint8Array {
    const edited = concatBytes(this.#output);
    this.#output = [];
    return edited;
  }
}

/** Of the bytes up to the colon; white space before it is obsolete syntax (RFC 5322 §4.5.3), and no way to hide a field. */
function fieldName(bytes: Uint8Array): string {
  return latin1(bytes).slice(0, -1).trimEnd().toLowerCase();
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 2 * MAX_HELD_OCTETS));
}
