/**
 * `smtpd channel slave` as a process: what it says on standard output and nothing else, where accepted mail is, whom it
 * trusts, how it ends; and `sendmail -bs`.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { programUnderTest, runCommand, ServerProcess } from "../helpers/server_process.ts";
import { SlaveWorld } from "../helpers/slave_process.ts";
import { maildirConfig, maildirOf, skipUnless, until, wait } from "./setup.ts";

const timeout = 60_000;

const BOX = '[[channel]]\nname = "box"\ntype = "maildir"\npath = "mail"\n';
const HEAD = 'host_name = "mx.example.com"\n[spool]\nurl = "sqlite:spool/smtpd.db"\nmin_free_space = 0\n';
const ALL = '[[binding]]\nname = "everyone"\nrecipients = ["*@example.com"]\ndeliver = ["box"]\n';
const NEAR = '[[binding]]\nname = "near"\nclients = ["127.0.0.1"]\nrecipients = ["*"]\ndeliver = ["box"]\n';
const uplink = (lines = "") => `[[channel]]\nname = "uplink"\ntype = "stdio"\n${lines}`;
const CONFIG = HEAD + ALL + NEAR + BOX + uplink();

const MESSAGE = "Subject: Hello\r\n\r\nIt works.\r\n";
const letter = (to = "you@example.com") => `MAIL FROM:<me@example.org>\r\nRCPT TO:<${to}>\r\nDATA\r\n${MESSAGE}.\r\n`;
const session = (...parts: readonly string[]) => `EHLO client.example\r\n${parts.join("")}QUIT\r\n`;

/** Nothing but whole replies. */
function assertReplies(out: string): void {
  assert.match(out, /^(?:\d{3}[ -][\t\x20-\x7e]*\r\n)+$/);
}

function codes(out: string): string {
  assertReplies(out);
  return [...out.matchAll(/^(\d{3}) /gm)].map(([, code]) => code).join(" ");
}

test("slave: accepted mail is in the spool, nobody's, and serve delivers it when it runs", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  const { code, out } = await world.run({ input: session(letter(), letter("other@example.com")) });
  assert.equal(codes(out), "220 250 250 250 354 250 250 250 354 250 221");
  assert.equal(code, 0);
  assert.deepEqual((await world.queue()).map(({ state, channel }) => [state, channel]), [["queued", "box"], [
    "queued",
    "box",
  ]]);
  await using server = await ServerProcess.start(CONFIG, { directory: world.directory });
  await until(
    "both are delivered",
    async () => (await readdir(join(maildirOf(server), "new")).catch(() => [])).length === 2,
  );
  const [name = ""] = await readdir(join(maildirOf(server), "new"));
  const stored = await readFile(join(maildirOf(server), "new", name), "latin1");
  assert.match(stored, /^Received: from client\.example\r\n\tby mx\.example\.com with ESMTP\r\n/m);
  assert.ok(stored.endsWith(MESSAGE));
  assert.equal(await server.stop(), 0);
});

test("slave: beside a running serve, which delivers", { timeout }, async () => {
  const config = maildirConfig({ spool: "min_free_space = 0" }) + uplink();
  await using server = await ServerProcess.start(config);
  const words = ["channel", "slave", "--channel", "uplink", "--config", server.configFile];
  const { command, args: first } = programUnderTest();
  const runs = Array.from(
    { length: 4 },
    () => runCommand(command, [...first, ...words], { input: session(letter(), letter(), letter()) }),
  );
  for (const { code, out } of await Promise.all(runs)) {
    assert.equal(codes(out), `220 250${" 250 250 354 250".repeat(3)} 221`);
    assert.equal(code, 0);
  }
  await until("all are delivered", async () => (await readdir(join(maildirOf(server), "new"))).length === 12);
});

