/** Reading files and what they include. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matchesWildcards, readConfig } from "../../src/config/include.ts";
import { loadConfig } from "../../src/config/load.ts";
import { renderDiagnostics } from "../../src/config/render.ts";
import { ARCHIVE, channelKinds, findings, LISTENER, load, MAIN, MemoryFiles } from "./world.ts";

const DISCARD = (name: string) => `[[channel]]\nname = "${name}"\ntype = "discard"\n`;
const BINDING = (name: string) => `[[binding]]\nname = "${name}"\nrecipients = "*"\ndeliver = "archive"\n`;

test("included tables come first, in the order of the patterns and of the names", async () => {
  const main = `include = ["last.toml", "conf.d/*.toml"]\n${LISTENER}${BINDING("main")}${ARCHIVE}`;
  const { config, diagnostics } = await load(main, {
    "/etc/smtpd/conf.d/20.toml": BINDING("twenty"),
    "/etc/smtpd/conf.d/10.toml": BINDING("ten"),
    "/etc/smtpd/conf.d/note.txt": "not TOML",
    "/etc/smtpd/conf.d/.hidden.toml": "not TOML",
    "/etc/smtpd/last.toml": BINDING("last"),
  });
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(config?.bindings.map(({ name }) => name), ["last", "ten", "twenty", "main"]);
});

test("paths are relative to the file they stand in, also two includes away and in other directories", async () => {
  const { config, diagnostics } = await load(`include = "sites/*/site.toml"\n${LISTENER}`, {
    "/etc/smtpd/sites/a/site.toml": 'include = "../../shared/x.toml"\n' + ARCHIVE.replace("archive", "a"),
    "/etc/smtpd/sites/b/site.toml": ARCHIVE.replace("archive", "b").replace('"mail"', '"/srv/mail"'),
    "/etc/smtpd/shared/x.toml": ARCHIVE.replace("archive", "x") + '[spool]\nurl = "sqlite:q.db"\n',
  });
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(config?.channels.map(({ name, options }) => [name, options]), [
    ["x", { path: "/etc/smtpd/shared/mail" }],
    ["a", { path: "/etc/smtpd/sites/a/mail" }],
    ["b", { path: "/srv/mail" }],
  ]);
  assert.deepEqual(config?.spool.store, { kind: "sqlite", path: "/etc/smtpd/shared/q.db" });
});

test("tables of two files are joined key by key; a setting given twice shows both places", async () => {
  const result = await load(
    `include = "a.toml"\nhost_name = "main.example"\n${LISTENER}[spool]\nmin_free_space = 5\n`,
    {
      "/etc/smtpd/a.toml": 'host_name = "a.example"\n[spool]\nurl = "memory:"\n',
    },
  );
  assert.deepEqual(findings(result), ['SMTPD005 2:1 "host_name" is already set in another file']);
  assert.deepEqual(result.diagnostics[0]?.secondary.map(({ file, start }) => [file, start.line]), [[
    "/etc/smtpd/a.toml",
    1,
  ]]);
  assert.match(
    renderDiagnostics(result.diagnostics, result.sources),
    /:::.*a\.toml:1:1\n.*\n1 \| host_name = "a\.example"/u,
  );
});

test("findings come from every file, in the order of reading, each with its file", async () => {
  const result = await load(`include = ["a.toml", "b.toml", "c.toml"]\n${LISTENER}bnner = "x"\n`, {
    "/etc/smtpd/a.toml": DISCARD("x") + "colour = 1\n",
    "/etc/smtpd/b.toml": "= broken\n",
    "/etc/smtpd/c.toml": DISCARD("in"),
  });
  assert.deepEqual(findings(result), [
    'SMTPD101 5:1 Unknown key "bnner"',
    'SMTPD101 a.toml:4:1 Unknown key "colour"',
    'SMTPD001 b.toml:1:1 Unexpected "="',
    'SMTPD104 c.toml:2:8 The name "in" is already taken',
  ]);
});

test("missing files, empty patterns and wrong values are reported where they are included", async () => {
  const result = await load(`include = ["none.toml", "x/*.toml", 5, "secret.toml", "dir"]\n${LISTENER}`, {
    "/etc/smtpd/secret.toml": "forbidden",
    "/etc/smtpd/dir/a": "",
  });
  assert.deepEqual(findings(result), [
    'SMTPD002 1:12 Cannot read "/etc/smtpd/none.toml": there is no such file',
    'SMTPD003 1:25 No file matches the include "x/*.toml"',
    'SMTPD102 1:37 Expected a path or a pattern in "include", found the number 5',
    'SMTPD002 1:40 Cannot read "/etc/smtpd/secret.toml": permission denied',
    'SMTPD002 1:55 Cannot read "/etc/smtpd/dir": it is a directory',
  ]);
});

