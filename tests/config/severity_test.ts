/** Severities that are set, and comments that silence: what they do, and what they must not do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CODES, isAdjustable, isCode } from "../../src/config/codes.ts";
import { diagnostic, fileSpan } from "../../src/config/diagnostic.ts";
import { missingFile } from "../../src/config/lint/missing_file.ts";
import { unsetVariable } from "../../src/config/lint/unset_variable.ts";
import { applySeverities } from "../../src/config/severity.ts";
import { codesOf, examineExample, placesOf } from "./example_world.ts";

const LISTENER = '[[listener]]\nname = "in"\nport = 2525\n';
const LOW = `${LISTENER}max_recipients = 10`;

/** Only what every line of these tests is about. */
const rules = { rules: [missingFile, unsetVariable] };
const examined = (text: string, more = {}) => examineExample({ text }, { ...rules, ...more });

test("severity: a code is turned off, or made an error, in the file", async () => {
  const set = (setting: string) => examined(`${LOW}\n[check]\nseverity = { SMTPD201 = "${setting}" }\n`);
  assert.deepEqual(codesOf(await set("off")), []);
  assert.deepEqual((await set("warning")).findings.map((one) => one.severity), ["warning"]);
  assert.deepEqual((await set("error")).findings.map((one) => one.severity), ["error"]);
});

test("severity: the command line wins over the file", async () => {
  const text = `${LOW}\n[check]\nseverity = { SMTPD201 = "off" }\n`;
  const { findings } = await examined(text, { severities: new Map([["SMTPD201", "error"]]) });
  assert.deepEqual(findings.map((one) => one.severity), ["error"]);
});

test("severity: an unknown code has a suggestion; one that prevents a start cannot be set", async () => {
  const { findings } = await examined(
    `${LISTENER}[check.severity]\nSMTPD20 = "off"\nSMTPD101 = "off"\nSMTPD201 = "loud"\n`,
  );
  assert.deepEqual(findings.map((one) => `${one.code} ${one.primary.start.line} ${one.message}`), [
    'SMTPD102 5 There is no code "SMTPD20"',
    'SMTPD102 6 The severity of "SMTPD101" cannot be changed: Unknown key',
    'SMTPD102 7 Invalid value "loud" for "SMTPD201": must be one of "off", "warning", "error"',
  ]);
  assert.match(findings[0]?.help ?? "", /^Did you mean "SMTPD20\d"\?$/);
});

test("severity: what prevents a start stays an error, whatever is set", () => {
  for (const code of Object.keys(CODES).filter(isCode)) {
    const finding = diagnostic(code, "x", fileSpan("a"));
    const judged = applySeverities([finding], new Map([[code, "off"]]));
    assert.equal(judged.length, isAdjustable(code) ? 0 : 1);
    assert.ok(isAdjustable(code) || CODES[code].severity === "error");
  }
});

test("strict: an unset variable is an error, unless its severity is set", async () => {
  const text = `${LISTENER}[listener.tls]\nmode = "starttls"\ncertificate = "c.pem"\nprivate_key = { env = "KEY" }\n`;
  const files = { "c.pem": "c" };
  const severity = async (strict: boolean, more = "") =>
    (await examineExample({ text: text + more, files }, { ...rules, strict })).findings.map((one) => one.severity);
  assert.deepEqual(await severity(false), ["warning"]);
  assert.deepEqual(await severity(true), ["error"]);
  assert.deepEqual(await severity(true, '[check.severity]\nSMTPD203 = "warning"\n'), ["warning"]);
});

test("allow: a reason silences the finding of the line, or of the line below, and of no other", async () => {
  const comment = "# smtpd: allow SMTPD201 because it is small";
  assert.deepEqual(placesOf(await examined(`${LOW} ${comment}\n`)), []);
  assert.deepEqual(placesOf(await examined(`${LISTENER}${comment}\n# another\nmax_recipients = 10\n`)), []);
  assert.deepEqual(placesOf(await examined(`${LISTENER}${comment}\n\nmax_recipients = 10\n`)), [
    "SMTPD205 4:1",
    "SMTPD201 6:18",
  ]);
  assert.deepEqual(placesOf(await examined(`${LISTENER}max_recipients = 10\n${comment}\n`)), [
    "SMTPD201 4:18",
    "SMTPD205 5:1",
  ]);
});

test("allow: several codes, any case, CRLF", async () => {
  const text = `${LISTENER}# SMTPD: Allow smtpd201, SMTPD202 because of reasons\nmax_recipients = 10\n`;
  assert.deepEqual(placesOf(await examined(text.replaceAll("\n", "\r\n"))), []);
});

test("allow: without a reason, or for what cannot be silenced, it silences nothing and is told", async () => {
  const bad: readonly (readonly [comment: string, message: string])[] = [
    ["# smtpd: allow SMTPD201", "This comment gives no reason"],
    ["# smtpd: allow SMTPD201 because", "This comment gives no reason"],
    ["# smtpd: allow SMTPD201 because   ", "This comment gives no reason"],
    ["# smtpd: allow", "This comment is not understood"],
    ["# smtpd: alow SMTPD201 because x", "This comment is not understood"],
    ["# smtpd: ignore SMTPD201 because x", "This comment is not understood"],
    ["# smtpd: allow SMTPD299X because x", 'There is no code "SMTPD299X"'],
    ["# smtpd: allow SMTPD101 because x", 'Findings "SMTPD101" cannot be silenced'],
  ];
  for (const [comment, message] of bad) {
    const { findings } = await examined(`${LOW} ${comment}\n`);
    assert.deepEqual(findings.map((one) => one.code), ["SMTPD201", "SMTPD204"], comment);
    assert.equal(findings[1]?.message, message);
  }
});

test("allow: other comments that begin with the name, and text that looks like a comment, are left alone", async () => {
  const text = `# smtpd: an example\n${LISTENER}description = "# smtpd: allow SMTPD201"\n`;
  assert.deepEqual(placesOf(await examined(text)), []);
});

test("allow: one without effect is not reported when the configuration has errors, or the machine decides", async () => {
  const unused = "# smtpd: allow SMTPD201 because it was low\n";
  assert.deepEqual(codesOf(await examined(`${unused}${LISTENER}`)), ["SMTPD205"]);
  assert.deepEqual(codesOf(await examined(`${unused}${LISTENER}prt = 1\n`)), ["SMTPD101"]);
  assert.deepEqual(codesOf(await examined(`# smtpd: allow SMTPD202 because it comes later\n${LISTENER}`)), []);
});

test("allow: findings about comments can be turned off as well", async () => {
  const text = `# smtpd: allow SMTPD201 because x\n${LISTENER}[check]\nseverity.SMTPD205 = "off"\n`;
  assert.deepEqual(codesOf(await examined(text)), []);
});
