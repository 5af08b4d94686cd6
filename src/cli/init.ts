/**
 * `smtpd init`: writes a starter configuration from options, and asks on a terminal for what they leave open. It must not
 * know what is in the configuration.
 */
import { createInterface } from "node:readline/promises";
import { dirname } from "node:path";
import { parsePattern } from "../binding/match.ts";
import { quote } from "../config/diagnostic.ts";
import { canonicalHostName } from "../config/schema.ts";
import { type Starter, starterConfiguration } from "../config/starter.ts";
import { FileError, type Files, type Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";
import { visible } from "./terminal.ts";

export interface InitOptions {
  readonly purpose?: "inbound" | "submission" | "relay" | "capture";
  readonly domain: readonly string[];
  readonly hostName?: string;
  readonly port?: number;
  /** `-`: standard output. */
  readonly output: string;
  readonly force: boolean;
}

/** Puts a question to a person; undefined when there is none to ask. */
export type Ask = ((question: string) => Promise<string>) | undefined;

/** It may hold secrets later, and the service's group reads it. */
const MODE = 0o640;
const MAX_DOMAINS = 100;
/** A person who types the same mistake so often is none. */
const MAX_TRIES = 5;

export async function initCommand(runtime: Runtime, options: InitOptions, ask = terminalAsk(runtime)): Promise<number> {
  const { files, processes } = runtime;
  const isStdout = options.output === "-";
  if (!isStdout && !options.force && await files.info(options.output) !== undefined) throw exists(options.output);
  const text = starterConfiguration(await answers(runtime, options, ask));
  if (isStdout) {
    processes.stdio.writeOut(text);
    return exitCode.ok;
  }
  await (options.force ? replace(runtime, options.output, text) : create(files, options.output, text));
  const file = visible(options.output);
  processes.stdio.writeErr(`Wrote ${file}. Next:\n  smtpd check ${file}\n  smtpd serve --config ${file}\n`);
  return exitCode.ok;
}

function exists(file: string): CommandError {
  return new CommandError(
    `${quote(file)} exists and is left as it is: name another file with --output, or overwrite it with --force`,
    exitCode.system,
  );
}

/** What a purpose needs that this program does not have. */
const MISSING: ReadonlyMap<string, string> = new Map([
  ["submission", "clients have to log in before they may send, and there is no authentication (AUTH)"],
  ["relay", "there is no channel that sends mail to other servers"],
]);

async function answers(runtime: Runtime, options: InitOptions, ask: Ask): Promise<Starter> {
  const purpose = options.purpose ??
    await question(
      ask,
      "What is it for? inbound (mail for your domains) or capture (keep all that is sent) [inbound]: ",
      {
        option: "--purpose inbound or --purpose capture",
        otherwise: "inbound",
        read: (text) => ["inbound", "capture", "submission", "relay"].find((name) => name === text.toLowerCase()),
        hint: 'Write "inbound" or "capture".',
      },
    );
  const missing = MISSING.get(purpose);
  if (missing !== undefined) {
    throw new CommandError(
      `A configuration for ${purpose} cannot be made: ${missing}; there are --purpose inbound and --purpose capture`,
      exitCode.unavailable,
    );
  }
  const port = options.port === undefined ? {} : { port: options.port };
  if (purpose === "capture") {
    const hostName = options.hostName === undefined ? {} : { hostName: givenName(options.hostName) };
    return { purpose, domains: givenDomains(options.domain), ...hostName, ...port };
  }
  const domains = options.domain.length > 0 ? givenDomains(options.domain) : await question(
    ask,
    "Domains whose mail it accepts, separated by spaces: ",
    {
      option: "--domain DOMAIN",
      read: (text) => readDomains(text.split(/[\s,]+/u).filter((word) => word !== "")),
      hint: "Write names such as example.com.",
    },
  );
  const otherwise = defaultHostName(runtime.processes.hostName, domains);
  const hostName = options.hostName !== undefined
    ? givenName(options.hostName)
    : ask === undefined
    ? otherwise
    : await question(
      ask,
      `Name of this server in DNS [${otherwise}]: `,
      {
        option: "--host-name NAME",
        otherwise,
        read: qualifiedName,
        hint: "Write a name with its domain, such as mail.example.com.",
      },
    );
  return { purpose: "inbound", domains, hostName, ...port };
}

interface Wanted<Answer> {
  /** What to give where nobody can be asked. */
  readonly option: string;
  /** What an empty line stands for. */
  readonly otherwise?: string;
  readonly read: (text: string) => Answer | undefined;
  readonly hint: string;
}

async function question<Answer>(ask: Ask, text: string, wanted: Wanted<Answer>): Promise<Answer> {
  if (ask === undefined) {
    throw new CommandError(`No terminal to ask on: give ${wanted.option}. See "smtpd init --help".`, exitCode.usage);
  }
  let hint = "";
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const line = (await ask(hint + text)).trim();
    const answer = wanted.read(line === "" ? wanted.otherwise ?? "" : line);
    if (answer !== undefined) return answer;
    hint = `${wanted.hint}\n`;
  }
  throw new CommandError(`No usable answer: give ${wanted.option}`, exitCode.usage);
}

