/**
 * Workflow commands of GitHub Actions, which annotate the lines of a pull request. It must not know where the text goes.
 */
import { CODES } from "../codes.ts";
import { type Diagnostic, escapeUnsafe } from "../diagnostic.ts";
import { fileName, type Report, wholeText } from "./report.ts";

export function formatGithub({ findings }: Report): string {
  return findings.map((finding) => `${command(finding)}\n`).join("");
}

function command(finding: Diagnostic): string {
  const { code, severity, primary: { file, start, end } } = finding;
  const properties: Readonly<Record<string, string | number>> = {
    file: fileName(file),
    line: start.line,
    endLine: end.line,
    // Columns are understood only where the place is within one line.
    ...(start.line === end.line ? { col: start.column, endColumn: end.column } : {}),
    title: `${code}: ${CODES[code].title}`,
  };
  const list = Object.entries(properties).map(([key, value]) => `${key}=${property(String(value))}`);
  return `::${severity} ${list.join(",")}::${data(wholeText(finding))}`;
}

function data(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}

function property(text: string): string {
  return data(escapeUnsafe(text)).replaceAll(":", "%3A").replaceAll(",", "%2C");
}
