/**
 * The operator's side of the SQLite file: selections as SQL, lists and counts of them, and what an operator does to single
 * deliveries. Leases are respected and not given out here. It must not know of transactions, drafts or clocks.
 */
import type { SQLInputValue } from "node:sqlite";
import { isGlob } from "../binding/glob.ts";
import type { ChangeAnswer, ChangeRequest, ListRequest, ListRow, SummaryRequest } from "./protocol.ts";
import { asciiLower } from "./selection.ts";
import type { Attempt, Change, ChangeOutcome, DeliveryState, Selection, Summary } from "./spool.ts";
import { changeable } from "./spool.ts";
import type { Row, Statements } from "./sqlite_statements.ts";
import { type Counted, summaryOf } from "./summary.ts";

export const QUEUED = 0;
export const LEASED = 1;
export const HELD = 2;
export const FAILED = 3;
const STATES: readonly DeliveryState[] = ["queued", "leased", "held", "failed"];

export const STORED = `d.id AS id, d.attempts AS attempts, d.channel AS channel, d.record AS record, m.id AS message,
  m.received_ms AS receivedAtMs, m.size AS sizeBytes, m.envelope AS envelope`;

/** The constant part of the SQL; some of it serves the job controller's side as well. */
export const QUEUE_SQL = {
  findMessage: "SELECT key, deliveries FROM message WHERE id = ?",
  /** Keys follow each other as ids do, roughly: enough to leave out most of the file. */
  keysBetween: "SELECT min(key) AS first, max(key) AS last FROM message WHERE id >= ? AND id <= ?",
  receivedAt: `SELECT m.received_ms AS receivedAtMs FROM delivery d CROSS JOIN message m ON m.key = d.message
    WHERE d.id = ?`,
  deliveriesOf: "SELECT deliveries FROM message WHERE key = ?",
  attempts: `SELECT delivery AS deliveryId, at_ms AS atMs, kind, detail FROM attempt
    WHERE delivery >= ? AND delivery < ? ORDER BY at_ms, delivery, number`,
  delivery: "SELECT message, state, due_ms AS dueAtMs, attempts FROM delivery WHERE id = ?",
  release: `UPDATE delivery SET state = ?, due_ms = ?, owner = NULL, token = NULL, attempts = ?,
    detail = coalesce(?, detail) WHERE id = ?`,
  insertAttempt: "INSERT OR REPLACE INTO attempt (delivery, number, at_ms, kind, detail) VALUES (?, ?, ?, ?, ?)",
  deleteDelivery: "DELETE FROM delivery WHERE id = ?",
  deleteAttempts: "DELETE FROM attempt WHERE delivery = ?",
  deleteEmptyMessage: `DELETE FROM message WHERE key = ?1 AND NOT EXISTS
    (SELECT 1 FROM delivery d WHERE d.id >= ?1 AND d.id < ?1 + message.deliveries) RETURNING id, draft, chunks`,
} as const;

/** Deliveries counted at one time. */
const COUNT_PAGE = 5000;

interface Where {
  readonly sql: string;
  readonly values: SQLInputValue[];
  /** It looks at the message `m` of the delivery `d`. */
  readonly joins: boolean;
}

/** Lists, counts and changes of one open file. */
export class SqliteQueue {
  readonly #sql: Statements;
  readonly #orphan: (message: Row) => void;

  /** `orphan` is told of messages that were removed, whose chunks are still there. */
  constructor(sql: Statements, orphan: (message: Row) => void) {
    this.#sql = sql;
    this.#orphan = orphan;
  }

  list(request: ListRequest): readonly ListRow[] {
    const where = this.#where(request.selection, request.nowMs);
    if (where === undefined) return [];
    const sql = `SELECT ${STORED}, ${stateAt(request.nowMs)} AS state, d.due_ms AS dueAtMs, d.detail AS detail
      FROM delivery d CROSS JOIN message m ON m.key = d.message WHERE ${where.sql} ORDER BY d.id LIMIT ?`;
    const rows = this.#sql.once(sql, ...where.values, request.limit);
    return rows.map((row) => ({ ...row, state: STATES[Number(row["state"])] }) as unknown as ListRow);
  }

