/** The commands around a configuration, with real files: what they print, where, and how they end. */
import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { channelTypes } from "../../src/channel/registry.ts";
import { run } from "../../src/cli/cli.ts";
import { type Ask, initCommand, type InitOptions } from "../../src/cli/init.ts";
import { configurationJsonSchema } from "../../src/config/json_schema.ts";
import { nodeFiles } from "../../src/runtime/node_files.ts";
import type { Runtime } from "../../src/runtime/runtime.ts";
import { commandLine } from "./command_line.ts";

/** A command line on real files in a folder of its own. */
async function inFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "smtpd-config-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function world(args: readonly string[], hostName = "box.example.net") {
  const line = commandLine(args);
  const runtime: Runtime = {
    ...line.runtime,
    files: nodeFiles(),
    random: { bytes: (count) => new Uint8Array(count).fill(7), fraction: () => 0.5 },
    processes: { ...line.runtime.processes, hostName },
  };
  return { ...line, runtime };
}

async function smtpd(...args: readonly string[]) {
  const line = world(args);
  const code = await run(line.runtime);
  return { code, out: line.out(), err: line.err() };
}

const CONFIG = '[[listener]]\nname = "in"\nport = 2525\n';

test("config print: TOML with origins, JSON with origins, exit 0", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "a.toml");
    await writeFile(file, CONFIG);
    const plain = await smtpd("config", "print", "--config", file);
    assert.deepEqual([plain.code, plain.err], [0, ""]);
    assert.match(plain.out, /^port = 2525 +# .*a\.toml:3$/mu);
    assert.doesNotMatch(plain.out, /default/u);
    const effective = await smtpd("config", "print", "--effective", "--config", file);
    assert.match(effective.out, /^host_name = "box\.example\.net" +# default$/mu);
    const json = JSON.parse((await smtpd("config", "print", "--effective", "--json", "--config", file)).out);
    assert.deepEqual([json.files, json.effective, json.config.listener[0].port], [[file], true, 2525]);
    assert.deepEqual(json.origins["/listener/0/port"], { file, line: 3 });
  });
});

test("config print: a configuration with errors is told on stderr, exit 78", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "a.toml");
    await writeFile(file, `${CONFIG}prot = 1\n`);
    const { code, out, err } = await smtpd("config", "print", "--config", file);
    assert.deepEqual([code, out], [78, ""]);
    assert.match(err, /SMTPD101/u);
  });
});

test("schema: the JSON Schema of a configuration with all types of channel", async () => {
  const { code, out, err } = await smtpd("schema");
  assert.deepEqual([code, err], [0, ""]);
  assert.deepEqual(JSON.parse(out), JSON.parse(JSON.stringify(configurationJsonSchema(channelTypes.values()))));
});

test("init: writes a configuration that only its group may read, and that loads", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "smtpd.toml");
    const args = ["init", "--purpose", "inbound", "--domain", "Example.com", "--domain", "bücher.example"];
    const { code, out, err } = await smtpd(...args, "--output", file);
    assert.deepEqual([code, out], [0, ""]);
    assert.ok(err.includes(`smtpd serve --config ${file}`));
    assert.equal((await stat(file)).mode & 0o777, 0o640);
    const text = await readFile(file, "utf8");
    assert.match(text, /^recipients = \["\*@example\.com", "\*@xn--bcher-kva\.example", "postmaster"\]$/mu);
    assert.match(text, /^host_name = "mail\.example\.com"$/mu);
    assert.equal((await smtpd("config", "print", "--config", file)).code, 0);
  });
});

test("init: the system's name is taken when it lies in the domain", async () => {
  const line = world(["init", "--purpose", "inbound", "--domain", "example.net", "--output", "-"]);
  assert.equal(await run(line.runtime), 0);
  assert.match(line.out(), /^host_name = "box\.example\.net"$/mu);
  assert.equal(line.err(), "");
});

test("init: a file that exists is left alone without --force, whatever it is", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "smtpd.toml");
    await writeFile(file, "mine");
    await chmod(file, 0o604);
    const refused = await smtpd("init", "--purpose", "capture", "--output", file);
    assert.equal(refused.code, 71);
    assert.match(refused.err, /exists and is left as it is/u);
    assert.equal(await readFile(file, "utf8"), "mine");
    const link = join(folder, "link.toml");
    await symlink(join(folder, "elsewhere.toml"), link);
    assert.equal((await smtpd("init", "--purpose", "capture", "--output", link)).code, 71);
    const forced = await smtpd("init", "--purpose", "capture", "--output", file, "--force");
    assert.equal(forced.code, 0);
    assert.match(await readFile(file, "utf8"), /name = "capture"/u);
    assert.equal((await stat(file)).mode & 0o777, 0o640);
    assert.deepEqual((await readdir(folder)).sort(), ["link.toml", "smtpd.toml"]);
  });
});

