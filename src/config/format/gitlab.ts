/**
 * The code quality report of GitLab, shown in merge requests. It must not know where the text goes.
 */
import { escapeUnsafe } from "../diagnostic.ts";
import { fingerprints } from "./fingerprint.ts";
import { fileName, type Report } from "./report.ts";

export function formatGitlab(report: Report): string {
  const prints = fingerprints(report);
  const value = report.findings.map(({ code, severity, message, primary }, index) => ({
    description: `${code}: ${escapeUnsafe(message)}`,
    check_name: code,
    fingerprint: prints[index],
    severity: severity === "error" ? "major" : "minor",
    location: {
      // GitLab knows no other files than those of the repository, and not by "./".
      path: fileName(primary.file),
      lines: { begin: primary.start.line, end: primary.end.line },
    },
  }));
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
