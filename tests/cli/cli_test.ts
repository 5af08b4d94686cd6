/** The command line: help, wrong usage, exit codes, errors in one line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError, exitCode, exitCodeOf } from "../../src/cli/exit.ts";
import { usageLine } from "../../src/cli/options.ts";
import { FileError, TlsIdentityError, TransportError } from "../../src/runtime/runtime.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { smtpd } from "./command_line.ts";

test("cli: help goes to stdout with exit 0 and names every command", async () => {
  for (const args of [["--help"], ["-h"], ["help"]]) {
    const { code, out, err } = await smtpd(args);
    assert.equal(code, 0);
    assert.equal(err, "");
    for (const name of ["serve", "queue", "version"]) assert.match(out, new RegExp(`^ {2}${name}\\b`, "m"));
  }
});

test("cli: each command has help with examples or a description of its own", async () => {
  for (const args of [["serve", "--help"], ["help", "serve"], ["queue", "--help"], ["queue", "list", "--help"]]) {
    const { code, out } = await smtpd(args);
    assert.equal(code, 0);
    assert.match(out, /Usage: smtpd (serve|queue)/);
    assert.match(out, /^Examples:/m);
  }
});

test("cli: no command at all prints the help on stderr and is wrong usage", async () => {
  for (const args of [[], ["queue"]]) {
    const { code, out, err } = await smtpd(args);
    assert.equal(code, 64);
    assert.equal(out, "");
    assert.match(err, /^Usage: smtpd/);
  }
});

const wrong: readonly (readonly [readonly string[], RegExp])[] = [
  [["serv"], /^smtpd: Unknown command "serv"\. Did you mean "serve"\? See "smtpd --help"\.\n$/],
  [
    ["serve", "--confg", "x"],
    /^smtpd: Unknown option "--confg"\. Did you mean "--config"\? See "smtpd serve --help"\.\n$/,
  ],
  [["queue", "lst"], /^smtpd: Unknown command "lst"\. Did you mean "list"\? See "smtpd queue --help"\.\n$/],
  [["serve", "--config"], /^smtpd: Option "--config <file>" argument missing\. See "smtpd serve --help"\.\n$/],
  [["serve", "--config", ""], /^smtpd: .*"--config <file>".* It is empty\. See/],
  [["serve", "--listener="], /^smtpd: .*"--listener <name>".* It is empty\. See/],
  [["serve", "--config", "a", "--config", "b"], /^smtpd: Option "--config" is given more than once\. See/],
  [["serve", "--capture", "--capture"], /^smtpd: Option "--capture" is given more than once\. See/],
  [
    ["version", "--json", "--json"],
    /^smtpd: Option "--json" is given more than once\. See "smtpd version --help"\.\n$/,
  ],
  [
    ["serve", "--log-level", "loud"],
    /^smtpd: .*"loud" is invalid\. Allowed choices are debug, info, warn, error\. See/,
  ],
  [["serve", "extra"], /^smtpd: Too many arguments for "serve"/],
  [["version", "extra"], /^smtpd: Too many arguments for "version"/],
  [["queue", "list", "--limit", "1e3"], /^smtpd: .*"1e3" is invalid\. It must be a whole number/],
  [["queue", "list", "--limit", "-1"], /^smtpd: .*"-1" is invalid/],
  [["queue", "list", "--state", "lost"], /^smtpd: .*Allowed choices are queued, leased, held, failed\./],
  [["queue", "show"], /^smtpd: Missing required argument "id"\. See "smtpd queue show --help"\.\n$/],
  [["queue", "remove"], /^smtpd: Say what to remove: ids, .* See "smtpd queue remove --help"\n$/],
];

for (const [args, expected] of wrong) {
  test(`cli: wrong usage is one line with a way out, exit 64: ${args.join(" ")}`, async () => {
    const { code, out, err } = await smtpd(args);
    assert.equal(code, 64);
    assert.equal(out, "");
    assert.match(err, expected);
  });
}

test("cli: control characters in an argument do not reach the terminal", async () => {
  const { code, err } = await smtpd(["serve", "--\x1b[31mred\r\nsmtpd: forged"]);
  assert.equal(code, 64);
  assert.equal(err.indexOf("\n"), err.length - 1);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(err.slice(0, -1), /[\x00-\x1f\x7f-\x9f]/);
  assert.match(err, /\\x1b\[31mred\\x0d\\x0asmtpd: forged/);
});

test("cli: usage lines keep several suggestions", () => {
  assert.equal(
    usageLine("error: unknown option '--x'\n(Did you mean one of --a, --b?)\n", "smtpd serve"),
    'smtpd: Unknown option "--x". Did you mean "--a" or "--b"? See "smtpd serve --help".\n',
  );
});

test("exit: each kind of error has its code, and what nobody foresaw has none", () => {
  assert.equal(exitCodeOf(new CommandError("x", exitCode.unavailable)), 69);
  assert.equal(exitCodeOf(new TlsIdentityError("x", "pair")), 78);
  assert.equal(exitCodeOf(Object.assign(new Error("x"), { name: "ConfigError" })), 78);
  assert.equal(exitCodeOf(new TransportError("x", "EADDRINUSE")), 71);
  assert.equal(exitCodeOf(new FileError("x", "EACCES", "/x")), 71);
  assert.equal(exitCodeOf(new SpoolError("x", "busy")), 75);
  assert.equal(exitCodeOf(new SpoolError("x", "broken")), 74);
  assert.equal(exitCodeOf(new Error("x")), undefined);
  assert.equal(exitCodeOf("x"), undefined);
});

test("version: text for people, JSON for machines, nothing of the server loaded", async () => {
  const text = await smtpd(["version"]);
  assert.equal(text.code, 0);
  assert.match(text.out, /^smtpd \d+\.\d+\.\d+ \(commit unknown, bun 0\.0\.0, \w+-\w+, from source\)\n$/);
  const json = await smtpd(["version", "--json"]);
  const version = JSON.parse(json.out);
  assert.deepEqual(Object.keys(version), ["version", "commit", "runtime", "runtimeVersion", "platform", "compiled"]);
  assert.equal(version.compiled, false);
});

test("cli: an unforeseen error is one line with exit 70, and its stack is shown on demand only", async () => {
  const outFails = new Error("Odd\x07", { cause: new Error("Deeper") });
  const plain = await smtpd(["version"], { outFails });
  assert.equal(plain.code, 70);
  assert.equal(
    plain.err,
    "smtpd: Internal error, please report it: Odd\\x07 Set SMTPD_DEBUG=1 to see where.\n",
  );
  const debugging = await smtpd(["version"], { outFails, environment: { SMTPD_DEBUG: "1" } });
  assert.equal(debugging.code, 70);
  assert.match(debugging.err, /cli_test/);
  assert.match(debugging.err, /caused by .*Deeper/);
});

test("cli: a foreseen error is its message alone and ends with its own code", async () => {
  const outFails = new FileError('Cannot open "/x": permission denied', "EACCES", "/x");
  const { code, err } = await smtpd(["version"], { outFails });
  assert.equal(code, 71);
  assert.equal(err, 'smtpd: Cannot open "/x": permission denied\n');
});
