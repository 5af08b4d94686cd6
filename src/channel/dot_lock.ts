/**
 * A lock between processes by a file beside the one it protects: who creates `FILE.lock` holds it. The file names its
 * holder, so that a lock whose process died is broken at once; one that cannot be judged is broken when it is old. It
 * must not know what the lock is for. The kernel's own locks are out of reach of this program's file interface; mail
 * readers that honour only those have to be kept from the file in another way.
 */
import { FileError } from "../runtime/runtime.ts";
import type { ProcessIdentity, Runtime } from "../runtime/runtime.ts";

type Context = Pick<Runtime, "files" | "clock" | "processes">;

/** A lock of an unknown holder is taken for forgotten after this: far longer than any append takes. */
export const STALE_AFTER_MS = 10 * 60_000;

/** The right to break a lock is held for a few file operations; nobody needs it longer. */
const BREAK_STALE_AFTER_MS = 60_000;

/** Between two looks at a lock that somebody else holds. */
const LOOK_EVERY_MS = 100;

/** A wait longer than this is better spent as a retry, when the slot is free for others. */
const WAIT_MAX_MS = 20_000;

/** Somebody else holds the lock, and it is not for us to break it. */
export class LockedError extends Error {
  override readonly name = "LockedError";
}

export interface HeldLock {
  /** A forgotten lock was broken to get this one: what its holder was writing may be incomplete. */
  readonly broken: boolean;
  release(): Promise<void>;
}

/**
 * Takes the lock at `path`, waiting for a while. Rejects with `LockedError` when somebody holds on to it, with
 * `FileError` when the file cannot be made, or with the signal's reason.
 */
export async function takeLock(context: Context, path: string, signal: AbortSignal): Promise<HeldLock> {
  const startedMs = context.clock.monotonicMs();
  let broken = false;
  for (;;) {
    signal.throwIfAborted();
    if (await create(context, path)) return { broken, release: () => context.files.remove(path) };
    if (await breakStale(context, path)) {
      broken = true;
      continue;
    }
    if (context.clock.monotonicMs() - startedMs >= WAIT_MAX_MS) {
      throw new LockedError(
        `Cannot lock "${path}": it has been held by somebody else for ${WAIT_MAX_MS / 1_000} s; ` +
          "if no program uses the mailbox, remove this file",
      );
    }
    await pause(context, LOOK_EVERY_MS, signal);
  }
}

/** False when the name is taken. */
async function create({ files, processes }: Context, path: string): Promise<boolean> {
  const identity = await processes.identity();
  let file;
  try {
    file = await files.open(path, "create-new", 0o600);
  } catch (error) {
    if (error instanceof FileError && error.code === "EEXIST") return false;
    throw error;
  }
  try {
    await file.write(new TextEncoder().encode(lockText(identity ?? processes.pid)));
  } catch (error) {
    await file.close();
    await files.remove(path);
    throw error;
  }
  await file.close();
  return true;
}

/** The first line is the process id alone, as other programs write it and show it. */
export function lockText(holder: ProcessIdentity | number): string {
  return typeof holder === "number" ? `${holder}\n` : `${holder.pid}\n${JSON.stringify(holder)}\n`;
}

/**
 * Removes the lock when its holder is gone. Only one process may do that at a time, by a lock of its own: without it, a
 * second one that judged the old lock a moment ago could remove the new lock of the first.
 */
async function breakStale(context: Context, path: string): Promise<boolean> {
  if (!(await isStale(context, path, STALE_AFTER_MS))) return false;
  const breaking = `${path}.break`;
  if (!(await create(context, breaking))) {
    if (await isStale(context, breaking, BREAK_STALE_AFTER_MS)) await context.files.remove(breaking);
    return false;
  }
  try {
    if (!(await isStale(context, path, STALE_AFTER_MS))) return false;
    await context.files.remove(path);
    return true;
  } finally {
    await context.files.remove(breaking);
  }
}

async function isStale({ files, processes, clock }: Context, path: string, staleAfterMs: number): Promise<boolean> {
  try {
    const info = await files.info(path);
    if (info === undefined) return false;
    // Another program's lock may be anything; only what is small is read.
    const holder = info.kind === "file" && info.sizeBytes <= 1_024 ? holderOf(await files.readText(path)) : undefined;
    const alive = holder === undefined ? undefined : await processes.alive(holder);
    return alive === undefined ? clock.nowMs() - info.modifiedMs > staleAfterMs : !alive;
  } catch (error) {
    // Released between two looks.
    if (error instanceof FileError && error.code === "ENOENT") return false;
    throw error;
  }
}

function holderOf(text: string): ProcessIdentity | undefined {
  try {
    const value: unknown = JSON.parse(text.split("\n")[1] ?? "");
    if (typeof value !== "object" || value === null) return undefined;
    const { place, pid, startedAt } = value as Partial<Record<keyof ProcessIdentity, unknown>>;
    return typeof place === "string" && typeof pid === "number" && typeof startedAt === "string"
      ? { place, pid, startedAt }
      : undefined;
  } catch {
    return undefined;
  }
}

function pause({ clock }: Context, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(delayMs, () => {
      signal.removeEventListener("abort", aborted);
      resolve();
    });
    const aborted = () => {
      timer[Symbol.dispose]();
      reject(signal.reason);
    };
    signal.addEventListener("abort", aborted, { once: true });
  });
}
