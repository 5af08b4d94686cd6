/**
 * SARIF 2.1.0, the format of code scanning services: results with their regions, related places, fixes and fingerprints,
 * and for each rule its page. It must not know where the text goes.
 */
import { type Code, codeEntry } from "../codes.ts";
import { type Diagnostic, escapeUnsafe, type Fix, type LabelledSpan, type Span } from "../diagnostic.ts";
import { pageMarkdown, pageText } from "../pages/text.ts";
import { fingerprints } from "./fingerprint.ts";
import { fileUri, type Report, wholeText } from "./report.ts";

const SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

export function formatSarif(report: Report): string {
  const codes = [...new Set(report.findings.map((finding) => finding.code))].sort();
  const prints = fingerprints(report);
  const value = {
    $schema: SCHEMA,
    version: "2.1.0",
    runs: [{
      tool: {
        driver: {
          name: "smtpd",
          semanticVersion: report.version,
          rules: codes.map((code) => rule(code, report)),
        },
      },
      invocations: [{ executionSuccessful: true }],
      columnKind: "utf16CodeUnits",
      artifacts: report.files.map((file) => ({ location: { uri: fileUri(file) }, sourceLanguage: "toml" })),
      results: report.findings.map((finding, index) => ({
        ...result(finding, codes.indexOf(finding.code)),
        partialFingerprints: { "smtpdFinding/v1": prints[index] },
      })),
    }],
  };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function rule(code: Code, report: Report) {
  const { title, severity } = codeEntry(code);
  const page = report.page?.(code);
  return {
    id: code,
    shortDescription: { text: title },
    ...(page === undefined ? {} : {
      fullDescription: { text: page.what },
      help: { text: pageText(page), markdown: pageMarkdown(page) },
    }),
    defaultConfiguration: { level: severity },
  };
}

function result(finding: Diagnostic, ruleIndex: number) {
  const { code, severity, primary, secondary, fix } = finding;
  return {
    ruleId: code,
    ruleIndex,
    level: severity,
    message: { text: wholeText(finding) },
    locations: [{ physicalLocation: physicalLocation(primary) }],
    ...(secondary.length === 0 ? {} : { relatedLocations: secondary.map(relatedLocation) }),
    ...(fix === undefined ? {} : { fixes: [fixObject(fix)] }),
  };
}

function physicalLocation(span: Span) {
  return { artifactLocation: { uri: fileUri(span.file) }, region: region(span) };
}

function relatedLocation(span: LabelledSpan, index: number) {
  return { id: index + 1, physicalLocation: physicalLocation(span), message: { text: escapeUnsafe(span.label) } };
}

/** Columns count from 1 and the end is exclusive, as with us (SARIF 2.1.0 §3.30). */
function region({ start, end }: Span) {
  return { startLine: start.line, startColumn: start.column, endLine: end.line, endColumn: end.column };
}

function fixObject({ title, edits }: Fix) {
  const byFile = Map.groupBy(edits, (edit) => edit.span.file);
  return {
    description: { text: escapeUnsafe(title) },
    artifactChanges: [...byFile].map(([file, changes]) => ({
      artifactLocation: { uri: fileUri(file) },
      replacements: changes.map(({ span, text }) => ({
        deletedRegion: region(span),
        insertedContent: { text },
      })),
    })),
  };
}
