/**
 * `smtpd queue hold`, `release`, `retry`, `bounce` and `remove`: chooses deliveries, asks where that is wise, changes them
 * in bounded pieces, and tells what became of them. It must not know how the spool stores things.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isatty } from "node:tty";
import process from "node:process";
import { createInterface } from "node:readline/promises";
import { jsonText } from "../observe/lines.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Change, ChangeOutcome, QueueEntry, Spool } from "../spool/spool.ts";
import { changeable } from "../spool/spool.ts";
import { CommandError, exitCode } from "./exit.ts";
import type { Bouncer } from "./queue_bounce.ts";
import { countText, defaultRows, listColumns, type QueueOptions } from "./queue_entry.ts";
import { Progress } from "./queue_progress.ts";
import { type Filters, hasFilters, reportUnknown, resolve, selected } from "./queue_selection.ts";
import { styles, tableLines, wantsColour } from "./terminal.ts";

export interface QueueChangeOptions extends QueueOptions, Filters {
  readonly all?: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  /** Of `bounce`, for the history. */
  readonly reason?: string;
}

export type Action = "hold" | "release" | "retry" | "bounce" | "remove";

/** Asks a question at the terminal and gives the answer; undefined when there is no terminal. */
export type Ask = ((question: string) => Promise<string>) | undefined;

interface Words {
  readonly doing: string;
  /** Begins the report: `Held 3 deliveries …`. */
  readonly done: string;
  /** Goes on after it. */
  readonly after: string;
  /** Why a delivery in another state was left alone. */
  readonly unsuitable: string;
}

const SOON = " A running server attempts them within 5 seconds.";

const words: Readonly<Record<Action, Words>> = {
  hold: { doing: "Holding", done: "Held", after: "", unsuitable: "not queued: held already, or failed" },
  release: { doing: "Releasing", done: "Released", after: SOON, unsuitable: "not held" },
  retry: { doing: "Making due", done: "Made due", after: SOON, unsuitable: 'held: use "smtpd queue release"' },
  bounce: {
    doing: "Giving up",
    done: "Gave up",
    after: " They are kept as failed.",
    unsuitable: "failed already",
  },
  remove: { doing: "Removing", done: "Removed", after: "", unsuitable: "in a state that cannot be removed" },
};

/** Deliveries changed in one transaction. */
const batchSize = 500;

interface Candidate {
  readonly delivery: number;
  readonly message: string;
}

interface Skipped extends Candidate {
  readonly why: Exclude<ChangeOutcome, "changed">;
}

interface Choice {
  readonly candidates: readonly Candidate[];
  readonly skipped: Skipped[];
  /** The first candidates as they are. */
  readonly preview: readonly QueueEntry[];
}

/** Throws when the command line does not say clearly what to change. Before the spool is opened. */
export function checkChange(action: Action, ids: readonly string[], options: QueueChangeOptions, ask: Ask): void {
  const named = ids.length > 0 || hasFilters(options);
  if (options.all === true && named) {
    throw new CommandError("--all takes the whole queue: leave it out, or the ids and filters", exitCode.usage);
  }
  if (options.all !== true && !named) {
    throw new CommandError(
      `Say what to ${action}: ids, a filter such as --channel, or --all. See "smtpd queue ${action} --help"`,
      exitCode.usage,
    );
  }
  if (options.all === true && options.yes !== true && options.dryRun !== true && ask === undefined) {
    throw new CommandError(
      "--all takes the whole queue and asks first, and there is no terminal to ask at. Add --yes if you mean it",
      exitCode.usage,
    );
  }
}

export async function queueChange(
  runtime: Runtime,
  spool: Spool,
  action: Action,
  ids: readonly string[],
  options: QueueChangeOptions,
  ask: Ask,
  bouncer?: Bouncer,
): Promise<number> {
  const change = toChange(action, options.reason);
  const { scopes, unknown } = await resolve(spool, ids);
  const { candidates, skipped, preview } = await choose(runtime, selected(runtime, spool, scopes, options), change);
  const whole = options.all === true && options.yes !== true && options.dryRun !== true && candidates.length > 0;
  if (whole && !await confirmed(action, candidates, ask)) {
    runtime.processes.stdio.writeErr("smtpd: Nothing was changed.\n");
    return exitCode.no;
  }
  const changed = options.dryRun === true
    ? candidates
    : await apply(runtime, spool, candidates, change, action, skipped, bouncer);
  if (options.json === true) writeJson(runtime, action, options.dryRun === true, changed, skipped, unknown);
  else if (changed.length > 0) {
    if (options.dryRun === true) writePreview(runtime, preview, changed.length);
    writeReport(runtime, action, options.dryRun === true, changed, bouncer?.told);
  }
  reportSkipped(runtime, action, skipped);
  if (changed.length + skipped.length + unknown.length === 0) {
    runtime.processes.stdio.writeErr("smtpd: Nothing in the queue matches.\n");
  }
  const code = reportUnknown(runtime, unknown);
  return changed.length === 0 ? exitCode.no : code;
}

function toChange(action: Action, reason: string | undefined): Change {
  if (action !== "bounce") return { kind: action };
  return {
    kind: "fail",
    detail: reason === undefined ? "Given up by the operator" : `Given up by the operator: ${reason}`,
  };
}

/** All of them are known before the first is changed, so that what arrives meanwhile is not drawn in. */
async function choose(runtime: Runtime, pages: AsyncIterable<readonly QueueEntry[]>, change: Change): Promise<Choice> {
  using progress = new Progress(runtime, "Looking");
  const candidates: Candidate[] = [];
  const skipped: Skipped[] = [];
  const preview: QueueEntry[] = [];
  for await (const page of pages) {
    progress.add(page.length);
    for (const entry of page) {
      const candidate = { delivery: entry.deliveryId, message: entry.message.id };
      if (entry.state === "leased") skipped.push({ ...candidate, why: "leased" });
      else if (!changeable[change.kind].includes(entry.state)) skipped.push({ ...candidate, why: "unsuitable" });
      else {
        candidates.push(candidate);
        if (preview.length < defaultRows) preview.push(entry);
      }
    }
  }
  return { candidates, skipped, preview };
}

