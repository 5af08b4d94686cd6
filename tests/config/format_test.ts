/**
 * The formats: each against a stored text, each against what its readers demand, and none broken by what a configuration
 * holds. `UPDATE_GOLDEN=1` writes the stored texts anew.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Ajv } from "ajv";
import fc from "fast-check";
import { SaxesParser } from "saxes";
import { CODES, isCode } from "../../src/config/codes.ts";
import { type Diagnostic, diagnostic } from "../../src/config/diagnostic.ts";
import { fingerprints } from "../../src/config/format/fingerprint.ts";
import { FORMAT_NAMES, loadFormat } from "../../src/config/format/formats.ts";
import { fileName, fileUri, type Report } from "../../src/config/format/report.ts";
import { missingFile } from "../../src/config/lint/missing_file.ts";
import { examine } from "../../src/config/lint/run.ts";
import { pageOf } from "../../src/config/pages/pages.ts";
import { renderDiagnostics } from "../../src/config/render.ts";
import { createSource, spanOf } from "../../src/config/source.ts";
import { exampleEnvironment } from "./example_world.ts";
import { channelKinds, MemoryFiles } from "./world.ts";

/** Names that have to be escaped: a blank and a percent sign in URIs, a comma in workflow commands. */
const MAIN = "mail, 100%/smtpd.toml";
const TEXTS = {
  [MAIN]: `include = ["sub/*.toml"]
hostname = "mail.example.com"

[[listener]]
name = "日本" # <&> 'x' "y"
portNum = 2525
max_recipients = 10

[[channel]]
name = "archive"
type = "mailbox"
`,
  "mail, 100%/sub/archive.toml": '[[channel]]\nname = "archive"\ntype = "discard"\n\tmax_age = "5 parsecs"\n',
};

async function sample(): Promise<Report> {
  const { findings, loaded } = await examine(MAIN, {
    load: { files: new MemoryFiles(TEXTS), channels: channelKinds, hostName: "box.example.net" },
    environment: exampleEnvironment({ text: "" }),
    rules: [missingFile],
  });
  return report(findings, loaded.sources);
}

function report(findings: readonly Diagnostic[], sources: Report["sources"]): Report {
  const fails = (finding: Diagnostic) => finding.severity === "error";
  return { findings, files: [...sources.keys()], sources, version: "1.2.3", fails, page: pageOf };
}

const machineFormats = FORMAT_NAMES.filter((name) => name !== "text");

function compare(name: string, text: string): void {
  const file = new URL(`golden/${name}`, import.meta.url);
  if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(file, text);
  assert.equal(text, readFileSync(file, "utf8"));
}

for (const name of machineFormats) {
  test(`format ${name}: as stored`, async () => {
    compare(`findings.${name}`, (await loadFormat(name))(await sample()));
  });
}

test("format text: as stored, and coloured", async () => {
  const { findings, sources } = await sample();
  compare("findings.text", renderDiagnostics(findings, sources, { width: 80 }));
  compare("findings.colour", renderDiagnostics(findings, sources, { width: 80, colour: true }));
});

/** The published schema is draft-04; what it uses of it means the same in draft-07, but for the name of its own id. */
function sarifValidator() {
  const require = createRequire(import.meta.url);
  const published = require("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json") as Record<string, unknown>;
  const { $schema: _, id: __, ...schema } = published;
  const ajv = new Ajv({ strict: false, allErrors: true, unicodeRegExp: false });
  // An URI reference holds no blank, no quote, and no percent sign without two digits (RFC 3986 §2.1).
  const uri = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/;
  ajv.addFormat("uri-reference", uri);
  ajv.addFormat("uri", /^[a-z][a-z0-9+.-]*:/);
  ajv.addFormat("date-time", /^\d{4}-\d\d-\d\dT/);
  return ajv.compile(schema);
}

const validSarif = sarifValidator();

function assertSarif(text: string): void {
  assert.ok(validSarif(JSON.parse(text)), JSON.stringify(validSarif.errors?.slice(0, 3), undefined, 1));
}

test("sarif: the validator refuses what is wrong", () => {
  const good = { version: "2.1.0", runs: [{ tool: { driver: { name: "x" } }, results: [] }] };
  assert.ok(validSarif(good));
  assert.ok(!validSarif({ ...good, version: "2.0.0" }));
  assert.ok(
    !validSarif({ ...good, runs: [{ ...good.runs[0], results: [{ level: "fatal", message: { text: "x" } }] }] }),
  );
  const location = (uri: string) => [{ physicalLocation: { artifactLocation: { uri } } }];
  const result = (uri: string) => ({ message: { text: "x" }, locations: location(uri) });
  assert.ok(validSarif({ ...good, runs: [{ ...good.runs[0], results: [result("a%20b")] }] }));
  assert.ok(!validSarif({ ...good, runs: [{ ...good.runs[0], results: [result("a b")] }] }));
});

test("sarif: valid by the published schema, with the rules that the results name", async () => {
  const text = (await loadFormat("sarif"))(await sample());
  assertSarif(text);
  const { runs: [run] } = JSON.parse(text);
  for (const result of run.results) assert.equal(run.tool.driver.rules[result.ruleIndex].id, result.ruleId);
  assertSarif((await loadFormat("sarif"))(report([], new Map())));
});

