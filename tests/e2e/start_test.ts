/**
 * Starts that fail, each with its exit code and one line that says what to do, and the starts that must work: the minimal
 * form, a second server on the same spool, and --capture.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import {
  type CommandResult,
  freePorts,
  type Program,
  programUnderTest,
  runSmtpd,
  ServerProcess,
  testKeyPair,
} from "../helpers/server_process.ts";
import { makeMail, readMaildir } from "./mail.ts";
import { RawClient, sendMail } from "./raw_client.ts";
import {
  has,
  isLinux,
  isRoot,
  maildirConfig,
  maildirOf,
  queueEmpty,
  skipUnless,
  spoolState,
  TemporaryDirectory,
  until,
} from "./setup.ts";

const timeout = 60_000;

/** Starts a server that must not start, in a directory with these files. */
async function failToStart(
  files: Readonly<Record<string, string>>,
  options: { readonly args?: readonly string[]; readonly program?: Program; readonly directory?: string } = {},
): Promise<CommandResult> {
  await using own = await TemporaryDirectory.create();
  const directory = options.directory ?? own.path;
  for (const [name, text] of Object.entries(files)) {
    // A spool that others can read is worth a warning, which is not what is tested here.
    await writeFile(join(directory, name), text, { mode: name.startsWith("spool/") ? 0o600 : 0o644 });
  }
  const args = ["serve", "--config", join(directory, "smtpd.toml"), "--log-format", "json", ...options.args ?? []];
  return await runSmtpd(args, options.program ?? programUnderTest());
}

/** One line of smtpd's, with each of these words in it, and nothing else on either stream. */
function assertOneLine({ code, out, err }: CommandResult, wantedCode: number, ...words: readonly string[]): void {
  assert.equal(out, "");
  assert.match(err, /^smtpd: [^\p{Cc}]+\n$/u);
  for (const word of words) assert.ok(err.includes(word), `"${word}" is not in: ${err}`);
  assert.equal(code, wantedCode, err);
}

function listener(name: string, port: number, ...lines: readonly string[]): string {
  return ["[[listener]]", `name = "${name}"`, 'listen_ip = "127.0.0.1"', `port = ${port}`, ...lines, ""].join("\n");
}

function implicitTls(port: number): string {
  const tls = 'tls = { mode = "implicit", certificate = "cert.pem", private_key = "key.pem" }';
  return listener("secure", port, tls);
}

/** Something else that has the port. */
async function occupy(port: number): Promise<AsyncDisposable> {
  const server = net.createServer().listen(port, "127.0.0.1");
  await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => void server.close(() => resolve())) };
}

test("A port in use: 71, and the listeners before it are not left open", { timeout }, async () => {
  const [first = 0, second = 0] = await freePorts(2);
  await using _other = await occupy(second);
  const result = await failToStart({ "smtpd.toml": listener("one", first) + listener("two", second) });
  assertOneLine(result, 71, '"two"', "127.0.0.1", String(second), "in use", "stop the program", "another port");
  await assert.rejects(RawClient.connect(first), { code: "ECONNREFUSED" });
});

test("An address that this machine does not have: 71", { timeout }, async () => {
  const text = listener("away", (await freePorts(1))[0] ?? 0).replace("127.0.0.1", "192.0.2.1");
  assertOneLine(await failToStart({ "smtpd.toml": text }), 71, '"away"', "192.0.2.1", "listen_ip");
});

test("A certificate file that is missing: 78", { timeout }, async () => {
  const { privateKey } = await testKeyPair();
  const [port = 0] = await freePorts(1);
  const result = await failToStart({ "smtpd.toml": implicitTls(port), "key.pem": privateKey });
  assertOneLine(result, 78, '"secure"', "cert.pem", "no such file");
});

test("A key file that is missing: 78", { timeout }, async () => {
  const { certificate } = await testKeyPair();
  const [port = 0] = await freePorts(1);
  const result = await failToStart({ "smtpd.toml": implicitTls(port), "cert.pem": certificate });
  assertOneLine(result, 78, '"secure"', "key.pem", "no such file");
});

test("A key that does not belong to the certificate: 78", { timeout }, async () => {
  const { certificate } = await testKeyPair();
  const { generateKeyPairSync } = await import("node:crypto");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const [port = 0] = await freePorts(1);
  const result = await failToStart({ "smtpd.toml": implicitTls(port), "cert.pem": certificate, "key.pem": key });
  assertOneLine(result, 78, '"secure"', "does not belong");
});

