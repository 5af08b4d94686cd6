/**
 * Rules that concern more than one key: names, references, combinations. They look at the tree, not at the checked values,
 * so that they work whatever else is wrong, and leave to the schema what is the schema's. It must not build anything.
 */
import { isIP } from "node:net";
import { MIN_RECIPIENTS } from "../smtp/limits.ts";
import { checkBinding } from "./binding_consistency.ts";
import { type Diagnostic, diagnostic, fileSpan, type Fix, quote } from "./diagnostic.ts";
import { type Parsed, parseDuration } from "./duration.ts";
import { parseSize } from "./size.ts";
import { checkSlaves, inboundChannels } from "./slave_consistency.ts";
import { type Source, spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { type Node, tableAt, type TableNode, tablesAt, type Text, textAt, textsAt } from "./tree.ts";

export interface ConsistencyContext {
  readonly report: (finding: Diagnostic) => void;
  readonly main: Source;
  /** False when a file could not be read: then nothing is reported as absent. */
  readonly complete: boolean;
}

export function checkConsistency(root: TableNode, context: ConsistencyContext): void {
  const listeners = tablesAt(root, "listener");
  const bindings = [...tablesAt(root, "binding"), ...listeners.flatMap((listener) => tablesAt(listener, "binding"))];
  const channels = tablesAt(root, "channel");
  checkNames([...listeners, ...bindings, ...channels], context);
  checkDeliveries(root, bindings, channels, context);
  for (const binding of bindings) checkBinding(binding, [...listeners, ...channels], context);
  for (const listener of listeners) checkListener(listener, context);
  for (const channel of channels) {
    checkRetry(channel, context);
    checkNotices(channel, context);
  }
  checkEndpoints(listeners, context);
  checkSlaves(root, context);
  if (context.complete && !root.entries.has("listener") && inboundChannels(root).length === 0) {
    context.report(diagnostic("SMTPD109", "No listener is defined", fileSpan(context.main.file), {
      help: 'Add one, for example:\n[[listener]]\nname = "inbound"\nport = 2525',
    }));
  }
}

/** Names are unique over the whole configuration, so that logs and commands need only the name. */
function checkNames(tables: readonly TableNode[], context: ConsistencyContext): void {
  const names = tables.map((table) => textAt(table, "name")).filter((name) => name !== undefined);
  names.sort(byPlace);
  const seen = new Map<string, Text>();
  for (const name of names) {
    const earlier = seen.get(name.value);
    if (earlier === undefined) seen.set(name.value, name);
    else {
      context.report(diagnostic("SMTPD104", `The name ${quote(name.value)} is already taken`, spanOf(name.place), {
        secondary: [{ ...spanOf(earlier.place), label: "first used here" }],
        help: "Names are unique over the whole configuration: listeners, bindings and channels. Choose another.",
      }));
    }
  }
}

function byPlace(left: Text, right: Text): number {
  return left.place.source.order - right.place.source.order || left.place.start - right.place.start;
}

function checkDeliveries(
  root: TableNode,
  bindings: readonly TableNode[],
  channels: readonly TableNode[],
  context: ConsistencyContext,
): void {
  const names = channels.map((channel) => textAt(channel, "name")?.value);
  // A channel without a readable name is reported already, and may be the one that is meant.
  if (!context.complete || names.includes(undefined)) return;
  const known = new Set(names.filter((name) => name !== undefined));
  const notifications = tableAt(root, "notifications");
  const named = bindings.map((binding) => textsAt(binding, "deliver"));
  if (notifications !== undefined) named.push(textsAt(notifications, "channel"));
  for (const texts of named) {
    for (const text of texts) {
      if (known.has(text.value) || text.value === "") continue;
      const place = spanOf(text.place);
      const meant = nearest(text.value, known);
      const list = known.size === 0 ? "There is none." : `There are: ${[...known].slice(0, 10).map(quote).join(", ")}.`;
      const fix: Fix | undefined = meant === undefined
        ? undefined
        : { title: `Deliver to ${quote(meant)}`, edits: [{ span: place, text: JSON.stringify(meant) }] };
      context.report(diagnostic("SMTPD105", `There is no channel ${quote(text.value)}`, place, {
        help: meant === undefined
          ? `Define it with [[channel]], or name another. ${list}`
          : `Did you mean ${quote(meant)}?`,
        fix,
      }));
    }
  }
}

function checkListener(listener: TableNode, context: ConsistencyContext): void {
  const tls = tableAt(listener, "tls");
  const mode = tls === undefined ? undefined : textAt(tls, "mode");
  if (tls !== undefined && mode !== undefined && ["starttls", "required", "implicit"].includes(mode.value)) {
    const missing = ["certificate", "private_key"].filter((key) => !tls.entries.has(key));
    if (missing.length > 0) {
      const message = `TLS mode ${quote(mode.value)} needs ${missing.map(quote).join(" and ")}`;
      const help = 'Add certificate = "tls/cert.pem" and private_key = "tls/key.pem" (PEM files), or set mode = "off".';
      context.report(diagnostic("SMTPD110", message, spanOf(mode.place), { help }));
    }
  }
  checkMinimum(listener, "max_recipients", MIN_RECIPIENTS, "recipients (RFC 5321 §4.5.3.1.8)", wholeNumber, context);
  checkMinimum(listener, "max_message_size", 64 * 1024, "bytes (RFC 5321 §4.5.3.1.7)", parseSize, context);
}

/** Lower limits work, but clients may count on what the RFC promises them. */
function checkMinimum(
  table: TableNode,
  key: string,
  minimum: number,
  unit: string,
  parse: (value: number | string) => Parsed,
  context: ConsistencyContext,
): void {
  const value = quantityAt(table, key, parse);
  const node = table.entries.get(key)?.node;
  if (node === undefined || value === undefined || !(value >= 1 && value < minimum)) return;
  const message = `${quote(key)} is below the minimum of ${minimum} ${unit}`;
  const help = "Clients may rely on the minimum and fail below it. Raise the limit unless you mean it.";
  context.report(diagnostic("SMTPD201", message, spanOf(node.place), { help }));
}

function checkRetry(channel: TableNode, context: ConsistencyContext): void {
  const retry = tableAt(channel, "retry");
  const maximum = retry?.entries.get("max_delay");
  const initial = retry?.entries.get("first_delay");
  if (retry === undefined || maximum === undefined || initial === undefined) return;
  const first = quantityAt(retry, "first_delay", parseDuration);
  const last = quantityAt(retry, "max_delay", parseDuration);
  if (first === undefined || last === undefined || first <= last) return;
  context.report(diagnostic("SMTPD112", '"max_delay" is shorter than "first_delay"', spanOf(maximum.node.place), {
    secondary: [{ ...spanOf(initial.node.place), label: "the first wait" }],
    help: "Delays begin with first_delay and grow up to max_delay.",
  }));
}

/** Nobody is warned of what is given up by then. */
function checkNotices(channel: TableNode, context: ConsistencyContext): void {
  const notices = channel.entries.get("notices")?.node;
  const maximum = channel.entries.get("max_age");
  const maxAgeMs = maximum === undefined ? undefined : quantityOf(maximum.node, parseDuration);
  if (maximum === undefined || maxAgeMs === undefined || notices?.kind !== "array") return;
  const late = notices.items.find((item) => (quantityOf(item, parseDuration) ?? 0) >= maxAgeMs);
  if (late === undefined) return;
  context.report(diagnostic("SMTPD112", 'A warning of "notices" is not before "max_age"', spanOf(late.place), {
    secondary: [{ ...spanOf(maximum.node.place), label: "given up at this age" }],
    help:
      "A message of that age is given up, and then the sender is told so. Choose an earlier age, or a longer max_age.",
  }));
}

/** A number or text with a unit; undefined when absent or malformed, which the schema reports. */
function quantityAt(table: TableNode, key: string, parse: (value: number | string) => Parsed): number | undefined {
  return quantityOf(table.entries.get(key)?.node, parse);
}

function quantityOf(node: Node | undefined, parse: (value: number | string) => Parsed): number | undefined {
  if (node?.kind !== "scalar" || (typeof node.value !== "number" && typeof node.value !== "string")) return undefined;
  const parsed = parse(node.value);
  return parsed.ok ? parsed.value : undefined;
}

function wholeNumber(value: number | string): Parsed {
  return typeof value === "number" ? { ok: true, value } : { ok: false, message: "must be a number" };
}

interface Endpoint {
  readonly table: TableNode;
  /** `any`: every address of both families. */
  readonly address: string;
  readonly port: number;
}

function checkEndpoints(listeners: readonly TableNode[], context: ConsistencyContext): void {
  const earlier = new Map<number, Endpoint[]>();
  for (const table of listeners) {
    const portNode = table.entries.get("port")?.node;
    const address = table.entries.has("listen_ip") ? canonicalAddress(textAt(table, "listen_ip")?.value ?? "") : "any";
    if (portNode?.kind !== "scalar" || typeof portNode.value !== "number" || portNode.value === 0) continue;
    if (address === undefined) continue;
    const port = portNode.value;
    const others = earlier.get(port) ?? [];
    const other = others.find((candidate) => overlaps(candidate.address, address));
    if (other !== undefined) {
      const otherPort = other.table.entries.get("port")?.node.place ?? other.table.place;
      const where = address === "any" ? `Port ${port}` : `Port ${port} of ${address}`;
      context.report(diagnostic("SMTPD108", `${where} already belongs to another listener`, spanOf(portNode.place), {
        secondary: [{
          ...spanOf(otherPort),
          label: other.address === "any" ? "taken here on every address" : "taken here",
        }],
        help: "Give each listener a port or a listen_ip of its own.",
      }));
    }
    earlier.set(port, [...others, { table, address, port }]);
  }
}

function overlaps(left: string, right: string): boolean {
  if (left === right || left === "any" || right === "any") return true;
  const both = [left, right];
  // "::" takes IPv4 too on most systems; "0.0.0.0" only IPv4.
  if (both.includes("::")) return true;
  return both.includes("0.0.0.0") && both.every((address) => isIP(address) === 4);
}

function canonicalAddress(text: string): string | undefined {
  const family = isIP(text);
  if (family === 0) return undefined;
  if (family === 4 || text.includes("%")) return text;
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  // An IPv4 address in IPv6 form is the same endpoint (RFC 4291 §2.5.5.2).
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/u.exec(canonical);
  if (mapped === null) return canonical;
  const words = [mapped[1], mapped[2]].map((word) => parseInt(word ?? "", 16));
  return words.map((word) => `${word >> 8}.${word & 0xff}`).join(".");
}