test("sarif: applying its replacements is what the fix means", async () => {
  const { runs: [run] } = JSON.parse((await loadFormat("sarif"))(await sample()));
  const lines = TEXTS[MAIN].split("\n");
  const fixes = run.results.flatMap((result: { fixes?: unknown[] }) => result.fixes ?? []);
  const [change] = fixes.map((fix: { artifactChanges: unknown[] }) => fix.artifactChanges[0]);
  const [{ deletedRegion: { startLine, startColumn, endColumn }, insertedContent }] = change.replacements;
  assert.equal(lines[startLine - 1]?.slice(startColumn - 1, endColumn - 1), "hostname");
  assert.equal(insertedContent.text, "host_name");
});

test("sarif: every page can be a rule's help", async () => {
  const source = createSource("a.toml", "x = 1\n");
  const place = spanOf({ source, start: 0, end: 1 });
  const findings = Object.keys(CODES).filter(isCode).map((code) => diagnostic(code, "x", place));
  assertSarif((await loadFormat("sarif"))(report(findings, new Map([["a.toml", source]]))));
});

test("fingerprints stay when lines are added above, and differ from each other", () => {
  const of = (text: string) => {
    const source = createSource("a.toml", text);
    const at = (start: number) => diagnostic("SMTPD101", "Unknown", spanOf({ source, start, end: start + 1 }));
    const findings = [...text.matchAll(/x/gu)].map((match) => at(match.index));
    return fingerprints(report(findings, new Map([["a.toml", source]])));
  };
  const [first, second] = of("x = 1\nx = 1\n");
  assert.notEqual(first, second);
  assert.deepEqual(of("# more\n\n  x   = 1\nx = 1\n"), [first, second]);
  assert.notDeepEqual(of("x = 2\n"), [first]);
});

test("names below the working directory are relative to it, others stay", () => {
  assert.equal(fileName("./a/../b.toml"), "b.toml");
  assert.equal(fileName("../b.toml"), "../b.toml");
  assert.equal(fileName("/etc/smtpd/b.toml"), "/etc/smtpd/b.toml");
  assert.equal(fileUri("/etc/a b.toml"), "file:///etc/a%20b.toml");
  assert.equal(fileUri("ä/100%.toml"), "%C3%A4/100%25.toml");
});

test("github: one line each, whose parts decode to what was meant", async () => {
  const made = await sample();
  const lines = (await loadFormat("github"))(made).trimEnd().split("\n");
  assert.equal(lines.length, made.findings.length);
  const decode = (text: string) => text.replace(/%(25|0D|0A|3A|2C)/g, (code) => decodeURIComponent(code));
  const [, kind, properties = "", data = ""] = /^::(\w+) (.*?)::(.*)$/.exec(lines[0] ?? "") ?? [];
  assert.equal(kind, "error");
  assert.equal(decode(properties.split(",")[0] ?? ""), `file=${MAIN}`);
  assert.equal(decode(data).split("\n")[0], made.findings[0]?.message);
});

/** Findings with texts that formats are most easily broken by. */
function anyReport() {
  const nasty = fc.constantFrom(
    "\n",
    "\r",
    "\0",
    "\x1b",
    "%",
    "::",
    "]]>",
    "&",
    "<",
    '"',
    "\ud800",
    "\ufffe",
    "é",
    ",",
  );
  const text = fc.array(fc.oneof(nasty, fc.string({ maxLength: 4 })), { maxLength: 8 }).map((parts) => parts.join(""));
  const code = fc.constantFrom(...Object.keys(CODES).filter(isCode));
  const one = fc.record({
    code,
    message: text,
    help: text,
    note: text,
    label: text,
    start: fc.nat(40),
    length: fc.nat(9),
  });
  return fc.tuple(text, fc.array(one, { maxLength: 5 }), text).map(([content, all, name]) => {
    const source = createSource(`/x/${name}`, content);
    const findings = all.map(({ code, message, help, note, label, start, length }) => {
      const place = spanOf({ source, start, end: start + length });
      const fix = { title: label, edits: [{ span: place, text: message }] };
      return diagnostic(code, message, place, { help, notes: [note], secondary: [{ ...place, label }], fix });
    });
    return report(findings, new Map([[source.file, source]]));
  });
}

test("no text breaks a format", async () => {
  const formats = Object.fromEntries(
    await Promise.all(machineFormats.map(async (name) => [name, await loadFormat(name)] as const)),
  );
  fc.assert(
    fc.property(anyReport(), (made) => {
      const made_ = (name: string) => formats[name]?.(made) ?? "";
      for (const name of ["concise", "github"]) {
        const lines = made_(name).split("\n");
        assert.equal(lines.length, made.findings.length + 1);
        // deno-lint-ignore no-control-regex
        for (const line of lines) assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f]/);
      }
      assert.equal(JSON.parse(made_("json")).findings.length, made.findings.length);
      const prints = JSON.parse(made_("gitlab")).map((one: { fingerprint: string }) => one.fingerprint);
      assert.equal(new Set(prints).size, made.findings.length);
      assertSarif(made_("sarif"));
      let cases = 0;
      const parser = new SaxesParser();
      parser.on("error", (error) => {
        throw error;
      });
      parser.on("opentag", ({ name }) => void (cases += name === "testcase" ? 1 : 0));
      parser.write(made_("junit")).close();
      assert.equal(cases, Math.max(1, made.findings.length));
    }),
    { numRuns: 100 },
  );
});
