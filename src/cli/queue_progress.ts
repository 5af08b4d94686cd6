/**
 * One line on standard error that says how far a long command is, on a terminal only and not before a second has passed. It
 * must not know what is done.
 */
import type { Runtime } from "../runtime/runtime.ts";
import { numberText } from "./queue_entry.ts";

const SHOW_AFTER_MS = 1000;
const DRAW_EVERY_MS = 200;
const BAR_COLUMNS = 20;
const ERASE_LINE = "\r\x1b[K";

export class Progress implements Disposable {
  readonly #runtime: Runtime;
  readonly #label: string;
  readonly #total: number | undefined;
  readonly #startedAtMs: number;
  readonly #ticker: Disposable | undefined;
  #count = 0;
  #drawn = false;

  /** `total` absent: how much there is to do is not known. */
  constructor(runtime: Runtime, label: string, total?: number) {
    this.#runtime = runtime;
    this.#label = label;
    this.#total = total;
    const { clock, processes } = runtime;
    const shows = processes.stdio.errIsTerminal && processes.environment("TERM") !== "dumb";
    this.#startedAtMs = shows ? clock.monotonicMs() : 0;
    this.#ticker = shows ? clock.every(DRAW_EVERY_MS, () => this.#draw()) : undefined;
  }

  add(count: number): void {
    this.#count += count;
  }

  [Symbol.dispose](): void {
    this.#ticker?.[Symbol.dispose]();
    if (this.#drawn) this.#runtime.processes.stdio.writeErr(ERASE_LINE);
  }

  #draw(): void {
    const { clock, processes } = this.#runtime;
    const elapsedMs = clock.monotonicMs() - this.#startedAtMs;
    if (elapsedMs < SHOW_AFTER_MS) return;
    this.#drawn = true;
    const line = progressText(this.#label, this.#count, this.#total, elapsedMs);
    // A line that wraps could not be erased.
    processes.stdio.writeErr(ERASE_LINE + line.slice(0, (processes.stdio.columns() ?? 80) - 1));
  }
}

/** `Removing [########............] 40% 4,000 of 10,000, 12 s`, or without a total `Looking: 4,000, 12 s`. */
export function progressText(label: string, count: number, total: number | undefined, elapsedMs: number): string {
  const seconds = `${Math.floor(elapsedMs / 1000)} s`;
  if (total === undefined || total === 0) return `${label}: ${numberText(count)}, ${seconds}`;
  const part = Math.min(1, count / total);
  const filled = Math.floor(part * BAR_COLUMNS);
  const bar = "#".repeat(filled) + ".".repeat(BAR_COLUMNS - filled);
  return `${label} [${bar}] ${Math.floor(part * 100)}% ${numberText(count)} of ${numberText(total)}, ${seconds}`;
}
