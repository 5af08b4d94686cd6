/**
 * XML text to a small tree whose parts know their lines. Document types and entities of one's own are refused, so nothing
 * outside the text is ever read and nothing can grow. It must not know what the elements mean.
 */
import { SaxesParser } from "saxes";
import { escapeUnsafe, quote } from "../diagnostic.ts";

export interface XmlElement {
  /** Without prefix. */
  readonly name: string;
  /** Namespace; empty for none. */
  readonly uri: string;
  readonly line: number;
  readonly attributes: readonly XmlAttribute[];
  readonly children: XmlElement[];
  /** Text directly in the element, without the white space around it. */
  readonly texts: XmlText[];
  /** Comments that stand before the element. */
  readonly comments: readonly XmlText[];
  /** Comments behind its last child. */
  readonly lastComments: XmlText[];
}

export interface XmlAttribute {
  readonly name: string;
  readonly uri: string;
  readonly value: string;
  readonly line: number;
}

export interface XmlText {
  readonly text: string;
  readonly line: number;
}

export type XmlResult =
  | { readonly ok: true; readonly root: XmlElement; readonly instructions: readonly XmlText[] }
  | { readonly ok: false; readonly line: number; readonly text: string };

const MAX_DEPTH = 100;

/** Thrown out of the parser's events, and caught in this file alone. */
class XmlProblem extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

export function readXml(text: string): XmlResult {
  try {
    return new Reader().read(text);
  } catch (error) {
    if (error instanceof XmlProblem) return { ok: false, line: error.line, text: error.message };
    throw error;
  }
}

class Reader {
  readonly #parser = new SaxesParser({ xmlns: true, position: true });
  readonly #open: XmlElement[] = [];
  readonly #instructions: XmlText[] = [];
  #root: XmlElement | undefined;
  #comments: XmlText[] = [];
  #startLine = 1;
  #attributeLines = new Map<string, number>();

  read(text: string): XmlResult {
    this.#listen();
    // In pieces, so that text nobody closes is not held twice.
    for (let at = 0; at < text.length; at += 65_536) this.#parser.write(text.slice(at, at + 65_536));
    this.#parser.close();
    if (this.#root === undefined) throw new XmlProblem(1, "There is no element");
    return { ok: true, root: this.#root, instructions: this.#instructions };
  }

  #listen(): void {
    const parser = this.#parser;
    parser.on("error", (error) => {
      throw new XmlProblem(parser.line, `This is not well-formed XML: ${reason(error.message)}`);
    });
    parser.on("doctype", () => {
      throw new XmlProblem(parser.line, "A document type (DOCTYPE) is refused: remove it, and the entities it defines");
    });
    parser.on("processinginstruction", ({ target }) => {
      this.#instructions.push({ text: target, line: parser.line });
    });
    parser.on("comment", (text) => {
      this.#comments.push({ text: text.trim(), line: this.#lineOfStart(text) });
    });
    parser.on("opentagstart", () => {
      this.#startLine = parser.line;
      this.#attributeLines = new Map();
    });
    parser.on("attribute", ({ name, value }) => {
      this.#attributeLines.set(name, this.#lineOfStart(value));
    });
    parser.on("opentag", (tag) => this.#begin(tag));
    parser.on("closetag", () => {
      const element = this.#open.pop();
      element?.lastComments.push(...this.#comments);
      this.#comments = [];
    });
    parser.on("text", (text) => this.#text(text));
    parser.on("cdata", (text) => this.#text(text));
  }

  #begin(tag: {
    readonly local: string;
    readonly uri: string;
    readonly attributes: Readonly<
      Record<string, { readonly name: string; readonly uri: string; readonly local: string; readonly value: string }>
    >;
  }): void {
    if (this.#open.length >= MAX_DEPTH) throw new XmlProblem(this.#startLine, "Elements are nested too deeply");
    const attributes = Object.values(tag.attributes)
      .filter(({ name }) => name !== "xmlns" && !name.startsWith("xmlns:"))
      .map(({ name, local, uri, value }) => {
        return { name: local, uri, value, line: this.#attributeLines.get(name) ?? this.#startLine };
      });
    const element: XmlElement = {
      name: tag.local,
      uri: tag.uri,
      line: this.#startLine,
      attributes,
      children: [],
      texts: [],
      comments: this.#comments,
      lastComments: [],
    };
    this.#comments = [];
    const parent = this.#open.at(-1);
    if (parent === undefined) this.#root = element;
    else parent.children.push(element);
    this.#open.push(element);
  }

  #text(text: string): void {
    const element = this.#open.at(-1);
    if (element === undefined || text.trim() === "") return;
    const leading = /^\s*/u.exec(text)?.[0] ?? "";
    element.texts.push({ text: text.trim(), line: this.#lineOfStart(text.slice(leading.length)) });
  }

  /** The parser stands at the end of what it tells of. */
  #lineOfStart(text: string): number {
    return Math.max(1, this.#parser.line - (text.match(/\n/gu)?.length ?? 0));
  }
}

/** The parser's message without the place it puts before it, on one line. */
function reason(message: string): string {
  const text = message.replace(/^\d+:\d+:\s*/u, "").replace(/\.$/u, "");
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return escapeUnsafe(short);
}

/** An element as remarks call it. */
export function elementName(element: XmlElement): string {
  const name = element.attributes.find((attribute) => attribute.name === "name")?.value;
  return `<${escapeUnsafe(element.name.slice(0, 80))}>${name === undefined ? "" : ` ${quote(name)}`}`;
}