for (
  const [what, certificate] of [
    ["no PEM at all", "\u0000\u0001garbage\n"],
    ["PEM around garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    ["an empty file", ""],
  ] as const
) {
  test(`A certificate that cannot be read (${what}): 78`, { timeout }, async () => {
    const { privateKey } = await testKeyPair();
    const [port = 0] = await freePorts(1);
    const files = { "smtpd.toml": implicitTls(port), "cert.pem": certificate, "key.pem": privateKey };
    assertOneLine(await failToStart(files), 78, '"secure"', "certificate");
  });
}

test("Broken TOML: 78, with file, line and column", { timeout }, async () => {
  const { code, out, err } = await failToStart({
    "smtpd.toml": 'host_name = "a"\n[[listener]]\nname = "x\nport = 1\n',
  });
  assert.equal(out, "");
  assert.match(err, /smtpd\.toml:3:\d+\n/);
  assert.equal(code, 78, err);
});

test("A configuration that does not exist: 78", { timeout }, async () => {
  const { code, err } = await failToStart({});
  assert.match(err, /smtpd\.toml/);
  assert.equal(code, 78, err);
});

test("--listener with a name that is not there: 78, and the names that are", { timeout }, async () => {
  const [one = 0, two = 0] = await freePorts(2);
  const text = listener("one", one) + listener("two", two);
  const result = await failToStart({ "smtpd.toml": text }, { args: ["--listener", "three"] });
  assertOneLine(result, 78, '"three"', '"one"', '"two"');
});

test("A spool that is no database: its file stays as it was", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await mkdir(join(directory.path, "spool"));
  const garbage = "This is somebody's letter and no database.\n".repeat(300);
  const [port = 0] = await freePorts(1);
  const files = { "smtpd.toml": listener("one", port), "spool/smtpd.db": garbage };
  const result = await failToStart(files, { directory: directory.path });
  assertOneLine(result, 74, "spool/smtpd.db", "not an SQLite database");
  assert.equal(await readFile(join(directory.path, "spool/smtpd.db"), "utf8"), garbage);
});

test("A database of another program is not taken for a spool", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await mkdir(join(directory.path, "spool"));
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(join(directory.path, "spool/smtpd.db"));
  database.exec("CREATE TABLE letters (text TEXT); INSERT INTO letters VALUES ('Dear all');");
  database.close();
  await chmod(join(directory.path, "spool/smtpd.db"), 0o600);
  const before = await readFile(join(directory.path, "spool/smtpd.db"));
  const [port = 0] = await freePorts(1);
  const result = await failToStart({ "smtpd.toml": listener("one", port) }, { directory: directory.path });
  assertOneLine(result, 74, "spool/smtpd.db");
  assert.deepEqual(await readFile(join(directory.path, "spool/smtpd.db")), before);
});

