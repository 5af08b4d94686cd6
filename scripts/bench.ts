/**
 * Messages per second and CPU per message, measured with smtp-source: smtpd in its variants against smtp-sink, in the same
 * run, round by round in turn, because a machine's speed changes from minute to minute. Ratios count, not rates.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BenchServer, startPostfix, startSink, startSmtpd } from "./bench_servers.ts";
import { capture, root, run } from "./tools.ts";

const help = () =>
  `Usage: scripts/bench [options]

  --quick            a short look: 2 rounds, few messages
  --rounds N         rounds (5); the median counts
  --messages N       messages of 4 KiB in a measurement, a quarter as many with a connection for each or 100 KiB (12000)
  --sessions N       sessions at a time (20)
  --servers A,B      only these, of: sink ${variantNames().join(" ")} postfix
  --cases A,B        only these, of: ${caseNames().join(" ")}
  --log-level LEVEL  of smtpd (warn)
  --postfix          Postfix with a discard transport as well, as an instance of its own (root only)
`;

interface Case {
  readonly name: string;
  readonly sizeBytes: number;
  readonly keepOpen: boolean;
}

const cases: readonly Case[] = [
  { name: "4k-open", sizeBytes: 4096, keepOpen: true },
  { name: "4k-each", sizeBytes: 4096, keepOpen: false },
  { name: "100k-open", sizeBytes: 102_400, keepOpen: true },
  { name: "100k-each", sizeBytes: 102_400, keepOpen: false },
];

interface Variant {
  readonly name: string;
  readonly store: "discard" | "durable";
  readonly command: readonly string[];
}

function variants(): readonly Variant[] {
  const entry = join(root, "src/main.ts");
  const commands = {
    binary: [join(root, "dist/smtpd")],
    bun: [join(root, "node_modules/.bin/bun"), entry],
    deno: [join(root, "node_modules/.bin/deno"), "run", "--allow-all", "--no-check", "--quiet", entry],
  };
  return Object.entries(commands).flatMap(([name, command]) =>
    (["discard", "durable"] as const).map((store) => ({ name: `${name}-${store}`, store, command }))
  );
}

function variantNames(): readonly string[] {
  return variants().map((variant) => variant.name);
}

function caseNames(): readonly string[] {
  return cases.map((each) => each.name);
}

function tool(name: string): string {
  const found = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"]
    .map((directory) => join(directory, name)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${name} was not found: install the Debian package postfix.`);
  return found;
}

interface Plan {
  readonly rounds: number;
  readonly messages: number;
  readonly sessions: number;
  readonly servers: readonly string[];
  readonly cases: readonly Case[];
  readonly logLevel: string;
}

function plan(args: readonly string[]): Plan | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: "boolean", short: "h", default: false },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      messages: { type: "string" },
      sessions: { type: "string", default: "20" },
      servers: { type: "string" },
      cases: { type: "string", default: caseNames().join() },
      "log-level": { type: "string", default: "warn" },
      postfix: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const known = ["sink", ...variantNames(), "postfix"];
  const servers = values.servers?.split(",") ?? known.filter((name) => name !== "postfix" || values.postfix);
  const chosen = values.cases.split(",");
  const unknown = [
    ...servers.filter((name) => !known.includes(name)),
    ...chosen.filter((name) => !caseNames().includes(name)),
  ];
  if (unknown.length > 0) throw new Error(`Unknown: ${unknown.join(", ")}. See scripts/bench --help.`);
  const count = (text: string | undefined, otherwise: number) => {
    const value = Number(text ?? otherwise);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`"${text}" is no count.`);
    return value;
  };
  return {
    rounds: count(values.rounds, values.quick ? 2 : 5),
    messages: count(values.messages, values.quick ? 3000 : 12_000),
    sessions: count(values.sessions, 20),
    servers,
    cases: cases.filter((each) => chosen.includes(each.name)),
    logLevel: values["log-level"],
  };
}

interface Measurement {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
}

/** One run of smtp-source. The CPU of the server is read once it has nothing left to do. */
async function measure(server: BenchServer, what: Case, messages: number, sessions: number): Promise<Measurement> {
  const cpuBefore = server.cpuMs();
  const started = performance.now();
  const { code, output } = await capture(tool("smtp-source"), [
    ...(what.keepOpen ? ["-d"] : []),
    ...["-s", String(sessions), "-m", String(messages), "-l", String(what.sizeBytes)],
    ...["-f", "sender@example.org", "-t", "recipient@example.com", `127.0.0.1:${server.port}`],
  ], { timeoutMs: 120_000 });
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`smtp-source against ${server.name} failed:\n${output}`);
  const cpuMs = await idleCpuMs(server) - cpuBefore;
  return { perSecond: messages / seconds, cpuMicroseconds: cpuMs * 1000 / messages };
}

