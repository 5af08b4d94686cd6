/** The pipe channel with real programs: input, environment, exit codes, and programs that do not behave. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import process from "node:process";
import { after, test } from "node:test";
import * as v from "valibot";
import { ENVELOPE_VARIABLES, pipeChannel } from "../../src/channel/pipe.ts";
import type { Job, Outcome } from "../../src/channel/channel.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, jobFor, jobOf, temporaryFolder } from "./channel_world.ts";
import { messages } from "./messages.ts";

const PATH = process.env["PATH"] ?? "/usr/bin:/bin";

/** What the server's environment has, as far as the channel can see. */
const SERVER: Readonly<Record<string, string>> = { PATH, HOME: "/home/smtpd", SMTPD_SECRET: "hidden", API_KEY: "k3y" };

async function open(command: readonly string[], options: Readonly<Record<string, unknown>> = {}) {
  const context = contextOf({}, { environment: (name) => SERVER[name] });
  return await pipeChannel.open(v.parse(pipeChannel.schema, { command, ...options }), context);
}

async function run(
  command: readonly string[],
  job: Job = jobOf("Subject: Hi\r\n\r\nText\r\n"),
  options: Readonly<Record<string, unknown>> = {},
): Promise<Outcome | undefined> {
  await using channel = await open(command, options);
  return (await outcomesOf(channel, job))[0];
}

/** A shell script is one argument, so what is in it is written here and never comes from a message. */
const sh = (script: string): readonly string[] => ["/bin/sh", "-c", script];

async function children(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (text.slice(text.lastIndexOf(")") + 2).split(" ")[1] === String(process.pid)) found.push(text.trim());
  }
  return found;
}

