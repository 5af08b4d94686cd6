/**
 * Files over `node:fs`, which both runtimes carry. Every failure becomes a `FileError` with the POSIX code. It must
 * not know what is stored.
 */
import { constants, type Stats } from "node:fs";
import * as fs from "node:fs/promises";
import { FileError, type FileInfo, type Files, type OpenFile } from "./runtime.ts";
import { errorCode } from "./failures.ts";

/** The files of this machine. */
export function nodeFiles(): Files {
  return {
    readText: (path) => attempt("read", path, () => fs.readFile(path, "utf8")),
    readBytes: (path) => attempt("read", path, async () => plainBytes(await fs.readFile(path))),
    open: (path, how, mode) =>
      attempt(how === "append" ? "open" : "create", path, async () => {
        const handle = await fs.open(path, how === "append" ? APPEND : CREATE_NEW, mode);
        return new NodeOpenFile(path, handle);
      }),
    info: (path) => attempt("examine", path, () => fs.stat(path).then(fileInfo, orMissing)),
    list: (directory) => attempt("list", directory, () => fs.readdir(directory)),
    makeDirectory: (path, mode) =>
      attempt("create the directory", path, async () => void await fs.mkdir(path, { recursive: true, mode })),
    rename: (from, to) => attempt(`rename to ${JSON.stringify(to)} the file`, from, () => fs.rename(from, to)),
    remove: (path) => attempt("remove", path, () => fs.unlink(path).catch(orMissing)),
    syncDirectory: (path) => attempt("make durable the directory", path, () => syncDirectory(path)),
    freeBytes: (path) =>
      attempt("measure the file system of", path, async () => {
        const { bavail, bsize } = await fs.statfs(path);
        return bavail * bsize;
      }),
  };
}

const CREATE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;

class NodeOpenFile implements OpenFile {
  readonly #path: string;
  readonly #handle: fs.FileHandle;
  #closing: Promise<void> | undefined;

  constructor(path: string, handle: fs.FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  write(bytes: Uint8Array): Promise<void> {
    return attempt("write", this.#path, async () => {
      for (let at = 0; at < bytes.length;) {
        at += (await this.#handle.write(bytes, at, bytes.length - at, null)).bytesWritten;
      }
    });
  }

  sync(): Promise<void> {
    return attempt("make durable", this.#path, () => this.#handle.sync());
  }

  truncate(sizeBytes: number): Promise<void> {
    return attempt("truncate", this.#path, () => this.#handle.truncate(sizeBytes));
  }

  sizeBytes(): Promise<number> {
    return attempt("examine", this.#path, async () => (await this.#handle.stat()).size);
  }

  close(): Promise<void> {
    return this.#closing ??= attempt("close", this.#path, () => this.#handle.close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function attempt<Result>(doing: string, path: string, operate: () => Promise<Result>): Promise<Result> {
  try {
    return await operate();
  } catch (error) {
    const code = errorCode(error, "EIO");
    const advice = ADVICE[code] ?? `the system says ${code}.`;
    throw new FileError(`Cannot ${doing} ${JSON.stringify(path)}: ${advice}`, code, path, error);
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: "this user may not; check owner and mode of the file and of its directories (EACCES).",
  EEXIST: "the name is taken (EEXIST).",
  EMFILE: "too many files are open; raise the limit (ulimit -n) (EMFILE).",
  ENOENT: "there is no such file or directory (ENOENT).",
  ENOSPC: "the disk is full; free some space (ENOSPC).",
  EROFS: "the file system is mounted read-only (EROFS).",
};

function orMissing(error: unknown): undefined {
  if (errorCode(error, "EIO") === "ENOENT") return undefined;
  throw error;
}

function fileInfo(stats: Stats): FileInfo {
  return {
    kind: stats.isFile() ? "file" : stats.isDirectory() ? "directory" : "other",
    sizeBytes: stats.size,
    modifiedMs: stats.mtimeMs,
    mode: stats.mode & 0o7777,
  };
}

function plainBytes(buffer: Uint8Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await fs.open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Windows has no fsync for directories and makes their entries durable by itself.
    if (errorCode(error, "EIO") !== "EPERM") throw error;
  } finally {
    await handle.close();
  }
}
