/**
 * `smtpd queue show`, `cat` and `history`: everything the spool knows of single messages. Nothing from a message reaches
 * a terminal that has not been made visible; a file or a pipe gets the stored bytes of `cat` as they are.
 */
import { jsonText } from "../observe/lines.ts";
import { type Runtime, TransportError } from "../runtime/runtime.ts";
import { senderOf } from "../spool/selection.ts";
import type { Attempt, QueueEntry, Spool, StoredMessage } from "../spool/spool.ts";
import { SpoolError } from "../spool/spool.ts";
import { exitCode } from "./exit.ts";
import { dueText, editText, isoTime, messageAsJson, type QueueOptions, reversePathText } from "./queue_entry.ts";
import { cut, type QueueListOptions, rowLimit, writeJsonArray, writeTable } from "./queue_list.ts";
import { Progress } from "./queue_progress.ts";
import { deliveriesOf, reportUnknown, resolve, resolveId, selected } from "./queue_selection.ts";
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

export async function queueShow(
  runtime: Runtime,
  spool: Spool,
  ids: readonly string[],
  options: QueueOptions,
): Promise<number> {
  const { stdio } = runtime.processes;
  const style = styles(wantsColour(runtime, "out"));
  const found = new Set<string>();
  const shown: unknown[] = [];
  const unknown: string[] = [];
  for (const id of new Set(ids)) {
    const messageId = (await resolveId(spool, id))?.messageId;
    const deliveries = messageId === undefined || found.has(messageId) ? [] : await deliveriesOf(spool, messageId);
    const message = deliveries[0]?.message;
    if (message === undefined) {
      if (messageId === undefined || !found.has(messageId)) unknown.push(id);
      continue;
    }
    found.add(message.id);
    const attempts = await spool.attempts(message.id);
    if (options.json === true) shown.push(messageAsJson(message, deliveries, attempts));
    else stdio.writeOut(messageText(message, deliveries, attempts, runtime.clock.nowMs(), style));
  }
  if (options.json === true) stdio.writeOut(`${jsonText(shown, 2)}\n`);
  return reportUnknown(runtime, unknown);
}

type Told = readonly (readonly [name: string, value: string])[];

function messageText(
  message: StoredMessage,
  deliveries: readonly QueueEntry[],
  attempts: readonly Attempt[],
  nowMs: number,
  style: Style,
): string {
  const lines = [style.bold(visible(message.id))];
  const tell = (indent: string, told: Told) => {
    for (const [name, value] of told) lines.push(`${indent}${style.dim(name.padEnd(9))} ${visible(value)}`);
  };
  tell("  ", messageFacts(message, nowMs));
  for (const entry of deliveries) {
    lines.push("", `  ${style.bold(visible(entry.delivery.recipient))}`);
    tell("    ", deliveryFacts(entry, nowMs));
    tell(
      "    ",
      attempts.filter((attempt) => attempt.deliveryId === entry.deliveryId)
        .map(({ kind, atMs, detail }) => [kind, `${timeText(atMs, nowMs)} ${detail}`] as const),
    );
  }
  return `${lines.join("\n")}\n`;
}

function messageFacts(message: StoredMessage, nowMs: number): Told {
  const { envelope } = message;
  const { origin } = envelope;
  // RFC 3461 §4.3, §4.4, in its words.
  const dsn = [
    ...(envelope.ret === undefined ? [] : [`RET=${envelope.ret === "full" ? "FULL" : "HDRS"}`]),
    ...(envelope.envid === undefined ? [] : [`ENVID=${envelope.envid}`]),
  ];
  return [
    ["received", timeText(message.receivedAtMs, nowMs)],
    ["size", `${sizeText(message.sizeBytes)} (${message.sizeBytes} bytes)`],
    ["from", reversePathText(envelope.reversePath)],
    ["body", envelope.smtputf8 ? `${envelope.body}, SMTPUTF8` : envelope.body],
    ...(dsn.length === 0 ? [] : [["dsn", dsn.join(" ")] as const]),
    ["client", `${origin.address === "" ? "unknown" : origin.address} (${origin.helo})`],
    ["listener", `${origin.listener}, ${origin.protocol}`],
    ["session", origin.session],
  ];
}

function deliveryFacts(entry: QueueEntry, nowMs: number): Told {
  const { originalRecipient, notify, orcpt, channel, binding, reversePath, edits } = entry.delivery;
  // RFC 3461 §4.1, §4.2.
  const dsn = [
    ...(notify === undefined ? [] : [`NOTIFY=${notify.join(",").toUpperCase()}`]),
    ...(orcpt === undefined ? [] : [`ORCPT=${orcpt}`]),
  ];
  return [
    ["state", `${entry.state}, due ${dueText(entry, nowMs)}, tries ${entry.attempts}`],
    ["channel", `${channel}, chosen by binding ${binding}`],
    ...(originalRecipient === undefined ? [] : [["was", originalRecipient] as const]),
    ...(dsn.length === 0 ? [] : [["dsn", dsn.join(" ")] as const]),
    ...(reversePath === undefined ? [] : [["from", reversePathText(senderOf(entry))] as const]),
    ...(edits ?? []).map((edit) => ["change", editText(edit)] as const),
  ];
}

