/**
 * The severities that a configuration or a command line gives to codes, and the comments that silence single findings:
 * `# smtpd: allow SMTPD201 because reason`. It must not know how findings are made or shown.
 */
import { type Code, codeEntry, CODES, isAdjustable, isCode, type Severity } from "./codes.ts";
import { type Diagnostic, diagnostic, quote } from "./diagnostic.ts";
import { type Place, spanOf } from "./source.ts";
import { nearest } from "./suggest.ts";
import { tableAt, type TableNode } from "./tree.ts";

export type Setting = Severity | "off";

export type Severities = ReadonlyMap<Code, Setting>;

export function isSetting(text: unknown): text is Setting {
  return text === "off" || text === "warning" || text === "error";
}

/** What stands in `[check] severity`; what is not right there is left out. */
export function severitiesOf(root: TableNode): Severities {
  const severities = new Map<Code, Setting>();
  for (const [key, entry] of severityEntries(root)) {
    const value = entry.node.kind === "scalar" ? entry.node.value : undefined;
    if (isCode(key) && isAdjustable(key) && isSetting(value)) severities.set(key, value);
  }
  return severities;
}

/** Reports codes in `[check] severity` that do not exist or cannot be set. */
export function checkSeverities(root: TableNode, report: (finding: Diagnostic) => void): void {
  for (const [key, entry] of severityEntries(root)) {
    if (isCode(key) && isAdjustable(key)) continue;
    const place = spanOf(entry.key);
    const meant = nearestCode(key);
    const refusal = whyNotAdjustable(key);
    report(diagnostic("SMTPD102", refusal.message, place, {
      help: refusal.help,
      fix: isCode(key) || meant === undefined
        ? undefined
        : { title: `Replace ${quote(key)} by ${quote(meant)}`, edits: [{ span: place, text: meant }] },
    }));
  }
}

function severityEntries(root: TableNode) {
  const check = tableAt(root, "check");
  const severity = check === undefined ? undefined : tableAt(check, "severity");
  return [...severity?.entries ?? []];
}

/** Why a code's severity cannot be set, and what to do. */
export function whyNotAdjustable(text: string): { readonly message: string; readonly help: string } {
  if (isCode(text)) {
    return {
      message: `The severity of ${quote(text)} cannot be changed: ${codeEntry(text).title}`,
      help: "A configuration with such a finding does not start. Severities can be set for codes from SMTPD200.",
    };
  }
  const meant = nearestCode(text);
  return {
    message: `There is no code ${quote(text)}`,
    help: meant === undefined
      ? "Codes look like SMTPD201; a finding begins with its own."
      : `Did you mean ${quote(meant)}?`,
  };
}

export function nearestCode(text: string): Code | undefined {
  const meant = nearest(text, Object.keys(CODES));
  return meant !== undefined && isCode(meant) ? meant : undefined;
}

/** The findings with the severities that are set; those turned off are left out. Later settings win. */
export function applySeverities(
  findings: readonly Diagnostic[],
  ...settings: readonly Severities[]
): readonly Diagnostic[] {
  const combined = new Map(settings.flatMap((severities) => [...severities]));
  if (combined.size === 0) return findings;
  return findings.flatMap((finding) => {
    const setting = isAdjustable(finding.code) ? combined.get(finding.code) : undefined;
    if (setting === "off") return [];
    return [setting === undefined ? finding : { ...finding, severity: setting }];
  });
}

/** A comment that silences findings of a code on one line. */
interface Allowance {
  readonly code: Code;
  readonly place: Place;
  readonly file: string;
  readonly line: number;
  used: boolean;
}

export interface Silencing {
  readonly findings: readonly Diagnostic[];
  /** Findings about the comments themselves. */
  readonly remarks: readonly Diagnostic[];
}

/**
 * Takes away what comments silence. `unused` says for which codes a comment without effect is reported: those whose rules
 * have looked at everything.
 */
export function silence(
  findings: readonly Diagnostic[],
  directives: readonly Place[],
  unused: (code: Code) => boolean,
): Silencing {
  if (directives.length === 0) return { findings, remarks: [] };
  const remarks: Diagnostic[] = [];
  const allowances = directives.flatMap((place) => allowancesOf(place, remarks));
  const byLine = new Map<string, Allowance[]>();
  for (const allowance of allowances) {
    const key = `${allowance.code} ${allowance.line} ${allowance.file}`;
    byLine.set(key, [...byLine.get(key) ?? [], allowance]);
  }
  const kept = findings.filter(({ code, primary }) => {
    const matching = byLine.get(`${code} ${primary.start.line} ${primary.file}`);
    const first = matching?.[0];
    if (first !== undefined) first.used = true;
    return first === undefined;
  });
  for (const { code, place, used } of allowances) {
    if (used || !unused(code)) continue;
    remarks.push(diagnostic("SMTPD205", `No finding ${quote(code)} is silenced here`, spanOf(place), {
      help: "Remove the comment, or move it to the line of the finding or the line above.",
    }));
  }
  return { findings: kept, remarks };
}

const FORM = "Write # smtpd: allow SMTPD201 because REASON, on the line of the finding or the line above.";
const ALLOW = /^#\s*smtpd:\s*allow\s+([A-Z0-9]+(?:\s*,\s*[A-Z0-9]+)*)(?:\s+because(?:\s+(\S.*))?)?\s*$/iu;

function allowancesOf(place: Place, remarks: Diagnostic[]): readonly Allowance[] {
  const text = place.source.text.slice(place.start, place.end);
  const remark = (message: string, help: string) => {
    remarks.push(diagnostic("SMTPD204", message, spanOf(place), { help }));
    return [];
  };
  const match = ALLOW.exec(text);
  if (match === null) return remark("This comment is not understood", FORM);
  if (match[2] === undefined) return remark("This comment gives no reason", FORM);
  const { file } = place.source;
  const line = silencedLine(place);
  return (match[1] ?? "").toUpperCase().split(/\s*,\s*/u).flatMap((code): readonly Allowance[] => {
    if (!isCode(code)) {
      const { message, help } = whyNotAdjustable(code);
      return remark(message, help);
    }
    if (!isAdjustable(code)) {
      return remark(
        `Findings ${quote(code)} cannot be silenced`,
        `A configuration with such a finding does not start: ${codeEntry(code).title}.`,
      );
    }
    return [{ code, place, file, line, used: false }];
  });
}

/** The comment's own line; when it stands alone there, the next line that is no comment. */
function silencedLine({ source, start }: Place): number {
  const { line, column } = source.position(start);
  if (source.line(line).slice(0, column - 1).trim() !== "") return line;
  let below = line + 1;
  while (source.line(below).trimStart().startsWith("#")) below++;
  return below;
}
