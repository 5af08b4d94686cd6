/**
 * Finds the dialogs: every `*.dialog` file beside this one. It must not know how they are played.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dialog, parseDialogs } from "./dialog.ts";

export interface DialogFile {
  readonly name: string;
  readonly dialogs: readonly Dialog[];
}

const FOLDER = fileURLToPath(new URL(".", import.meta.url));

/** All files in order of their names. Throws `DialogSyntaxError` on the first mistake in any of them. */
export function dialogFiles(): readonly DialogFile[] {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith(".dialog")).sort();
  return names.map((name) => ({
    name,
    dialogs: parseDialogs(readFileSync(join(FOLDER, name), "utf8"), name),
  }));
}
