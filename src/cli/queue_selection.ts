/**
 * Which deliveries a queue command is about: message ids, their beginnings and ranges, and the filters of the command line,
 * looked up in the spool. It must not know what is done with them.
 */
import { FieldCollector, MAX_COLLECTED_OCTETS } from "../message/field.ts";
import { decodeCharset } from "../server/charset.ts";
import type { DeliveryState, QueueEntry, Selection, Spool } from "../spool/spool.ts";
import { SpoolError } from "../spool/spool.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";
import { visible } from "./terminal.ts";

/** The filters of the command line; all that are given must hold. */
export interface Filters {
  readonly channel?: string;
  readonly state?: DeliveryState;
  readonly sender?: string;
  readonly recipient?: string;
  readonly binding?: string;
  /** Milliseconds. */
  readonly olderThan?: number;
  readonly newerThan?: number;
  /** A part of the subject, whatever its case. */
  readonly subject?: string;
}

const filterNames: readonly (keyof Filters)[] = [
  "channel",
  "state",
  "sender",
  "recipient",
  "binding",
  "olderThan",
  "newerThan",
  "subject",
];

/** Entries asked of the spool at one time. */
const pageEntries = 1000;
/** Subjects read from the spool at one time. */
const subjectsAtATime = 32;
/** The beginning of an id must be so long to stand for it, so that a slip hits nothing. */
const minPrefix = 4;
/** Behind every id that begins as the text before it does. */
const END = "\u{10ffff}";

export function hasFilters(filters: Filters): boolean {
  return filterNames.some((name) => filters[name] !== undefined);
}

/** The part of the selection that the spool itself understands: everything but the subject. */
export function toSelection(filters: Filters, nowMs: number): Selection {
  const { channel, state, binding, sender, recipient, olderThan, newerThan } = filters;
  return {
    ...(channel === undefined ? {} : { channel }),
    ...(state === undefined ? {} : { state }),
    ...(binding === undefined ? {} : { binding }),
    ...(sender === undefined ? {} : { sender: sender.replace(/^<(.*)>$/, "$1") }),
    ...(recipient === undefined ? {} : { recipient: recipient.replace(/^<(.*)>$/, "$1") }),
    ...(olderThan === undefined ? {} : { receivedBeforeMs: nowMs - olderThan }),
    ...(newerThan === undefined ? {} : { receivedAfterMs: nowMs - newerThan }),
  };
}

export interface Resolved {
  /** A selection for each argument that was found, without the filters; one that takes everything when there was none. */
  readonly scopes: readonly Selection[];
  readonly unknown: readonly string[];
}

/** Arguments are ids, beginnings of ids, or ranges of either: FIRST..LAST. Throws when a beginning fits several messages. */
export async function resolve(spool: Spool, texts: readonly string[]): Promise<Resolved> {
  if (texts.length === 0) return { scopes: [{}], unknown: [] };
  const scopes: Selection[] = [];
  const unknown: string[] = [];
  for (const text of new Set(texts)) {
    const dots = text.indexOf("..");
    const found = dots < 0 ? await resolveId(spool, text) : await resolveRange(spool, text, dots);
    if (found === undefined) unknown.push(text);
    else scopes.push(found);
  }
  return { scopes, unknown };
}

/** The message that an id, or the beginning of one, stands for. */
export async function resolveId(spool: Spool, text: string): Promise<Selection & { messageId: string } | undefined> {
  if (text === "") return undefined;
  if ((await spool.list({ messageId: text, limit: 1 })).length > 0) return { messageId: text };
  if (text.length < minPrefix) return undefined;
  const first = await idWithin(spool, text, text + END);
  if (first === undefined) return undefined;
  const other = await idWithin(spool, `${first}\0`, text + END) ?? await idWithin(spool, text, before(first));
  if (other === undefined) return { messageId: first };
  throw new CommandError(
    `"${text}" is the beginning of several ids, such as "${first}" and "${other}". Write more of it`,
    exitCode.usage,
  );
}

async function resolveRange(spool: Spool, text: string, dots: number): Promise<Selection | undefined> {
  const from = text.slice(0, dots);
  const to = text.slice(dots + 2);
  if (from === "" || to === "" || to.includes("..")) {
    throw new CommandError(`"${text}" is no range of ids. Write FIRST..LAST`, exitCode.usage);
  }
  const messageIds = { from, to: to + END };
  return (await spool.list({ messageIds, limit: 1 })).length > 0 ? { messageIds } : undefined;
}