test(
  "slave: whatever is wrong before the session, one 421 and no more on standard output",
  { timeout: 120_000 },
  async () => {
    const cases: readonly {
      readonly what: string;
      readonly config?: string;
      readonly files?: Readonly<Record<string, string>>;
      readonly command?: readonly string[];
      readonly args?: readonly string[];
      readonly environment?: Readonly<Record<string, string>>;
      readonly code: number;
      readonly err: RegExp;
    }[] = [
      { what: "no channel", command: ["channel", "slave"], code: 78, err: /--channel NAME, or set PMDF_CHANNEL/ },
      {
        what: "unknown",
        command: ["channel", "slave", "--channel", "uplnk"],
        code: 78,
        err: /did you mean "uplink"\?/,
      },
      {
        what: "unknown by variable",
        command: ["channel", "slave"],
        environment: { PMDF_CHANNEL: "x" },
        code: 78,
        err: /"x"/,
      },
      { what: "broken TOML", config: "[[channel", code: 78, err: /smtpd\.toml:1/ },
      { what: "unknown key", config: `${CONFIG}nonsense = 1\n`, code: 78, err: /Unknown key "nonsense"/ },
      {
        what: "a list that is missing",
        config: CONFIG.replace('["*@example.com"]', '[{ file = "list.txt" }]'),
        code: 78,
        err: /list\.txt/,
      },
      {
        what: "a spool in memory",
        config: CONFIG.replace("sqlite:spool/smtpd.db", "memory:"),
        code: 69,
        err: /in memory/,
      },
      {
        what: "a spool that is none",
        config: CONFIG.replace("spool/smtpd.db", "letters.txt"),
        files: { "letters.txt": "This is no database.\n".repeat(400) },
        code: 75,
        err: /letters\.txt/,
      },
      {
        what: "--strict-env",
        args: ["--strict-env"],
        environment: { TRANSPORTINFO: "TCP|here" },
        code: 78,
        err: /TRANSPORTINFO is "TCP\|here"/,
      },
      { what: "an empty configuration", config: "", code: 78, err: /No listener is defined/ },
    ];
    for (const { what, config = CONFIG, files, code, err, ...options } of cases) {
      await using world = await SlaveWorld.create(config, files);
      const result = await world.run({ input: session(letter()), ...options });
      assert.match(result.out, /^421 4\.3\.[05] [ -~]+\r\n$/, what);
      assert.match(result.err, err, what);
      assert.equal(result.code, code, `${what}: ${result.err}`);
    }
  },
);

test("slave: logs, warnings and a broken environment stay off standard output", { timeout }, async () => {
  await using world = await SlaveWorld.create(HEAD + ALL + BOX + uplink("options = { NO_SUCH = 1 }\n"));
  await writeFile(join(world.directory, "options"), "BANNER_HOSTS=x\nBANNER_ADDITION=One|Two\n");
  const { code, out, err } = await world.run({
    input: session(letter(), "NONSENSE\r\n"),
    args: ["--log-level", "debug"],
    environment: { TRANSPORTINFO: "nonsense", PMDF_CHANNEL_OPTION: join(world.directory, "options") },
  });
  assert.match(out, /^220-mx\.example\.com ESMTP smtpd One\r\n220 Two\r\n250-/);
  assertReplies(out);
  for (const expected of [/SMTPD206/, /"BANNER_HOSTS\\"/, /TRANSPORTINFO is/, /session started/]) {
    assert.match(err, expected);
  }
  assert.equal(code, 0);
});

test("slave: where standard error is the same pipe, as below inetd, nothing is told", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  for (const args of [["--log-level", "debug"], ["--log-level", "debug", "--strict-env"]]) {
    const line = world.commandLine({ args });
    const { out } = await runCommand("sh", ["-c", 'exec "$@" 2>&1', "sh", line.command, ...line.args], {
      input: session(letter()),
      environment: { TRANSPORTINFO: "nonsense" },
      directory: world.directory,
    });
    assertReplies(out);
  }
});

test("slave: whom a client counts as decides what it may do", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  await using trusting = await SlaveWorld.create(CONFIG.replace('type = "stdio"', 'type = "stdio"\ntrust = "local"'));
  const far = session(letter("somebody@elsewhere.example"));
  const refused = "220 250 250 550 554 500";
  const told = async (where: SlaveWorld, environment: Readonly<Record<string, string>>, args: readonly string[] = []) =>
    codes((await where.run({ input: far, environment, args })).out);
  assert.ok((await told(world, {})).startsWith(refused));
  assert.equal(await told(trusting, {}), "220 250 250 250 354 250 221");
  assert.ok((await told(trusting, { REMOTE_ADDR: "192.0.2.1", REMOTE_PORT: "1" })).startsWith(refused));
  assert.ok((await told(trusting, { TRANSPORTINFO: "nonsense" })).startsWith(refused));
  assert.ok((await told(trusting, { PROTO: "TCP" })).startsWith(refused));
  assert.equal(await told(world, { TRANSPORTINFO: "TCP|127.0.0.1|25|127.0.0.1|5" }), "220 250 250 250 354 250 221");
  assert.equal(
    await told(world, { REMOTE_ADDR: "192.0.2.1" }, ["--peer", "127.0.0.1:5"]),
    "220 250 250 250 354 250 221",
  );
  const [entry] = await trusting.queue();
  assert.ok(entry !== undefined);
  const { command, args } = programUnderTest();
  const { out } = await runCommand(command, [
    ...args,
    "queue",
    "cat",
    String(entry["message"]),
    "--config",
    trusting.configFile,
  ]);
  assert.match(out, /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n/);
});