  attempts(id: string): readonly Attempt[] {
    const message = this.#sql.get(QUEUE_SQL.findMessage, id);
    if (message === undefined) return [];
    const key = Number(message["key"]);
    const end = key + Number(message["deliveries"]);
    return this.#sql.all(QUEUE_SQL.attempts, key, end) as unknown as readonly Attempt[];
  }

  summary(request: SummaryRequest): Summary {
    return summaryOf(
      this.#counted(request),
      request.limit,
      (id) => Number(this.#sql.get(QUEUE_SQL.receivedAt, id)?.["receivedAtMs"] ?? 0),
    );
  }

  /** Page by page, and counted here: to group a million rows, SQLite would sort them, which takes it several times as long. */
  *#counted({ selection, nowMs }: SummaryRequest): Generator<Counted> {
    let after = selection.afterDeliveryId ?? 0;
    for (;;) {
      const where = this.#where({ ...selection, afterDeliveryId: after }, nowMs);
      if (where === undefined) return;
      // The message is not looked at unless it must be: most of the file is content.
      const sql = `SELECT d.id AS id, d.channel AS channel, ${stateAt(nowMs)} AS state, d.due_ms AS dueAtMs,
        d.record ->> '$.recipient' AS recipient
        FROM delivery d ${where.joins ? "CROSS JOIN message m ON m.key = d.message" : ""}
        WHERE ${where.sql} ORDER BY d.id LIMIT ${COUNT_PAGE}`;
      const rows = this.#sql.once(sql, ...where.values);
      for (const row of rows) {
        const { id, channel, recipient, dueAtMs } = row as unknown as Counted;
        yield { id, channel, recipient, dueAtMs, state: STATES[Number(row["state"])] as DeliveryState };
        after = id;
      }
      if (rows.length < COUNT_PAGE) return;
    }
  }

