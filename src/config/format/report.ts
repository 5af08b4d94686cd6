/**
 * What every format is made from, and what formats have in common: how files are named and how a finding is told in plain
 * text. It must not know any format.
 */
import { isAbsolute, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Code } from "../codes.ts";
import { type Diagnostic, escapeUnsafe } from "../diagnostic.ts";
import type { RulePage } from "../pages/page.ts";
import type { Source } from "../source.ts";

export interface Report {
  /** Sorted, without duplicates, of all configurations of the run. */
  readonly findings: readonly Diagnostic[];
  /** All files that were read, in order. */
  readonly files: readonly string[];
  readonly sources: ReadonlyMap<string, Source>;
  /** Of the program. */
  readonly version: string;
  /** Whether the finding makes the run fail. */
  readonly fails: (finding: Diagnostic) => boolean;
  /** Given to formats that show pages. */
  readonly page?: (code: Code) => RulePage;
}

/** A report as the text of one format, with its line end. */
export type Format = (report: Report) => string;

/** Tools match names against the repository they were started in: below the working directory, names are relative to it. */
export function fileName(file: string): string {
  const name = relative("", resolve(file));
  const inside = name !== "" && !isAbsolute(name) && !/^\.\.(?:[\\/]|$)/u.test(name);
  return (inside ? name : file).replaceAll("\\", "/");
}

/** A reference relative to the working directory, or a `file:` URL. */
export function fileUri(file: string): string {
  const name = fileName(file).toWellFormed();
  if (isAbsolute(name)) return pathToFileURL(name).href;
  return name.split("/").map(encodeURIComponent).join("/");
}

/** Message, notes and help, a line each. */
export function wholeText(finding: Diagnostic): string {
  return [
    finding.message,
    ...finding.notes,
    ...(finding.help === undefined ? [] : [finding.help]),
  ].flatMap((text) => text.split("\n")).map(escapeUnsafe).join("\n");
}
