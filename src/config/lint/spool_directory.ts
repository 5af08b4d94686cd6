/**
 * The directory of the spool on this machine: whether it is there or can be made, what kind of file system holds it, and
 * how much fits. It must not know what is in the spool.
 */
import { dirname } from "node:path";
import { quote } from "../diagnostic.ts";
import { formatSize } from "../size.ts";
import type { Place } from "../source.ts";
import { tableAt, textAt } from "../tree.ts";
import type { LintContext, LintFileInfo, LintFiles, LintRule } from "./rule.ts";

export const spoolDirectory: LintRule = {
  code: "SMTPD251",
  async check(context) {
    const spool = spoolOf(context);
    if (spool === undefined) return;
    const { files } = context.environment;
    const { directory, place } = spool;
    const existing = await nearestExisting(directory, files);
    if (existing === undefined) return;
    const report = (message: string, help: string) => context.report(message, place, { help });
    if (existing.info.kind !== "directory") {
      report(
        `The spool cannot be kept in ${quote(directory)}: ${quote(existing.path)} is no directory`,
        "Name another path in url.",
      );
    } else if (await files.isWritable(existing.path) !== false) return;
    else if (existing.path === directory) {
      report(`This user may not write to the spool's directory ${quote(directory)}`, `${OWNER} ${OTHER_USER}`);
    } else {
      report(
        `The spool's directory ${quote(directory)} is not there, and this user may not make it in ` +
          quote(existing.path),
        `Make it. ${OWNER} ${OTHER_USER}`,
      );
    }
  },
};

const OWNER = "It must belong to the user that the server runs as, with mode 700.";
const OTHER_USER = "If the server runs as somebody else, run smtpd check as that user.";

/** What is written there is gone with the machine's next start, or with the container. */
const FORGETFUL: ReadonlyMap<string, string> = new Map([
  ["tmpfs", "Its files are gone after a restart of the machine."],
  ["ramfs", "Its files are gone after a restart of the machine."],
  ["overlay", "Its files are gone with the container."],
  ["aufs", "Its files are gone with the container."],
]);

/** SQLite's write-ahead log needs memory that all who have the file open share, and locks that hold. */
const REMOTE: ReadonlySet<string> = new Set(["nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph"]);

export const spoolFileSystem: LintRule = {
  code: "SMTPD252",
  async check(context) {
    const spool = spoolOf(context);
    if (spool === undefined) return;
    const { files } = context.environment;
    const existing = await nearestExisting(spool.directory, files);
    const kind = existing === undefined ? undefined : await files.fileSystem(existing.path);
    if (kind === undefined) return;
    const loss = FORGETFUL.get(kind);
    if (loss !== undefined) {
      context.report(`The spool is on a file system that does not last: ${kind}`, spool.place, {
        notes: [loss],
        help: "Put it on a disk; in a container, mount a volume at its directory.",
      });
    } else if (REMOTE.has(kind)) {
      context.report(`The spool is on a network file system: ${kind}`, spool.place, {
        notes: ["SQLite cannot keep its files whole there: locks and shared memory do not reach over the network."],
        help: "Put it on a disk of this machine.",
      });
    }
  },
};

export const spoolSpace: LintRule = {
  code: "SMTPD253",
  async check(context) {
    const spool = spoolOf(context);
    const { config } = context;
    if (spool === undefined || config === undefined) return;
    const { files } = context.environment;
    const existing = await nearestExisting(spool.directory, files);
    const freeBytes = existing === undefined ? undefined : await files.freeBytes(existing.path);
    if (freeBytes === undefined) return;
    const largestBytes = Math.max(0, ...config.listeners.map((listener) => listener.maxMessageSizeBytes));
    const { minFreeSpaceBytes } = config.spool;
    if (freeBytes >= largestBytes + minFreeSpaceBytes) return;
    const [free, reserve, largest] = [wholeUnits(freeBytes), minFreeSpaceBytes, largestBytes].map(formatSize);
    context.report("The disk of the spool has no room for the largest message", spool.place, {
      notes: [`It has ${free} left, of which min_free_space keeps ${reserve}; max_message_size is ${largest}.`],
      help: "Make room, or put the spool on another disk.",
    });
  },
};

/** Free space is never known to the byte. */
function wholeUnits(bytes: number): number {
  const unit = bytes >= 1024 ** 2 ? 1024 ** 2 : 1024;
  return bytes - bytes % unit;
}

/** The directory of a spool that is a file, and the place that says so: the url, or what stands nearest to it. */
function spoolOf(
  { root, main, config }: LintContext,
): { readonly directory: string; readonly place: Place } | undefined {
  if (config?.spool.store.kind !== "sqlite") return undefined;
  const table = tableAt(root, "spool");
  const url = table === undefined ? undefined : textAt(table, "url");
  const place = url?.place ?? table?.place ?? { source: main, start: 0, end: 0 };
  return { directory: dirname(config.spool.store.path), place };
}

/** The path itself or the nearest above it that exists. */
async function nearestExisting(
  path: string,
  files: LintFiles,
): Promise<{ readonly path: string; readonly info: LintFileInfo } | undefined> {
  for (let at = path;; at = dirname(at)) {
    const info = await files.info(at);
    if (info !== undefined) return { path: at, info };
    if (dirname(at) === at) return undefined;
  }
}