function givenDomains(texts: readonly string[]): readonly string[] {
  const wrong = texts.find((text) => readDomains([text]) === undefined);
  if (wrong !== undefined) {
    throw new CommandError(`Not a domain: ${quote(wrong)}; write a name such as example.com`, exitCode.usage);
  }
  const domains = readDomains(texts);
  if (domains !== undefined || texts.length === 0) return domains ?? [];
  throw new CommandError(`More than ${MAX_DOMAINS} domains: write them into the file`, exitCode.usage);
}

/** Each once, in lower case and as A-labels; undefined when one of them is none, or there is none. */
function readDomains(texts: readonly string[]): readonly string[] | undefined {
  const domains = texts.map((text) => canonicalHostName(text)?.toLowerCase());
  const isDomain = (name: string | undefined) =>
    name !== undefined && !name.startsWith("[") && parsePattern(`*@${name}`).ok;
  if (domains.length === 0 || domains.length > MAX_DOMAINS || !domains.every(isDomain)) return undefined;
  return [...new Set(domains.filter((name) => name !== undefined))];
}

function givenName(text: string): string {
  const name = qualifiedName(text);
  if (name !== undefined) return name;
  throw new CommandError(
    `Not a full host name: ${quote(text)}; write one with its domain, such as mail.example.com`,
    exitCode.usage,
  );
}

function qualifiedName(text: string): string | undefined {
  const name = canonicalHostName(text)?.toLowerCase();
  return name !== undefined && /^[^[].*\.[a-z]/u.test(name) ? name : undefined;
}

/** The system's name when it lies in one of the domains, else a usual name in the first of them. */
function defaultHostName(system: string, domains: readonly string[]): string {
  const name = qualifiedName(system);
  const lies = name !== undefined && domains.some((domain) => name.endsWith(`.${domain}`));
  return lies ? name : `mail.${domains[0] ?? "example.com"}`;
}

async function create(files: Files, path: string, text: string): Promise<void> {
  try {
    await write(files, path, text);
  } catch (error) {
    throw error instanceof FileError && error.code === "EEXIST" ? exists(path) : error;
  }
  await files.syncDirectory(dirname(path));
}

/** Written beside and renamed: whoever reads the file meanwhile gets the old one or the new one. */
async function replace({ files, random }: Runtime, path: string, text: string): Promise<void> {
  const tail = Array.from(random.bytes(6), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const unfinished = `${path}.${tail}.new`;
  try {
    await write(files, unfinished, text);
    await files.rename(unfinished, path);
  } catch (error) {
    await files.remove(unfinished).catch(() => {});
    throw error;
  }
  await files.syncDirectory(dirname(path));
}

async function write(files: Files, path: string, text: string): Promise<void> {
  const file = await files.open(path, "create-new", MODE);
  try {
    await file.write(new TextEncoder().encode(text));
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Asks on standard error, so that standard output stays free for the configuration. */
function terminalAsk(runtime: Runtime): Ask {
  if (process.stdin.isTTY !== true || !runtime.processes.stdio.errIsTerminal) return undefined;
  return (question) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    return new Promise<string>((resolve, reject) => {
      let isAnswered = false;
      lines.once("close", () => {
        if (isAnswered) return;
        // The question has no line end of its own.
        process.stderr.write("\n");
        reject(new CommandError("Nothing was written", exitCode.usage));
      });
      lines.once("SIGINT", () => lines.close());
      lines.question(question).then((answer) => {
        isAnswered = true;
        lines.close();
        resolve(answer);
      }, reject);
    });
  };
}