test("slave: the end of the input ends it, in mid-message too, and then nothing is stored", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  for (const input of ["", "EHLO x\r\n", `EHLO x\r\n${letter().slice(0, -5)}`, "EHLO x\r\nMAIL FR"]) {
    const { code, out } = await world.run({ input });
    assertReplies(out);
    assert.equal(code, 0);
  }
  assert.deepEqual(await world.queue(), []);
});

test("slave: SIGTERM ends an idle session with 421, and waits for a transaction", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  {
    await using idle = world.start();
    await idle.expect(220);
    idle.signal("SIGTERM");
    await idle.expect(421);
    assert.equal(await idle.exited, 0);
  }
  await using busy = world.start();
  await busy.expect(220);
  await busy.command("EHLO x", 250);
  await busy.command("MAIL FROM:<me@example.org>", 250);
  busy.signal("SIGTERM");
  await busy.command("RCPT TO:<you@example.com>", 250);
  await busy.command("DATA", 354);
  await busy.command(`${MESSAGE}.`, 250);
  await busy.expect(421);
  assert.equal(await busy.exited, 0);
  assertReplies(busy.out);
  assert.equal((await world.queue()).length, 1);
});

test("slave: a second SIGTERM does not wait", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  await using busy = world.start({ args: ["--log-level", "debug"] });
  await busy.expect(220);
  await busy.command("EHLO x", 250);
  await busy.command("MAIL FROM:<me@example.org>", 250);
  busy.signal("SIGTERM");
  // Two signals that come together may be one to the system.
  await wait(300);
  busy.signal("SIGTERM");
  await busy.expect(421);
  assert.equal(await busy.exited, 0);
});

test("slave: a client that reads no more is no failure", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG);
  await using deaf = world.start();
  await deaf.expect(220);
  deaf.child.stdout.destroy();
  for (let count = 0; count < 200; count++) deaf.write("NOOP\r\n".repeat(1000));
  deaf.child.stdin.end();
  assert.equal(await deaf.exited, 0);
});

test(
  "slave: a client that sends and does not read is made to wait, and then gets every reply",
  { timeout },
  async () => {
    await using world = await SlaveWorld.create(CONFIG);
    await using slow = world.start();
    await slow.expect(220);
    slow.child.stdout.pause();
    const count = 400_000;
    let isTaken = false;
    slow.child.stdin.write("NOOP\r\n".repeat(count), () => isTaken = true);
    await wait(1000);
    assert.equal(isTaken, false, "2.4 MB of commands were taken though nobody reads 6.4 MB of replies");
    slow.child.stdout.resume();
    slow.child.stdin.end("QUIT\r\n");
    assert.equal(await slow.exited, 0);
    assert.equal(slow.out.split("\r\n").filter((line) => line.startsWith("250 ")).length, count);
  },
);

test("slave: host names in their order, limits and TLS", { timeout }, async () => {
  const options = '[channel.options]\nBANNER_HOST = "banner.example.com"\nALLOW_TRANSACTIONS_PER_SESSION = 1\n';
  const hello = async (lines: string) => {
    await using world = await SlaveWorld.create(HEAD + ALL + BOX + uplink(lines));
    return (await world.run({ input: session(letter(), letter()) })).out;
  };
  assert.match(await hello(""), /^220 mx\.example\.com .*\r\n250-mx\.example\.com\r\n/);
  const limited = await hello(options);
  assert.match(limited, /^220 banner\.example\.com .*\r\n250-banner\.example\.com\r\n/);
  assert.match(limited, /^250-LIMITS MAILMAX=1 RCPTMAX=1000\r\n/m);
  assert.match(limited, /^451 4\.5\.3 /m);
  assert.match(await hello(`local_host_alias = "alias.example.com"\n${options}`), /^220 alias\.example\.com /);
  const required = await hello('[channel.slave]\ntls = "required"\n');
  assert.doesNotMatch(required, /STARTTLS|SIZE/);
  assert.match(required, /^530 5\.7\.0 /m);
  assert.doesNotMatch(required, /^354/m);
});

test("slave: a client that says nothing gets 421 when its time is over", { timeout }, async () => {
  const command = "options = { COMMAND_RECEIVE_TIME = 1, TIMEOUT_MULTIPLIER = 1 }\n";
  for (const lines of [command, '[channel.slave]\nsession_timeout = "1s"\n']) {
    await using world = await SlaveWorld.create(HEAD + ALL + BOX + uplink(lines));
    await using idle = world.start();
    await idle.expect(220);
    assert.match(await idle.expect(421), /^421 4\.4\.2 /);
    assert.equal(await idle.exited, 0);
  }
});