  change(request: ChangeRequest): ChangeAnswer {
    const removed: string[] = [];
    const outcomes = request.ids.map((id) => this.#change(id, request.change, request.nowMs, removed));
    return { outcomes, removed };
  }

  #change(id: number, change: Change, nowMs: number, removed: string[]): ChangeOutcome {
    const row = this.#sql.get(QUEUE_SQL.delivery, id);
    if (row === undefined) return "gone";
    const [stored, dueAtMs, attempts] = [Number(row["state"]), Number(row["dueAtMs"]), Number(row["attempts"])];
    // A lease that ran out binds nobody.
    const state = stored === LEASED && dueAtMs <= nowMs ? QUEUED : stored;
    if (state === LEASED) return "leased";
    if (!changeable[change.kind].includes(STATES[state] as DeliveryState)) return "unsuitable";
    switch (change.kind) {
      case "hold":
        this.#sql.run(QUEUE_SQL.release, HELD, nowMs, attempts, null, id);
        break;
      case "release":
      case "retry":
        // What is due already keeps its place among the others.
        this.#sql.run(
          QUEUE_SQL.release,
          QUEUED,
          state === QUEUED ? Math.min(dueAtMs, nowMs) : nowMs,
          attempts,
          null,
          id,
        );
        break;
      case "fail":
        this.#sql.run(QUEUE_SQL.release, FAILED, nowMs, attempts + 1, change.detail, id);
        this.#sql.run(QUEUE_SQL.insertAttempt, id, attempts + 1, nowMs, "failed", change.detail);
        break;
      case "remove":
        this.#remove(id, Number(row["message"]), removed);
    }
    return "changed";
  }

  #remove(id: number, key: number, removed: string[]): void {
    this.#sql.run(QUEUE_SQL.deleteDelivery, id);
    this.#sql.run(QUEUE_SQL.deleteAttempts, id);
    const message = this.#sql.get(QUEUE_SQL.deleteEmptyMessage, key);
    if (message === undefined) return;
    removed.push(String(message["id"]));
    this.#orphan(message);
  }

  /** Undefined when it is clear already that nothing is in the selection. */
  #where(selection: Selection, nowMs: number): Where | undefined {
    const keys = this.#keys(selection);
    if (keys === undefined) return undefined;
    const terms = ["d.id > ?", ...stateTerms(selection.state, nowMs)];
    const values: SQLInputValue[] = [selection.afterDeliveryId ?? 0];
    let joins = false;
    const add = (term: string, ...more: SQLInputValue[]): void => {
      terms.push(term);
      values.push(...more);
      joins ||= term.includes("m.");
    };
    const { messageIds, channel, binding, sender, recipient, receivedBeforeMs, receivedAfterMs } = selection;
    if (keys !== "all") add("d.id >= ? AND d.id < ?", keys.first, keys.end);
    if (channel !== undefined) add("d.channel = ?", channel);
    if (binding !== undefined) add("d.record ->> '$.binding' = ?", binding);
    if (recipient !== undefined) add(...pattern("d.record ->> '$.recipient'", recipient));
    if (messageIds !== undefined) add("m.id >= ? AND m.id <= ?", messageIds.from, messageIds.to);
    if (receivedBeforeMs !== undefined) add("m.received_ms < ?", receivedBeforeMs);
    if (receivedAfterMs !== undefined) add("m.received_ms > ?", receivedAfterMs);
    if (sender !== undefined) {
      add(...pattern("coalesce(d.record ->> '$.reversePath', m.envelope ->> '$.reversePath')", sender));
    }
    return { sql: terms.join(" AND "), values, joins };
  }

  /** The ids of deliveries among which those of the selected messages are. */
  #keys({ messageId, messageIds }: Selection): { readonly first: number; readonly end: number } | "all" | undefined {
    if (messageId !== undefined) {
      const message = this.#sql.get(QUEUE_SQL.findMessage, messageId);
      if (message === undefined) return undefined;
      const first = Number(message["key"]);
      return { first, end: first + Number(message["deliveries"]) };
    }
    if (messageIds === undefined) return "all";
    const row = this.#sql.get(QUEUE_SQL.keysBetween, messageIds.from, messageIds.to);
    if (row === undefined || row["first"] === null) return undefined;
    const last = Number(row["last"]);
    const deliveries = Number(this.#sql.get(QUEUE_SQL.deliveriesOf, last)?.["deliveries"] ?? 0);
    return { first: Number(row["first"]), end: last + deliveries };
  }
}

/** A lease that ran out is due again: it is shown as what it is, queued. */
function stateAt(nowMs: number): string {
  return `CASE WHEN d.state = ${LEASED} AND d.due_ms <= ${Math.floor(nowMs)} THEN ${QUEUED} ELSE d.state END`;
}

/**
 * Written so that the index of what is held or failed serves, which has it in the order of ids. That of due work has not:
 * each page would sort all of it.
 */
function stateTerms(state: DeliveryState | undefined, nowMs: number): readonly string[] {
  switch (state) {
    case undefined:
      return [];
    case "queued":
    case "leased":
      return [`${stateAt(nowMs)} = ${STATES.indexOf(state)}`];
    case "held":
      return ["d.state >= 2 AND d.state = 2"];
    case "failed":
      return ["d.state >= 2 AND d.state = 3"];
  }
}

function pattern(expression: string, text: string): readonly [string, string] {
  const lower = asciiLower(text);
  if (!isGlob(lower)) return [`lower(${expression}) = ?`, lower];
  // Brackets mean nothing in our patterns.
  return [`lower(${expression}) GLOB ?`, lower.replaceAll("[", "[[]")];
}
