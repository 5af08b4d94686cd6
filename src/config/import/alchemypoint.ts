/**
 * Translates the configuration of an AlchemyPoint Server: the SMTPListener objects of a ServerConfiguration, their
 * SSLServerConfig and their Bindings. What has no equivalent is told, each attribute and each element with its line. It
 * reads nothing but the text it is given.
 *
 * The forms of mail bindings and of SSLServerConfig were never published; attributes are recognised by what they are
 * called, and everything else is told.
 */
import { isIP } from "node:net";
import { parsePattern } from "../../binding/match.ts";
import { quote } from "../diagnostic.ts";
import { canonicalHostName } from "../schema.ts";
import {
  describable,
  type Imported,
  ImportedTable,
  type ImportFile,
  Names,
  type Remark,
  told,
  toldText,
  tomlDocument,
  wholeNumber,
} from "./imported.ts";
import { elementName, readXml, type XmlAttribute, type XmlElement, type XmlText } from "./xml_tree.ts";

const NAMESPACE = "http://www.orchestr8.net/schemas/ServerConfig";
const DAY_SECONDS = 86_400;
/** Where the mail of translated bindings goes until somebody decides otherwise. */
const CHANNEL = "imported";

export function importAlchemypoint(file: ImportFile): Imported {
  const read = readXml(file.text);
  if (!read.ok) return { ok: false, problems: [{ file: file.name, line: read.line, text: read.text }] };
  return new Importer(file.name).run(read.root, read.instructions);
}

class Importer {
  readonly #file: string;
  readonly #remarks: Remark[] = [];
  readonly #problems: Remark[] = [];
  readonly #names = new Names();
  readonly #listeners: ImportedTable[] = [];
  readonly #shared: ImportedTable[] = [];
  /** Comments of parts that are not translated. */
  readonly #loose: XmlText[] = [];
  #bindings = 0;

  constructor(file: string) {
    this.#file = file;
  }