test("circles are reported with their chain, and end", async () => {
  const result = await load(`include = "a.toml"\n${LISTENER}`, {
    "/etc/smtpd/a.toml": 'include = "b.toml"\n',
    "/etc/smtpd/b.toml": 'include = "./x/../a.toml"\n',
  });
  assert.deepEqual(findings(result), ['SMTPD004 b.toml:1:11 "/etc/smtpd/a.toml" includes itself']);
  assert.deepEqual(result.diagnostics[0]?.notes, [
    '"/etc/smtpd/a.toml" includes "/etc/smtpd/b.toml" includes "/etc/smtpd/a.toml"',
  ]);
  assert.deepEqual(findings(await load(`include = "*.toml"\n${LISTENER}`)), [
    `SMTPD004 1:11 "${MAIN}" includes itself`,
  ]);
});

test("a file named by two patterns is read once", async () => {
  const files = new MemoryFiles({
    [MAIN]: `include = ["a.toml", "*a.toml"]\n${LISTENER}`,
    "/etc/smtpd/a.toml": DISCARD("x"),
  });
  const { config } = await loadConfig(MAIN, { files, channels: channelKinds, hostName: "box" });
  assert.deepEqual(config?.channels.map(({ name }) => name), ["x"]);
  assert.deepEqual(files.reads, [MAIN, "/etc/smtpd/a.toml"]);
});

test("the main file missing, unreadable or too large is one finding", async () => {
  const outcome = async (files: Readonly<Record<string, string>>) => {
    const context = { files: new MemoryFiles(files), channels: channelKinds, hostName: "box" };
    return findings(await loadConfig(MAIN, context));
  };
  assert.deepEqual(await outcome({}), [`SMTPD002 1:1 Cannot read "${MAIN}": there is no such file`]);
  assert.deepEqual(await outcome({ [MAIN]: "forbidden" }), [`SMTPD002 1:1 Cannot read "${MAIN}": permission denied`]);
  assert.deepEqual(await outcome({ [`${MAIN}/x`]: "" }), [`SMTPD002 1:1 Cannot read "${MAIN}": it is a directory`]);
  const files = new MemoryFiles({ [MAIN]: "" });
  const huge = { ...await files.info(MAIN), kind: "file" as const, sizeBytes: 1e9, modifiedMs: 0, mode: 0 };
  const read = await readConfig(MAIN, {
    readText: () => assert.fail("must not be read"),
    list: () => Promise.resolve([]),
    info: () => Promise.resolve(huge),
  });
  assert.deepEqual(read.diagnostics.map(({ code }) => code), ["SMTPD002"]);
});

test("a relative file keeps its name in findings, and gives absolute paths", async () => {
  const files = new MemoryFiles({
    "conf/smtpd.toml": `include = "*.d/x.toml"\n${LISTENER}`,
    "conf/a.d/x.toml": ARCHIVE + "foo = 1\n",
  });
  const context = { files, channels: channelKinds, hostName: "box" };
  const result = await loadConfig("conf/smtpd.toml", context);
  assert.deepEqual(result.diagnostics.map(({ primary }) => primary.file), ["conf/a.d/x.toml"]);
  const fixed = new MemoryFiles({ "conf/smtpd.toml": LISTENER });
  const { config } = await loadConfig("conf/smtpd.toml", { ...context, files: fixed });
  assert.match(config?.file ?? "", /^(?:\/|[A-Z]:).*smtpd\.toml$/u);
});

test("matchesWildcards agrees with a regular expression", () => {
  const letter = fc.constantFrom("a", "b", ".");
  const name = fc.string({ unit: letter, maxLength: 8 });
  const pattern = fc.string({ unit: fc.oneof(letter, fc.constantFrom("*", "?")), maxLength: 6 });
  fc.assert(
    fc.property(name, pattern, (text, wildcards) => {
      const source = wildcards.replaceAll(".", "\\.").replaceAll("?", ".").replace(/\*+/gu, ".*");
      assert.equal(matchesWildcards(text, wildcards), new RegExp(`^${source}$`, "u").test(text));
    }),
    { numRuns: 500 },
  );
  assert.equal(matchesWildcards("a".repeat(5000), `${"*a".repeat(50)}b`), false);
});
