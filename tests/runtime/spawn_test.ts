/** Programs started by the runtime that executes the test: streams, environment, descriptors, groups, ends and failures. */
import assert from "node:assert/strict";
import { chmod, mkdtemp, open, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { parseStat } from "../../src/runtime/processes.ts";
import { type SpawnedProcess, SpawnError, type Transport, TransportError } from "../../src/runtime/runtime.ts";
import { pattern, settled } from "../contract/transport_contract.ts";
import { runtime } from "./socket_peer.ts";

const environment = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };

function spawn(...command: readonly string[]): Promise<SpawnedProcess> {
  return runtime.processes.spawn({ command, environment });
}

async function all(source: Pick<Transport, "read">): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for (let bytes = await source.read(); bytes !== undefined; bytes = await source.read()) pieces.push(bytes.slice());
  return Uint8Array.from(Buffer.concat(pieces));
}

async function text(source: Pick<Transport, "read">): Promise<string> {
  return new TextDecoder().decode(await all(source));
}

/** Children of this process, dead ones that nobody has waited for included. */
async function children(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] === String(process.pid)) found.push(stat.trim());
  }
  return found;
}

async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  const status = stat === undefined ? undefined : parseStat(stat);
  return status !== undefined && !status.isDead;
}

async function untilGone(pid: number): Promise<void> {
  for (let look = 0; look < 500 && await isRunning(pid); look++) await settled(10);
  assert.equal(await isRunning(pid), false);
}

after(async () => assert.deepEqual(await children(), []));

test("spawn: bytes pass both ways under back-pressure, and the end of the input is seen", async () => {
  await using child = await spawn("cat");
  const sent = pattern(3 * 1_024 * 1_024);
  const received = all(child.transport);
  for (let at = 0; at < sent.length; at += 50_000) await child.transport.write(sent.subarray(at, at + 50_000));
  await child.endInput();
  assert.equal(Buffer.compare(await received, sent), 0);
  assert.deepEqual(await child.exited, { kind: "code", code: 0 });
});

test("spawn: a program that does not read holds the writer back", async () => {
  await using child = await spawn("sleep", "1000");
  let handed = 0;
  const piece = new Uint8Array(1_024 * 1_024);
  const writing = (async () => {
    for (; handed < 64; handed++) await child.transport.write(piece);
  })();
  const outcome = writing.then(() => undefined, (error: unknown) => error);
  await settled(200);
  assert.ok(handed < 4, `${handed} MiB were taken`);
  child.transport.abort();
  assert.ok(await outcome instanceof TransportError);
  await assert.rejects(async () => await child.transport.write(piece), TransportError);
});

test("spawn: a reader that does not read holds the program back, and gets everything in the end", async () => {
  await using child = await spawn("head", "-c", "5000000", "/dev/zero");
  await settled(100);
  assert.equal((await all(child.transport)).length, 5_000_000);
});

test("spawn: arguments and environment arrive as they are, and nothing else does", async () => {
  const args = ["", "two words", "$HOME `id` ; rm *", "line\nend", "ünï", "-x", '"quoted"'];
  const variables = { ...environment, EMPTY: "", ODD: "a=b\n$c", "SMTPD_X": "ü" };
  process.env["SMTPD_SECRET_OF_THE_SERVER"] = "leak";
  await using printing = await runtime.processes.spawn({ command: ["printf", "%s\\0", ...args], environment });
  assert.deepEqual((await text(printing.transport)).split("\0"), [...args, ""]);
  await using child = await runtime.processes.spawn({
    command: ["cat", "/proc/self/environ"],
    environment: variables,
    directory: tmpdir(),
  });
  const expected = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  assert.deepEqual((await text(child.transport)).split("\0").sort(), ["", ...expected].sort());
});

test("spawn: the program has no descriptor of ours but its three streams", async () => {
  const directory = await mkdtemp(join(tmpdir(), "smtpd-spawn-"));
  const file = await open(join(directory, "secret"), "w");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await using other = await spawn("cat");
    assert.ok(other.pid > 0);
    await using child = await spawn("ls", "-l", "/proc/self/fd");
    const found: Record<string, string> = {};
    for (const [, descriptor = "", link = ""] of (await text(child.transport)).matchAll(/ (\d+) -> (.*)$/gm)) {
      found[descriptor] = link;
    }
    for (const own of ["0", "1", "2"]) assert.ok(found[own] !== undefined);
    // What whoever started the tests left open is not ours to close.
    const parent = await inheritable();
    const strange = Object.entries(found).filter(([descriptor, link]) =>
      Number(descriptor) > 2 && !link.startsWith("/proc/") && !parent.has(link)
    );
    assert.deepEqual(strange, []);
    const ours = await links();
    assert.ok([...ours.values()].includes(join(directory, "secret")), "the test has the file open");
  } finally {
    await file.close();
    server.close();
    await rm(directory, { recursive: true });
  }
});