async function idWithin(spool: Spool, from: string, to: string): Promise<string | undefined> {
  const [entry] = await spool.list({ messageIds: { from, to }, limit: 1 });
  return entry?.message.id;
}

/** A text that comes before an id and behind everything shorter that does. Ids are of ASCII alone. */
function before(id: string): string {
  return id.slice(0, -1) + String.fromCharCode(Math.max(0, id.charCodeAt(id.length - 1) - 1)) + END;
}

/** Everything the spool has of one message. */
export async function deliveriesOf(spool: Spool, messageId: string): Promise<readonly QueueEntry[]> {
  const found: QueueEntry[] = [];
  for await (const page of entriesOf(spool, { messageId })) found.push(...page);
  return found;
}

/** Pages of a selection, its limit included; absent: all of it. */
async function* entriesOf(spool: Spool, selection: Selection): AsyncGenerator<readonly QueueEntry[]> {
  let left = selection.limit ?? Number.POSITIVE_INFINITY;
  let after: number | undefined;
  while (left > 0) {
    const page = await spool.list({
      ...selection,
      limit: Math.min(pageEntries, left),
      ...(after === undefined ? {} : { afterDeliveryId: after }),
    });
    if (page.length === 0) return;
    yield page;
    left -= page.length;
    after = page.at(-1)?.deliveryId;
  }
}

/** Pages of everything that is selected, each delivery once. `limit`: as many as are needed, and a few more at most. */
export async function* selected(
  runtime: Runtime,
  spool: Spool,
  scopes: readonly Selection[],
  filters: Filters,
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<readonly QueueEntry[]> {
  const selection = toSelection(filters, runtime.clock.nowMs());
  const { subject } = filters;
  const seen = scopes.length > 1 ? new Set<number>() : undefined;
  for (const scope of scopes) {
    const bound = subject === undefined && seen === undefined && Number.isFinite(limit) ? { limit } : {};
    for await (const page of entriesOf(spool, { ...selection, ...scope, ...bound })) {
      let rows = page;
      if (seen !== undefined) {
        rows = rows.filter((entry) => !seen.has(entry.deliveryId));
        for (const entry of rows) seen.add(entry.deliveryId);
      }
      if (subject !== undefined) rows = await withSubject(spool, rows, subject.toLowerCase());
      if (rows.length > 0) yield rows;
    }
  }
}

async function withSubject(
  spool: Spool,
  rows: readonly QueueEntry[],
  wanted: string,
): Promise<readonly QueueEntry[]> {
  const ids = [...new Set(rows.map((entry) => entry.message.id))];
  const fitting = new Set<string>();
  for (let at = 0; at < ids.length; at += subjectsAtATime) {
    await Promise.all(
      ids.slice(at, at + subjectsAtATime).map(async (id) => {
        const subject = await subjectOf(spool, id);
        if (subject?.toLowerCase().includes(wanted) === true) fitting.add(id);
      }),
    );
  }
  return rows.filter((entry) => fitting.has(entry.message.id));
}

/** Decoded; undefined for a message without one, and for one that is gone by now. */
async function subjectOf(spool: Spool, messageId: string): Promise<string | undefined> {
  const collector = new FieldCollector();
  let octets = 0;
  try {
    for await (const piece of spool.content(messageId)) {
      collector.see(piece);
      octets += piece.length;
      if (octets >= MAX_COLLECTED_OCTETS) break;
    }
  } catch (error) {
    if (error instanceof SpoolError && error.code === "gone") return undefined;
    throw error;
  }
  return collector.fields(decodeCharset).find(({ name }) => name === "subject")?.value;
}

/** Tells what does not exist; the exit code that follows from it. */
export function reportUnknown(runtime: Runtime, unknown: readonly string[]): number {
  for (const id of unknown) {
    const what = id.includes("..") ? `no message of the range "${visible(id)}"` : `no message "${visible(id)}"`;
    runtime.processes.stdio.writeErr(`smtpd: There is ${what} in the queue.\n`);
  }
  return unknown.length === 0 ? exitCode.ok : exitCode.no;
}
