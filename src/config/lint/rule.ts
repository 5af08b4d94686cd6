/**
 * The interface of a lint rule: what it is given to look at, and how it tells what it found. A rule looks beyond the
 * schema: at the whole configuration, the machine it runs on, or the network. Rules never throw because of what they find,
 * change nothing, and reach the world through `LintEnvironment` alone.
 */
import type { Reference } from "../check.ts";
import type { Code } from "../codes.ts";
import type { Config } from "../config.ts";
import type { DiagnosticExtras } from "../diagnostic.ts";
import type { Rehearse } from "../rehearsal.ts";
import type { Place, Source } from "../source.ts";
import type { TableNode } from "../tree.ts";

/** One code, one rule, one page in `pages/`. Rules are listed in `rules.ts`. */
export interface LintRule {
  readonly code: Code;
  check(context: LintContext): void | Promise<void>;
}

export interface LintContext {
  /** The merged tree. Whatever else is wrong with the configuration, it is there; nothing in it is certain to be right. */
  readonly root: TableNode;
  readonly main: Source;
  readonly sources: ReadonlyMap<string, Source>;
  /** Every file could be read: what is missing in the tree is missing indeed. */
  readonly complete: boolean;
  /**
   * Present when the loader found no error. Listeners, bindings and channels then stand in the same order as the tables
   * `[[listener]]`, `[[binding]]` and `[[channel]]` of the tree (`tablesAt`).
   */
  readonly config?: Config;
  /** Every value that says where a secret or a file is, channel options included. */
  readonly references: readonly Reference[];
  readonly environment: LintEnvironment;
  /** Plays messages for routing tests. Absent: nobody can, and they are not run. Loaded when there are tests. */
  readonly rehearse?: () => Promise<Rehearse>;
  /** Present when bindings that no test reaches are asked for; below the percentage is an error. */
  readonly coverage?: { readonly minPercent?: number };
  /** A finding of the rule's code at its default severity. The same place twice is reported once. */
  report(message: string, place: Place, extras?: DiagnosticExtras): void;
}

/** What rules may know of the world. No method throws or rejects: what cannot be known is undefined. */
export interface LintEnvironment {
  readonly files: LintFiles;
  /** undefined: not set. */
  variable(name: string): string | undefined;
  /** Milliseconds since the epoch, the same for the whole run. */
  readonly nowMs: number;
  /** The system's host name. */
  readonly hostName: string;
  readonly privileges: LintPrivileges;
  /** Parses a certificate chain and its key, both PEM, and holds them against each other. */
  keyPair(certificate: string, privateKey: string): KeyPairFacts;
  /** Present with `--online`. */
  readonly network?: LintNetwork;
}

export interface LintFiles {
  /** The text, or why it cannot be read, as words that continue a sentence: `there is no such file`. */
  readText(path: string): Promise<{ readonly text: string } | { readonly reason: string }>;
  /** undefined: there is nothing, or nothing can be known. */
  info(path: string): Promise<LintFileInfo | undefined>;
  /** Whether this process may write to a file, or make files in a directory. */
  isWritable(path: string): Promise<boolean | undefined>;
  /** The kind of file system that holds an existing path: `ext4`, `tmpfs`, `overlay`. */
  fileSystem(path: string): Promise<string | undefined>;
  /** Bytes that may still be written below an existing path. */
  freeBytes(path: string): Promise<number | undefined>;
}

export interface LintFileInfo {
  readonly kind: "file" | "directory" | "other";
  readonly sizeBytes: number;
  /** POSIX permission bits; undefined where the system has none. */
  readonly mode: number | undefined;
}

export interface LintPrivileges {
  /** Whether this process may listen on a TCP port; undefined where that cannot be known. */
  mayListen(port: number): Promise<boolean | undefined>;
  /** How many files and sockets this process may have open. */
  openFileLimit(): Promise<number | undefined>;
}

export type KeyPairFacts =
  | {
    readonly ok: true;
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
    /** DNS names and addresses of the first certificate, wildcards as written. */
    readonly names: readonly string[];
    covers(hostName: string): boolean;
  }
  /** `reason` is a sentence; `field` says which half to look at. */
  | { readonly ok: false; readonly field: "certificate" | "privateKey" | "pair"; readonly reason: string };

/** Questions to the network; each ends within a few seconds. */
export interface LintNetwork {
  /** Addresses of a name: empty when it has none, undefined when nobody answered. */
  addresses(name: string): Promise<readonly string[] | undefined>;
  /** Names of an address. */
  names(address: string): Promise<readonly string[] | undefined>;
  mailExchangers(
    domain: string,
  ): Promise<readonly { readonly preference: number; readonly name: string }[] | undefined>;
  /** Whether something answers a TCP connection. */
  answers(host: string, port: number): Promise<boolean | undefined>;
}