  run(root: XmlElement, instructions: readonly XmlText[]): Imported {
    if (root.name !== "ServerConfiguration" || !isOurs(root)) {
      const text =
        `The outermost element is ${elementName(root)}; expected <ServerConfiguration>, without a namespace ` +
        `or in ${quote(NAMESPACE)}`;
      return { ok: false, problems: [{ file: this.#file, line: root.line, text }] };
    }
    // A channel of that name is made for the bindings.
    this.#names.take(CHANNEL, CHANNEL);
    for (const { text, line } of instructions) this.#remark(line, `Processing instruction ${quote(text)}`);
    this.#loose.push(...root.comments, ...root.lastComments);
    this.#attributesAndTexts(root, new Set());
    for (const child of root.children) this.#topLevel(child);
    if (this.#listeners.length === 0 && this.#problems.length === 0) {
      this.#problem(root.line, "There is no SMTPListener to translate");
    }
    if (this.#problems.length > 0) return { ok: false, problems: byLine(this.#problems) };
    return { ok: true, toml: tomlDocument(this.#tables()), remarks: byLine(this.#remarks) };
  }

  #tables(): readonly ImportedTable[] {
    const head = new ImportedTable("").comment(`Translated from ${this.#file}. Look through it before it is used.`);
    for (const { text, line } of this.#loose) {
      if (text !== "") head.comment(`Comment at line ${line}: ${text}`);
    }
    if (this.#bindings === 0) {
      const closing = new ImportedTable("")
        .comment("There are no bindings, so every recipient is refused with 550 5.7.1. To keep mail, add:")
        .comment('[[binding]]\nname = "everyone"\nrecipients = ["*@example.com"]\ndeliver = ["archive"]\n')
        .comment('[[channel]]\nname = "archive"\ntype = "maildir"\npath = "mail/archive"');
      return [head, ...this.#listeners, closing];
    }
    const channel = new ImportedTable("[[channel]]")
      .comment("Keeps the mail of the bindings above until their actions are rebuilt.")
      .set("name", CHANNEL)
      .set("type", "maildir")
      .set("path", `mail/${CHANNEL}`);
    return [head, ...this.#listeners, ...this.#shared, channel];
  }

  #topLevel(element: XmlElement): void {
    if (isOurs(element) && element.name === "SMTPListener") this.#listener(element);
    else if (isOurs(element) && element.name === "Bindings") this.#bindingsOf(element, "[[binding]]", this.#shared);
    else if (/include/iu.test(element.name)) {
      this.#remark(element.line, `${elementName(element)} is not followed: translate the included file by itself`);
      this.#untranslated(element, false);
    } else this.#untranslated(element);
  }

  #listener(element: XmlElement): void {
    const values = new Map(element.attributes.filter(isPlain).map((attribute) => [attribute.name, attribute]));
    const table = new ImportedTable("[[listener]]");
    for (const { text } of element.comments) table.comment(text);
    const name = values.get("name");
    if (name === undefined) this.#problem(element.line, 'SMTPListener has no attribute "name", which is required');
    table.set("name", this.#name(name, "listener"));
    this.#describe(table, values);
    const listenIp = this.#checked(
      values.get("listenIP"),
      "an IPv4 or IPv6 address",
      (text) => isIP(text) ? text : undefined,
    );
    if (listenIp !== undefined) table.set("listen_ip", listenIp);
    if (!values.has("portNum")) {
      this.#problem(element.line, 'SMTPListener has no attribute "portNum", which is required');
    }
    for (const [from, to, minimum, maximum] of NUMBERS) {
      const what = `a whole number from ${minimum} to ${maximum}`;
      const value = this.#checked(values.get(from), what, (text) => wholeNumber(text, minimum, maximum));
      if (value !== undefined) table.set(to, value);
    }
    const hostName = this.#checked(values.get("hostName"), "a host name such as mail.example.com", canonicalHostName);
    if (hostName !== undefined) table.set("host_name", hostName);
    this.#attributesAndTexts(element, LISTENER_ATTRIBUTES);
    this.#listeners.push(table);
    // Tables within a listener follow its own keys; TLS is the listener's, bindings are many.
    for (const child of element.children) {
      if (isOurs(child) && child.name === "SSLServerConfig") this.#listeners.push(this.#tls(child));
    }
    if (element.children.filter((child) => child.name === "SSLServerConfig").length > 1) {
      this.#problem(element.line, `${elementName(element)} has more than one SSLServerConfig`);
    }
    for (const child of element.children) {
      if (isOurs(child) && child.name === "SSLServerConfig") continue;
      if (isOurs(child) && child.name === "Bindings") {
        this.#bindingsOf(child, "[[listener.binding]]", this.#listeners);
      } else this.#untranslated(child);
    }
    this.#loose.push(...element.lastComments);
  }

  /** The keys that all objects have. */
  #describe(table: ImportedTable, values: ReadonlyMap<string, XmlAttribute>): void {
    const description = values.get("description");
    if (description !== undefined) {
      const text = describable(description.value);
      if (text !== undefined) table.set("description", text);
      if (text !== description.value) {
        this.#remark(description.line, "The description is changed: one line, no more than 1000 characters");
      }
    }
    const tags = values.get("tags");
    const words = tags?.value.split(/\s+/u).filter((word) => word !== "") ?? [];
    const usable = words.filter((word) => /^[A-Za-z0-9][A-Za-z0-9._-]*$/u.test(word));
    if (usable.length > 0) table.set("tags", usable.join(" "));
    for (const word of words) {
      if (!usable.includes(word)) {
        this.#remark(tags?.line ?? 1, `The tag ${quote(word)} has characters that tags may not have`);
      }
    }
  }

  #name(attribute: XmlAttribute | undefined, otherwise: string): string {
    const wanted = attribute?.value ?? "";
    const name = this.#names.take(wanted, otherwise);
    if (attribute !== undefined && name !== wanted) {
      this.#remark(
        attribute.line,
        `The name ${quote(wanted)} becomes ${quote(name)}: names are unique, plain and short`,
      );
    }
    return name;
  }

  #tls(element: XmlElement): ImportedTable {
    const plain = element.attributes.filter(isPlain);
    const certificate = plain.find(({ name }) => CERTIFICATE.test(name));
    const key = plain.find(({ name }) => PRIVATE_KEY.test(name));
    const table = new ImportedTable("[listener.tls]");
    for (const { text } of element.comments) table.comment(text);
    table.set("mode", "implicit", "TLS from the first byte, as a secure listener has it");
    const missing = (what: string) =>
      this.#remark(
        element.line,
        `SSLServerConfig does not say where the ${what} is; a placeholder stands in its place`,
      );
    const certificatePath = certificate === undefined ? undefined : describable(certificate.value);
    if (certificatePath === undefined) missing("certificate");
    table.set(
      "certificate",
      certificatePath ?? "tls/cert.pem",
      certificatePath === undefined ? "to be set" : undefined,
    );
    const keyPath = key === undefined ? undefined : describable(key.value);
    if (keyPath === undefined) missing("private key");
    table.set("private_key", keyPath ?? "tls/key.pem", keyPath === undefined ? "to be set" : undefined);
    for (const attribute of [certificate, key]) {
      if (attribute !== undefined && !/\.(?:pem|crt|cer|key)$/iu.test(attribute.value)) {
        this.#remark(
          attribute.line,
          `${quote(attribute.value)} must be a PEM file; convert it if it is in another format`,
        );
      }
    }
    const known = new Set([certificate?.name, key?.name].filter((name) => name !== undefined));
    this.#attributesAndTexts(element, known);
    for (const child of element.children) this.#untranslated(child);
    this.#loose.push(...element.lastComments);
    return table;
  }

  #bindingsOf(element: XmlElement, header: string, tables: ImportedTable[]): void {
    this.#loose.push(...element.comments, ...element.lastComments);
    this.#attributesAndTexts(element, new Set());
    for (const child of element.children) {
      const table = isOurs(child) && /Binding$/u.test(child.name) ? this.#binding(child, header) : undefined;
      if (table === undefined) this.#untranslated(child);
      else tables.push(table);
    }
  }

  /** A binding whose filter can be read; its actions cannot, so its mail is kept. */
  #binding(element: XmlElement, header: string): ImportedTable | undefined {
    const values = new Map(element.attributes.filter(isPlain).map((attribute) => [attribute.name, attribute]));
    const filters = [...values.values()].filter(({ name }) => FILTER.test(name));
    const words = filters.flatMap(({ value }) => value.split(/[\s,;]+/u)).filter((word) => word !== "");
    const recipients = words.map(recipientPattern);
    if (recipients.length === 0 || recipients.includes(undefined)) return undefined;
    this.#bindings++;
    const table = new ImportedTable(header);
    for (const { text } of element.comments) table.comment(text);
    table.set("name", this.#name(values.get("name"), `binding-${this.#bindings}`));
    this.#describe(table, values);
    table.set("recipients", [...new Set(recipients)]).set("deliver", [CHANNEL]);
    this.#attributesAndTexts(element, new Set(["name", "description", "tags", ...filters.map(({ name }) => name)]));
    this.#remark(
      element.line,
      `What ${elementName(element)} does is not translated; its mail is kept by the channel ${quote(CHANNEL)}`,
    );
    for (const child of element.children) this.#untranslated(child);
    this.#loose.push(...element.lastComments);
    return table;
  }

  /** The value, or a problem when it is there and is none. */
  #checked<Value>(
    attribute: XmlAttribute | undefined,
    what: string,
    read: (text: string) => Value | undefined,
  ): Value | undefined {
    if (attribute === undefined) return undefined;
    const value = read(attribute.value.trim());
    if (value === undefined) this.#problem(attribute.line, `${told(attribute.name, attribute.value)} is not ${what}`);
    return value;
  }

  /** Tells of attributes that are not among the known ones, and of text. */
  #attributesAndTexts(element: XmlElement, known: ReadonlySet<string>): void {
    const of = `of ${elementName(element)}`;
    for (const attribute of element.attributes) {
      if (isPlain(attribute) && known.has(attribute.name)) continue;
      this.#remark(attribute.line, `The attribute ${told(attribute.name, attribute.value)} ${of} has no equivalent`);
    }
    for (const { text, line } of element.texts) {
      const shown = toldText(element.name, text);
      this.#remark(line, `The text ${shown} ${of} has no equivalent`);
    }
  }

  /** Tells of an element and all that is in it. */
  #untranslated(element: XmlElement, isTold = true): void {
    if (isTold) this.#remark(element.line, `${elementName(element)} has no equivalent`);
    this.#loose.push(...element.comments, ...element.lastComments);
    this.#attributesAndTexts(element, new Set());
    for (const child of element.children) this.#untranslated(child);
  }

  #remark(line: number, text: string): void {
    this.#remarks.push({ file: this.#file, line, text });
  }

  #problem(line: number, text: string): void {
    this.#problems.push({ file: this.#file, line, text });
  }
}

