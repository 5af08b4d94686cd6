/** smtpd check and explain as whole command lines over real files: exit codes, where output goes, what fixes change. */
import assert from "node:assert/strict";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { run } from "../../src/cli/cli.ts";
import { fileSystemOf } from "../../src/cli/lint_environment.ts";
import { currentRuntime } from "../../src/runtime/current.ts";
import type { Runtime } from "../../src/runtime/runtime.ts";

const system = await currentRuntime();
const root = await mkdtemp(join(tmpdir(), "smtpd-check-"));
after(() => rm(root, { recursive: true, force: true }));

let count = 0;

/** A directory of its own with these files; gives the path of each by its name. */
async function directory(files: Readonly<Record<string, string | Uint8Array>>): Promise<(name: string) => string> {
  const path = join(root, String(count++));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content);
  }
  return (name) => join(path, name);
}

interface Terminal {
  readonly environment?: Readonly<Record<string, string>>;
  readonly columns?: number;
}

async function smtpd(args: readonly string[], { environment = {}, columns }: Terminal = {}) {
  const [out, err]: [string[], string[]] = [[], []];
  const runtime: Runtime = {
    ...system,
    processes: {
      ...system.processes,
      args,
      hostName: "box.example.net",
      environment: (name) => environment[name],
      stdio: {
        writeOut: (text: string) => void out.push(text),
        writeErr: (text: string) => void err.push(text),
        outIsTerminal: columns !== undefined,
        errIsTerminal: columns !== undefined,
        columns: () => columns,
        transport: () => assert.fail("check needs no standard input"),
        input: () => assert.fail("check needs no standard input"),
        reserveOut: () => assert.fail("check speaks no protocol"),
      },
    },
  };
  const code = await run(runtime);
  return { code, out: out.join(""), err: err.join("") };
}

const CLEAN = 'host_name = "mx.example.com"\n[[listener]]\nname = "in"\nlisten_ip = "127.0.0.1"\nport = 2525\n' +
  'session_timeout = "1h"\n[spool]\nurl = "memory:"\n';
const WARNING = CLEAN.replace("port = 2525", "port = 2525\nmax_recipients = 10");
const ERROR = CLEAN.replace("port = 2525", 'prot = 2525 # the "port"\nnonsense = 1');

test("check: 0 when clean, 1 when something is found, 2 when it could not run", async () => {
  const at = await directory({ "clean.toml": CLEAN, "warning.toml": WARNING, "error.toml": ERROR });
  const code = async (...args: string[]) => (await smtpd(["check", ...args])).code;
  assert.equal(await code(at("clean.toml")), 0);
  assert.equal(await code(at("error.toml")), 1);
  assert.equal(await code(at("warning.toml")), 0);
  assert.equal(await code(at("warning.toml"), "--fail-on", "warning"), 1);
  assert.equal(await code(at("warning.toml"), "--strict"), 1);
  assert.equal(await code(at("warning.toml"), "--strict", "--fail-on", "error"), 0);
  assert.equal(await code(at("warning.toml"), "--severity", "SMTPD201=error"), 1);
  assert.equal(await code(at("warning.toml"), "--strict", "--severity", "smtpd201=off"), 0);
  assert.equal(await code(at("missing.toml")), 2);
  assert.equal(await code(at("clean.toml"), at("missing.toml")), 2);
  assert.equal(await code(at("")), 2);
});

test("check: wrong usage is 2, and one line on stderr with a way out", async () => {
  const at = await directory({ "clean.toml": CLEAN });
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [["--fromat", "json"], /Unknown option "--fromat"\. Did you mean "--format"\?/],
    [["--format", "xml"], /"xml" is invalid\. Allowed choices are text, concise, json, github, gitlab, sarif, junit\./],
    [["--fail-on", "never"], /"never" is invalid/],
    [["--severity", "SMTPD201"], /write CODE=off/],
    [["--severity", "SMTPD201=loud"], /write CODE=off/],
    [["--severity", "SMTPD20=off"], /There is no code "SMTPD20"\. Did you mean/],
    [["--severity", "SMTPD101=off"], /The severity of "SMTPD101" cannot be changed/],
    [["--output", at("clean.toml"), "--format", "json"], /it is a configuration file/],
    [["--output", at("no/such/directory"), "--format", "json"], /Cannot write ".*": there is no such file/],
    [[""], /It is empty/],
  ];
  for (const [args, expected] of wrong) {
    const { code, err } = await smtpd(["check", at("clean.toml"), ...args]);
    assert.equal(code, 2, args.join(" "));
    assert.match(err, expected);
    assert.equal(err.indexOf("\n"), err.length - 1);
  }
  assert.equal(await readFile(at("clean.toml"), "utf8"), CLEAN);
});

