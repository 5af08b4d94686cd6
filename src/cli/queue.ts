/**
 * `smtpd queue`: look at the spool and remove messages from it, while `serve` runs or while it does not. It must not
 * know how the spool stores things, and prints nothing from a message that it has not made visible.
 */
import { jsonText } from "../observe/lines.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Attempt, DeliveryState, QueueEntry, Selection, Spool, StoredMessage } from "../spool/spool.ts";
import { exitCode } from "./exit.ts";
import {
  type Column,
  relativeTime,
  sizeText,
  type Style,
  styles,
  tableLines,
  visible,
  wantsColour,
} from "./terminal.ts";

export interface QueueOptions {
  readonly config?: string;
  readonly json?: boolean;
}

export interface QueueListOptions extends QueueOptions {
  readonly channel?: string;
  readonly state?: DeliveryState;
  /** Most entries to show; 0: all of them. Absent: `defaultRows` in a table, all of them in JSON. */
  readonly limit?: number;
}

/** A table longer than this is not read by anybody. */
export const defaultRows = 100;
/** Entries asked of the spool at one time. */
const pageEntries = 1000;

/** Commands work on a spool that somebody else opened and will close. */
export async function queueList(runtime: Runtime, spool: Spool, options: QueueListOptions): Promise<number> {
  const limit = options.limit ?? (options.json === true ? 0 : defaultRows);
  const pages = entries(spool, options, limit === 0 ? Number.POSITIVE_INFINITY : limit);
  if (options.json === true) await listAsJson(runtime, pages);
  else await listAsTable(runtime, pages, limit);
  return exitCode.ok;
}

/** Pages of the selection; one entry more than `limit` is read so that the last page can say whether more follow. */
async function* entries(
  spool: Spool,
  options: QueueListOptions,
  limit: number,
): AsyncGenerator<{ readonly rows: readonly QueueEntry[]; readonly more: boolean }> {
  let left = limit;
  let after: number | undefined;
  while (left > 0) {
    const asked = Math.min(pageEntries, left + 1);
    const selection: Selection = {
      limit: asked,
      ...(options.channel === undefined ? {} : { channel: options.channel }),
      ...(options.state === undefined ? {} : { state: options.state }),
      ...(after === undefined ? {} : { afterDeliveryId: after }),
    };
    const found = await spool.list(selection);
    const rows = found.slice(0, left);
    left -= rows.length;
    after = rows.at(-1)?.deliveryId;
    if (rows.length > 0) yield { rows, more: left === 0 && found.length > rows.length };
    if (found.length === 0) return;
  }
}

async function listAsJson(runtime: Runtime, pages: AsyncIterable<{ readonly rows: readonly QueueEntry[] }>) {
  const { stdio } = runtime.processes;
  let separator = "[\n";
  for await (const { rows } of pages) {
    let text = "";
    for (const entry of rows) {
      text += separator + jsonText(entryAsJson(entry));
      separator = ",\n";
    }
    stdio.writeOut(text);
  }
  stdio.writeOut(separator === "[\n" ? "[]\n" : "\n]\n");
}

async function listAsTable(
  runtime: Runtime,
  pages: AsyncIterable<{ readonly rows: readonly QueueEntry[]; readonly more: boolean }>,
  limit: number,
): Promise<void> {
  const { stdio } = runtime.processes;
  const style = styles(wantsColour(runtime, "out"));
  const columns = listColumns(runtime.clock.nowMs(), style);
  let empty = true;
  for await (const { rows, more } of pages) {
    empty = false;
    const lines = tableLines(columns, rows, style, (entry) => entry.lastDetail);
    stdio.writeOut(`${lines.join("\n")}\n`);
    if (more) stdio.writeErr(`smtpd: These are the first ${limit}. More follow: use --limit, 0 for all of them.\n`);
  }
  if (empty) stdio.writeErr("smtpd: Nothing in the queue matches.\n");
}

function listColumns(nowMs: number, style: Style): readonly Column<QueueEntry>[] {
  const paint = (entry: QueueEntry) => stateStyle(entry.state, style);
  return [
    { title: "MESSAGE", text: (entry) => entry.message.id },
    { title: "STATE", text: (entry) => entry.state, paint },
    { title: "TRIES", align: "right", text: (entry) => String(entry.attempts) },
    { title: "DUE", text: (entry) => dueText(entry, nowMs) },
    { title: "RECEIVED", text: (entry) => relativeTime(entry.message.receivedAtMs, nowMs) },
    { title: "SIZE", align: "right", text: (entry) => sizeText(entry.message.sizeBytes) },
    { title: "CHANNEL", text: (entry) => entry.delivery.channel },
    { title: "FROM", text: (entry) => reversePathText(entry.message) },
    { title: "TO", text: (entry) => entry.delivery.recipient },
  ];
}

function stateStyle(state: DeliveryState, style: Style): ((text: string) => string) | undefined {
  if (state === "failed") return style.red;
  return state === "held" ? style.yellow : undefined;
}

/** Failed and held deliveries wait for a person, not for a time. */
function dueText(entry: QueueEntry, nowMs: number): string {
  if (entry.state === "failed" || entry.state === "held") return "-";
  return entry.dueAtMs <= nowMs ? "now" : relativeTime(entry.dueAtMs, nowMs);
}

function reversePathText(message: StoredMessage): string {
  return message.envelope.reversePath === "" ? "<>" : message.envelope.reversePath;
}

