/**
 * What channels with templated paths keep open, by path and bounded, and folders made so that they survive a power cut. It
 * must not know what is kept.
 */
import type { Log } from "../observe/log.ts";
import { FileError } from "../runtime/runtime.ts";
import type { Files } from "../runtime/runtime.ts";
import { directoryOf } from "./content.ts";

/** What is opened for a path costs little memory and no descriptor; making its folders sure again costs several syncs. */
const OPENED_MAX = 1_000;

interface Entry<Box> {
  readonly box: Promise<Box>;
  users: number;
  isGone: boolean;
  /** Needs no look into the promise when the box is there. */
  ready: Box | undefined;
}

/** Boxes by path. When there are too many, those unused for longest are let go; one in use stays, so none is open twice. */
export class Opened<Box> {
  readonly #open: (path: string) => Promise<Box>;
  readonly #mustStay: (box: Box) => boolean;
  readonly #maximum: number;
  /** In order of use. */
  readonly #entries = new Map<string, Entry<Box>>();

  /** `mustStay` says whether a box still remembers what cannot be found out again. */
  constructor(
    open: (path: string) => Promise<Box>,
    mustStay: (box: Box) => boolean = () => false,
    maximum = OPENED_MAX,
  ) {
    this.#open = open;
    this.#mustStay = mustStay;
    this.#maximum = maximum;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Calls with the box of that path, which is opened when it is not yet. */
  async with<Result>(path: string, call: (box: Box) => Promise<Result>): Promise<Result> {
    const entry = this.#enter(path);
    try {
      return await call(entry.ready ?? await entry.box);
    } catch (error) {
      // Somebody removed its folder: the next use makes it again.
      if (error instanceof FileError && error.code === "ENOENT") entry.isGone = true;
      throw error;
    } finally {
      entry.users--;
      if (entry.isGone && isIdle(entry, this.#mustStay)) this.#entries.delete(path);
      if (this.#entries.size > this.#maximum) this.#letGo();
    }
  }

  #enter(path: string): Entry<Box> {
    const known = this.#entries.get(path);
    if (known !== undefined) {
      known.users++;
      this.#entries.delete(path);
      this.#entries.set(path, known);
      return known;
    }
    const entry: Entry<Box> = { box: this.#open(path), users: 1, isGone: false, ready: undefined };
    this.#entries.set(path, entry);
    entry.box.then(
      (box) => {
        entry.ready = box;
      },
      () => {
        if (this.#entries.get(path) === entry) this.#entries.delete(path);
      },
    );
    return entry;
  }

  #letGo(): void {
    for (const [path, entry] of this.#entries) {
      if (this.#entries.size <= this.#maximum) return;
      if (isIdle(entry, this.#mustStay)) this.#entries.delete(path);
    }
  }
}

function isIdle<Box>({ users, ready }: Entry<Box>, mustStay: (box: Box) => boolean): boolean {
  return users === 0 && ready !== undefined && !mustStay(ready);
}

/**
 * Creates the directory with what is missing above it, and makes the names from `root` down to it durable. What lies above
 * `root` was not made by us and need not be readable.
 */
export async function makeDurableDirectory(
  context: { readonly runtime: { readonly files: Files }; readonly log: Log },
  path: string,
  root: string,
): Promise<void> {
  const { files } = context.runtime;
  await files.makeDirectory(path, 0o700);
  let directory = path;
  while (directory.length > root.length && directory.startsWith(root)) {
    directory = directoryOf(directory);
    if (directory.length >= root.length) await files.syncDirectory(directory);
  }
  const above = directoryOf(root);
  await files.syncDirectory(above).catch((error: unknown) => {
    context.log.debug("parent-not-synced", { path: above, error: String(error) });
  });
}
