/** Starts and stops the servers that `scripts/bench` measures, each on a loopback port of its own, and reads their CPU. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { capture } from "./tools.ts";

export interface BenchServer {
  readonly name: string;
  readonly port: number;
  /** CPU time used so far, all threads and processes of the server. */
  cpuMs(): number;
  stop(): Promise<void>;
}

/** Linux counts CPU time in hundredths of a second, on every platform that Debian supports. */
const tickMs = 10;

interface ProcessStat {
  readonly parent: number;
  readonly cpuMs: number;
  /** CPU of children that have ended. */
  readonly childrenMs: number;
}

function processStat(pid: number | string): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name may hold spaces and parentheses; the fields behind it are numbers.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
    const ticks = (from: number) => ((fields[from] ?? 0) + (fields[from + 1] ?? 0)) * tickMs;
    return { parent: fields[1] ?? 0, cpuMs: ticks(11), childrenMs: ticks(13) };
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("The system gave no port.");
  return address.port;
}

/** Resolves when the port answers with a greeting. */
async function untilGreeted(name: string, port: number, ended: () => string | undefined): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const greeted = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => {
        socket.end("QUIT\r\n");
        resolve(true);
      });
      socket.once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
    });
    if (greeted) return;
    const why = ended();
    if (why !== undefined) throw new Error(`${name} did not start: ${why}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${name} does not answer on port ${port}.`);
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await ended;
  clearTimeout(timer);
}

async function startChild(name: string, port: number, program: string, args: readonly string[]): Promise<BenchServer> {
  const child = spawn(program, [...args], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  let failure: string | undefined;
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (said.length < 4000) said += text;
  });
  child.on("error", (error) => failure = error.message);
  child.on("exit", (code, signal) => failure ??= `it ended with ${code ?? signal}. ${said.trim()}`);
  try {
    await untilGreeted(name, port, () => failure);
  } catch (error) {
    await stopChild(child);
    throw error;
  }
  return {
    name,
    port,
    cpuMs: () => processStat(child.pid ?? 0)?.cpuMs ?? 0,
    stop: () => stopChild(child),
  };
}

/** smtp-sink takes everything and stores nothing; as root it wants to know whom to be. */
export async function startSink(program: string): Promise<BenchServer> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  return await startChild("sink", port, program, [...user, `127.0.0.1:${port}`, "1000"]);
}

export interface SmtpdBench {
  readonly name: string;
  readonly store: "discard" | "durable";
  readonly command: readonly string[];
  readonly directory: string;
  readonly logLevel: string;
}

/**
 * discard: every recipient is routed to nowhere, so nothing is stored, as in smtp-sink. durable: spooled to SQLite, then
 * delivered to a discard channel and removed.
 */
export async function startSmtpd(options: SmtpdBench): Promise<BenchServer> {
  const { name, store, command, logLevel } = options;
  const port = await freePort();
  const directory = join(options.directory, name);
  await mkdir(directory, { recursive: true });
  const config = join(directory, "smtpd.toml");
  await writeFile(
    config,
    `host_name = "bench.example.com"
[spool]
url = "${store === "durable" ? "sqlite:spool.db" : "memory:"}"
[[listener]]
name = "bench"
listen_ip = "127.0.0.1"
port = ${port}
max_concurrency = 1000
[[binding]]
name = "everything"
recipients = ["*"]
${store === "durable" ? 'deliver = ["nowhere"]' : "discard = true"}
[[channel]]
name = "nowhere"
type = "discard"
`,
  );
  const [program = "", ...args] = command;
  return await startChild(name, port, program, [
    ...args,
    "serve",
    `--config=${config}`,
    `--log-level=${logLevel}`,
    "--log-format=json",
  ]);
}

const postfixMaster = (port: number) =>
  `127.0.0.1:${port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
`;

const postfixMain = (directory: string) =>
  `compatibility_level = 3.6
queue_directory = ${directory}/queue
data_directory = ${directory}/data
maillog_file = ${directory}/log/maillog
maillog_file_prefixes = ${directory}
myhostname = bench.example.com
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
default_transport = discard:
alias_maps =
alias_database =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
default_process_limit = 100
`;

/** A Postfix of its own below the bench's directory, with its stock queue and a discard transport. */
export async function startPostfix(parent: string, program: string): Promise<BenchServer> {
  if (process.getuid?.() !== 0) throw new Error("Postfix can be started by root only.");
  const port = await freePort();
  const directory = join(parent, "postfix");
  const config = join(directory, "etc");
  for (const name of ["etc", "queue", "data", "log"]) await mkdir(join(directory, name), { recursive: true });
  // Its processes run as the user postfix and must get through to their queue.
  for (const path of [parent, directory]) await chmod(path, 0o755);
  await capture("chown", ["postfix", join(directory, "data")]);
  await writeFile(join(config, "main.cf"), postfixMain(directory));
  await writeFile(join(config, "master.cf"), postfixMaster(port));
  const started = await capture(program, ["-c", config, "start"], { timeoutMs: 60_000 });
  if (started.code !== 0) throw new Error(`Postfix did not start:\n${started.output}`);
  const stop = async () => void await capture(program, ["-c", config, "stop"], { timeoutMs: 60_000 });
  try {
    await untilGreeted("postfix", port, () => undefined);
    const master = Number(readFileSync(join(directory, "queue/pid/master.pid"), "utf8").trim());
    return { name: "postfix", port, cpuMs: () => treeCpuMs(master), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The master, its children, and its children that have ended. */
function treeCpuMs(master: number): number {
  const own = processStat(master);
  let sum = (own?.cpuMs ?? 0) + (own?.childrenMs ?? 0);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = processStat(name);
    if (stat?.parent === master) sum += stat.cpuMs;
  }
  return sum;
}