test("check: without a file it looks in the usual places", async () => {
  const at = await directory({ "error.toml": ERROR });
  const { code, out } = await smtpd(["check"], { environment: { SMTPD_CONFIG: at("error.toml") } });
  assert.equal(code, 1);
  assert.match(out, /SMTPD101/);
});

test("check: text for people says how many, what can be fixed, and where to read on", async () => {
  const at = await directory({ "clean.toml": CLEAN, "error.toml": ERROR });
  assert.deepEqual(await smtpd(["check", at("clean.toml")]), {
    code: 0,
    out: `No findings in ${at("clean.toml")}.\n`,
    err: "",
  });
  const { out, err } = await smtpd(["check", at("error.toml")]);
  assert.equal(err, "");
  assert.match(out, /\n2 errors\n1 can be fixed with --fix\. "smtpd explain SMTPD101" tells more\.\n$/);
});

test("check: colour on a terminal that wants it, or as told; long help is broken at the width", async () => {
  const at = await directory({ "error.toml": ERROR });
  const coloured = async (args: string[], terminal: Terminal) =>
    (await smtpd(["check", at("error.toml"), ...args], terminal)).out.includes("\x1b[");
  assert.equal(await coloured([], {}), false);
  assert.equal(await coloured([], { columns: 80 }), true);
  assert.equal(await coloured([], { columns: 80, environment: { NO_COLOR: "1" } }), false);
  assert.equal(await coloured(["--color", "always"], { environment: { NO_COLOR: "1" } }), true);
  assert.equal(await coloured(["--color", "never"], { columns: 80 }), false);
  const { out } = await smtpd(["check", at("error.toml"), "--color", "never"], { columns: 60 });
  const help = out.split("\n").filter((line) => /^ +(?:= help:| {9})/.test(line));
  assert.ok(help.length > 3);
  for (const line of help) assert.ok(line.length <= 60, line);
});

test("check: --output takes the format, the terminal keeps the text", async () => {
  const at = await directory({ "error.toml": ERROR, "report.json": "old" });
  const { code, out } = await smtpd(["check", at("error.toml"), "--format", "json", "--output", at("report.json")]);
  assert.equal(code, 1);
  assert.match(out, /^error\[SMTPD101\]/);
  const { findings, errors } = JSON.parse(await readFile(at("report.json"), "utf8"));
  assert.deepEqual([findings.length, errors], [2, 2]);
  assert.deepEqual((await readdir(at(""))).sort(), ["error.toml", "report.json"]);
});

test("check: a format on standard output is nothing but the format", async () => {
  const at = await directory({ "error.toml": ERROR });
  for (const format of ["json", "sarif", "gitlab"]) {
    const { out, err } = await smtpd(["check", at("error.toml"), "--format", format], { columns: 80 });
    JSON.parse(out);
    assert.equal(err, "");
  }
});

test("check: several configurations are one run, sorted, each cause once, parts not on their own", async () => {
  const part = '[[channel]]\nname = "a"\ntype = "maildr"\npath = "x"\n';
  const main =
    `include = ["part.toml"]\n${CLEAN}[[binding]]\nname = "all"\nrecipients = ["*@example.com"]\ndeliver = ["a"]\n`;
  const at = await directory({ "one.toml": main, "two.toml": main, "part.toml": part });
  const files = [at("part.toml"), at("one.toml"), at("two.toml"), at("one.toml")];
  const { code, out } = await smtpd(["check", ...files, "--format", "concise"]);
  assert.equal(code, 1);
  assert.deepEqual(out.trimEnd().split("\n").map((line) => line.replace(/: There is.*/, "")), [
    `${at("part.toml")}:3:8: error[SMTPD106]`,
  ]);
});

test("check: files that include each other are both looked at", async () => {
  const at = await directory({ "a.toml": 'include = ["b.toml"]\n', "b.toml": 'include = ["a.toml"]\n' });
  const { code, out } = await smtpd(["check", at("a.toml"), at("b.toml"), "--format", "concise"]);
  assert.equal(code, 1);
  assert.match(out, /SMTPD004/);
});

