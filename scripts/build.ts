/**
 * Makes the executables with `bun build --compile`: one for this machine, or with --all one for each platform that is
 * released, and their SHA-256 sums. Version and commit are baked in.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { capture, lineOf, root, run } from "./tools.ts";

const help = `Usage: scripts/build [--all] [--deno]

  (nothing)   dist/smtpd for this machine
  --all       dist/smtpd-PLATFORM for every platform, and dist/SHA256SUMS
  --deno      dist/smtpd-deno with "deno compile"; it downloads Deno's own runtime and is not tested
`;

/** Executables that are released. Bun fetches the other platforms' runtimes from the npm registry. */
const platforms = [
  { name: "linux-x64", target: "bun-linux-x64" },
  { name: "linux-arm64", target: "bun-linux-arm64" },
  { name: "linux-x64-musl", target: "bun-linux-x64-musl" },
  { name: "linux-arm64-musl", target: "bun-linux-arm64-musl" },
  { name: "darwin-x64", target: "bun-darwin-x64" },
  { name: "darwin-arm64", target: "bun-darwin-arm64" },
  { name: "windows-x64", target: "bun-windows-x64" },
] as const;

/** Each thread is an entry point of its own. */
const entryPoints = ["src/main.ts", "src/spool_worker.ts", "src/script_worker.ts", "src/webhook_worker.ts"];

/**
 * Bytecode halves the start (14 ms instead of 26 for `smtpd version`) and needs the ESM format for main's top-level
 * await. Nothing is loaded from the directory where the daemon happens to be started: no .env, no bunfig.toml.
 */
const bunFlags = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];

interface Defines {
  readonly version: string;
  readonly commit: string;
}

async function defines(): Promise<Defines> {
  const manifest = JSON.parse(await readFile(`${root}/package.json`, "utf8")) as { readonly version: string };
  const hash = await lineOf("git", ["rev-parse", "--short=12", "HEAD"]);
  const changes = await lineOf("git", ["status", "--porcelain", "--", "src", "package.json"]);
  return { version: manifest.version, commit: hash === undefined ? "unknown" : changes ? `${hash}-dirty` : hash };
}

async function buildWithBun(file: string, target: string | undefined, { version, commit }: Defines): Promise<void> {
  const started = performance.now();
  // Written beside and renamed: a running executable is never overwritten.
  const unfinished = `${file}.new`;
  const { code, output } = await capture(process.execPath, [
    "build",
    ...bunFlags,
    ...(target === undefined ? [] : [`--target=${target}`]),
    "--define",
    `SMTPD_VERSION=${JSON.stringify(version)}`,
    "--define",
    `SMTPD_COMMIT=${JSON.stringify(commit)}`,
    ...entryPoints,
    `--outfile=${unfinished}`,
  ]);
  if (code !== 0) throw new Error(`Building ${file} failed:\n${output}`);
  // Bun gives executables for Windows their ending by itself.
  const made = file.endsWith(".exe") && !(await exists(unfinished)) ? `${unfinished}.exe` : unfinished;
  await rename(made, file);
  const { size } = await stat(file);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${file.slice(root.length + 1)}  ${(size / 1024 / 1024).toFixed(0)} MiB  ${seconds} s`);
}

async function exists(file: string): Promise<boolean> {
  return await stat(file).then(() => true, () => false);
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}

async function buildAll(baked: Defines): Promise<void> {
  const sums: string[] = [];
  for (const { name, target } of platforms) {
    const file = `smtpd-${name}${name.startsWith("windows") ? ".exe" : ""}`;
    await buildWithBun(`${root}/dist/${file}`, target, baked);
    sums.push(`${await sha256(`${root}/dist/${file}`)}  ${file}\n`);
  }
  await writeFile(`${root}/dist/SHA256SUMS`, sums.join(""));
  console.log("dist/SHA256SUMS");
}

async function buildWithDeno(): Promise<number> {
  console.log("deno compile: offered as it is; the executable made by Bun is the one that is tested.");
  return await run(`${root}/node_modules/.bin/deno`, [
    "compile",
    "--allow-all",
    "--include=src/spool_worker.ts",
    "--include=src/script_worker.ts",
    "--include=src/webhook_worker.ts",
    "--output=dist/smtpd-deno",
    "src/main.ts",
  ]);
}

const options = process.argv.slice(2);
const unknown = options.find((option) => !["--all", "--deno"].includes(option));
if (unknown !== undefined) {
  const asked = unknown === "--help" || unknown === "-h";
  console.log(asked ? help : `build: Unknown option "${unknown}".\n${help}`);
  process.exit(asked ? 0 : 64);
}
await mkdir(`${root}/dist`, { recursive: true });
try {
  if (options.includes("--deno")) process.exit(await buildWithDeno());
  const baked = await defines();
  if (options.includes("--all")) await buildAll(baked);
  else await buildWithBun(`${root}/dist/smtpd${process.platform === "win32" ? ".exe" : ""}`, undefined, baked);
} catch (error) {
  console.error(`build: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  await rm(`${root}/dist/smtpd.new`, { force: true });
}