async function confirmed(action: Action, candidates: readonly Candidate[], ask: Ask): Promise<boolean> {
  const answer = await ask?.(`${upperFirst(action)} ${extent(candidates)}: the whole queue? [y/N] `) ?? "";
  return /^y(es)?$/i.test(answer.trim());
}

/** What changed its state since it was chosen goes to `skipped`; the spool decides. */
async function apply(
  runtime: Runtime,
  spool: Spool,
  candidates: readonly Candidate[],
  change: Change,
  action: Action,
  skipped: Skipped[],
  bouncer: Bouncer | undefined,
): Promise<readonly Candidate[]> {
  using progress = new Progress(runtime, words[action].doing, candidates.length);
  const changed: Candidate[] = [];
  const { clock } = runtime;
  let pauseMs = 0;
  for (let at = 0; at < candidates.length; at += batchSize) {
    // As long as the last piece took: who waits for the file, such as a running server, gets a turn.
    if (at > 0) await sleep(pauseMs);
    const batch = candidates.slice(at, at + batchSize);
    const startMs = clock.monotonicMs();
    const outcomes = change.kind === "fail" && bouncer !== undefined
      ? await bouncer.bounce(batch, change.detail)
      : await spool.change(batch.map(({ delivery }) => delivery), change);
    for (const [index, candidate] of batch.entries()) {
      const outcome = outcomes[index] ?? "gone";
      if (outcome === "changed") changed.push(candidate);
      else skipped.push({ ...candidate, why: outcome });
    }
    progress.add(batch.length);
    pauseMs = clock.monotonicMs() - startMs;
  }
  return changed;
}

/** In pieces: a text of a million entries need not be in memory as a whole. */
function writeJson(
  runtime: Runtime,
  action: Action,
  dryRun: boolean,
  changed: readonly Candidate[],
  skipped: readonly Skipped[],
  unknown: readonly string[],
): void {
  const { stdio } = runtime.processes;
  const write = (rows: readonly Candidate[]) => {
    stdio.writeOut("[");
    for (let at = 0; at < rows.length; at += batchSize) {
      const lines = rows.slice(at, at + batchSize).map((row) => `    ${jsonText(row)}`);
      stdio.writeOut(`${at === 0 ? "\n" : ",\n"}${lines.join(",\n")}`);
    }
    stdio.writeOut(rows.length === 0 ? "]" : "\n  ]");
  };
  stdio.writeOut(`{\n  "action": ${jsonText(action)},\n  "dryRun": ${dryRun},\n  "changed": `);
  write(changed);
  stdio.writeOut(',\n  "skipped": ');
  write(skipped);
  stdio.writeOut(`,\n  "unknown": ${jsonText(unknown)}\n}\n`);
}

function writePreview(runtime: Runtime, preview: readonly QueueEntry[], count: number): void {
  const { stdio } = runtime.processes;
  const style = styles(wantsColour(runtime, "out"));
  const columns = listColumns(runtime.clock.nowMs(), style);
  stdio.writeOut(`${tableLines(columns, preview, style, (entry) => entry.lastDetail).join("\n")}\n`);
  if (preview.length < count) stdio.writeErr(`smtpd: These are the first ${preview.length}.\n`);
}

function writeReport(
  runtime: Runtime,
  action: Action,
  dryRun: boolean,
  changed: readonly Candidate[],
  told = 0,
): void {
  const { done, after } = words[action];
  const notices = action !== "bounce"
    ? ""
    : told === 0
    ? " Nobody is told: no sender can be, or wants to be."
    : ` ${countText(told, "notification is", "notifications are")} on the way to the senders.`;
  const text = dryRun
    ? `Would ${action} ${extent(changed)}. Nothing was changed.`
    : `${done} ${extent(changed)}.${after}${notices}`;
  runtime.processes.stdio.writeOut(`${text}\n`);
}

function reportSkipped(runtime: Runtime, action: Action, skipped: readonly Skipped[]): void {
  const reasons: Readonly<Record<Skipped["why"], string>> = {
    leased: "being attempted right now; try again in a moment",
    unsuitable: words[action].unsuitable,
    gone: "finished in the meantime",
  };
  for (const why of ["leased", "unsuitable", "gone"] as const) {
    const count = skipped.reduce((sum, each) => each.why === why ? sum + 1 : sum, 0);
    if (count === 0) continue;
    runtime.processes.stdio.writeErr(
      `smtpd: Left ${countText(count, "delivery", "deliveries")} alone: ${reasons[why]}.\n`,
    );
  }
}

/** `3 deliveries of 2 messages`. */
function extent(candidates: readonly Candidate[]): string {
  const messages = new Set(candidates.map(({ message }) => message)).size;
  return `${countText(candidates.length, "delivery", "deliveries")} of ${countText(messages, "message", "messages")}`;
}

function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Asks on standard error, so that standard output stays free for results. */
export function terminalAsk(runtime: Runtime): Ask {
  if (!isatty(0) || !runtime.processes.stdio.errIsTerminal) return undefined;
  return async (question) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return await new Promise<string>((resolve, reject) => {
        // Ctrl-C and Ctrl-D mean no.
        lines.once("close", () => resolve(""));
        lines.once("SIGINT", () => lines.close());
        lines.question(question).then(resolve, reject);
      });
    } finally {
      lines.close();
    }
  };
}