test("check --diff: shows what --fix would do, and does nothing", async () => {
  const at = await directory({ "error.toml": ERROR });
  const { code, out } = await smtpd(["check", "--diff", "--fix", at("error.toml")]);
  assert.equal(code, 1);
  assert.equal(
    out,
    `--- a${at("error.toml")}\n+++ b${at("error.toml")}\n@@ -2,7 +2,7 @@\n [[listener]]\n name = "in"\n` +
      ' listen_ip = "127.0.0.1"\n-prot = 2525 # the "port"\n+port = 2525 # the "port"\n nonsense = 1\n' +
      ' session_timeout = "1h"\n [spool]\n',
  );
  assert.equal(await readFile(at("error.toml"), "utf8"), ERROR);
});

test("check --fix: applies the safe fixes, keeps everything else, and checks again", async () => {
  const text = `# a comment\r\n${CLEAN.replace("port =", '"portNum"  =').replaceAll("\n", "\r\n")}`;
  const at = await directory({ "smtpd.toml": `\ufeff${text}` });
  await chmod(at("smtpd.toml"), 0o640);
  const { code, out } = await smtpd(["check", "--fix", at("smtpd.toml")]);
  assert.equal(out, `Fixed 1 finding.\nNo findings in ${at("smtpd.toml")}.\n`);
  assert.equal(code, 0);
  assert.equal(await readFile(at("smtpd.toml"), "utf8"), `\ufeff${text.replace('"portNum"', "port")}`);
  assert.equal((await stat(at("smtpd.toml"))).mode & 0o777, 0o640);
  assert.deepEqual(await readdir(at("")), ["smtpd.toml"]);
});

test("check --fix: includes are fixed too, in rounds, and links stay links", async () => {
  const part = '[[bindings]]\nnme = "all"\nto = "*@example.com"\nreject = "550 5.1.1 Gone"\n';
  const at = await directory({ "smtpd.toml": `include = ["conf/*.toml"]\n${CLEAN}`, "real/part.toml": part });
  await mkdir(at("conf"));
  await symlink("../real/part.toml", at("conf/part.toml"));
  const { code, out } = await smtpd(["check", "--fix", at("smtpd.toml")]);
  assert.equal(out, "Fixed 3 findings.\nNo findings in 2 files.\n");
  assert.equal(code, 0);
  assert.equal(
    await readFile(at("real/part.toml"), "utf8"),
    '[[binding]]\nname = "all"\nrecipients = "*@example.com"\nreject = "550 5.1.1 Gone"\n',
  );
  assert.ok((await lstat(at("conf/part.toml"))).isSymbolicLink());
});

test("check --fix: proposals are shown and not applied", async () => {
  const text = CLEAN.replace('"memory:"', '"memory:"\n[[channel]]\nname = "a"\ntype = "maildr"\npath = "x"');
  const at = await directory({ "smtpd.toml": text });
  const { code, out } = await smtpd(["check", "--fix", at("smtpd.toml")]);
  assert.equal(code, 1);
  assert.match(out, /Did you mean "maildir"/);
  assert.equal(await readFile(at("smtpd.toml"), "utf8"), text);
});

test("check --fix: a file is never made one that cannot be read", async () => {
  const text = `listeners = [{ name = "a", port = 1025 }]\n${CLEAN.replace('host_name = "mx.example.com"\n', "")}`;
  const at = await directory({ "smtpd.toml": text });
  const { code } = await smtpd(["check", "--fix", at("smtpd.toml")]);
  assert.equal(code, 1);
  assert.equal(await readFile(at("smtpd.toml"), "utf8"), text);
});

test("check --fix: bytes that are no UTF-8 are left as they are", async () => {
  const bytes = new Uint8Array([...new TextEncoder().encode(`# caf`), 0xe9, ...new TextEncoder().encode(`\n${ERROR}`)]);
  const at = await directory({ "smtpd.toml": bytes });
  const { code, err } = await smtpd(["check", "--fix", at("smtpd.toml")]);
  assert.equal(code, 2);
  assert.match(err, /it is not UTF-8/);
  assert.deepEqual(new Uint8Array(await readFile(at("smtpd.toml"))), bytes);
});

