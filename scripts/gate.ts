/**
 * The steps of `scripts/test`, run one after another. A step that fails shows what it printed and the others go on.
 * Counts every test of every step; a step that has no tests counts as one.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Count, countTests } from "./junit.ts";
import { capture, root } from "./tools.ts";

const bun = join(root, "node_modules/.bin/bun");
const deno = join(root, "node_modules/.bin/deno");
const tsc = [bun, join(root, "node_modules/typescript/bin/tsc")] as const;
const binary = join(root, "dist/smtpd");
const reports = join(root, "dist/reports");

/** One test may take so long; what hangs is ended with its step. */
const testTimeoutMs = 120_000;

interface Step {
  readonly name: string;
  readonly title: string;
  /** Program and arguments. A step that counts tests gets the file for its report and the test files. */
  readonly command: readonly string[];
  /** Runs tests of these folders of tests/ with this runner, and counts them. */
  readonly tests?: { readonly runner: "bun" | "deno"; readonly folders: readonly string[] };
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Folders of tests/ whose tests start servers and take longer; the others are run on both runtimes. */
const slowFolders = ["e2e", "interop"] as const;

const steps = (quick: readonly string[]): readonly Step[] => [
  { name: "format", title: "Format", command: [deno, "fmt", "--check"] },
  { name: "lint", title: "Lint", command: [deno, "lint"] },
  { name: "conventions", title: "Conventions", command: [bun, "scripts/check_rules.ts"] },
  { name: "purity", title: "Purity of the protocol core", command: [...tsc, "-p", "tsconfig.core.json"] },
  { name: "types", title: "Types", command: [...tsc, "-p", "tsconfig.json"] },
  { name: "types-deno", title: "Types as Deno sees them", command: [deno, "check", "--quiet", "src/main.ts"] },
  { name: "support", title: "Tables in README", command: [bun, "scripts/support.ts", "--check"] },
  { name: "reference", title: "Configuration reference", command: [bun, "scripts/reference.ts", "--check"] },
  { name: "bun", title: "Tests on Bun", command: [], tests: { runner: "bun", folders: quick }, timeoutMs: 240_000 },
  { name: "deno", title: "Tests on Deno", command: [], tests: { runner: "deno", folders: quick }, timeoutMs: 300_000 },
  { name: "build", title: "Executable", command: [bun, "scripts/build.ts"] },
  {
    name: "e2e",
    title: "The executable from end to end",
    command: [],
    tests: { runner: "bun", folders: ["e2e"] },
    environment: { SMTPD_BINARY: binary, SMTPD_KILLS: "50" },
    timeoutMs: 300_000,
  },
  {
    name: "e2e-deno",
    title: "The server from end to end, on Deno",
    command: [],
    tests: { runner: "bun", folders: ["e2e"] },
    environment: { SMTPD_RUNTIME: "deno" },
    timeoutMs: 300_000,
  },
  {
    name: "interop",
    title: "Other people's clients, executable",
    command: [],
    tests: { runner: "bun", folders: ["interop"] },
    environment: { SMTPD_BINARY: binary },
    timeoutMs: 240_000,
  },
  {
    name: "interop-deno",
    title: "Other people's clients, on Deno",
    command: [],
    tests: { runner: "bun", folders: ["interop"] },
    environment: { SMTPD_RUNTIME: "deno" },
    timeoutMs: 240_000,
  },
];

interface Outcome extends Count {
  readonly output: string;
}

/** Test files of the folders; a name without a dot is a folder of tests/, "" stands for tests/ itself. */
async function testFiles(folders: readonly string[]): Promise<readonly string[]> {
  const files: string[] = [];
  for (const folder of folders) {
    const entries = await readdir(join(root, "tests", folder), { recursive: folder !== "" }).catch(() => []);
    for (const file of entries) {
      if (file.endsWith("_test.ts")) files.push(`./${join("tests", folder, file).replaceAll("\\", "/")}`);
    }
  }
  return files.sort();
}

/** Every folder of tests/ but the slow ones; a folder that somebody adds is run without being named here. */
async function quickFolders(): Promise<readonly string[]> {
  const entries = await readdir(join(root, "tests"), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return ["", ...folders.filter((folder) => !slowFolders.some((slow) => slow === folder))];
}

function testCommand(runner: "bun" | "deno", report: string, files: readonly string[]): readonly string[] {
  return runner === "bun"
    ? [bun, "test", `--timeout=${testTimeoutMs}`, "--reporter=junit", `--reporter-outfile=${report}`, ...files]
    : [deno, "test", "--allow-all", "--no-check", "--quiet", `--junit-path=${report}`, ...files];
}

async function runTests(step: Step, runner: "bun" | "deno", folders: readonly string[]): Promise<Outcome> {
  const files = await testFiles(folders);
  if (files.length === 0) return { passed: 0, failed: 1, skipped: 0, output: `No tests in ${folders.join(", ")}.\n` };
  const report = join(reports, `${step.name}.xml`);
  await rm(report, { force: true });
  const { code, output } = await runCommand(step, testCommand(runner, report, files));
  const count = existsSync(report) ? countTests(await readFile(report, "utf8")) : { passed: 0, failed: 0, skipped: 0 };
  if (code === 0 && count.failed === 0 && count.passed === 0) {
    return { ...count, failed: 1, output: `${output}\nThe report counts no tests.\n` };
  }
  // A runner that failed without a failed test died, or could not load a file.
  return { ...count, failed: code !== 0 && count.failed === 0 ? 1 : count.failed, output };
}

async function runCommand(step: Step, command: readonly string[]) {
  const [program = "", ...args] = command;
  return await capture(program, args, {
    environment: { NO_COLOR: "1", ...step.environment },
    timeoutMs: step.timeoutMs ?? 120_000,
  });
}

async function runStep(step: Step): Promise<Outcome> {
  if (step.tests !== undefined) return await runTests(step, step.tests.runner, step.tests.folders);
  const { code, output } = await runCommand(step, step.command);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0, output };
}

/** Lines in which a test says why it did not run. */
function skipLines(output: string): readonly string[] {
  return [...new Set(output.split("\n").filter((line) => /^\s*(?:skipped:|SKIPPED)/i.test(line)))];
}

function report(step: Step, outcome: Outcome, seconds: string): void {
  const { passed, failed, skipped, output } = outcome;
  const counts = step.tests === undefined
    ? failed === 0 ? "ok" : "FAILED"
    : `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  console.log(`${step.title.padEnd(34)} ${counts}  (${seconds} s)`);
  for (const line of skipLines(output)) console.log(`  ${line.trim()}`);
  if (failed > 0) console.log(`${indented(failureText(output))}\n`);
}

/** What passed is not worth reading when something failed. */
function failureText(output: string): string {
  const lines = output.trimEnd().split("\n").filter((line) => !/^\s*\(pass\)|\.\.\. ok \(|^\S+_test\.ts:$/.test(line));
  const most = 200;
  if (lines.length <= most) return lines.join("\n");
  return [...lines.slice(0, most / 2), `… ${lines.length - most} lines …`, ...lines.slice(-most / 2)].join("\n");
}

function indented(text: string): string {
  return text.split("\n").map((line) => `    ${line}`).join("\n");
}

async function main(args: readonly string[]): Promise<number> {
  const all = steps(await quickFolders());
  const names = all.map((step) => step.name).join(" ");
  const only: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const name = args[at] === "--only" ? args[++at] : undefined;
    if (args[at] === "--list") {
      console.log(names);
      return 0;
    }
    if (name === undefined || !all.some((step) => step.name === name)) {
      console.error(`Usage: scripts/test [--list] [--only STEP]…\nSteps: ${names}`);
      return 64;
    }
    only.push(name);
  }
  await mkdir(reports, { recursive: true });
  let passed = 0;
  let failed = 0;
  for (const step of all) {
    if (only.length > 0 && !only.includes(step.name)) continue;
    const started = performance.now();
    const outcome = await runStep(step);
    report(step, outcome, ((performance.now() - started) / 1000).toFixed(1));
    passed += outcome.passed;
    failed += outcome.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