test("init: purposes that this smtpd cannot serve are refused with what is missing", async () => {
  const submission = await smtpd("init", "--purpose", "submission", "--output", "-");
  assert.deepEqual([submission.code, submission.out], [69, ""]);
  assert.match(submission.err, /no authentication/u);
  const relay = await smtpd("init", "--purpose", "relay", "--output", "-");
  assert.deepEqual([relay.code, relay.out], [69, ""]);
  assert.match(relay.err, /no channel that sends mail/u);
});

const wrong: readonly (readonly [readonly string[], RegExp])[] = [
  [["init", "--output", "-"], /No terminal to ask on: give --purpose inbound or --purpose capture/u],
  [["init", "--purpose", "inbound", "--output", "-"], /No terminal to ask on: give --domain DOMAIN/u],
  [["init", "--purpose", "inbound", "--domain", "a b", "--output", "-"], /Not a domain: "a b"/u],
  [["init", "--purpose", "capture", "--domain", "[127.0.0.1]", "--output", "-"], /Not a domain: "\[127/u],
  [["init", "--purpose", "capture", "--host-name", "box", "--output", "-"], /Not a full host name: "box"/u],
  [["init", "--purpose", "capture", "--port", "0", "--output", "-"], /It must be a port, 1 to 65535/u],
  [["init", "--purpose", "other"], /Allowed choices are inbound, submission, relay, capture/u],
  [["config"], /Usage: smtpd config/u],
  [["import", "sendmail", "x"], /Unknown command "sendmail"/u],
  [["import", "imta"], /Missing required argument "file"/u],
  [["import", "imta", ""], /It is empty/u],
  [["schema", "x"], /Too many arguments/u],
];

for (const [args, expected] of wrong) {
  test(`wrong usage ends with 64 and says what to do: ${args.join(" ")}`, async () => {
    const { code, out, err } = await smtpd(...args);
    assert.deepEqual([code, out], [64, ""]);
    assert.match(err, expected);
  });
}

test("help: the commands around a configuration have examples", async () => {
  for (const args of [["config"], ["config", "print"], ["init"], ["schema"], ["import"], ["import", "imta"]]) {
    const { code, out } = await smtpd(...args, "--help");
    assert.equal(code, 0);
    assert.match(out, /^Examples:\n {2}smtpd /mu);
  }
});

const NOTHING: InitOptions = { domain: [], output: "-", force: false };

async function asked(options: Partial<InitOptions>, answers: readonly string[]) {
  const line = world([]);
  const questions: string[] = [];
  const ask: Ask = (question) => {
    questions.push(question);
    return Promise.resolve(answers[questions.length - 1] ?? assert.fail("one question too many"));
  };
  const code = await initCommand(line.runtime, { ...NOTHING, ...options }, ask);
  return { code, questions, out: line.out() };
}

test("init: asks for what is missing, again after a mistake, and takes what stands in brackets", async () => {
  const { code, questions, out } = await asked({}, [
    "",
    "not a domain!",
    "example.com example.org",
    "x",
    "MX.example.com",
  ]);
  assert.equal(code, 0);
  assert.match(questions[0] ?? "", /\[inbound\]: $/u);
  assert.match(questions[2] ?? "", /^Write names such as example\.com\.\nDomains/u);
  assert.match(questions[3] ?? "", /\[mail\.example\.com\]: $/u);
  assert.match(questions[4] ?? "", /^Write a name with its domain/u);
  assert.match(out, /^host_name = "mx\.example\.com"$/mu);
  const capture = await asked({}, ["capture"]);
  assert.equal(capture.questions.length, 1);
  const given = await asked({ purpose: "inbound", domain: ["example.com"], hostName: "mx.example.com" }, []);
  assert.deepEqual(given.questions, []);
});

test("init: gives up when no answer is usable", async () => {
  await assert.rejects(asked({ purpose: "inbound" }, Array(5).fill("!")), /No usable answer: give --domain DOMAIN/u);
});

const XML = `<ServerConfiguration xmlns="http://www.orchestr8.net/schemas/ServerConfig">
  <SMTPListener name="SmtpListener1" portNum="2525" colour="red"/>
</ServerConfiguration>`;

test("import alchemypoint: TOML on stdout, remarks on stderr, exit 0", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "config.xml");
    await writeFile(file, XML);
    const { code, out, err } = await smtpd("import", "alchemypoint", file);
    assert.equal(code, 0);
    assert.match(out, /^name = "SmtpListener1"$/mu);
    assert.equal(
      err,
      `${file}:2: The attribute colour="red" of <SMTPListener> "SmtpListener1" has no equivalent\n` +
        "smtpd: 1 remark above: look through the result\n",
    );
    const result = join(folder, "smtpd.toml");
    await writeFile(result, out);
    assert.equal((await smtpd("config", "print", "--config", result)).code, 0);
  });
});

