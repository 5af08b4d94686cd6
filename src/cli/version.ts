/**
 * `smtpd version`: which smtpd this is. The build bakes version and commit in; from a source tree they are read from
 * package.json and .git. It must stay light: it loads nothing of the server.
 */
import type { Runtime } from "../runtime/runtime.ts";
import manifest from "../../package.json" with { type: "json" };

/** Replaced by scripts/build; absent when run from source. */
declare const SMTPD_VERSION: string | undefined;
declare const SMTPD_COMMIT: string | undefined;

export interface Version {
  readonly version: string;
  /** Abbreviated hash, `-dirty` behind it when the tree had changes; `unknown` where there is no repository. */
  readonly commit: string;
  readonly runtime: string;
  readonly runtimeVersion: string;
  /** `linux-x64`. */
  readonly platform: string;
  /** Whether this is an executable made by scripts/build. */
  readonly compiled: boolean;
}

export async function currentVersion(runtime: Runtime): Promise<Version> {
  const compiled = typeof SMTPD_VERSION === "string";
  return {
    version: compiled ? SMTPD_VERSION : manifest.version,
    commit: typeof SMTPD_COMMIT === "string" ? SMTPD_COMMIT : await sourceCommit(runtime),
    runtime: runtime.name,
    runtimeVersion: runtime.version,
    platform: `${process.platform}-${process.arch}`,
    compiled,
  };
}

export async function versionCommand(runtime: Runtime, options: { readonly json?: boolean }): Promise<number> {
  const version = await currentVersion(runtime);
  runtime.processes.stdio.writeOut(options.json === true ? `${JSON.stringify(version)}\n` : versionText(version));
  return 0;
}

function versionText(version: Version): string {
  const origin = version.compiled ? "" : ", from source";
  const { commit, runtime, runtimeVersion, platform } = version;
  return `smtpd ${version.version} (commit ${commit}, ${runtime} ${runtimeVersion}, ${platform}${origin})\n`;
}

async function sourceCommit(runtime: Runtime): Promise<string> {
  const git = decodeURIComponent(new URL("../../.git/", import.meta.url).pathname);
  try {
    const head = (await runtime.files.readText(`${git}HEAD`)).trim();
    const reference = /^ref: (refs\/[\w./-]+)$/.exec(head)?.[1];
    const hash = reference === undefined ? head : await referencedCommit(runtime, git, reference);
    return /^[0-9a-f]{40,64}$/.test(hash) ? hash.slice(0, 12) : "unknown";
  } catch {
    return "unknown";
  }
}

/** A reference is a file of its own until git packs it. */
async function referencedCommit(runtime: Runtime, git: string, reference: string): Promise<string> {
  try {
    return (await runtime.files.readText(`${git}${reference}`)).trim();
  } catch {
    const packed = await runtime.files.readText(`${git}packed-refs`);
    return packed.split("\n").find((line) => line.endsWith(` ${reference}`))?.split(" ")[0] ?? "";
  }
}
