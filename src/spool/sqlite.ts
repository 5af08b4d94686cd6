/**
 * The durable spool of one machine: an SQLite file, written by a thread of its own. Several processes may have the same
 * file open; each is an owner of leases and drafts, and takes back what dead owners held. This file is the main thread's
 * side: it must not know SQL.
 */
import type { Log } from "../observe/log.ts";
import type { Clock, Files, Processes, ProcessIdentity, WorkerPort, Workers } from "../runtime/runtime.ts";
import { FileError } from "../runtime/runtime.ts";
import type { ContentPiece, LeaseRow, ListRow, OwnerRow, StoredRow } from "./protocol.ts";
import { boundedDetail, listLimit } from "./selection.ts";
import type {
  Attempt,
  Change,
  ChangeOutcome,
  Draft,
  Lease,
  NewDelivery,
  QueueEntry,
  Selection,
  Settlement,
  Spool,
  StoredMessage,
  Summary,
} from "./spool.ts";
import { SpoolError } from "./spool.ts";
import { type DraftHost, SqliteDraft } from "./sqlite_draft.ts";
import { ThreadLink } from "./sqlite_link.ts";

export interface SqliteOptions {
  /** Absolute. The directory is created when it is missing. */
  readonly path: string;
  /** With less than this left on the disk, nothing more is accepted. */
  readonly minFreeSpaceBytes: number;
  /** Bounds the file, to try a full disk without one. */
  readonly maxPages?: number;
  /** How long another process's lock is waited for. Default: 5 s. */
  readonly busyTimeoutMs?: number;
}

export interface SqliteRuntime {
  readonly workers: Workers;
  readonly clock: Clock;
  readonly files: Files;
  readonly processes: Pick<Processes, "identity" | "alive">;
}

/** How often an owner says that it lives, and after how long a silence it counts as dead. */
const HEARTBEAT_MS = 5000;
const OWNER_LIFETIME_MS = 30_000;
/** How long one process waits while another one writes. */
const BUSY_TIMEOUT_MS = 5000;
/** The free space is asked for at most so often. */
const FREE_SPACE_AGE_MS = 1000;
/** Content is on the disk twice until the write-ahead log is copied into the file. */
const DISK_FACTOR = 2;
/** Content of messages just accepted and not yet delivered, kept so that it need not be read back. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;

/** Opens or creates the spool. Rejects with `SpoolError`. */
export async function openSqliteSpool(options: SqliteOptions, runtime: SqliteRuntime, log: Log): Promise<Spool> {
  await prepareFile(options.path, runtime.files, log);
  const identity = await runtime.processes.identity();
  const link = new ThreadLink(startThread(runtime.workers));
  const nowMs = runtime.clock.nowMs();
  try {
    const owner = await link.open({
      path: options.path,
      identity: identity === undefined ? "" : JSON.stringify(identity),
      nowMs,
      expiresAtMs: nowMs + OWNER_LIFETIME_MS,
      ...(options.maxPages === undefined ? {} : { maxPages: options.maxPages }),
      busyTimeoutMs: options.busyTimeoutMs ?? BUSY_TIMEOUT_MS,
    });
    const spool = new SqliteSpool(options, runtime, log.with({ spoolOwner: owner }), link, identity);
    await spool.start();
    return spool;
  } catch (error) {
    link.terminate(closed());
    throw error;
  }
}

function startThread(workers: Workers): WorkerPort {
  try {
    return workers.open("spool");
  } catch (error) {
    throw new SpoolError(`Cannot start the spool's thread: ${text(error)}`, "broken", error);
  }
}