test("import alchemypoint: other encodings are read, by mark or declaration", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "config.xml");
    const text = XML.replace('colour="red"', 'description="Büro"');
    const utf16 = new Uint8Array(2 + text.length * 2);
    utf16.set([0xff, 0xfe]);
    [...text].forEach((character, index) => utf16[2 + 2 * index] = character.charCodeAt(0));
    const latin = Uint8Array.from(`<?xml version="1.0" encoding="ISO-8859-1"?>${text}`, (one) => one.charCodeAt(0));
    for (const bytes of [utf16, latin, new TextEncoder().encode(`\ufeff${text}`)]) {
      await writeFile(file, bytes);
      const { code, out } = await smtpd("import", "alchemypoint", file);
      assert.equal(code, 0);
      assert.match(out, /^description = "Büro"$/mu);
    }
    await writeFile(file, Uint8Array.from(text, (one) => one.charCodeAt(0)));
    const { code, err } = await smtpd("import", "alchemypoint", file);
    assert.equal(code, 65);
    assert.match(err, /it is not UTF-8/u);
    await writeFile(file, `<?xml version="1.0" encoding="EBCDIC"?>${text}`);
    assert.equal((await smtpd("import", "alchemypoint", file)).code, 65);
  });
});

test("import: what cannot be understood is told with its place, exit 65, nothing on stdout", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "config.xml");
    await writeFile(file, XML.replace("2525", "\u009b31m"));
    const { code, out, err } = await smtpd("import", "alchemypoint", file);
    assert.deepEqual([code, out], [65, ""]);
    assert.match(err, /config\.xml:2: portNum="\\u\{9b\}31m" is not a whole number from 1 to 65535\n/u);
    await writeFile(file, XML.replace("/>", '/><SMTPListener name="b" portNum="2525"/>'));
    const twice = await smtpd("import", "alchemypoint", file);
    assert.deepEqual([twice.code, twice.out], [65, ""]);
    assert.match(twice.err, /SMTPD108/u);
  });
});

test("import: files that are missing, folders or too large", async () => {
  await inFolder(async (folder) => {
    const missing = await smtpd("import", "imta", join(folder, "none"));
    assert.equal(missing.code, 71);
    assert.match(missing.err, /there is no such file/u);
    assert.equal((await smtpd("import", "imta", folder)).code, 71);
    const large = join(folder, "large.cnf");
    await writeFile(large, new Uint8Array(8 * 1024 * 1024 + 1).fill(0x20));
    const { code, err } = await smtpd("import", "imta", large);
    assert.equal(code, 65);
    assert.match(err, /no configuration is so large/u);
  });
});

test("import imta: several files, octets that are not UTF-8, names that a terminal would obey", async () => {
  await inFolder(async (folder) => {
    const imta = join(folder, "imta.cnf");
    await writeFile(
      imta,
      Uint8Array.from("! B\u00fcro\n\ntcp_local smtp f\u00fcr\x1b[31m\ntcp-daemon\n", (one) => one.charCodeAt(0)),
    );
    const options = join(folder, "tcp_local_option");
    await writeFile(options, "ALLOW_TRANSACTIONS_PER_SESSION=5\n");
    const { code, out, err } = await smtpd("import", "imta", imta, options);
    assert.equal(code, 0);
    assert.match(out, /^session_max_messages = 5$/mu);
    assert.match(out, /Büro/u);
    assert.match(err, /"für\\u\{1b\}\[31m" of the channel "tcp_local": unknown keyword/u);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(out + err, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/u);
  });
});