/** Attributes of SMTPListener that are numbers, what they become, and the bounds of that. */
const NUMBERS = [
  ["portNum", "port", 1, 65_535],
  ["maxConcurrency", "max_concurrency", 1, 1_000_000],
  ["sessionMaxMessages", "session_max_messages", 1, 1_000_000_000],
  ["sessionTimeout", "session_timeout", 1, 7 * DAY_SECONDS],
] as const;

const LISTENER_ATTRIBUTES: ReadonlySet<string> = new Set([
  "name",
  "description",
  "tags",
  "listenIP",
  "hostName",
  ...NUMBERS.map(([name]) => name),
]);

const CERTIFICATE = /^(?:ssl|server)?cert(?:ificate)?(?:chain)?(?:file|path|filename)?$/iu;
const PRIVATE_KEY = /^(?:ssl|server)?(?:private)?key(?:file|path|filename)?$/iu;
const FILTER = /^(?:mail|email|e-mail)?(?:address|addr|recipients?|rcpt|to|domains?)?(?:filter|pattern)?$/iu;

/** Elements and attributes of the format itself, not of another one embedded in it. */
function isOurs(element: XmlElement): boolean {
  return element.uri === "" || element.uri === NAMESPACE;
}

function isPlain(attribute: XmlAttribute): boolean {
  return attribute.uri === "" || attribute.uri === NAMESPACE;
}

/** `example.com`, `@example.com` and `*@example.com` are the domain; undefined for what cannot be a pattern here. */
function recipientPattern(word: string): string | undefined {
  const text = word.startsWith("@") ? `*${word}` : word.includes("@") || word === "*" ? word : `*@${word}`;
  return !text.startsWith("/") && text.length <= 1000 && parsePattern(text).ok ? text : undefined;
}

function byLine(remarks: readonly Remark[]): readonly Remark[] {
  return [...remarks].sort((left, right) => left.line - right.line);
}
