/**
 * Replaces the content of a file at once: whoever reads it sees the old text or the new one, whole. Mode and owner stay, a
 * symbolic link stays one. It must not know what is in the file.
 */
import { chmod, chown, open, realpath, rename, stat, unlink, writeFile } from "node:fs/promises";
import { reasonOf } from "../config/include.ts";
import { CommandError, exitCode } from "./exit.ts";
import { visible } from "./terminal.ts";

export async function rewriteFile(file: string, text: string): Promise<void> {
  try {
    const path = await realpath(file).catch(() => file);
    const before = await stat(path).catch(() => undefined);
    // A device or a pipe has no content that could be replaced.
    if (before !== undefined && !before.isFile()) await writeFile(path, text);
    else await replace(path, text, before);
  } catch (error) {
    const message = `Cannot write "${visible(file)}": ${
      reasonOf(error)
    }; check the path and that this user may write there`;
    throw new CommandError(message, exitCode.input, error);
  }
}

interface Before {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

async function replace(path: string, text: string, before: Before | undefined): Promise<void> {
  const unfinished = `${path}.${process.pid}.new`;
  const handle = await open(unfinished, "wx", 0o666);
  try {
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (before !== undefined) await take(unfinished, before);
    await rename(unfinished, path);
  } catch (error) {
    await unlink(unfinished).catch(() => undefined);
    throw error;
  }
}

/** Gives a file the owner and the mode of the one it replaces. Only root may give files away; the mode comes last, for
 * a change of owner takes bits of it. */
async function take(path: string, { uid, gid, mode }: Before): Promise<void> {
  const own = await stat(path);
  if (own.uid !== uid || own.gid !== gid) await chown(path, uid, gid).catch(() => undefined);
  await chmod(path, mode & 0o7777);
}