/** Everything the spool knows of some messages. */
export async function queueShow(
  runtime: Runtime,
  spool: Spool,
  ids: readonly string[],
  options: QueueOptions,
): Promise<number> {
  const { stdio } = runtime.processes;
  const style = styles(wantsColour(runtime, "out"));
  const shown: unknown[] = [];
  const missing: string[] = [];
  for (const id of new Set(ids)) {
    const deliveries = await deliveriesOf(spool, id);
    const message = deliveries[0]?.message;
    if (message === undefined) {
      missing.push(id);
      continue;
    }
    const attempts = await spool.attempts(id);
    if (options.json === true) shown.push(messageAsJson(message, deliveries, attempts));
    else stdio.writeOut(messageText(message, deliveries, attempts, runtime.clock.nowMs(), style));
  }
  if (options.json === true) stdio.writeOut(`${jsonText(shown, 2)}\n`);
  return reportMissing(runtime, missing);
}

async function deliveriesOf(spool: Spool, messageId: string): Promise<readonly QueueEntry[]> {
  const found: QueueEntry[] = [];
  let after: number | undefined;
  while (true) {
    const page = await spool.list({
      messageId,
      limit: pageEntries,
      ...(after === undefined ? {} : { afterDeliveryId: after }),
    });
    if (page.length === 0) return found;
    found.push(...page);
    after = page.at(-1)?.deliveryId;
  }
}

function messageText(
  message: StoredMessage,
  deliveries: readonly QueueEntry[],
  attempts: readonly Attempt[],
  nowMs: number,
  style: Style,
): string {
  const { envelope } = message;
  const { origin } = envelope;
  const time = (ms: number) => `${new Date(ms).toISOString()} (${relativeTime(ms, nowMs)})`;
  const facts: readonly (readonly [string, string])[] = [
    ["received", time(message.receivedAtMs)],
    ["size", `${sizeText(message.sizeBytes)} (${message.sizeBytes} bytes)`],
    ["from", reversePathText(message)],
    ["body", envelope.smtputf8 ? `${envelope.body}, SMTPUTF8` : envelope.body],
    ["client", `${origin.address === "" ? "unknown" : origin.address} (${origin.helo})`],
    ["listener", `${origin.listener}, ${origin.protocol}`],
    ["session", origin.session],
  ];
  const lines = [style.bold(visible(message.id))];
  for (const [name, value] of facts) lines.push(`  ${style.dim(name.padEnd(9))} ${visible(value)}`);
  for (const entry of deliveries) {
    lines.push("", `  ${style.bold(visible(entry.delivery.recipient))}`);
    const told = [
      ["state", `${entry.state}, due ${dueText(entry, nowMs)}, tries ${entry.attempts}`],
      ["channel", `${entry.delivery.channel}, chosen by binding ${entry.delivery.binding}`],
      ...(entry.delivery.originalRecipient === undefined ? [] : [["was", entry.delivery.originalRecipient]]),
    ];
    for (const [name = "", value = ""] of told) lines.push(`    ${style.dim(name.padEnd(9))} ${visible(value)}`);
    for (const attempt of attempts) {
      if (attempt.deliveryId !== entry.deliveryId) continue;
      lines.push(`    ${style.dim(attempt.kind.padEnd(9))} ${time(attempt.atMs)} ${visible(attempt.detail)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Removes messages with all their deliveries. */
export async function queueRemove(
  runtime: Runtime,
  spool: Spool,
  ids: readonly string[],
  options: QueueOptions,
): Promise<number> {
  const wanted = [...new Set(ids)];
  const removed = new Set(await spool.remove(wanted));
  const missing = wanted.filter((id) => !removed.has(id));
  const { stdio } = runtime.processes;
  if (options.json === true) stdio.writeOut(`${jsonText({ removed: [...removed], missing })}\n`);
  else for (const id of removed) stdio.writeOut(`Removed ${visible(id)}\n`);
  return reportMissing(runtime, missing);
}

function reportMissing(runtime: Runtime, missing: readonly string[]): number {
  for (const id of missing) {
    runtime.processes.stdio.writeErr(`smtpd: There is no message "${visible(id)}" in the queue.\n`);
  }
  return missing.length === 0 ? exitCode.ok : exitCode.no;
}

/** The stable shape of `--json`; times in ISO 8601, absent values left out. */
function entryAsJson(entry: QueueEntry) {
  const { message } = entry;
  return {
    message: message.id,
    ...deliveryAsJson(entry),
    reversePath: message.envelope.reversePath,
    receivedAt: isoTime(message.receivedAtMs),
    sizeBytes: message.sizeBytes,
    listener: message.envelope.origin.listener,
    session: message.envelope.origin.session,
  };
}

function deliveryAsJson(entry: QueueEntry) {
  return {
    delivery: entry.deliveryId,
    state: entry.state,
    attempts: entry.attempts,
    dueAt: isoTime(entry.dueAtMs),
    lastDetail: entry.lastDetail,
    recipient: entry.delivery.recipient,
    originalRecipient: entry.delivery.originalRecipient,
    notify: entry.delivery.notify,
    orcpt: entry.delivery.orcpt,
    channel: entry.delivery.channel,
    binding: entry.delivery.binding,
  };
}

function messageAsJson(message: StoredMessage, deliveries: readonly QueueEntry[], attempts: readonly Attempt[]) {
  return {
    message: message.id,
    receivedAt: isoTime(message.receivedAtMs),
    sizeBytes: message.sizeBytes,
    envelope: message.envelope,
    deliveries: deliveries.map((entry) => ({
      ...deliveryAsJson(entry),
      history: attempts
        .filter((attempt) => attempt.deliveryId === entry.deliveryId)
        .map(({ atMs, kind, detail }) => ({ at: isoTime(atMs), kind, detail })),
    })),
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