async function links(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const descriptor of await readdir("/proc/self/fd")) {
    const link = await readlink(`/proc/self/fd/${descriptor}`).catch(() => undefined);
    if (link !== undefined) found.set(descriptor, link);
  }
  return found;
}

/** What we were started with and any program of ours would inherit: open without O_CLOEXEC, and not made by this test. */
async function inheritable(): Promise<ReadonlySet<string>> {
  const result = new Set<string>();
  for (const [descriptor, link] of await links()) {
    const info = await readFile(`/proc/self/fdinfo/${descriptor}`, "utf8").catch(() => "");
    const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? "0", 8);
    if ((flags & 0o2000000) === 0 && !link.endsWith("/secret") && !link.startsWith("socket:")) result.add(link);
  }
  return result;
}

test("spawn: exit codes and signals are told", async () => {
  for (const code of [0, 1, 75, 255]) {
    await using child = await spawn("sh", "-c", `exit ${code}`);
    assert.deepEqual(await child.exited, { kind: "code", code });
  }
  await using killed = await spawn("sh", "-c", "kill -9 $$");
  assert.deepEqual(await killed.exited, { kind: "signal", signal: "SIGKILL" });
});

test("spawn: a signal reaches the whole group, grandchildren too", async () => {
  await using child = await spawn("sh", "-c", "sleep 1000 & echo $!; wait");
  const grandchild = Number(new TextDecoder().decode(await child.transport.read()));
  assert.equal(await isRunning(grandchild), true);
  child.kill("SIGTERM");
  assert.deepEqual(await child.exited, { kind: "signal", signal: "SIGTERM" });
  await untilGone(grandchild);
  child.kill("SIGKILL");
});

test("spawn: disposing ends what would never end", async () => {
  let pid: number;
  {
    await using child = await spawn("sh", "-c", "trap '' TERM; while :; do sleep 1000; done");
    pid = child.pid;
    assert.equal(await isRunning(pid), true);
  }
  await untilGone(pid);
});

test("spawn: a program that closes its input breaks the writer, and still has its exit code", async () => {
  await using child = await spawn("sh", "-c", "exec 0<&-; echo closed; read x </dev/null; sleep 0.2; exit 3");
  assert.equal(new TextDecoder().decode(await child.transport.read()), "closed\n");
  const error = await (async () => {
    for (let piece = 0; piece < 100; piece++) await child.transport.write(new Uint8Array(65_536));
  })().then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof TransportError);
  assert.equal(error.code, "EPIPE");
  await child.endInput();
  assert.deepEqual(await child.exited, { kind: "code", code: 3 });
});

test("spawn: the transport closes like any other: the program sees the end, the reader too", async () => {
  await using child = await spawn("sh", "-c", "cat >/dev/null; exit 9");
  await child.transport.write(new TextEncoder().encode("QUIT\r\n"));
  const pending = child.transport.read();
  child.transport.interrupt();
  assert.equal(await pending, undefined);
  await child.transport.close();
  assert.deepEqual(await child.exited, { kind: "code", code: 9 });
  await assert.rejects(async () => await child.transport.write(new Uint8Array(1)), TransportError);
});

test("spawn: both outputs are read on their own", async () => {
  await using child = await spawn("sh", "-c", "echo out; echo err >&2");
  assert.deepEqual(await Promise.all([text(child.transport), text(child.errors)]), ["out\n", "err\n"]);
});

test("spawn: what cannot be started is told with its reason", async () => {
  const directory = await mkdtemp(join(tmpdir(), "smtpd-spawn-"));
  try {
    const plain = join(directory, "plain");
    const lost = join(directory, "lost");
    await writeFile(plain, "text\n", { mode: 0o644 });
    await writeFile(lost, "#!/no/such/interpreter\n");
    await chmod(lost, 0o755);
    const cases: readonly (readonly [command: readonly string[], code: string, message: RegExp])[] = [
      [["no-such-program"], "ENOENT", /no directory of PATH/],
      [["/no/such/program"], "ENOENT", /no such file/],
      [[lost], "ENOENT", /interpreter/],
      [[plain], "EACCES", /may not execute/],
      [["true", "a\0b"], "ERR_INVALID_ARG_VALUE", /NUL/],
      [["true", "x".repeat(300_000)], "E2BIG", /too long/],
      [[""], "ENOENT", /without a name/],
    ];
    for (const [command, code, message] of cases) {
      await assert.rejects(spawn(...command), (error: unknown) => {
        assert.ok(error instanceof SpawnError);
        assert.equal(error.code, code);
        assert.match(error.message, message);
        assert.match(error.message, /^Cannot start /);
        return true;
      });
    }
    const elsewhere = runtime.processes.spawn({ command: ["true"], environment, directory: "/no/such" });
    await assert.rejects(elsewhere, /working directory "\/no\/such"/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