/** Waits until the server has done nearly nothing for a quarter of a second, 20 seconds at most. */
async function idleCpuMs(server: BenchServer): Promise<number> {
  let before = server.cpuMs();
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 250) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    const now = server.cpuMs();
    if (now - before <= 10) return now;
    before = now;
  }
  return before;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] ?? 0 : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

async function startAll(wanted: Plan, directory: string): Promise<readonly BenchServer[]> {
  const servers: BenchServer[] = [];
  try {
    for (const name of wanted.servers) {
      if (name === "sink") servers.push(await startSink(tool("smtp-sink")));
      else if (name === "postfix") servers.push(await startPostfix(directory, tool("postfix")));
      else {
        const variant = variants().find((each) => each.name === name);
        if (variant !== undefined) servers.push(await startSmtpd({ ...variant, directory, logLevel: wanted.logLevel }));
      }
    }
    return servers;
  } catch (error) {
    for (const server of servers) await server.stop();
    throw error;
  }
}

type Results = Map<string, Measurement[]>;

function keyOf(what: Case, server: BenchServer): string {
  return `${what.name} ${server.name}`;
}

async function measureAll(wanted: Plan, servers: readonly BenchServer[]): Promise<Results> {
  const results: Results = new Map();
  const messagesOf = (what: Case) =>
    Math.ceil(wanted.messages / (what.keepOpen ? 1 : 4) / (what.sizeBytes > 10_000 ? 4 : 1));
  for (const server of servers) {
    process.stderr.write(`warming up ${server.name}\n`);
    await measure(server, cases[0] ?? fail(), Math.min(wanted.messages, 5000), wanted.sessions);
  }
  for (let round = 0; round < wanted.rounds; round++) {
    for (const what of wanted.cases) {
      process.stderr.write(`round ${round + 1} of ${wanted.rounds}, ${what.name}\n`);
      for (let at = 0; at < servers.length; at++) {
        // Each round starts with another server, so that none always follows the same one.
        const server = servers[(at + round) % servers.length] ?? fail();
        const measured = await measure(server, what, messagesOf(what), wanted.sessions);
        results.set(keyOf(what, server), [...results.get(keyOf(what, server)) ?? [], measured]);
      }
    }
  }
  return results;
}

function fail(): never {
  throw new Error("There is nothing to measure.");
}

function print(wanted: Plan, servers: readonly BenchServer[], results: Results): void {
  for (const what of wanted.cases) {
    const rows = servers.map((server) => {
      const measured = results.get(keyOf(what, server)) ?? [];
      return {
        name: server.name,
        perSecond: median(measured.map((each) => each.perSecond)),
        cpu: median(measured.map((each) => each.cpuMicroseconds)),
      };
    });
    const sink = rows.find((row) => row.name === "sink");
    const size = `${what.sizeBytes / 1024} KiB`;
    console.log(`\n${size}, ${what.keepOpen ? "connections kept open" : "one connection per message"}\n`);
    console.log("| server         | messages/s | × sink | CPU µs/message | × sink |");
    console.log("| -------------- | ---------: | -----: | -------------: | -----: |");
    for (const { name, perSecond, cpu } of rows) {
      const ratio = (value: number, to: number | undefined) => to === undefined ? "-" : (value / to).toFixed(2);
      const cells = [
        name.padEnd(14),
        perSecond.toFixed(0).padStart(10),
        ratio(perSecond, sink?.perSecond).padStart(6),
        cpu.toFixed(0).padStart(14),
        ratio(cpu, sink?.cpu).padStart(6),
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
}

async function main(): Promise<number> {
  const wanted = plan(process.argv.slice(2));
  if (wanted === undefined) {
    console.log(help());
    return 0;
  }
  if (wanted.servers.some((name) => name.startsWith("binary"))) {
    const built = await run(process.execPath, [join(root, "scripts/build.ts")]);
    if (built !== 0) return built;
  }
  const directory = await mkdtemp(join(tmpdir(), "smtpd-bench-"));
  try {
    const servers = await startAll(wanted, directory);
    try {
      const results = await measureAll(wanted, servers);
      console.log(
        `\nsmtp-source, ${wanted.sessions} sessions, median of ${wanted.rounds} rounds, log level ${wanted.logLevel}.` +
          " CPU is the server's alone, delivery included.",
      );
      print(wanted, servers, results);
    } finally {
      for (const server of servers) await server.stop();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