/** Mail is nobody else's business: the file is born with mode 0600, and SQLite gives its companions the same. */
async function prepareFile(path: string, files: Files, log: Log): Promise<void> {
  const directory = directoryOf(path);
  try {
    if (await files.info(directory) === undefined) await files.makeDirectory(directory, 0o700);
    const info = await files.info(path);
    if (info === undefined) {
      // Exclusively: to open and close a file that SQLite has open in this process would drop its locks.
      await (await files.open(path, "create-new", 0o600)).close();
      await files.syncDirectory(directory);
    } else if (info.kind !== "file") {
      throw new SpoolError(
        `Cannot open the spool "${path}": it is not a file. Name another one in [spool] url`,
        "broken",
      );
    } else if ((info.mode & 0o077) !== 0) {
      log.warn("spool.readable_by_others", { path, mode: (info.mode & 0o777).toString(8) });
    }
  } catch (error) {
    if (error instanceof SpoolError) throw error;
    // Another process created it between the look and the attempt.
    if (error instanceof FileError && error.code === "EEXIST") return;
    const full = error instanceof FileError && (error.code === "ENOSPC" || error.code === "EDQUOT");
    throw new SpoolError(`Cannot create the spool "${path}": ${text(error)}`, full ? "full" : "broken", error);
  }
}

class SqliteSpool implements Spool {
  readonly #options: SqliteOptions;
  readonly #runtime: SqliteRuntime;
  readonly #log: Log;
  readonly #link: ThreadLink;
  readonly #identity: ProcessIdentity | undefined;
  readonly #draftHost: DraftHost;
  readonly #kept = new Map<string, { readonly content: Uint8Array; waiting: number }>();
  #keptBytes = 0;
  #drafts = 0;
  #heartbeat: Disposable | undefined;
  #beating = false;
  #fullness: SpoolError | undefined;
  #freeSpaceKnownAtMs = -Infinity;
  #learning = false;
  /** Content taken so far, and how much more may be taken as far as is known since the last look at the disk. */
  #takenBytes = 0;
  #roomBytes = Infinity;
  #closing: Promise<void> | undefined;

