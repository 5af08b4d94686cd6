/**
 * Carries out the requests of the main thread on the SQLite file, one at a time, inside whatever transaction is open.
 * It must not know when transactions begin and end (`group_commit.ts` does), nor of clocks: times come with requests.
 */
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import type {
  CommitRequest,
  ContentPiece,
  LeaseRequest,
  LeaseRow,
  Operations,
  OwnerRow,
  Payload,
  Request,
  SettleRequest,
} from "./protocol.ts";
import { SpoolError } from "./spool.ts";
import { FAILED, HELD, LEASED, QUEUE_SQL, QUEUED, SqliteQueue, STORED } from "./sqlite_queue.ts";
import { type Row, Statements } from "./sqlite_statements.ts";

/** Keys are reserved from the file in blocks: few writes, and two processes still never use the same one. */
const KEY_BLOCK = 4096;
/** `chunk.key` = draft * this + index: room for 256 GiB a message. */
const CHUNKS_PER_DRAFT = 2 ** 20;

/** The SQL, in one place, so that tests can ask SQLite how it would go about it. */
export const SQL = {
  ...QUEUE_SQL,
  insertMessage: `INSERT OR IGNORE INTO message (key, id, received_ms, size, deliveries, draft, chunks, envelope, tail)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  insertDelivery: `INSERT INTO delivery (id, message, state, due_ms, owner, token, attempts, channel, record)
    VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)`,
  due: `SELECT ${STORED} FROM delivery d INDEXED BY delivery_due CROSS JOIN message m ON m.key = d.message
    WHERE d.channel = ? AND d.state <= 1 AND d.due_ms <= ? ORDER BY d.due_ms LIMIT ?`,
  dueOrBackingOff: `SELECT ${STORED} FROM delivery d INDEXED BY delivery_due CROSS JOIN message m ON m.key = d.message
    WHERE d.channel = ? AND d.state <= 1 AND (d.state = 0 OR d.due_ms <= ?) ORDER BY d.due_ms LIMIT ?`,
  nextDue: `SELECT due_ms AS due FROM delivery INDEXED BY delivery_due
    WHERE channel = ? AND state <= 1 ORDER BY due_ms LIMIT 1`,
  take: "UPDATE delivery SET state = 1, due_ms = ?, owner = ?, token = ? WHERE id = ?",
  leased: "SELECT message, attempts FROM delivery WHERE id = ? AND token = ?",
  deleteSettledMessage: `DELETE FROM message WHERE key = ?1 AND NOT EXISTS
    (SELECT 1 FROM delivery d WHERE d.id >= ?1 AND d.id < ?1 + message.deliveries) RETURNING draft, chunks`,
  renew: "UPDATE delivery SET due_ms = ? WHERE id = ? AND token = ?",
  takeBack: `UPDATE delivery INDEXED BY delivery_due SET state = 0, due_ms = ?, owner = NULL, token = NULL
    WHERE owner = ? AND state <= 1`,
  content: `SELECT draft, chunks, CASE WHEN chunks <= ? THEN tail END AS tail FROM message WHERE id = ?`,
  insertDraft: "INSERT INTO draft (id, owner, chunks) VALUES (?, ?, 1)",
  growDraft: "UPDATE draft SET chunks = chunks + 1 WHERE id = ? AND owner = ? AND chunks = ?",
  insertChunk: "INSERT INTO chunk (key, bytes) VALUES (?, ?)",
  chunk: "SELECT bytes FROM chunk WHERE key = ?",
  deleteChunk: "DELETE FROM chunk WHERE key = ?",
  adoptDraft: "DELETE FROM draft WHERE id = ? AND owner = ? AND chunks = ?",
  orphanDraft: "UPDATE draft SET owner = NULL WHERE id = ?",
  orphanDrafts: "UPDATE draft SET owner = NULL WHERE owner = ?",
  insertOrphan: "INSERT INTO draft (id, owner, chunks) VALUES (?, NULL, ?)",
  orphan: "SELECT id, chunks FROM draft WHERE owner IS NULL LIMIT 1",
  shrinkDraft: "UPDATE draft SET chunks = ? WHERE id = ?",
  deleteDraft: "DELETE FROM draft WHERE id = ?",
  reserve: "UPDATE counter SET next = next + ? RETURNING next",
  insertOwner: "INSERT INTO owner (id, identity, expires_ms) VALUES (?, ?, ?)",
  beat: "UPDATE owner SET expires_ms = ? WHERE id = ?",
  others: "SELECT id, identity, expires_ms AS expiresAtMs FROM owner WHERE id <> ?",
  /** Drafts of owners that are in no list any more, as after a copy of the file was put back. */
  orphanLostDrafts: "UPDATE draft SET owner = NULL WHERE owner NOT IN (SELECT id FROM owner)",
  deleteOwner: "DELETE FROM owner WHERE id = ? AND expires_ms <= ?",
} as const;

/** The statements of one open file, and the few facts this owner keeps about it. */
export class SqliteStore {
  /** There may be chunks that belong to nothing; `sweep` until it says there are none. */
  orphans = true;
  readonly #ring: Uint8Array;
  readonly #sql: Statements;
  readonly #queue: SqliteQueue;
  /** From the main thread's number of a draft to its id in the file. */
  readonly #drafts = new Map<number, number>();
  /** Drafts that end with the transaction that is open, if that is committed. */
  readonly #ending: number[] = [];
  #owner = 0;
  #identity = "";
  #nextKey = 0;
  #endOfKeys = 0;

  constructor(database: DatabaseSync, ring: Uint8Array) {
    this.#ring = ring;
    this.#sql = new Statements(database);
    this.#queue = new SqliteQueue(this.#sql, (message) => this.#orphanChunks(message));
  }

  /** Enters this spool into the list of owners; answers its id. */
  register(identity: string, expiresAtMs: number): number {
    this.#owner = this.#keys(1);
    this.#identity = identity;
    this.#sql.run(SQL.insertOwner, this.#owner, identity, expiresAtMs);
    this.#sql.run(SQL.orphanLostDrafts);
    return this.#owner;
  }

  /** The transaction was committed. */
  committed(): void {
    for (const draft of this.#ending) this.#drafts.delete(draft);
    this.#ending.length = 0;
  }

  /** The transaction was rolled back, and with it the keys reserved in it. */
  rolledBack(): void {
    this.#ending.length = 0;
    this.#nextKey = this.#endOfKeys = 0;
    this.orphans = true;
  }

  /** Throws `SpoolError` when the request was refused before anything changed, anything else when the file failed. */
  execute(request: Request): unknown {
    switch (request.op) {
      case "commit":
        return this.#commit(request);
      case "settle":
        return this.#settle(request);
      case "write":
        return this.#write(request);
      case "lease":
        return this.#lease(request);
      case "renew":
        for (const { deliveryId, token } of request.leases) {
          this.#sql.run(SQL.renew, request.untilMs, deliveryId, Number(token));
        }
        return undefined;
      case "due":
        return this.#nextDue(request.channels);
      case "read":
        return this.#read(request.id, request.index);
      case "list":
        return this.#queue.list(request);
      case "attempts":
        return this.#queue.attempts(request.id);
      case "summary":
        return this.#queue.summary(request);
      case "change":
        return this.#queue.change(request);
      case "discard":
        return this.#discard(request.draft);
      case "beat":
        return this.#beat(request.expiresAtMs);
      case "bury":
        return this.#bury(request.owners, request.nowMs);
      case "close":
        this.#giveBack(this.#owner, request.nowMs);
        this.#sql.run(SQL.deleteOwner, this.#owner, Number.MAX_SAFE_INTEGER);
        return undefined;
    }
  }

  /** Removes up to `limit` chunks that belong to nothing. Large messages go away piecemeal, so that nobody waits for them. */
  sweep(limit: number): void {
    let left = limit;
    while (left > 0) {
      const draft = this.#sql.get(SQL.orphan);
      if (draft === undefined) {
        this.orphans = false;
        return;
      }
      const id = Number(draft["id"]);
      let chunks = Number(draft["chunks"]);
      for (; chunks > 0 && left > 0; left--) this.#sql.run(SQL.deleteChunk, id * CHUNKS_PER_DRAFT + --chunks);
      if (chunks > 0) this.#sql.run(SQL.shrinkDraft, chunks, id);
      else this.#sql.run(SQL.deleteDraft, id);
    }
  }

  #commit(request: CommitRequest): number {
    const { deliveries, chunks, claimUntilMs } = request;
    let draft: number | null = null;
    if (request.draft !== undefined) draft = this.#adopt(request.draft, chunks);
    const key = this.#keys(deliveries.length);
    const { changes } = this.#sql.run(
      SQL.insertMessage,
      key,
      request.id,
      request.receivedAtMs,
      request.sizeBytes,
      deliveries.length,
      draft,
      chunks,
      request.envelope,
      this.#bytes(request.tail),
    );
    if (changes === 0) {
      if (draft !== null) this.#sql.run(SQL.insertOrphan, draft, chunks);
      this.orphans ||= draft !== null;
      throw new SpoolError(`Cannot store message "${request.id}": the spool has one of that id already`, "broken");
    }
    for (const [index, { channel, record, held }] of deliveries.entries()) {
      const id = key + index;
      // Ids are never reused, so the id itself serves as the token of the first lease.
      if (claimUntilMs === undefined || held === true) {
        const state = held === true ? HELD : QUEUED;
        this.#sql.run(SQL.insertDelivery, id, key, state, request.nowMs, null, null, channel, record);
      } else {
        this.#sql.run(SQL.insertDelivery, id, key, LEASED, claimUntilMs, this.#owner, id, channel, record);
      }
    }
    return key;
  }

  /** Makes a draft's chunks those of a message. */
  #adopt(number: number, chunks: number): number {
    const draft = this.#drafts.get(number);
    if (draft !== undefined && this.#sql.run(SQL.adoptDraft, draft, this.#owner, chunks).changes === 1) {
      this.#ending.push(number);
      return draft;
    }
    throw new SpoolError(
      "Cannot store the message: its beginning is gone, because this process showed no life for too long",
      "broken",
    );
  }

  #write(request: Operations["write"]["request"]): undefined {
    let draft = this.#drafts.get(request.draft);
    if (request.index === 0) {
      draft = this.#keys(1);
      this.#drafts.set(request.draft, draft);
      this.#sql.run(SQL.insertDraft, draft, this.#owner);
    } else if (draft === undefined || this.#sql.run(SQL.growDraft, draft, this.#owner, request.index).changes !== 1) {
      throw new SpoolError("Cannot go on with a message: what was written before is gone", "broken");
    }
    this.#sql.run(SQL.insertChunk, draft * CHUNKS_PER_DRAFT + request.index, this.#bytes(request.bytes));
  }

  #discard(number: number): undefined {
    const draft = this.#drafts.get(number);
    if (draft === undefined) return;
    this.#ending.push(number);
    if (this.#sql.run(SQL.orphanDraft, draft).changes === 1) this.orphans = true;
  }

  #lease(request: LeaseRequest): readonly LeaseRow[] {
    const sql = request.ignoreBackoff ? SQL.dueOrBackingOff : SQL.due;
    const rows = this.#sql.all(sql, request.channel, request.nowMs, request.limit);
    let token = rows.length === 0 ? 0 : this.#keys(rows.length);
    return rows.map((row) => {
      this.#sql.run(SQL.take, request.untilMs, this.#owner, token, row["id"]!);
      return { ...row, token: String(token++) } as unknown as LeaseRow;
    });
  }

  #settle(request: SettleRequest): readonly number[] {
    const stale: number[] = [];
    for (const { deliveryId, token, settlement } of request.settlements) {
      const row = this.#sql.get(SQL.leased, deliveryId, Number(token));
      if (row === undefined) {
        stale.push(deliveryId);
        continue;
      }
      const attempts = Number(row["attempts"]);
      switch (settlement.kind) {
        case "done":
          this.#sql.run(SQL.deleteDelivery, deliveryId);
          if (attempts > 0) this.#sql.run(SQL.deleteAttempts, deliveryId);
          this.#removeSettled(row["message"]!);
          break;
        case "returned":
          this.#sql.run(SQL.release, QUEUED, request.nowMs, attempts, null, deliveryId);
          break;
        case "retry":
        case "failed": {
          const { kind, detail } = settlement;
          const [state, dueMs] = kind === "retry" ? [QUEUED, settlement.dueAtMs] : [FAILED, request.nowMs];
          this.#sql.run(SQL.release, state, dueMs, attempts + 1, detail, deliveryId);
          this.#sql.run(SQL.insertAttempt, deliveryId, attempts + 1, request.nowMs, kind, detail);
        }
      }
    }
    return stale;
  }

  #removeSettled(key: SQLInputValue): void {
    const removed = this.#sql.get(SQL.deleteSettledMessage, key);
    if (removed !== undefined) this.#orphanChunks(removed);
  }

  /** The chunks of a removed message become a draft without owner, for `sweep`. */
  #orphanChunks(message: Row): void {
    if (message["draft"] === null) return;
    this.#sql.run(SQL.insertOrphan, message["draft"]!, message["chunks"]!);
    this.orphans = true;
  }

  #nextDue(channels: readonly string[]): readonly (readonly [string, number])[] {
    const due: (readonly [string, number])[] = [];
    for (const channel of channels) {
      const row = this.#sql.get(SQL.nextDue, channel);
      if (row !== undefined) due.push([channel, Number(row["due"])]);
    }
    return due;
  }

  #read(id: string, index: number): ContentPiece | undefined {
    const row = this.#sql.get(SQL.content, index, id);
    if (row === undefined) return undefined;
    const chunks = Number(row["chunks"]);
    if (index >= chunks) return { bytes: row["tail"] as Uint8Array<ArrayBuffer>, last: true };
    const chunk = this.#sql.get(SQL.chunk, Number(row["draft"]) * CHUNKS_PER_DRAFT + index);
    if (chunk === undefined) throw new SpoolError(`Cannot read message "${id}": a part of it is missing`, "broken");
    return { bytes: chunk["bytes"] as Uint8Array<ArrayBuffer>, last: false };
  }

  #beat(expiresAtMs: number): readonly OwnerRow[] {
    // Whoever slept so long that others took its leases back comes in again as if new.
    if (this.#sql.run(SQL.beat, expiresAtMs, this.#owner).changes === 0) {
      this.#sql.run(SQL.insertOwner, this.#owner, this.#identity, expiresAtMs);
    }
    return this.#sql.all(SQL.others, this.#owner) as unknown as readonly OwnerRow[];
  }

  #bury(owners: readonly OwnerRow[], nowMs: number): { leases: number; drafts: number } {
    const sum = { leases: 0, drafts: 0 };
    for (const { id, expiresAtMs } of owners) {
      if (this.#sql.run(SQL.deleteOwner, id, expiresAtMs).changes === 0) continue;
      const { leases, drafts } = this.#giveBack(id, nowMs);
      sum.leases += leases;
      sum.drafts += drafts;
    }
    return sum;
  }

  /** What an owner held is anybody's again. */
  #giveBack(owner: number, nowMs: number): { leases: number; drafts: number } {
    const leases = Number(this.#sql.run(SQL.takeBack, nowMs, owner).changes);
    const drafts = Number(this.#sql.run(SQL.orphanDrafts, owner).changes);
    this.orphans ||= drafts > 0;
    return { leases, drafts };
  }

  /** Reserves `count` consecutive keys, none of which was or will be used otherwise; answers the first. */
  #keys(count: number): number {
    if (this.#nextKey + count > this.#endOfKeys) {
      const block = Math.max(KEY_BLOCK, count);
      this.#endOfKeys = Number(this.#sql.get(SQL.reserve, block)?.["next"]);
      this.#nextKey = this.#endOfKeys - block;
    }
    const first = this.#nextKey;
    this.#nextKey += count;
    return first;
  }

  #bytes(payload: Payload): Uint8Array {
    return payload instanceof Uint8Array ? payload : this.#ring.subarray(payload.at, payload.at + payload.size);
  }
}
