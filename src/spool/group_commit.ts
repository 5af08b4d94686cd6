/**
 * The life of the SQLite thread: collects what arrives, puts all of it into one transaction with one fsync, answers in the
 * order of arrival, and tidies the file in quiet moments. What requests mean is `sqlite_store.ts`'s business.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Failure, FromThread, OpenRequest, Operation, Request, Result, ToThread } from "./protocol.ts";
import { SpoolError } from "./spool.ts";
import { isSyncFailure, openDatabase, pragma, toSpoolError } from "./sqlite_schema.ts";
import { SqliteStore } from "./sqlite_store.ts";

/** What the thread's entry point gives. */
export interface ThreadHost {
  /** `moved`: memory that goes over with the message instead of being cloned. */
  post(message: FromThread, moved: readonly ArrayBuffer[]): void;
  /** Calls when the messages that have already arrived were delivered. */
  soon(call: () => void): void;
  after(delayMs: number, call: () => void): void;
}

/** While messages come in, settlements wait this long for a commit to share its fsync with. */
const SETTLE_WAIT_MS = 2;
/** More settlements than this have an fsync of their own. */
const SETTLE_WAIT_REQUESTS = 256;
/** Without a request for this long, the file is tidied. */
const QUIET_MS = 200;
/** Pages in the write-ahead log at which it is copied into the file even under load; readers go on. */
const CHECKPOINT_PAGES = 4096;
/** At this many, new readers are held up until the log can start again from its beginning. */
const FORCED_CHECKPOINT_PAGES = 16_384;
/** The log's length is asked for at every so many transactions. */
const CHECKPOINT_EVERY = 16;
/** Chunks that belong to nothing, removed with each transaction: 4 MiB. */
const SWEEP_CHUNKS = 16;
/** Free pages that are kept for reuse, and how many are given back to the disk at a time. */
const KEPT_FREE_PAGES = 4096;
const VACUUM_PAGES = 2048;

/** Requests whose effect must be on the disk before they are answered. The others are lost with the process anyway. */
const DURABLE: ReadonlySet<Operation> = new Set<Operation>(["commit", "settle", "change"]);
const READING: ReadonlySet<Operation> = new Set<Operation>(["due", "read", "list", "attempts", "summary"]);

/** One open file, from the first message to `close`. */
export class GroupCommit {
  readonly #host: ThreadHost;
  #path = "";
  #database: DatabaseSync | undefined;
  #store: SqliteStore | undefined;
  /** Prepared, because `exec` gives no result codes with its errors on every runtime. */
  #begin: StatementSync | undefined;
  #commit: StatementSync | undefined;
  #queue: Request[] = [];
  /** `soon`: the next drain is on its way; `later`: only settlements wait. */
  #drain: "none" | "soon" | "later" = "none";
  /** The last drain had commits, so the next one soon will. */
  #receiving = false;
  #synchronous = "FULL";
  #transactions = 0;
  /** Something was written since the last look in a quiet moment. */
  #untidy = true;
  #quietTimer = false;
  #requestsSeen = 0;
  /** Set when nobody can know any longer what is on the disk. */
  #broken: Failure | undefined;

  constructor(host: ThreadHost) {
    this.#host = host;
  }

  receive(message: ToThread): void {
    if (message.kind === "open") return this.#open(message.open);
    for (const request of message.requests) this.#queue.push(request);
    if (this.#drain === "soon") return;
    const patient = this.#receiving && this.#queue.length < SETTLE_WAIT_REQUESTS &&
      this.#queue.every((request) => request.op === "settle");
    if (!patient) {
      this.#drain = "soon";
      this.#host.soon(() => this.#drainQueue());
    } else if (this.#drain === "none") {
      this.#drain = "later";
      this.#host.after(SETTLE_WAIT_MS, () => {
        if (this.#drain === "later") this.#drainQueue();
      });
    }
  }

  #open(open: OpenRequest): void {
    this.#path = open.path;
    try {
      this.#database = openDatabase(open.path, open);
      this.#begin = this.#database.prepare("BEGIN IMMEDIATE");
      this.#commit = this.#database.prepare("COMMIT");
      const store = new SqliteStore(this.#database, new Uint8Array(open.ring));
      this.#store = store;
      const owner = this.#transaction(false, () => store.register(open.identity, open.expiresAtMs));
      this.#host.post({ kind: "opened", owner }, []);
      this.#tidyWhenQuiet();
    } catch (error) {
      this.#database?.close();
      const { code, message } = toSpoolError(error, `Cannot open the spool "${open.path}"`);
      this.#host.post({ kind: "refused", failure: { code, message } }, []);
    }
  }

  #drainQueue(): void {
    const requests = this.#queue;
    this.#queue = [];
    this.#drain = "none";
    this.#requestsSeen += requests.length;
    this.#receiving = requests.some((request) => request.op === "commit");
    const results = this.#carryOut(requests);
    const last = requests.some((request) => request.op === "close");
    // The main thread ends this one when it has the answer.
    if (last) this.#close();
    this.#host.post({ kind: "results", results }, contentIn(results));
    if (last) return;
    if (++this.#transactions % CHECKPOINT_EVERY === 0) this.#checkpointWhenLong();
    this.#tidyWhenQuiet();
  }

