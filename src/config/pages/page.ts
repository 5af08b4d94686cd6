/**
 * The form of a rule's page: what `smtpd explain CODE` prints and what tools show beside a finding. Its examples are the
 * rule's tests: the bad one gives the code and no other error, the good one gives no finding at all. It must not know the
 * rules.
 */
import type { Code } from "../codes.ts";

export interface RulePage {
  readonly code: Code;
  /** What is reported, in plain sentences. */
  readonly what: string;
  /** What goes wrong otherwise. */
  readonly why: string;
  readonly bad: Example;
  readonly good: Example;
}

/** As it stands in the files beside this one, under its code. */
export type PageContent = Omit<RulePage, "code">;

export interface Example {
  /** The main file, `smtpd.toml`. */
  readonly text: string;
  /** Further files by their path, relative to the main one; shown with their content when they are TOML. */
  readonly files?: Readonly<Record<string, string>>;
  /** What else is different from a plain machine on which everything is fine. */
  readonly world?: ExampleWorld;
}

/**
 * The machine that an example is checked on. What is not given is as it should be: files are readable by their owner alone
 * and on `ext4`, any port may be listened on, key pairs match, are valid and cover every name, variables are not set.
 */
export interface ExampleWorld {
  readonly variables?: Readonly<Record<string, string>>;
  /** A moment: `2026-01-01T00:00:00Z`, which is the default. */
  readonly now?: string;
  /** Permission bits by path. */
  readonly modes?: Readonly<Record<string, number>>;
  /** Paths that this user may not write to. */
  readonly notWritable?: readonly string[];
  readonly fileSystem?: string;
  readonly freeBytes?: number;
  readonly mayListenBelow1024?: boolean;
  readonly openFileLimit?: number;
  readonly keyPair?: {
    readonly notBefore?: string;
    readonly notAfter?: string;
    readonly names?: readonly string[];
    /** The pair cannot be used, and why. */
    readonly problem?: { readonly field: "certificate" | "privateKey" | "pair"; readonly reason: string };
  };
  /** With `--online`: addresses of names, and endpoints `host:port` that answer. */
  readonly network?: {
    readonly addresses?: Readonly<Record<string, readonly string[]>>;
    readonly names?: Readonly<Record<string, readonly string[]>>;
    readonly mailExchangers?: Readonly<Record<string, readonly string[]>>;
    readonly answers?: readonly string[];
  };
  /** With `--coverage`, and `--min-coverage`. */
  readonly coverage?: { readonly minPercent?: number };
}
