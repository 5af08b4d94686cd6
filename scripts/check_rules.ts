/**
 * The conventions that no formatter, linter or compiler checks: who imports whom, where the world may be touched,
 * lengths, words, comments, references to RFCs, lock files. Prints one line for each finding.
 */
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { functionSpans, type SourceText, sourceText } from "./source_text.ts";
import { root } from "./tools.ts";

const maxFileLines = 500;
const maxFunctionLines = 70;

/** What the files of a folder of src may import, besides the folder itself. An entry with a slash is one file. */
const importRules: Readonly<Record<string, Imports>> = {
  smtp: { own: [] },
  message: { own: ["smtp"] },
  observe: { own: ["runtime/runtime.ts"], packages: ["@logtape/logtape"] },
  config: { own: below("binding"), packages: ["valibot", "@valibot/to-json-schema", "toml-eslint-parser", "saxes"] },
  binding: { own: ["smtp", "message", "config"], packages: ["re2js"] },
  spool: { own: below("config", "binding"), packages: ["node:sqlite"] },
  channel: { own: below("config", "binding", "spool"), packages: ["valibot", "postal-mime"] },
  controller: { own: below("config", "binding", "spool", "channel") },
  server: { own: below("config", "binding", "spool", "channel", "controller") },
  runtime: { own: [], packages: [/^node:/] },
  cli: { own: [/./], packages: [/./] },
  "": { own: [/./], packages: [/./] },
};

interface Imports {
  readonly own: readonly (string | RegExp)[];
  readonly packages?: readonly (string | RegExp)[];
}

/** The layers above, and of the world only its interfaces. */
function below(...folders: readonly string[]): readonly string[] {
  return ["smtp", "message", "observe/log.ts", "runtime/runtime.ts", ...folders];
}

/** Built-in modules that compute and touch nothing, or the part of them that does. Not for smtp and message. */
const pureBuiltIns: Readonly<Record<string, RegExp>> = {
  "node:crypto": /^(?:createHash|createHmac)$/,
  "node:net": /^(?:isIP|isIPv4|isIPv6|BlockList|SocketAddress)$/,
  "node:path": /./,
  "node:url": /^(?:domainToASCII|domainToUnicode|fileURLToPath|pathToFileURL)$/,
};

/** The configuration knows the channels' options by their registry alone. */
const importExceptions: ReadonlySet<string> = new Set(["config -> channel/registry.ts"]);

interface Placement {
  readonly what: RegExp;
  readonly where: RegExp;
  readonly why: string;
}

