/**
 * Examines a configuration: loads it, runs the rules, applies the severities that are set, takes away what comments
 * silence. What `check` reports for one configuration is what this returns. It must not know formats or exit codes.
 */
import { type Code, codeEntry } from "../codes.ts";
import { type Diagnostic, diagnostic } from "../diagnostic.ts";
import { loadConfig, type LoadContext, type LoadResult, sorted } from "../load.ts";
import { applySeverities, type Severities, severitiesOf, silence } from "../severity.ts";
import { spanOf } from "../source.ts";
import { type Coverage, coverageOf } from "./routing_test.ts";
import type { LintContext, LintEnvironment, LintRule } from "./rule.ts";

export interface ExamineContext {
  readonly load: LoadContext;
  readonly environment: LintEnvironment;
  readonly rules: readonly LintRule[];
  /** Unset variables are errors, unless their severity is set. */
  readonly strict?: boolean;
  /** From the command line: wins over what the file says. */
  readonly severities?: Severities;
  /** For routing tests: see `LintContext`. */
  readonly rehearse?: LintContext["rehearse"];
  readonly coverage?: LintContext["coverage"];
}

export interface Examination {
  readonly loaded: LoadResult;
  /** Sorted by place. */
  readonly findings: readonly Diagnostic[];
  /** When it was asked for and the tests could be run. */
  readonly coverage?: Coverage;
}

export async function examine(file: string, context: ExamineContext): Promise<Examination> {
  const loaded = await loadConfig(file, context.load);
  const found = [...loaded.diagnostics, ...await lint(loaded, context)];
  // A rule that needs the built configuration, the machine or the network may not have looked at everything.
  const unused = (code: Code) => loaded.config !== undefined && codeEntry(code).depends === undefined;
  const { findings, remarks } = silence(found, loaded.directives, unused);
  const strict: Severities = new Map(context.strict === true ? [["SMTPD203", "error"]] : []);
  const judged = applySeverities(
    [...findings, ...remarks],
    strict,
    severitiesOf(loaded.root),
    context.severities ?? new Map(),
  );
  const coverage = context.coverage === undefined || loaded.config === undefined
    ? undefined
    : await coverageOf(loaded.config);
  return { loaded, findings: sorted(judged, loaded.sources), ...(coverage === undefined ? {} : { coverage }) };
}

/** All findings of the rules, in no particular order. */
export async function lint(
  loaded: LoadResult,
  context: Pick<ExamineContext, "environment" | "rules" | "rehearse" | "coverage">,
): Promise<readonly Diagnostic[]> {
  const findings: Diagnostic[] = [];
  for (const rule of context.rules) {
    const given: LintContext = {
      root: loaded.root,
      main: loaded.main,
      sources: loaded.sources,
      complete: loaded.complete,
      ...(loaded.config === undefined ? {} : { config: loaded.config }),
      references: loaded.references,
      environment: context.environment,
      ...(context.rehearse === undefined ? {} : { rehearse: context.rehearse }),
      ...(context.coverage === undefined ? {} : { coverage: context.coverage }),
      report: (message, place, extras) => void findings.push(diagnostic(rule.code, message, spanOf(place), extras)),
    };
    await rule.check(given);
  }
  return findings;
}
