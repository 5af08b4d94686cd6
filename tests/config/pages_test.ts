/** Rule pages: every code has one, and its examples behave as the page says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Code, CODES, isCode } from "../../src/config/codes.ts";
import { lintRules } from "../../src/config/lint/rules.ts";
import { pageOf } from "../../src/config/pages/pages.ts";
import { filled } from "../../src/config/fill.ts";
import { pageMarkdown, pageText } from "../../src/config/pages/text.ts";
import { examineExample } from "./example_world.ts";

const codes: readonly Code[] = Object.keys(CODES).filter(isCode);

for (const code of codes) {
  const page = pageOf(code);

  test(`page ${code}: the bad example gives the code and no other error`, async () => {
    const { findings } = await examineExample(page.bad);
    assert.ok(findings.some((finding) => finding.code === code), JSON.stringify(findings, undefined, 1));
    assert.deepEqual(
      findings.filter((finding) => finding.code !== code && finding.severity === "error").map((one) => one.message),
      [],
    );
  });

  test(`page ${code}: the good example gives no finding`, async () => {
    const { findings } = await examineExample(page.good);
    assert.deepEqual(findings.map((one) => `${one.code}: ${one.message}`), []);
  });

  test(`page ${code}: it has something to say, on lines that fit`, () => {
    for (const text of [page.what, page.why]) assert.match(text, /^[A-Z][^\n]{20,}\.$/);
    const text = pageText(page, 80);
    assert.ok(text.startsWith(`${code}: ${CODES[code].title} (${CODES[code].severity})\n\n`));
    for (const line of text.split("\n")) assert.ok(line.startsWith("    ") || line.length <= 80, line);
    assert.ok(pageMarkdown(page).includes("\n## Bad\n\n```toml\n"));
  });
}

test("every rule has a code of its own", () => {
  const own = lintRules.map((rule) => rule.code);
  assert.equal(new Set(own).size, own.length);
});

test("filled breaks at words and keeps what is longer than a line", () => {
  assert.equal(filled("aa bb cc", 5), "aa bb\ncc");
  assert.equal(filled("aaaaaaaa b", 5), "aaaaaaaa\nb");
  assert.equal(filled("", 5), "");
});
