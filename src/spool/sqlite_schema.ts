/**
 * Opens the spool's SQLite file: creates or recognises its schema, sets how it is written, and turns SQLite's errors into
 * words a person can act on. Runs in the SQLite thread. It must not know of requests, leases or drafts.
 */
import { DatabaseSync } from "node:sqlite";
import { SpoolError } from "./spool.ts";

/** "smtq" in ASCII: tells our files from those of others. */
const APPLICATION_ID = 0x736d7471;
const SCHEMA_VERSION = 1;
/** Enough for the pages that are written and deleted again within seconds; a large message must not fill it. */
const CACHE_KIB = 8 * 1024;
/** After a burst the write-ahead log is cut back to this. */
const WAL_KEPT_BYTES = 64 * 1024 * 1024;

/**
 * Ids of deliveries follow on that of their message (key, key + 1, …), so that neither table needs an index on the
 * other. `chunk.key` is draft * 2^20 + index. State: 0 queued, 1 leased, 2 held, 3 failed. The index of due work contains
 * all that finding and taking back leases asks for, so both cost no look into the table.
 */
const SCHEMA = `
CREATE TABLE counter (next INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (1);
CREATE TABLE owner (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, expires_ms INTEGER NOT NULL) STRICT;
CREATE TABLE draft (id INTEGER PRIMARY KEY, owner INTEGER, chunks INTEGER NOT NULL) STRICT;
CREATE TABLE chunk (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE message (
  key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, received_ms INTEGER NOT NULL, size INTEGER NOT NULL,
  deliveries INTEGER NOT NULL, draft INTEGER, chunks INTEGER NOT NULL, envelope TEXT NOT NULL, tail BLOB NOT NULL
) STRICT;
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY, message INTEGER NOT NULL, state INTEGER NOT NULL, due_ms INTEGER NOT NULL, owner INTEGER,
  token INTEGER, attempts INTEGER NOT NULL, channel TEXT NOT NULL, record TEXT NOT NULL, detail TEXT
) STRICT;
CREATE INDEX delivery_due ON delivery (channel, due_ms, state, owner) WHERE state <= 1;
CREATE INDEX delivery_parked ON delivery (state) WHERE state >= 2;
CREATE TABLE attempt (
  delivery INTEGER NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;
`;

/** Opens or creates the file. Throws `SpoolError`; then the file is closed and unchanged. */
export function openDatabase(
  path: string,
  { maxPages, busyTimeoutMs }: { readonly maxPages?: number; readonly busyTimeoutMs: number },
): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec(`PRAGMA busy_timeout = ${Math.floor(busyTimeoutMs)}`);
    if (!recognise(database, path)) create(database, path);
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    database.exec("PRAGMA wal_autocheckpoint = 0");
    database.exec(`PRAGMA cache_size = ${-CACHE_KIB}`);
    database.exec(`PRAGMA journal_size_limit = ${WAL_KEPT_BYTES}`);
    if (maxPages !== undefined) database.exec(`PRAGMA max_page_count = ${Math.floor(maxPages)}`);
    return database;
  } catch (error) {
    database?.close();
    throw toSpoolError(error, `Cannot open the spool "${path}"`);
  }
}

/** True: ours and usable. False: empty. Throws when it belongs to somebody else. */
function recognise(database: DatabaseSync, path: string): boolean {
  const application = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  if (application === APPLICATION_ID) {
    if (version === SCHEMA_VERSION) return true;
    throw new SpoolError(
      `Cannot open the spool "${path}": its format is version ${version} and this program knows version ` +
        `${SCHEMA_VERSION}. Use the version of smtpd that wrote it, or let that one deliver what is queued`,
      "broken",
    );
  }
  const tables = database.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.["n"];
  if (application === 0 && version === 0 && tables === 0) return false;
  throw new SpoolError(
    `Cannot open the spool "${path}": the file is a database of another program. Name another file in [spool] url`,
    "broken",
  );
}

function create(database: DatabaseSync, path: string): void {
  // Both must be known before the first page is written.
  database.exec("PRAGMA auto_vacuum = INCREMENTAL");
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("BEGIN IMMEDIATE");
  // Another process may have been faster.
  if (!recognise(database, path)) {
    database.exec(SCHEMA);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  }
  database.exec("COMMIT");
}

/** The value of a pragma that gives one number. */
export function pragma(database: DatabaseSync, name: string): number {
  const row = database.prepare(`PRAGMA ${name}`).get();
  return row === undefined ? 0 : Number(Object.values(row)[0]);
}

/** SQLite's extended result code of an error, 0 when it is none of SQLite's. */
export function resultCode(error: unknown): number {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
}

const SQLITE_IOERR_FSYNC = 1034;
const SQLITE_IOERR_DIR_FSYNC = 1290;
/** The index of the write-ahead log could not grow: how a full disk shows itself there. */
const SQLITE_IOERR_SHMSIZE = 4874;

/** After a failed fsync nobody knows what is on the disk, and a second fsync that succeeds proves nothing. */
export function isSyncFailure(error: unknown): boolean {
  const code = resultCode(error);
  return code === SQLITE_IOERR_FSYNC || code === SQLITE_IOERR_DIR_FSYNC;
}

/** Says what went wrong, what was being done and what helps. A `SpoolError` is passed on as it is. */
export function toSpoolError(error: unknown, doing: string): SpoolError {
  if (error instanceof SpoolError) return error;
  const code = resultCode(error);
  const text = error instanceof Error ? error.message : String(error);
  if (code === SQLITE_IOERR_SHMSIZE) return full(doing, error);
  switch (code & 0xff) {
    case 5:
    case 6:
      return new SpoolError(
        `${doing}: another process has locked it for too long. ` +
          "End whatever holds it (a backup, an sqlite3 shell)",
        "busy",
        error,
      );
    case 8:
    case 14:
    case 23:
      return new SpoolError(
        `${doing}: ${text}. The user smtpd runs as must be able to write the file and its directory`,
        "broken",
        error,
      );
    case 10:
      return new SpoolError(`${doing}: reading or writing failed (${text}). Check the disk`, "broken", error);
    case 11:
      return new SpoolError(
        `${doing}: the file is damaged (${text}). Stop smtpd, keep a copy, and try ` +
          `"sqlite3 FILE .recover" or start with another file`,
        "broken",
        error,
      );
    case 13:
      return full(doing, error);
    case 26:
      return new SpoolError(
        `${doing}: the file is not an SQLite database, or its beginning is damaged. ` +
          "Name another file in [spool] url, or put back an undamaged copy",
        "broken",
        error,
      );
    default:
      return new SpoolError(`${doing}: ${text}`, "broken", error);
  }
}

function full(doing: string, cause: unknown): SpoolError {
  return new SpoolError(`${doing}: no space is left on its disk. Free some, or move the spool`, "full", cause);
}
