/**
 * `smtpd check`: examines configurations, fixes them when asked to, and writes what it found. It must not know single
 * findings, nor how a format looks.
 */
import { resolve } from "node:path";
import { channelTypes } from "../channel/registry.ts";
import { type Code, isAdjustable, isCode } from "../config/codes.ts";
import { type Diagnostic, quote } from "../config/diagnostic.ts";
import { applyFixes } from "../config/fix.ts";
import { type FormatName, loadFormat } from "../config/format/formats.ts";
import type { Report } from "../config/format/report.ts";
import type { ConfigFiles } from "../config/include.ts";
import { examine, type ExamineContext } from "../config/lint/run.ts";
import { type Coverage, percentOf } from "../config/lint/routing_test.ts";
import { lintRules } from "../config/lint/rules.ts";
import { findConfigFile } from "../config/load.ts";
import { renderDiagnostics } from "../config/render.ts";
import { isSetting, type Setting, type Severities, whyNotAdjustable } from "../config/severity.ts";
import type { Source } from "../config/source.ts";
import type { Files, Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";
import { lintEnvironment } from "./lint_environment.ts";
import { visible, wantsColour } from "./terminal.ts";

export interface CheckOptions {
  readonly format: FormatName;
  readonly output?: string;
  readonly failOn?: "error" | "warning";
  readonly strict: boolean;
  readonly online: boolean;
  /** `CODE=SETTING`, as given. */
  readonly severity: readonly string[];
  readonly fix: boolean;
  readonly diff: boolean;
  readonly color: "auto" | "always" | "never";
  readonly coverage: boolean;
  /** Percent. */
  readonly minCoverage?: number;
}

/** What was found in all configurations of one run. */
interface Run {
  readonly findings: readonly Diagnostic[];
  readonly sources: ReadonlyMap<string, Source>;
  /** A configuration that was asked for could not be opened. */
  readonly isMissing: boolean;
  /** What the routing tests of all of them reach; undefined when that was not asked for, or they were not run. */
  readonly coverage: Pick<Coverage, "bindings" | "reached"> | undefined;
}

export async function checkCommand(
  runtime: Runtime,
  given: readonly string[],
  options: CheckOptions,
): Promise<number> {
  const files = await filesToCheck(runtime, given);
  const texts = new Map<string, string>();
  const context = await examineContext(runtime, options, texts);
  let run = await examineAll(files, context);
  const before = run;
  const fixed = options.fix || options.diff ? await fixAll(files, context, texts, run) : undefined;
  if (options.diff) await writeDiff(runtime, before.sources, texts);
  else if (fixed !== undefined) {
    await writeFixes(runtime, before.sources, texts);
    run = fixed.run;
  }
  const failsOn = options.failOn ?? (options.strict ? "warning" : "error");
  const fails = (finding: Diagnostic) => finding.severity === "error" || failsOn === "warning";
  if (!options.diff) await writeReport(runtime, run, fails, fixed?.count ?? 0, options);
  if (run.isMissing) return exitCode.notRun;
  return run.findings.some(fails) ? exitCode.no : exitCode.ok;
}

async function filesToCheck(runtime: Runtime, given: readonly string[]): Promise<readonly string[]> {
  if (given.length > 0) return [...new Map(given.map((file) => [resolve(file), file])).values()];
  const { files, processes } = runtime;
  const found = await findConfigFile(undefined, { files, environment: (name) => processes.environment(name) });
  if ("file" in found) return [found.file];
  throw new CommandError(
    `No configuration: none of ${found.tried.join(", ")} exists; name one, or set $SMTPD_CONFIG`,
    exitCode.notRun,
  );
}

async function examineContext(
  runtime: Runtime,
  options: CheckOptions,
  texts: ReadonlyMap<string, string>,
): Promise<ExamineContext> {
  const environment = lintEnvironment(runtime);
  const network = options.online ? (await import("./lint_network.ts")).lintNetwork() : undefined;
  return {
    load: { files: overlaid(runtime.files, texts), channels: channelTypes, hostName: runtime.processes.hostName },
    environment: network === undefined ? environment : { ...environment, network },
    rules: lintRules,
    strict: options.strict,
    severities: parseSeverities(options.severity),
    rehearse: async () => (await import("../server/rehearsal.ts")).rehearse,
    ...coverageOptions(options),
  };
}

/** Whoever wants a part to be reached wants to know what is not. */
function coverageOptions({ coverage, minCoverage }: CheckOptions): Pick<ExamineContext, "coverage"> {
  if (minCoverage !== undefined) return { coverage: { minPercent: minCoverage } };
  return coverage ? { coverage: {} } : {};
}

function parseSeverities(given: readonly string[]): Severities {
  const severities = new Map<Code, Setting>();
  for (const text of given) {
    const [, name = "", setting] = /^([^=]*)=(.*)$/su.exec(text) ?? [];
    const code = name.toUpperCase();
    if (!isSetting(setting)) {
      const message = `Cannot understand --severity ${quote(text)}: write CODE=off, CODE=warning or CODE=error`;
      throw new CommandError(message, exitCode.notRun);
    }
    if (!isCode(code) || !isAdjustable(code)) {
      const { message, help } = whyNotAdjustable(code);
      throw new CommandError(`${message}. ${help}`, exitCode.notRun);
    }
    severities.set(code, setting);
  }
  return severities;
}

/** Files as they will be once the fixes are written. */
function overlaid(files: Files, texts: ReadonlyMap<string, string>): ConfigFiles {
  return {
    readText: (path) => {
      const text = texts.get(resolve(path));
      return text === undefined ? files.readText(path) : Promise.resolve(text);
    },
    info: (path) => files.info(path),
    list: (directory) => files.list(directory),
  };
}

async function examineAll(files: readonly string[], context: ExamineContext): Promise<Run> {
  const examinations = [];
  for (const file of files) examinations.push({ file, ...await examine(file, context) });
  const included = new Set(
    examinations.flatMap(({ file, loaded }) =>
      [...loaded.sources.keys()].filter((name) => name !== file).map((name) => resolve(name))
    ),
  );
  // A part of a configuration that is also given means nothing without the rest. Parts that include each other stay.
  const whole = examinations.filter(({ file }) => !included.has(resolve(file)));
  const counted = whole.length > 0 ? whole : examinations;
  const sources = new Map<string, Source>();
  const findings = new Map<string, Diagnostic>();
  for (const examination of counted) {
    for (const [file, source] of examination.loaded.sources) sources.set(file, source);
    for (const finding of examination.findings) {
      const { code, message, primary: { file, start, end } } = finding;
      const key = [code, start.offset, end.offset, resolve(file), message].join("\0");
      if (!findings.has(key)) findings.set(key, finding);
    }
  }
  return {
    findings: [...findings.values()],
    sources,
    isMissing: counted.some(({ file, loaded }) => !loaded.sources.has(file)),
    coverage: totalCoverage(counted.flatMap(({ coverage }) => coverage === undefined ? [] : [coverage])),
  };
}

function totalCoverage(parts: readonly Coverage[]): Run["coverage"] {
  if (parts.length === 0) return undefined;
  const sum = (key: "bindings" | "reached") => parts.reduce((total, part) => total + part[key], 0);
  return { bindings: sum("bindings"), reached: sum("reached") };
}

function coverageLine({ coverage }: Run): string {
  if (coverage === undefined) return "";
  const { bindings, reached } = coverage;
  return `The routing tests reach ${reached} of ${bindings} bindings (${percentOf(reached, bindings)} %).\n`;
}

/** A fix may make room for another one; this ends all the same. */
const MAX_ROUNDS = 10;

/** Puts the fixed texts into `texts`; nothing is written. */
async function fixAll(
  files: readonly string[],
  context: ExamineContext,
  texts: Map<string, string>,
  before: Run,
): Promise<{ readonly run: Run; readonly count: number }> {
  let [run, count] = [before, 0];
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const fixed = applyFixes(run.findings, run.sources);
    if (fixed.count === 0) break;
    const earlier = new Map(texts);
    for (const [file, text] of fixed.texts) {
      texts.set(resolve(file), run.sources.get(file)?.byteOrderMark === true ? `\ufeff${text}` : text);
    }
    const next = await examineAll(files, context);
    // Never make of a file that could be read one that cannot.
    if (syntaxErrors(next) > syntaxErrors(run)) {
      texts.clear();
      for (const [file, text] of earlier) texts.set(file, text);
      break;
    }
    run = next;
    count += fixed.count;
  }
  return { run, count };
}