  constructor(
    options: SqliteOptions,
    runtime: SqliteRuntime,
    log: Log,
    link: ThreadLink,
    identity: ProcessIdentity | undefined,
  ) {
    this.#options = options;
    this.#runtime = runtime;
    this.#log = log;
    this.#link = link;
    this.#identity = identity;
    this.#draftHost = {
      link,
      nextNumber: () => ++this.#drafts,
      nowMs: () => runtime.clock.nowMs(),
      take: (sizeBytes) => this.#take(sizeBytes),
      keep: (messageId, content, deliveries) => this.#keep(messageId, content, deliveries),
    };
  }

  /** Takes back what dead owners held and learns how much space there is. */
  async start(): Promise<void> {
    await Promise.all([this.#beat(), this.#learnFreeSpace()]);
    this.#heartbeat = this.#runtime.clock.every(HEARTBEAT_MS, () => {
      this.#beat().catch((error) => {
        if (this.#closing === undefined) this.#log.warn("spool.heartbeat_failed", { error: text(error) });
      });
    });
  }

  begin(): Draft {
    return new SqliteDraft(this.#draftHost);
  }

  async lease(
    channel: string,
    options: { readonly limit: number; readonly forMs: number; readonly ignoreBackoff?: boolean },
  ): Promise<readonly Lease[]> {
    const nowMs = this.#nowMs();
    const untilMs = nowMs + options.forMs;
    const ignoreBackoff = options.ignoreBackoff ?? false;
    const limit = Math.max(0, Math.floor(options.limit));
    const rows = await this.#link.request<"lease">({ op: "lease", channel, limit, nowMs, untilMs, ignoreBackoff });
    return rows.map((row) => toLease(row, untilMs));
  }

  async settle(
    settlements: readonly { readonly lease: Lease; readonly settlement: Settlement }[],
  ): Promise<void> {
    if (settlements.length === 0) return;
    for (const { lease } of settlements) this.#letGo(lease.message.id);
    const stale = await this.#link.request<"settle">({
      op: "settle",
      nowMs: this.#nowMs(),
      settlements: settlements.map(({ lease, settlement }) => ({
        deliveryId: lease.deliveryId,
        token: lease.token,
        settlement: "detail" in settlement ? { ...settlement, detail: boundedDetail(settlement.detail) } : settlement,
      })),
    });
    for (const delivery of stale) this.#log.warn("spool.stale_settlement", { delivery });
  }

  async renew(leases: readonly Lease[], forMs: number): Promise<void> {
    if (leases.length === 0) return;
    await this.#link.request<"renew">({
      op: "renew",
      leases: leases.map(({ deliveryId, token }) => ({ deliveryId, token })),
      untilMs: this.#nowMs() + forMs,
    });
  }

  async nextDue(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return new Map(await this.#link.request<"due">({ op: "due", channels }));
  }

  async *content(messageId: string): AsyncIterable<Uint8Array> {
    const kept = this.#kept.get(messageId);
    if (kept !== undefined) {
      if (kept.content.length > 0) yield kept.content;
      return;
    }
    let piece: ContentPiece | undefined;
    for (let index = 0; piece === undefined || !piece.last; index++) {
      piece = await this.#link.request<"read">({ op: "read", id: messageId, index });
      if (piece === undefined) {
        throw new SpoolError(`Cannot read message "${messageId}": it is not in the spool any more`, "gone");
      }
      if (piece.bytes.length > 0) yield piece.bytes;
      // Given back now: a hundred pieces of a large message would otherwise wait for the garbage collector together.
      if (!piece.last) piece.bytes.buffer.transfer(0);
    }
  }

  async list(selection: Selection): Promise<readonly QueueEntry[]> {
    const limit = listLimit(selection);
    const rows = await this.#link.request<"list">({ op: "list", nowMs: this.#nowMs(), limit, selection });
    return rows.map(toEntry);
  }

  attempts(messageId: string): Promise<readonly Attempt[]> {
    return this.#link.request<"attempts">({ op: "attempts", id: messageId });
  }

  async change(deliveryIds: readonly number[], change: Change): Promise<readonly ChangeOutcome[]> {
    if (deliveryIds.length === 0) return [];
    const { outcomes, removed } = await this.#link.request<"change">({
      op: "change",
      nowMs: this.#nowMs(),
      ids: deliveryIds,
      change: change.kind === "fail" ? { ...change, detail: boundedDetail(change.detail) } : change,
    });
    for (const id of removed) this.#forget(id);
    return outcomes;
  }

  summary(selection: Selection): Promise<Summary> {
    return this.#link.request<"summary">({
      op: "summary",
      nowMs: this.#nowMs(),
      limit: listLimit(selection),
      selection,
    });
  }

  refusal(): SpoolError | undefined {
    if (this.#link.failure !== undefined) return this.#link.failure;
    const { clock } = this.#runtime;
    const isOld = clock.monotonicMs() - this.#freeSpaceKnownAtMs >= FREE_SPACE_AGE_MS;
    if (isOld || (this.#roomBytes < 0 && this.#fullness === undefined)) void this.#learnFreeSpace();
    return this.#fullness ?? (this.#roomBytes < 0 ? this.#tooFull("is about to fall below") : undefined);
  }

  /** Between two looks at the disk, a fast sender could fill it: what is taken is counted against what was free. */
  #take(sizeBytes: number): SpoolError | undefined {
    this.#takenBytes += sizeBytes;
    this.#roomBytes -= DISK_FACTOR * sizeBytes;
    return this.#roomBytes < 0 ? this.refusal() : undefined;
  }

  #tooFull(state: string): SpoolError {
    const { path, minFreeSpaceBytes } = this.#options;
    return new SpoolError(
      `The free space of the spool "${path}" ${state} the ${minFreeSpaceBytes} bytes of min_free_space. ` +
        "Messages are refused until there is more",
      "full",
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#heartbeat?.[Symbol.dispose]();
    this.#kept.clear();
    try {
      const closing = this.#link.request<"close">({ op: "close", nowMs: this.#nowMs() });
      this.#link.seal(closed());
      await closing;
    } catch (error) {
      // Our leases come back to the others when our heartbeat has been missing for long enough.
      this.#log.warn("spool.close_failed", { error: text(error) });
    } finally {
      this.#link.terminate(closed());
    }
  }

  async #beat(): Promise<void> {
    if (this.#beating) return;
    this.#beating = true;
    try {
      const nowMs = this.#nowMs();
      const others = await this.#link.request<"beat">({ op: "beat", nowMs, expiresAtMs: nowMs + OWNER_LIFETIME_MS });
      const dead: OwnerRow[] = [];
      for (const owner of others) if (await this.#isDead(owner)) dead.push(owner);
      if (dead.length === 0) return;
      const taken = await this.#link.request<"bury">({ op: "bury", owners: dead, nowMs: this.#nowMs() });
      if (taken.leases + taken.drafts > 0) this.#log.info("spool.took_back", taken);
    } finally {
      this.#beating = false;
    }
  }

  async #isDead(owner: OwnerRow): Promise<boolean> {
    if (owner.expiresAtMs <= this.#nowMs()) return true;
    const identity = parseIdentity(owner.identity);
    if (identity === undefined || identity.place !== this.#identity?.place) return false;
    return await this.#runtime.processes.alive(identity) === false;
  }

  async #learnFreeSpace(): Promise<void> {
    if (this.#learning) return;
    this.#learning = true;
    const takenBefore = this.#takenBytes;
    this.#freeSpaceKnownAtMs = this.#runtime.clock.monotonicMs();
    const { path, minFreeSpaceBytes } = this.#options;
    try {
      const free = await this.#runtime.files.freeBytes(directoryOf(path));
      const before = this.#fullness;
      this.#roomBytes = free - minFreeSpaceBytes - DISK_FACTOR * (this.#takenBytes - takenBefore);
      this.#fullness = free >= minFreeSpaceBytes ? undefined : new SpoolError(
        `The disk of the spool "${path}" has ${free} bytes left, and min_free_space is ${minFreeSpaceBytes}. ` +
          "Messages are refused until there is more",
        "full",
      );
      if (before === undefined && this.#fullness !== undefined) {
        this.#log.error("spool.full", { path, freeBytes: free, minFreeSpaceBytes });
      } else if (before !== undefined && this.#fullness === undefined) {
        this.#log.info("spool.space_again", { path, freeBytes: free });
      }
    } catch (error) {
      // Not to know is no reason to refuse: a disk that is really full rejects the commit.
      this.#fullness = undefined;
      this.#roomBytes = Infinity;
      this.#log.warn("spool.free_space_unknown", { path, error: text(error) });
    } finally {
      this.#learning = false;
    }
  }

  #keep(messageId: string, content: Uint8Array, deliveries: number): void {
    if (this.#closing !== undefined || content.buffer.byteLength > MAX_KEPT_BYTES) return;
    this.#kept.set(messageId, { content, waiting: deliveries });
    this.#keptBytes += content.buffer.byteLength;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= MAX_KEPT_BYTES) break;
      this.#forget(oldest);
    }
  }

  /** One delivery less will ask for the content. */
  #letGo(messageId: string): void {
    const kept = this.#kept.get(messageId);
    if (kept !== undefined && --kept.waiting <= 0) this.#forget(messageId);
  }

  #forget(messageId: string): void {
    const kept = this.#kept.get(messageId);
    if (kept === undefined) return;
    this.#kept.delete(messageId);
    this.#keptBytes -= kept.content.buffer.byteLength;
  }

  #nowMs(): number {
    return this.#runtime.clock.nowMs();
  }
}

function toMessage(row: StoredRow): StoredMessage {
  const { message, receivedAtMs, sizeBytes, envelope } = row;
  return { id: message, receivedAtMs, sizeBytes, envelope: JSON.parse(envelope) };
}

function toDelivery(row: StoredRow): NewDelivery {
  return { ...JSON.parse(row.record), channel: row.channel };
}

function toLease(row: LeaseRow, expiresAtMs: number): Lease {
  const { id, token, attempts } = row;
  return { deliveryId: id, token, expiresAtMs, message: toMessage(row), delivery: toDelivery(row), attempts };
}

function toEntry(row: ListRow): QueueEntry {
  const { id, state, attempts, dueAtMs, detail } = row;
  return {
    deliveryId: id,
    state,
    attempts,
    dueAtMs,
    ...(detail === null ? {} : { lastDetail: detail }),
    message: toMessage(row),
    delivery: toDelivery(row),
  };
}

/** Undefined for an owner that could not tell who it is, or that wrote what we do not understand. */
function parseIdentity(json: string): ProcessIdentity | undefined {
  if (json === "") return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function directoryOf(path: string): string {
  const slash = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}

function closed(): SpoolError {
  return new SpoolError("The spool is closed", "closed");
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
