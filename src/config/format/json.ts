/**
 * All that is known of the findings, as JSON for programs. Fields are added, never renamed. It must not know where the
 * text goes.
 */
import { CODES } from "../codes.ts";
import { fingerprints } from "./fingerprint.ts";
import type { Report } from "./report.ts";

export function formatJson(report: Report): string {
  const { findings, files, fails } = report;
  const prints = fingerprints(report);
  const errors = findings.filter((finding) => finding.severity === "error").length;
  const value = {
    version: 1,
    files,
    errors,
    warnings: findings.length - errors,
    failures: findings.filter(fails).length,
    findings: findings.map(({ code, severity, message, primary, secondary, notes, help, fix }, index) => ({
      code,
      title: CODES[code].title,
      severity,
      message,
      primary,
      secondary,
      notes,
      ...(help === undefined ? {} : { help }),
      ...(fix === undefined ? {} : { fix: { title: fix.title, isSafe: fix.isSafe === true, edits: fix.edits } }),
      fingerprint: prints[index],
    })),
  };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