test("slave: line ends", { timeout }, async () => {
  const unix = session(letter()).replaceAll("\r\n", "\n");
  await using strict = await SlaveWorld.create(CONFIG);
  assert.match((await strict.run({ input: unix })).out, /^500 5\.5\.2 Bare LF/m);
  await using mild = await SlaveWorld.create(CONFIG.replace('type = "stdio"', 'type = "stdio"\nline_endings = "lf"'));
  const { out } = await mild.run({ input: unix });
  assert.equal(codes(out), "220 250 250 250 354 250 221");
});

test("slave: slave_debug has the dialogue, for nobody else, without secrets and content", { timeout }, async () => {
  await using world = await SlaveWorld.create(CONFIG.replace('type = "stdio"', 'type = "stdio"\nslave_debug = true'));
  await world.run({
    input: session("AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\nAHVzZXIAcGFzc3dvcmQ=\r\n", letter(), "X\u001b[1m\r\n"),
  });
  const file = join(world.directory, "uplink_slave.log");
  const text = await readFile(file, "utf8");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  for (
    const expected of [
      / > 220 mx\.example\.com ESMTP smtpd$/m,
      / < EHLO client\.example$/m,
      / < AUTH PLAIN \(not shown\)$/m,
      / < \(not shown\)$/m,
      new RegExp(` < \\(${MESSAGE.length} octets of a message\\)$`, "m"),
      / > 250 2\.0\.0 Queued as /m,
      / - closed: quit$/m,
    ]
  ) assert.match(text, expected);
  assert.doesNotMatch(text.replaceAll("\n", ""), /AHVz|It works|Subject|\p{Cc}/u);
});

const PHP_DIALOGUE = [
  ["EHLO [127.0.0.1]", 250],
  ["MAIL FROM:<web@example.com>", 250],
  ["RCPT TO:<you@example.com>", 250],
  ["DATA", 354],
  [`${MESSAGE}.`, 250],
  ["RSET", 250],
  ["NOOP", 250],
  ["MAIL FROM:<web@example.com> SIZE=100", 250],
  ["RCPT TO:<you@example.com>", 250],
  ["DATA", 354],
  [`${MESSAGE}.`, 250],
  ["QUIT", 221],
] as const;

test("sendmail -bs: as PHP's mailers speak, for the channel that is named or the only one", { timeout }, async () => {
  const named = `sendmail_channel = "web"\n${HEAD}${ALL}${BOX}${uplink()}${uplink().replace("uplink", "web")}`;
  for (const config of [CONFIG, named]) {
    await using world = await SlaveWorld.create(config);
    await using mailer = world.start({ command: ["sendmail", "-bs", "-oi", "-f", "web@example.com"] });
    await mailer.expect(220);
    for (const [line, code] of PHP_DIALOGUE) await mailer.command(line, code);
    assert.equal(await mailer.exited, 0);
    assert.equal(mailer.err, "");
    assert.equal((await world.queue()).length, 2);
  }
});

test("sendmail -bs: two channels and none named is 421 and 78; other modes are wrong usage", { timeout }, async () => {
  await using world = await SlaveWorld.create(`${CONFIG}${uplink().replace("uplink", "second")}`);
  const { code, out, err } = await world.run({ command: ["sendmail", "-bs"], input: session(letter()) });
  assert.match(out, /^421 4\.3\.5 [ -~]+\r\n$/);
  assert.match(err, /sendmail_channel = "NAME"/);
  assert.equal(code, 78);
  const usage = await world.run({ command: ["sendmail", "-t"] });
  assert.equal(usage.out, "");
  assert.equal(usage.code, 64);
});

test(
  "sendmail: by the name it is called",
  {
    timeout,
    skip: skipUnless(
      programUnderTest().name === "binary",
      "called as sendmail",
      "only the executable has a name of its own",
    ),
  },
  async () => {
    await using world = await SlaveWorld.create(CONFIG);
    await mkdir(join(world.directory, "sbin"));
    const link = join(world.directory, "sbin/sendmail");
    await symlink(programUnderTest().command, link);
    const { code, out } = await runCommand(link, ["-bs"], {
      input: session(letter()),
      environment: { SMTPD_CONFIG: world.configFile },
    });
    assert.equal(codes(out), "220 250 250 250 354 250 221");
    assert.equal(code, 0);
  },
);