function timeText(ms: number, nowMs: number): string {
  return `${isoTime(ms)} (${relativeTime(ms, nowMs)})`;
}

/** Writes the stored content to standard output. */
export async function queueCat(runtime: Runtime, spool: Spool, id: string): Promise<number> {
  const { stdio } = runtime.processes;
  const messageId = (await resolveId(spool, id))?.messageId;
  if (messageId === undefined) return reportUnknown(runtime, [id]);
  try {
    if (stdio.outIsTerminal) await catVisibly(spool, messageId, (text) => stdio.writeOut(text));
    else {
      const out = stdio.transport();
      for await (const piece of spool.content(messageId)) await out.write(piece);
    }
  } catch (error) {
    // Whoever reads has enough.
    if (error instanceof TransportError && error.code === "EPIPE") return exitCode.ok;
    if (error instanceof SpoolError && error.code === "gone") return reportUnknown(runtime, [messageId]);
    throw error;
  }
  return exitCode.ok;
}

/** Lines and tabs stay, whatever else could drive a terminal is made visible. */
async function catVisibly(spool: Spool, messageId: string, write: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let held = "";
  const show = (text: string) => write(text.split(/\r?\n/).map(visibleWithTabs).join("\n"));
  for await (const piece of spool.content(messageId)) {
    const text = held + decoder.decode(piece, { stream: true });
    // The LF that belongs to a CR at the end comes with the next piece.
    held = text.endsWith("\r") ? "\r" : "";
    show(held === "" ? text : text.slice(0, -1));
  }
  show(held + decoder.decode());
}

function visibleWithTabs(line: string): string {
  return line.split("\t").map(visible).join("\t");
}

interface HistoryRow {
  readonly entry: QueueEntry;
  readonly attempt: Attempt;
}

/** The failed attempts of everything that is selected, by message and in their order. */
export async function queueHistory(
  runtime: Runtime,
  spool: Spool,
  ids: readonly string[],
  options: QueueListOptions,
): Promise<number> {
  const limit = rowLimit(options);
  const { scopes, unknown } = await resolve(spool, ids);
  using progress = new Progress(runtime, "Looking");
  const pages = cut(historyOf(spool, selected(runtime, spool, scopes, options)), limit, progress);
  if (options.json === true) await writeJsonArray(runtime, pages, historyAsJson);
  else {
    const style = styles(wantsColour(runtime, "out"));
    const columns = historyColumns(runtime.clock.nowMs());
    await writeTable(
      runtime,
      pages,
      limit,
      (rows) => tableLines(columns, rows, style, ({ attempt }) => attempt.detail),
    );
  }
  return reportUnknown(runtime, unknown);
}

async function* historyOf(
  spool: Spool,
  pages: AsyncIterable<readonly QueueEntry[]>,
): AsyncGenerator<readonly HistoryRow[]> {
  for await (const page of pages) {
    const entries = new Map<number, QueueEntry>();
    const messages = new Set<string>();
    for (const entry of page) {
      if (entry.attempts === 0) continue;
      entries.set(entry.deliveryId, entry);
      messages.add(entry.message.id);
    }
    const rows: HistoryRow[] = [];
    for (const id of messages) {
      for (const attempt of await spool.attempts(id)) {
        const entry = entries.get(attempt.deliveryId);
        if (entry !== undefined) rows.push({ entry, attempt });
      }
    }
    if (rows.length > 0) yield rows;
  }
}

function historyColumns(nowMs: number): readonly Column<HistoryRow>[] {
  return [
    { title: "WHEN", text: ({ attempt }) => isoTime(attempt.atMs) },
    { title: "", text: ({ attempt }) => relativeTime(attempt.atMs, nowMs) },
    { title: "RESULT", text: ({ attempt }) => attempt.kind },
    { title: "MESSAGE", text: ({ entry }) => entry.message.id },
    { title: "CHANNEL", text: ({ entry }) => entry.delivery.channel },
    { title: "TO", text: ({ entry }) => entry.delivery.recipient },
  ];
}

function historyAsJson({ entry, attempt }: HistoryRow) {
  return {
    at: isoTime(attempt.atMs),
    kind: attempt.kind,
    detail: attempt.detail,
    message: entry.message.id,
    delivery: entry.deliveryId,
    channel: entry.delivery.channel,
    recipient: entry.delivery.recipient,
  };
}
