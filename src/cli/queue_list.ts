/**
 * `smtpd queue list` and `smtpd queue summary`: what is in the queue, one by one and counted. It must not know how the
 * spool stores things, and prints nothing from a message that it has not made visible.
 */
import { jsonText } from "../observe/lines.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { QueueEntry, Spool, SummaryGroup } from "../spool/spool.ts";
import { exitCode } from "./exit.ts";
import {
  countText,
  defaultRows,
  entryAsJson,
  isoTime,
  listColumns,
  numberText,
  type QueueOptions,
} from "./queue_entry.ts";
import { Progress } from "./queue_progress.ts";
import { type Filters, reportUnknown, resolve, selected, toSelection } from "./queue_selection.ts";
import { type Column, relativeTime, styles, tableLines, wantsColour } from "./terminal.ts";

export interface QueueListOptions extends QueueOptions, Filters {
  /** Most rows to show; 0: all of them. Absent: `defaultRows` in a table, all of them in JSON. */
  readonly limit?: number;
}

/** Groups of a summary that the spool is asked for when all are wanted: as many as it gives. */
const allGroups = 10_000;

export function rowLimit(options: QueueListOptions): number {
  const limit = options.limit ?? (options.json === true ? 0 : defaultRows);
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}

/** Commands work on a spool that somebody else opened and will close. */
export async function queueList(
  runtime: Runtime,
  spool: Spool,
  ids: readonly string[],
  options: QueueListOptions,
): Promise<number> {
  const limit = rowLimit(options);
  const { scopes, unknown } = await resolve(spool, ids);
  using progress = new Progress(runtime, "Looking");
  // One entry more than the limit is read, so that the last page can say whether more follow.
  const pages = cut(selected(runtime, spool, scopes, options, limit + 1), limit, progress);
  if (options.json === true) await writeJsonArray(runtime, pages, entryAsJson);
  else await listAsTable(runtime, pages, limit);
  return reportUnknown(runtime, unknown);
}

interface Page<Row> {
  readonly rows: readonly Row[];
  /** The limit was reached, and there is more. */
  readonly more: boolean;
}

/** The first `limit` rows. */
export async function* cut<Row>(
  pages: AsyncIterable<readonly Row[]>,
  limit: number,
  progress: Progress,
): AsyncGenerator<Page<Row>> {
  let left = limit;
  let held: readonly Row[] = [];
  for await (const page of pages) {
    progress.add(page.length);
    if (left === 0) {
      yield { rows: held, more: true };
      return;
    }
    if (held.length > 0) yield { rows: held, more: false };
    held = page.slice(0, left);
    left -= held.length;
    if (page.length > held.length) {
      yield { rows: held, more: true };
      return;
    }
  }
  if (held.length > 0) yield { rows: held, more: false };
}

/** Writes as it reads, so that memory stays flat. */
export async function writeJsonArray<Row>(
  runtime: Runtime,
  pages: AsyncIterable<Page<Row>> | Iterable<Page<Row>>,
  toJson: (row: Row) => unknown,
): Promise<void> {
  const { stdio } = runtime.processes;
  let separator = "[\n";
  for await (const { rows } of pages) {
    let text = "";
    for (const row of rows) {
      text += separator + jsonText(toJson(row));
      separator = ",\n";
    }
    stdio.writeOut(text);
  }
  stdio.writeOut(separator === "[\n" ? "[]\n" : "\n]\n");
}

async function listAsTable(runtime: Runtime, pages: AsyncIterable<Page<QueueEntry>>, limit: number): Promise<void> {
  const style = styles(wantsColour(runtime, "out"));
  const columns = listColumns(runtime.clock.nowMs(), style);
  await writeTable(runtime, pages, limit, (rows) => tableLines(columns, rows, style, (entry) => entry.lastDetail));
}

/** Each page is a table of its own; a word on standard error when there is nothing, or more. */
export async function writeTable<Row>(
  runtime: Runtime,
  pages: AsyncIterable<Page<Row>>,
  limit: number,
  toLines: (rows: readonly Row[]) => readonly string[],
): Promise<void> {
  const { stdio } = runtime.processes;
  let empty = true;
  for await (const { rows, more } of pages) {
    empty = false;
    stdio.writeOut(`${toLines(rows).join("\n")}\n`);
    if (more) stdio.writeErr(`smtpd: These are the first ${limit}. More follow: use --limit, 0 for all of them.\n`);
  }
  if (empty) stdio.writeErr("smtpd: Nothing in the queue matches.\n");
}

export async function queueSummary(runtime: Runtime, spool: Spool, options: QueueListOptions): Promise<number> {
  const { stdio } = runtime.processes;
  const nowMs = runtime.clock.nowMs();
  const limit = Math.min(rowLimit(options), allGroups);
  using progress = new Progress(runtime, "Counting");
  const { groups, groupCount, total } = await spool.summary({ ...toSelection(options, nowMs), limit });
  progress[Symbol.dispose]();
  if (options.json === true) {
    stdio.writeOut(`${jsonText({ total, groupCount, groups: groups.map(groupAsJson) }, 2)}\n`);
    return exitCode.ok;
  }
  if (groupCount === 0) {
    stdio.writeErr("smtpd: Nothing in the queue matches.\n");
    return exitCode.ok;
  }
  const style = styles(wantsColour(runtime, "out"));
  const row = { channel: "total", domain: countText(groupCount, "group", "groups"), ...total };
  stdio.writeOut(`${tableLines(summaryColumns(nowMs), [...groups, row], style).join("\n")}\n`);
  if (groups.length < groupCount) {
    stdio.writeErr(`smtpd: These are the largest ${groups.length}. More follow: use --limit, 0 for all of them.\n`);
  }
  return exitCode.ok;
}

type SummaryRow = Omit<SummaryGroup, "oldestAtMs"> & { readonly oldestAtMs?: number };

function summaryColumns(nowMs: number): readonly Column<SummaryRow>[] {
  const count = (title: string, of: (row: SummaryRow) => number): Column<SummaryRow> => ({
    title,
    align: "right",
    text: (row) => numberText(of(row)),
  });
  const time = (ms: number | undefined) => ms === undefined ? "-" : relativeTime(ms, nowMs);
  return [
    { title: "CHANNEL", text: (row) => row.channel },
    { title: "DOMAIN", text: (row) => row.domain === "" ? "-" : row.domain },
    count("QUEUED", (row) => row.queued),
    count("LEASED", (row) => row.leased),
    count("HELD", (row) => row.held),
    count("FAILED", (row) => row.failed),
    { title: "OLDEST", text: (row) => time(row.oldestAtMs) },
    {
      title: "NEXT",
      text: (row) => time(row.nextDueAtMs === undefined ? undefined : Math.max(row.nextDueAtMs, nowMs)),
    },
  ];
}

function groupAsJson({ oldestAtMs, nextDueAtMs, ...group }: SummaryGroup) {
  return {
    ...group,
    oldestAt: isoTime(oldestAtMs),
    nextDueAt: nextDueAtMs === undefined ? undefined : isoTime(nextDueAtMs),
  };
}