/** The program as the user "nobody", if that can be had here; from a network of its own where low ports are free to all. */
async function unprivileged(): Promise<{ readonly program: Program; readonly lowPorts: boolean } | undefined> {
  const { name, command, args } = programUnderTest();
  if (!isLinux) return undefined;
  const start = Number(await readFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8").catch(() => "1024"));
  if (!isRoot) return { program: { name, command, args }, lowPorts: start >= 1024 };
  const drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
  const prefix = start >= 1024 ? drop : ["unshare", "--net", ...drop];
  for (const [first = "", ...rest] of [prefix, drop]) {
    const program = { name, command: first, args: [...rest, command, ...args] };
    if (await has(first, ...program.args, "version")) {
      return { program, lowPorts: start >= 1024 || first === "unshare" };
    }
  }
  return undefined;
}

const nobody = await unprivileged();

test(
  "A port that needs a privilege: 71",
  {
    timeout,
    skip: skipUnless(
      nobody?.lowPorts === true,
      "privileged port",
      "no unprivileged user here, or all ports are open to it",
    ),
  },
  async () => {
    await using directory = await TemporaryDirectory.create();
    await chmod(directory.path, 0o777);
    const program = nobody?.program ?? programUnderTest();
    const result = await failToStart({ "smtpd.toml": listener("low", 911) }, { program, directory: directory.path });
    assertOneLine(result, 71, '"low"', "911", "privilege", "1024 or more");
  },
);

test(
  "A spool in a directory where nothing can be written: one line, nothing started",
  { timeout, skip: skipUnless(nobody !== undefined, "unwritable spool", "there is no user without privileges here") },
  async () => {
    await using directory = await TemporaryDirectory.create();
    await mkdir(join(directory.path, "spool"));
    const text = listener("one", (await freePorts(1))[0] ?? 0);
    await writeFile(join(directory.path, "smtpd.toml"), text);
    await chmod(join(directory.path, "spool"), 0o555);
    await chmod(directory.path, 0o755);
    const result = await failToStart({}, { program: nobody?.program ?? programUnderTest(), directory: directory.path });
    assertOneLine(result, 74, "spool/smtpd.db", "may not", "owner and mode");
  },
);

test("A listener's name and port alone: it starts and relays nothing", { timeout }, async () => {
  await using server = await ServerProcess.start('[[listener]]\nname = "tiny"\nport = 0\n');
  const client = await RawClient.greet(server.port("tiny"));
  await client.command("MAIL FROM:<me@example.org>", 250);
  for (const recipient of ["you@example.com", "root@localhost", "postmaster"]) {
    const reply = await client.command(`RCPT TO:<${recipient}>`, 550);
    assert.match(reply.lines[0] ?? "", /^550 5\.7\.1 /);
  }
  await client.command("DATA", 554);
  await client.quit();
  assert.equal(server.stderr, "");
  assert.equal(await server.stop(), 0);
});

test("Two servers share a spool: both accept, and each message is delivered exactly once", { timeout }, async () => {
  const [left = 0, right = 0] = await freePorts(2);
  const text = maildirConfig({ more: listener("right", right) }).replace("port = 0", `port = ${left}`);
  await using first = await ServerProcess.start(text, { args: ["--listener", "inbound"] });
  const { directory } = first;
  await using second = await ServerProcess.start(text, { directory, args: ["--listener", "right"] });
  const wanted: string[] = [];
  await Promise.all(
    [first.port(), second.port(), first.port(), second.port()].map(async (port, sender) => {
      const client = await RawClient.greet(port);
      for (let number = 0; number < 60; number++) {
        const id = `sender-${sender}-${number}`;
        wanted.push(id);
        await sendMail(client, { content: makeMail(id, 500 + (number % 7) * 20_000) });
      }
      await client.quit();
    }),
  );
  await queueEmpty(first);
  assert.equal(await second.stop(), 0);
  assert.equal(await first.stop(), 0);
  const { copies, damaged } = await readMaildir(maildirOf(first));
  assert.deepEqual(damaged, []);
  assert.deepEqual([...copies.keys()].sort(), wanted.sort());
  assert.deepEqual([...copies].filter(([, count]) => count !== 1), []);
  assert.equal(spoolState(first).integrity, "ok");
});

const CAPTURE_PORT = 2525;
const portIsFree = await occupy(CAPTURE_PORT).then(async (held) => {
  await held[Symbol.asyncDispose]();
  return true;
}, () => false);

test(
  "--capture needs no configuration, takes every recipient and keeps the mail",
  { timeout, skip: skipUnless(portIsFree, "--capture", `port ${CAPTURE_PORT} is taken`) },
  async () => {
    await using state = await TemporaryDirectory.create();
    const { command, args } = programUnderTest();
    const child = spawn(command, [...args, "serve", "--capture"], {
      cwd: state.path,
      env: { ...process.env, XDG_STATE_HOME: state.path },
      stdio: "ignore",
    });
    const exited = new Promise<number | null>((resolve) => child.on("exit", resolve));
    try {
      let client: RawClient | undefined;
      await until("it listens", async () => {
        client = await RawClient.greet(CAPTURE_PORT).catch(() => undefined);
        return client !== undefined;
      });
      assert.ok(client !== undefined);
      await sendMail(client, { content: makeMail("captured", 5_000), to: ["anyone@anywhere.example", "x@y.example"] });
      await client.quit();
      const mail = join(state.path, "smtpd/capture/mail");
      await until("both copies are kept", async () => (await readMaildir(mail)).copies.get("captured") === 2);
      // Not child.kill: where Deno runs the tests, that would hide the exit code behind the signal.
      process.kill(child.pid ?? Number.NaN, "SIGTERM");
      assert.equal(await exited, 0);
      assert.deepEqual((await readMaildir(mail)).damaged, []);
    } finally {
      child.kill("SIGKILL");
      await exited;
    }
  },
);