test("check: what the configuration names is looked for on this machine", async () => {
  const tls = '[listener.tls]\nmode = "starttls"\ncertificate = "c.pem"\nprivate_key = { env = "SMTPD_TEST_KEY" }\n';
  const at = await directory({ "smtpd.toml": CLEAN.replace("[spool]", `${tls}[spool]`), "c.pem": "" });
  const codes = async (args: string[], environment = {}) => {
    const { out } = await smtpd(["check", at("smtpd.toml"), "--format", "json", ...args], { environment });
    return JSON.parse(out).findings.map((one: { code: string; severity: string }) => `${one.severity} ${one.code}`);
  };
  const own = (found: readonly string[]) => found.filter((one) => /SMTPD20[23]$/.test(one));
  assert.deepEqual(own(await codes([])), ["error SMTPD202", "warning SMTPD203"]);
  assert.deepEqual(own(await codes(["--strict"])), ["error SMTPD202", "error SMTPD203"]);
  assert.deepEqual(own(await codes(["--severity", "SMTPD202=off"], { SMTPD_TEST_KEY: "x" })), []);
});

test("lint environment: the file system of a path is that of the last mount above it", () => {
  const mounts = "overlay / overlay rw 0 0\ntmpfs /var/spool tmpfs rw 0 0\next4 /a\\040b ext4 rw 0 0\n";
  assert.equal(fileSystemOf("/var/spool/x", mounts), "tmpfs");
  assert.equal(fileSystemOf("/var/spool", mounts), "tmpfs");
  assert.equal(fileSystemOf("/var/spoolx", mounts), "overlay");
  assert.equal(fileSystemOf("/a b/c", mounts), "ext4");
  assert.equal(fileSystemOf("/x", ""), undefined);
});

test("explain: the page of a code, as text and as JSON", async () => {
  const { code, out } = await smtpd(["explain", "smtpd101"]);
  assert.equal(code, 0);
  assert.match(out, /^SMTPD101: Unknown key \(error\)\n/);
  assert.match(out, /\nBad:\n\n {4}\[\[listener\]\]\n/);
  const page = JSON.parse((await smtpd(["explain", "SMTPD101", "--json"])).out);
  assert.deepEqual(Object.keys(page), ["code", "title", "severity", "what", "why", "bad", "good"]);
});

test("explain: what is neither an address nor a code, or a code that does not exist, is wrong usage", async () => {
  const word = await smtpd(["explain", "user"]);
  assert.equal(word.code, 64);
  assert.match(word.err, /^smtpd: Cannot explain "user": it is neither an address [^\n]+\n$/);
  const unknown = await smtpd(["explain", "SMTPD1011"]);
  assert.equal(unknown.code, 64);
  assert.match(unknown.err, /^smtpd: There is no code "SMTPD1011"\. Did you mean "SMTPD101"\?\n$/);
});

test("check --coverage and --min-coverage: what the routing tests reach, and when that is too little", async () => {
  const routed = `${CLEAN}[[binding]]\nname = "a"\nrecipients = ["a@b.example"]\ndiscard = true\n` +
    `[[binding]]\nname = "b"\nrecipients = ["b@b.example"]\ndiscard = true\n` +
    `[[test]]\nto = "a@b.example"\nexpect = { binding = "a" }\n`;
  const at = await directory({ "smtpd.toml": routed, "wrong.toml": routed.replace('binding = "a"', 'binding = "b"') });
  const plain = await smtpd(["check", at("smtpd.toml")]);
  assert.deepEqual([plain.code, /reach/u.test(plain.out)], [0, false]);
  const shown = await smtpd(["check", "--coverage", at("smtpd.toml")]);
  assert.equal(shown.code, 0);
  assert.match(shown.out, /\nwarning\[SMTPD282\]: No routing test reaches the binding "b"\n|^warning\[SMTPD282\]/u);
  assert.match(shown.out, /\nThe routing tests reach 1 of 2 bindings \(50 %\)\.\n$/u);
  assert.equal((await smtpd(["check", "--min-coverage", "50%", at("smtpd.toml")])).code, 0);
  const low = await smtpd(["check", "--min-coverage", "51", "--format", "concise", at("smtpd.toml")]);
  assert.equal(low.code, 1);
  assert.match(
    low.out,
    /:1:1: error\[SMTPD283\]: The routing tests reach 1 of 2 bindings: 50 %, and 51 % are wanted\n/u,
  );
  assert.equal((await smtpd(["check", "--min-coverage", "101", at("smtpd.toml")])).code, 2);
  const failing = await smtpd(["check", "--format", "concise", at("wrong.toml")]);
  assert.equal(failing.code, 1);
  assert.match(failing.out, /: error\[SMTPD280\]: The routing test for "a@b\.example" failed: expected binding "b", /u);
});