/** Whether a program with that in its command line runs anywhere. */
async function isRunning(mark: string): Promise<boolean> {
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    if ((await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0").includes(mark)) return true;
  }
  return false;
}

after(async () => assert.deepEqual(await children(), []));

channelContract("pipe", async () => {
  const channel = await open(["cat"]);
  return { channel, [Symbol.asyncDispose]: () => channel[Symbol.asyncDispose]() };
}, { readsContent: true });

test("pipe: a program gets the bytes that were sent, with the two fields above them or without", async () => {
  await using folder = await temporaryFolder();
  const file = `${folder.path}/message`;
  for (const [name, content] of await messages()) {
    const fields = bytesOf("Return-Path: <sender@example.org>\r\nDelivered-To: r1@example.com\r\n");
    for (const [add_headers, expected] of [[true, Buffer.concat([fields, content])], [false, content]] as const) {
      const outcome = await run(["tee", file], jobOf(content, 1, 1, {}, 1_000), { add_headers });
      assert.equal(outcome?.kind, "delivered", name);
      assert.equal(Buffer.compare(await readFile(file), expected), 0, name);
    }
  }
});

test("pipe: a large message passes through whole", async () => {
  const piece = Uint8Array.from({ length: 65_536 }, (_, index) => index * 31);
  const hash = createHash("sha256");
  for (let index = 0; index < 320; index++) hash.update(piece);
  const job: Job = {
    ...jobOf(""),
    async *content() {
      for (let index = 0; index < 320; index++) yield await Promise.resolve(piece.slice());
    },
  };
  const large = { ...job, message: { ...job.message, sizeBytes: 320 * piece.length } };
  const outcome = await run(["sha256sum"], large, { add_headers: false });
  assert.equal(outcome?.detail, `Taken by "sha256sum": ${hash.digest("hex")} -`.replace(" -", "  -"));
});

test("pipe: the envelope is in the environment, with what programs need of the server's, and nothing else", async () => {
  await using folder = await temporaryFolder();
  const file = `${folder.path}/environment`;
  const job = jobFor(["Bob+x@Example.com"]);
  const [recipient] = job.recipients;
  assert.ok(recipient);
  const delivery = { ...recipient.delivery, originalRecipient: "old@example.com" };
  await writeFile(`${folder.path}/key`, "from a file\n");
  const outcome = await run(
    sh(`cat /proc/self/environ > ${file}; pwd > ${file}.pwd`),
    { ...job, recipients: [{ ...recipient, delivery }] },
    {
      env: { GREETING: "to ${local} in ${channel}", KEY: { env: "API_KEY" }, FILED: { file: `${folder.path}/key` } },
      cwd: folder.path,
    },
  );
  assert.equal(outcome?.kind, "delivered");
  const seen = Object.fromEntries(
    (await readFile(file, "utf8")).split("\0").filter((line) => line !== "").map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  // The shell adds what it likes.
  for (const name of ["PWD", "OLDPWD", "SHLVL", "_"]) delete seen[name];
  const expected = {
    PATH,
    HOME: "/home/smtpd",
    GREETING: "to Bob in box",
    KEY: "k3y",
    FILED: "from a file",
    SENDER: "sender@example.org",
    RECIPIENT: "Bob+x@Example.com",
    ORIGINAL_RECIPIENT: "old@example.com",
    LOCAL: "Bob",
    DOMAIN: "Example.com",
    EXTENSION: "x",
    CLIENT_ADDRESS: "127.0.0.1",
    CLIENT_HELO: "client",
    CLIENT_PROTOCOL: "ESMTP",
    MESSAGE_ID: "message-1",
    SIZE: String(job.message.sizeBytes),
    LISTENER: "in",
    CHANNEL: "box",
  };
  assert.deepEqual(seen, expected);
  for (const name of Object.keys(ENVELOPE_VARIABLES)) assert.ok(name in expected, name);
  assert.equal(await readFile(`${file}.pwd`, "utf8"), `${folder.path}\n`);
});

test("pipe: arguments are what the templates say, and no shell reads them", async () => {
  await using folder = await temporaryFolder();
  const address = '"a b;touch \'$(id)`"@example.com';
  const outcome = await run(["printf", "<%s>", "--to=${recipient}", "$HOME *", "${local}"], jobFor([address]), {
    cwd: folder.path,
  });
  assert.equal(outcome?.detail, `Taken by "printf": <--to=${address}><$HOME *><a b;touch '$(id)\`>`);
  assert.deepEqual(await readdir(folder.path), []);
});

test("pipe: an address that begins with a dash is no option", async () => {
  const job = jobFor(["-oQ/tmp@example.com"]);
  const refused = await run(["echo", "${recipient}"], job);
  assert.equal(refused?.kind, "failed");
  assert.match(refused?.detail ?? "", /taken for an option/);
  assert.equal((await run(["echo", "--", "${recipient}"], job))?.kind, "delivered");
  assert.equal((await run(["echo", "to ${recipient}"], job))?.kind, "delivered");
  assert.equal((await run(["echo", "${recipient}", "--"], job))?.kind, "failed");
});

test("pipe: NUL in a value fails the delivery and starts nothing", async () => {
  const outcome = await run(["echo", "${recipient}"], jobFor(["a\0b@example.com"]));
  assert.equal(outcome?.kind, "failed");
  assert.match(outcome?.detail ?? "", /NUL/);
  assert.equal((await run(["true"], jobFor(["a\0b@example.com"])))?.kind, "failed");
});

test("pipe: exit codes decide", async () => {
  const cases: readonly (readonly [script: string, kind: Outcome["kind"], detail: string])[] = [
    ["exit 0", "delivered", 'Taken by "/bin/sh"'],
    ["echo; echo '  '; echo filed as 17; echo more", "delivered", 'Taken by "/bin/sh": filed as 17'],
    ["echo later >&2; exit 75", "deferred", '"/bin/sh" exited with 75 (EX_TEMPFAIL): later'],
    ["echo no such user; exit 67", "failed", '"/bin/sh" exited with 67 (EX_NOUSER): no such user'],
    ["exit 71", "failed", '"/bin/sh" exited with 71 (EX_OSERR)'],
    ["exit 1", "failed", '"/bin/sh" exited with 1'],
    ["exit 255", "failed", '"/bin/sh" exited with 255'],
    ["kill -9 $$", "deferred", '"/bin/sh" was ended by SIGKILL'],
    ["echo dying; kill -TERM $$", "deferred", '"/bin/sh" was ended by SIGTERM: dying'],
  ];
  for (const [script, kind, detail] of cases) {
    const outcome = await run(sh(script));
    assert.deepEqual([outcome?.kind, outcome?.detail], [kind, detail], script);
  }
});

test("pipe: a program that is not there or may not run is tried again, with the reason", async () => {
  await using folder = await temporaryFolder();
  await writeFile(`${folder.path}/plain`, "text");
  for (
    const [command, options, reason] of [
      [["no-such-program-here"], {}, /no directory of PATH has an executable/],
      [[`${folder.path}/missing`], {}, /no such file/],
      [[`${folder.path}/plain`], {}, /may not execute/],
      [["cat"], { cwd: `${folder.path}/missing` }, /working directory/],
      [["cat"], { env: { KEY: { env: "NOT_SET" } } }, /"NOT_SET" is not set/],
    ] as const
  ) {
    const outcome = await run(command, undefined, options);
    assert.equal(outcome?.kind, "deferred");
    assert.match(outcome?.detail ?? "", reason);
  }
  await chmod(`${folder.path}/plain`, 0o755);
});

test("pipe: what a program says is one harmless line of bounded length", async () => {
  const rude = await run(sh("printf '\\033[2Jred\\007\\tx\\233y\\r\\n550 second'; exit 1"));
  assert.match(rude?.detail ?? "", /^"\/bin\/sh" exited with 1: \[2Jred x.y$/);
  const long = await run(sh("head -c 100000 /dev/zero | tr '\\0' x; exit 1"));
  assert.equal(long?.detail.length, 500);
});

test("pipe: output beyond the limit does not hold the program back", async () => {
  const outcome = await run(sh("echo first; head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 70"));
  assert.deepEqual([outcome?.kind, outcome?.detail], ["failed", '"/bin/sh" exited with 70 (EX_SOFTWARE): first']);
});

const MEGABYTES = jobOf("x".repeat(5_000_000));

test("pipe: one that does not read its input is judged by its exit code", async () => {
  assert.equal((await run(sh("exec 0<&-; exit 0"), MEGABYTES))?.kind, "delivered");
  assert.equal((await run(sh("head -c 10 >/dev/null; exit 0"), MEGABYTES))?.kind, "delivered");
  assert.equal(
    (await run(sh("exec 0<&-; echo no; exit 65"), MEGABYTES))?.detail,
    '"/bin/sh" exited with 65 (EX_DATAERR): no',
  );
});

test("pipe: a background process that holds input and output does not hold the delivery", async () => {
  await using folder = await temporaryFolder();
  const script = `sleep 86399 <&0 & echo $! > ${folder.path}/pid; echo started; exit 0`;
  // The shell gives background processes /dev/null unless told otherwise; here it keeps both streams of ours.
  const outcome = await run(sh(script), MEGABYTES);
  assert.deepEqual([outcome?.kind, outcome?.detail], ["delivered", 'Taken by "/bin/sh": started']);
  process.kill(Number(await readFile(`${folder.path}/pid`, "utf8")), "SIGKILL");
});

/** A length of sleep that no other run of these tests uses, to be found again by. */
let marks = 0;
function newMark(): string {
  return `86401.${process.pid}${marks++}`;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 1_000 && !(await holds()); look++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(await holds(), true);
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

for (
  const [what, script] of [
    ["never ends", "cat >/dev/null & touch STARTED; sleep MARK"],
    ["never reads", "touch STARTED; sleep MARK"],
    ["writes without end", "touch STARTED; yes MARK"],
    ["ignores SIGTERM", "trap '' TERM; touch STARTED; cat >/dev/null; while :; do sleep MARK; done"],
    ["leaves a child that ignores SIGTERM", "(trap '' TERM; touch STARTED; sleep MARK) & wait"],
  ] as const
) {
  test(`pipe: one that ${what} is ended with its whole group when its time is over`, async () => {
    await using folder = await temporaryFolder();
    const mark = newMark();
    const started = `${folder.path}/started`;
    await using channel = await open(sh(script.replace("STARTED", started).replace("MARK", mark)));
    const abort = new AbortController();
    const delivery = outcomesOf(channel, MEGABYTES, abort.signal);
    await until(() => exists(started));
    abort.abort(new Error("Too late"));
    assert.deepEqual(await delivery, []);
    await until(async () => !(await isRunning(mark)));
  });
}

test("pipe: a message that breaks off is never taken for a whole one", async () => {
  await using folder = await temporaryFolder();
  const part = `${folder.path}/part`;
  await using channel = await open(sh(`trap '' TERM; cat > ${part}; touch ${folder.path}/whole`));
  const job: Job = {
    ...jobOf(""),
    async *content() {
      yield bytesOf("x".repeat(100_000));
      await until(async () => await exists(part) && (await stat(part)).size > 0);
      throw new Error("The store broke");
    },
  };
  assert.deepEqual(await outcomesOf(channel, { ...job, message: { ...job.message, sizeBytes: 200_000 } }), []);
  assert.deepEqual(await readdir(folder.path), ["part"]);
});

test("pipe: one process for each recipient, one after the other", async () => {
  await using folder = await temporaryFolder();
  await using channel = await open(sh(`echo "$RECIPIENT" >> ${folder.path}/seen; test "$LOCAL" != b || exit 67`));
  const outcomes = await outcomesOf(channel, jobFor(["a@x.example", "b@x.example", "c@x.example"]));
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["delivered", "failed", "delivered"]);
  assert.equal(await readFile(`${folder.path}/seen`, "utf8"), "a@x.example\nb@x.example\nc@x.example\n");
});

test("pipe: many deliveries leave no descriptor behind", async () => {
  await using channel = await open(["true"]);
  const descriptors = async () => (await readdir("/proc/self/fd")).length;
  await outcomesOf(channel, jobOf("Hi\r\n", 20));
  const before = await descriptors();
  await Promise.all(Array.from({ length: 10 }, (_, index) => outcomesOf(channel, jobOf("Hi\r\n", 10, index * 10))));
  assert.ok(await descriptors() <= before + 2, `${before} before, ${await descriptors()} after`);
});

test("pipe: options that cannot work are refused, with the reason", () => {
  const told = (options: Readonly<Record<string, unknown>>) =>
    v.safeParse(pipeChannel.schema, options).issues?.map(({ message }) => message).join("; ") ?? "";
  assert.match(told({ command: ["bin/x"] }), /absolute path/);
  assert.match(told({ command: ["./x"] }), /absolute path/);
  assert.match(told({ command: ["/bin/${local}"] }), /without variables/);
  assert.match(told({ command: ["cat", "${recipent}"] }), /did you mean "\$\{recipient\}"/);
  assert.match(told({ command: ["cat"], env: { "A=B": "x" } }), /no environment variable can have/);
  assert.match(told({ command: ["cat"], env: { SENDER: "x" } }), /the envelope already uses/);
  assert.match(told({ command: ["cat"], env: { A: "${x}" } }), /no variable/);
  assert.match(told({ command: ["cat", "a\0b"] }), /control characters/);
  assert.equal(told({ command: ["cat"], env: { A: "${local}", B: { env: "X" } }, max_output: "1KiB" }), "");
});