  /** All in one transaction; when that fails, each in its own, so that one bad request harms no other. */
  #carryOut(requests: readonly Request[]): readonly Result[] {
    try {
      return this.#together(requests);
    } catch (error) {
      if (isSyncFailure(error)) this.#broken = this.#failure(error);
      const failure = this.#failure(error);
      // A lock was waited for long enough already.
      if (requests.length === 1 || failure.code === "busy") return requests.map(() => ({ failure }));
      return requests.map((request) => this.#alone(request));
    }
  }

  #alone(request: Request): Result {
    if (this.#broken !== undefined && !READING.has(request.op)) return { failure: this.#broken };
    try {
      return this.#together([request])[0]!;
    } catch (error) {
      return { failure: this.#failure(error) };
    }
  }

  #together(requests: readonly Request[]): readonly Result[] {
    const store = this.#store!;
    const run = () => requests.map((request) => this.#execute(store, request));
    if (requests.every((request) => READING.has(request.op))) return run();
    if (this.#broken !== undefined) {
      if (requests.length > 1) throw new SpoolError(this.#broken.message, "broken");
      return [{ failure: this.#broken }];
    }
    return this.#transaction(requests.some((request) => DURABLE.has(request.op)), () => {
      const results = run();
      if (store.orphans) store.sweep(SWEEP_CHUNKS);
      return results;
    });
  }

  /** A refusal concerns one request; it comes before any change, so the transaction goes on. */
  #execute(store: SqliteStore, request: Request): Result {
    try {
      return { value: store.execute(request) };
    } catch (error) {
      if (error instanceof SpoolError) return { failure: { code: error.code, message: error.message } };
      throw error;
    }
  }

  #transaction<T>(durable: boolean, work: () => T): T {
    const database = this.#database!;
    const synchronous = durable ? "FULL" : "NORMAL";
    if (synchronous !== this.#synchronous) {
      // Without fsync now; the next durable transaction syncs the same log, and so this one with it.
      database.exec(`PRAGMA synchronous = ${synchronous}`);
      this.#synchronous = synchronous;
    }
    this.#begin!.run();
    try {
      const value = work();
      this.#commit!.run();
      this.#store!.committed();
      this.#untidy = true;
      return value;
    } catch (error) {
      // SQLite rolls back by itself after some errors.
      if (database.isTransaction) database.exec("ROLLBACK");
      this.#store!.rolledBack();
      throw error;
    }
  }

  #failure(error: unknown): Failure {
    const { code, message } = toSpoolError(error, `Cannot use the spool "${this.#path}"`);
    return { code, message };
  }

  #checkpointWhenLong(): void {
    const pages = this.#logPages("NOOP");
    if (pages > FORCED_CHECKPOINT_PAGES) this.#logPages("RESTART");
    else if (pages > CHECKPOINT_PAGES) this.#logPages("PASSIVE");
  }

  /** Answers how many pages of the log are not yet in the file. A checkpoint that fails is tried again later. */
  #logPages(mode: "NOOP" | "PASSIVE" | "RESTART" | "TRUNCATE"): number {
    try {
      const row = this.#database!.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
      return Number(row?.["log"] ?? 0) - Number(row?.["checkpointed"] ?? 0);
    } catch {
      return 0;
    }
  }

  #tidyWhenQuiet(): void {
    if (this.#quietTimer || !this.#untidy) return;
    this.#quietTimer = true;
    const seen = this.#requestsSeen;
    this.#host.after(QUIET_MS, () => {
      this.#quietTimer = false;
      if (this.#database === undefined) return;
      if (seen === this.#requestsSeen && this.#queue.length === 0) this.#tidy();
      this.#tidyWhenQuiet();
    });
  }

  /** A bounded piece of work: removes orphaned chunks, gives free pages back to the disk, copies the log into the file. */
  #tidy(): void {
    const database = this.#database!;
    const store = this.#store!;
    try {
      if (store.orphans) {
        this.#transaction(false, () => store.sweep(4 * SWEEP_CHUNKS));
        this.#untidy = true;
        return;
      }
      this.#untidy = false;
      if (pragma(database, "freelist_count") > KEPT_FREE_PAGES) {
        // A step for each page, and `exec` makes only one on Deno.
        database.prepare(`PRAGMA incremental_vacuum(${VACUUM_PAGES})`).all();
        this.#untidy = true;
      }
      this.#logPages("PASSIVE");
    } catch {
      // The file is busy or its disk full: there will be another quiet moment, and requests will say what is wrong.
      store.rolledBack();
      this.#untidy = false;
    }
  }

  #close(): void {
    const database = this.#database;
    this.#database = undefined;
    try {
      database?.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // Whoever opens the file next will copy the log.
    }
    database?.close();
  }
}

/** The memory of the content in the results. It would pile up here until the next garbage collection. */
function contentIn(results: readonly Result[]): readonly ArrayBuffer[] {
  const moved: ArrayBuffer[] = [];
  for (const result of results) {
    if (!("value" in result) || typeof result.value !== "object" || result.value === null) continue;
    const bytes = "bytes" in result.value ? result.value.bytes : undefined;
    if (bytes instanceof Uint8Array && bytes.length > 0 && bytes.buffer instanceof ArrayBuffer) {
      moved.push(bytes.buffer);
    }
  }
  return moved;
}
