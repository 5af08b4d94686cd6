/**
 * JUnit XML: a suite for each file, a case for each finding, a passed case for a file without any. Findings that do not
 * make the run fail are passed cases that say something. It must not know where the text goes.
 */
import { CODES } from "../codes.ts";
import type { Diagnostic } from "../diagnostic.ts";
import { fileName, type Report, wholeText } from "./report.ts";

export function formatJunit({ findings, files, fails }: Report): string {
  const names = [...new Set([...files, ...findings.map((finding) => finding.primary.file)])];
  const byFile = Map.groupBy(findings, (finding) => finding.primary.file);
  const suites = names.flatMap((name) => suite(name, byFile.get(name) ?? [], fails));
  const cases = names.reduce((sum, name) => sum + Math.max(1, byFile.get(name)?.length ?? 0), 0);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${
      attributes({ name: "smtpd check", tests: cases, failures: findings.filter(fails).length, errors: 0 })
    }>`,
    ...suites,
    "</testsuites>",
    "",
  ].join("\n");
}

function suite(file: string, findings: readonly Diagnostic[], fails: Report["fails"]): readonly string[] {
  const name = fileName(file);
  const failures = findings.filter(fails).length;
  const head = attributes({ name, tests: Math.max(1, findings.length), failures, errors: 0, skipped: 0, time: 0 });
  const cases = findings.length === 0
    ? [`    <testcase${attributes({ name: "no findings", classname: name, file: name, time: 0 })}/>`]
    : findings.flatMap((finding) => testCase(name, finding, fails(finding)));
  return [`  <testsuite${head}>`, ...cases, "  </testsuite>"];
}

function testCase(file: string, finding: Diagnostic, isFailure: boolean): readonly string[] {
  const { code, severity, message, primary: { start } } = finding;
  const place = `${start.line}:${start.column}`;
  const name = `${code} ${CODES[code].title} (${place})`;
  const text = printable(`${file}:${place}: ${severity}: ${wholeText(finding)}`);
  return [
    `    <testcase${attributes({ name, classname: file, file, line: start.line, time: 0 })}>`,
    isFailure
      ? `      <failure${attributes({ type: code, message })}>${text}</failure>`
      : `      <system-out>${text}</system-out>`,
    "    </testcase>",
  ];
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values).map(([key, value]) =>
    // A reader makes blanks of plain line ends and tabs in attributes.
    ` ${key}="${printable(String(value)).replaceAll("\n", "&#10;").replaceAll("\t", "&#9;")}"`
  ).join("");
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** XML 1.0 §2.2: most control characters may not stand in a document, not even as references. */
function printable(text: string): string {
  return text.replace(/[^\t\n\u{20}-\u{7e}\u{a0}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  }).replace(/[&<>"]/gu, (character) => ENTITIES[character] ?? "");
}