/** What may be written only in some places of src. */
const placements: readonly Placement[] = [
  {
    what: /(?<![\w$.])(?:Deno|Bun)\s*\./g,
    where: /^src\/(?:runtime\/|main\.ts$|[a-z_]+_worker\.ts$)/,
    why: "belongs in src/runtime/",
  },
  {
    what:
      /(?<![\w$.])(?:Date\.now|new Date\(\)|Math\.random|performance\.now|crypto\.(?:getRandomValues|randomUUID)|set(?:Timeout|Interval|Immediate)\b|console\.|process\.|fetch\(|new Worker\b)/g,
    where: /^src\/(?:runtime\/|cli\/|main\.ts$|[a-z_]+_worker\.ts$)/,
    why: "touches the world: go through the interfaces of runtime/runtime.ts",
  },
];

interface Word {
  readonly what: RegExp;
  readonly why: string;
}

const bannedInCode: readonly Word[] = [
  { what: /^[ \t]*export\s+default\b/gm, why: "default export" },
  { what: /\bas\s+default\b/g, why: "default export" },
  { what: /(?:^|[\s;])(?:const\s+)?enum\s+\w+\s*\{/g, why: "enum: use a union or a const object" },
  { what: /^[ \t]*(?:export\s+)?(?:declare\s+)?namespace\s+\w+/gm, why: "namespace" },
  { what: /\b(?:test|it|describe|suite)\.(?:skip|only|todo)\b/g, why: "a test that is skipped, or the only one" },
  { what: /^\s*debugger\b/gm, why: "debugger" },
];

const bannedInComments: readonly Word[] = [
  { what: /\b(?:TODO|FIXME|XXX|HACK)\b/g, why: "unfinished business: do it or file it" },
  { what: /\bfor now\b/gi, why: "unfinished business: do it or file it" },
  { what: /@ts-(?:ignore|nocheck)\b/g, why: "use @ts-expect-error with a reason, or a better type" },
];

const anyRfc = /\brfc[\s#-]*\d{3,4}\b/gi;
const rightRfc = /^RFC \d{3,4}$/;
const wrongSection = /\bRFC \d{3,4},?\s+(?:section|sect?\.|§\s|§§)\s*[\dA-Z]/gi;

interface Finding {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

const findings: Finding[] = [];

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

function report(file: string, line: number, text: string): void {
  findings.push({ file, line, text });
}

function checkWords(file: string, text: string, words: readonly Word[]): void {
  for (const { what, why } of words) {
    for (const match of text.matchAll(what)) {
      report(file, lineAt(text, match.index), `"${match[0].trim()}": ${why}`);
    }
  }
}

function checkLengths(file: string, text: string, { code }: SourceText): void {
  const lines = text.split("\n").length - 1;
  if (lines > maxFileLines) report(file, lines, `${lines} lines; a file has ${maxFileLines} at most`);
  if (file.startsWith("tests/")) return;
  for (const span of functionSpans(code)) {
    if (span.lines > maxFunctionLines) {
      report(file, span.line, `a function of ${span.lines} lines; ${maxFunctionLines} at most`);
    }
  }
}

function checkOpening(file: string, text: string): void {
  if (!/^(?:#!.*\n)?(?:\/\*\*|\/\/)/.test(text)) {
    report(file, 1, "a file opens with a comment that says what it is for");
  }
}

/** `\s` keeps a reference that is broken over two lines from passing: it could not be searched for. */
function checkReferences(file: string, text: string): void {
  for (const match of text.matchAll(anyRfc)) {
    if (!rightRfc.test(match[0])) report(file, lineAt(text, match.index), `"${match[0]}": write "RFC 5321"`);
  }
  for (const match of text.matchAll(wrongSection)) {
    report(file, lineAt(text, match.index), `"${match[0]}": write "RFC 5321 §4.1.1.2"`);
  }
}

function matches(rules: readonly (string | RegExp)[], value: string): boolean {
  return rules.some((rule) =>
    typeof rule === "string" ? value === rule || value.startsWith(`${rule}/`) : rule.test(value)
  );
}

const importStatement = /(?:^|\n)\s*(?:import|export)\b[^;"'`]*?\bfrom\s*(["'])(.+?)\1|\bimport\s*\(?\s*(["'])(.+?)\3/g;

function checkImports(file: string, text: string, { code }: SourceText): void {
  const folder = /^src\/(?:(\w+)\/)?/.exec(file)?.[1] ?? "";
  const rules = importRules[folder];
  if (rules === undefined) {
    return report(file, 1, `nothing says what src/${folder}/ may import; add it to scripts/check_rules.ts`);
  }
  for (const match of text.matchAll(importStatement)) {
    const name = match[2] ?? match[4] ?? "";
    const start = match.index + match[0].search(/\b(?:import|export)\b/);
    // The word stands in a comment or in a text.
    if (!/^(?:import|export)/.test(code.slice(start))) continue;
    const line = lineAt(text, start);
    if (!name.startsWith(".")) {
      if (folder !== "smtp" && folder !== "message" && isPure(name, match[0])) continue;
      if (!matches(rules.packages ?? [], name)) report(file, line, `src/${folder}/ may not import "${name}"`);
      continue;
    }
    if (!/\.(?:ts|json)$/.test(name)) report(file, line, `"${name}": imports end in .ts`);
    const target = normalize(join(dirname(file), name));
    const path = target.replace(/^src\//, "");
    if (path.startsWith(`${folder}/`) || importExceptions.has(`${folder} -> ${path}`)) continue;
    if (!matches(rules.own, path)) report(file, line, `src/${folder}/ may not import ${target}`);
  }
}

function isPure(module: string, statement: string): boolean {
  const allowed = pureBuiltIns[module];
  const names = /\{([^}]*)\}/.exec(statement)?.[1]?.split(",").map((name) => name.trim().split(/\s/)[0] ?? "") ?? [];
  return allowed !== undefined && names.length > 0 && names.every((name) => name === "" || allowed.test(name));
}

function checkPlacements(file: string, { code }: SourceText): void {
  for (const { what, where, why } of placements) {
    if (where.test(file)) continue;
    for (const match of code.matchAll(what)) report(file, lineAt(code, match.index), `"${match[0]}" ${why}`);
  }
}

function checkFile(file: string, text: string): void {
  const source = sourceText(text);
  if (!/^[a-z0-9_/]+\.ts$/.test(file)) report(file, 1, "file and folder names are snake_case");
  checkOpening(file, text);
  checkLengths(file, text, source);
  checkWords(file, source.code, bannedInCode);
  checkWords(file, source.comments, bannedInComments);
  checkReferences(file, source.comments);
  if (file.startsWith("src/")) {
    checkImports(file, text, source);
    checkPlacements(file, source);
  }
}

const lockFiles = ["package-lock.json", "bun.lock", "deno.lock"] as const;

/** Lock files name packages, versions and hashes; where they come from is the machine's business. */
async function checkLockFiles(): Promise<void> {
  for (const file of lockFiles) {
    const text = await readFile(join(root, file), "utf8");
    for (const match of text.matchAll(/"resolved"|https?:\/\/[^"\s]*(?:registry|npm)[^"\s]*|\.tgz\b/g)) {
      report(file, lineAt(text, match.index), `"${match[0]}": a lock file names no registry`);
    }
  }
}

/** Versions are exact, and each lock file has them. */
async function checkManifest(): Promise<void> {
  const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Readonly<
    Record<string, Readonly<Record<string, string>> | undefined>
  >;
  const locks = await Promise.all(
    lockFiles.map(async (file) => ({ file, text: await readFile(join(root, file), "utf8") })),
  );
  const wanted = { ...manifest["dependencies"], ...manifest["devDependencies"] };
  for (const [name, version] of Object.entries(wanted)) {
    if (!/^\d+\.\d+\.\d+(?:-[\dA-Za-z.-]+)?$/.test(version)) {
      report("package.json", 1, `"${name}": "${version}" is no exact version`);
    }
    for (const { file, text } of locks) {
      const entry = {
        "package-lock.json": `"node_modules/${name}": {\n      "version": "${version}"`,
        "bun.lock": `["${name}@${version}"`,
        "deno.lock": `"npm:${name}@${version}": "${version}`,
      };
      if (!text.includes(entry[file])) report(file, 1, `"${name}" ${version} is not in it: run scripts/lock`);
    }
  }
}

const self = /^scripts\/check_rules\.ts$/;
let count = 0;
for (const folder of ["src", "tests", "scripts"]) {
  for (const entry of await readdir(join(root, folder), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const file = join(entry.parentPath, entry.name).slice(root.length + 1).replaceAll("\\", "/");
    // This file spells out what it forbids.
    if (self.test(file)) continue;
    checkFile(file, await readFile(join(root, file), "utf8"));
    count++;
  }
}
await checkLockFiles();
await checkManifest();
findings.sort((a, b) => a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line);
for (const { file, line, text } of findings) console.log(`${file}:${line}: ${text}`);
console.log(`${count} files, ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;