function syntaxErrors({ findings }: Run): number {
  return findings.filter((finding) => finding.code === "SMTPD001").length;
}

function original({ byteOrderMark, text }: Source): string {
  return byteOrderMark ? `\ufeff${text}` : text;
}

async function writeDiff(
  runtime: Runtime,
  sources: ReadonlyMap<string, Source>,
  texts: ReadonlyMap<string, string>,
): Promise<void> {
  if (texts.size === 0) return;
  const { unifiedDiff } = await import("../config/unified_diff.ts");
  for (const [file, source] of sources) {
    const text = texts.get(resolve(file));
    if (text === undefined) continue;
    const name = visible(file.replaceAll("\\", "/"));
    const prefix = name.startsWith("/") ? "" : "/";
    runtime.processes.stdio.writeOut(
      unifiedDiff(original(source), text, `a${prefix}${name}`, `b${prefix}${name}`),
    );
  }
}

async function writeFixes(
  runtime: Runtime,
  sources: ReadonlyMap<string, Source>,
  texts: ReadonlyMap<string, string>,
): Promise<void> {
  if (texts.size === 0) return;
  const { rewriteFile } = await import("./rewrite.ts");
  for (const [file, source] of sources) {
    const text = texts.get(resolve(file));
    if (text === undefined) continue;
    // Text that is no UTF-8 was read with replacements; written back, they would take the place of what was there.
    const bytes = await runtime.files.readBytes(file);
    if (!sameBytes(bytes, new TextEncoder().encode(original(source)))) {
      const message = `Cannot fix ${quote(file)}: it is not UTF-8, or has changed meanwhile; it is left as it is`;
      throw new CommandError(message, exitCode.notRun);
    }
    await rewriteFile(file, text);
  }
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

async function writeReport(
  runtime: Runtime,
  run: Run,
  fails: (finding: Diagnostic) => boolean,
  fixes: number,
  options: CheckOptions,
): Promise<void> {
  const { stdio } = runtime.processes;
  const text = (colour: boolean, width: number | undefined) => textReport(run, fixes, options, colour, width);
  const colour = options.color === "auto" ? wantsColour(runtime, "out") : options.color === "always";
  const width = stdio.outIsTerminal ? stdio.columns() : undefined;
  if (options.output === undefined) {
    stdio.writeOut(
      options.format === "text" ? text(colour, width) : await formatted(runtime, run, fails, options.format),
    );
    return;
  }
  const output = resolve(options.output);
  if ([...run.sources.keys()].some((file) => resolve(file) === output)) {
    throw new CommandError(
      `Cannot write the findings to ${quote(options.output)}: it is a configuration file; name another with --output`,
      exitCode.notRun,
    );
  }
  const { rewriteFile } = await import("./rewrite.ts");
  const content = options.format === "text"
    ? text(false, undefined)
    : await formatted(runtime, run, fails, options.format);
  stdio.writeOut(text(colour, width));
  await rewriteFile(options.output, content);
}

async function formatted(
  runtime: Runtime,
  run: Run,
  fails: (finding: Diagnostic) => boolean,
  name: Exclude<FormatName, "text">,
): Promise<string> {
  const [format, { currentVersion }] = await Promise.all([loadFormat(name), import("./version.ts")]);
  const pages = name === "sarif" ? (await import("../config/pages/pages.ts")).pageOf : undefined;
  const report: Report = {
    findings: run.findings,
    files: [...run.sources.keys()],
    sources: run.sources,
    version: (await currentVersion(runtime)).version,
    fails,
    ...(pages === undefined ? {} : { page: pages }),
  };
  return format(report);
}

function textReport(
  run: Run,
  fixes: number,
  options: CheckOptions,
  colour: boolean,
  width: number | undefined,
): string {
  const { findings, sources } = run;
  const done = fixes === 0 ? "" : `Fixed ${fixes} ${fixes === 1 ? "finding" : "findings"}.\n`;
  if (findings.length === 0) {
    const count = sources.size;
    const [first = ""] = sources.keys();
    return `${done}No findings in ${count === 1 ? visible(first) : `${count} files`}.\n${coverageLine(run)}`;
  }
  const fixable = applyFixes(findings, sources).count;
  const hints = [
    ...(fixable === 0 || options.fix ? [] : [`${fixable} can be fixed with --fix.`]),
    `"smtpd explain ${findings[0]?.code}" tells more.`,
  ];
  const text = renderDiagnostics(findings, sources, { colour, ...(width === undefined ? {} : { width }) });
  return `${done}${text}${hints.join(" ")}\n${coverageLine(run)}`;
}
