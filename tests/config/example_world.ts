/**
 * The machine that the examples of rule pages, and tests of lint rules, are checked on: files in memory, everything else
 * as `ExampleWorld` says. Nothing of the real machine comes through.
 */
import type { Code } from "../../src/config/codes.ts";
import { type Examination, examine, type ExamineContext } from "../../src/config/lint/run.ts";
import type { KeyPairFacts, LintEnvironment, LintNetwork } from "../../src/config/lint/rule.ts";
import { lintRules } from "../../src/config/lint/rules.ts";
import type { Example, ExampleWorld } from "../../src/config/pages/page.ts";
import { rehearse } from "../../src/server/rehearsal.ts";
import { exampleChannels } from "./lint/channel_stand_ins.ts";
import { MemoryFiles } from "./world.ts";

export const EXAMPLE_FILE = "/etc/smtpd/smtpd.toml";
const YEAR_MS = 365 * 24 * 3600_000;

/** Files of an example by their absolute paths. */
export function exampleFiles({ text, files = {} }: Example): Readonly<Record<string, string>> {
  const others = Object.entries(files).map(([name, content]) => [`/etc/smtpd/${name}`, content] as const);
  return { [EXAMPLE_FILE]: text, ...Object.fromEntries(others) };
}

export function exampleEnvironment(example: Example): LintEnvironment {
  const world = example.world ?? {};
  const files = new MemoryFiles(exampleFiles(example));
  const nowMs = Date.parse(world.now ?? "2026-01-01T00:00:00Z");
  const of = (path: string) => path.replace("/etc/smtpd/", "");
  return {
    files: {
      readText: (path) => files.readText(path).then((text) => ({ text }), () => ({ reason: "there is no such file" })),
      async info(path) {
        const info = await files.info(path);
        return info === undefined ? undefined : { ...info, mode: world.modes?.[of(path)] ?? info.mode };
      },
      isWritable: (path) => Promise.resolve(world.notWritable?.includes(of(path)) !== true),
      fileSystem: () => Promise.resolve(world.fileSystem ?? "ext4"),
      freeBytes: () => Promise.resolve(world.freeBytes ?? 2 ** 40),
    },
    variable: (name) => world.variables?.[name],
    nowMs,
    hostName: "box.example.net",
    privileges: {
      mayListen: (port) => Promise.resolve(port >= 1024 || world.mayListenBelow1024 !== false),
      openFileLimit: () => Promise.resolve(world.openFileLimit ?? 1_048_576),
    },
    keyPair: () => keyPair(world, nowMs),
    ...(world.network === undefined ? {} : { network: network(world.network) }),
  };
}

function keyPair({ keyPair: given = {} }: ExampleWorld, nowMs: number): KeyPairFacts {
  if (given.problem !== undefined) return { ok: false, ...given.problem };
  const names = given.names ?? ["*"];
  return {
    ok: true,
    notBeforeMs: given.notBefore === undefined ? nowMs - YEAR_MS : Date.parse(given.notBefore),
    notAfterMs: given.notAfter === undefined ? nowMs + YEAR_MS : Date.parse(given.notAfter),
    names,
    covers: (hostName) => names.includes("*") || names.includes(hostName),
  };
}

function network(given: NonNullable<ExampleWorld["network"]>): LintNetwork {
  return {
    addresses: (name) => Promise.resolve(given.addresses?.[name] ?? []),
    names: (address) => Promise.resolve(given.names?.[address] ?? []),
    mailExchangers: (domain) =>
      Promise.resolve((given.mailExchangers?.[domain] ?? []).map((name) => ({ preference: 10, name }))),
    answers: (host, port) => Promise.resolve(given.answers?.includes(`${host}:${port}`) === true),
  };
}

/** All that `check` finds in an example. */
export function examineExample(
  example: Example,
  more: Partial<Pick<ExamineContext, "strict" | "severities" | "rules">> = {},
): Promise<Examination> {
  return examine(EXAMPLE_FILE, {
    load: { files: new MemoryFiles(exampleFiles(example)), channels: exampleChannels, hostName: "box.example.net" },
    environment: exampleEnvironment(example),
    rules: lintRules,
    rehearse: () => Promise.resolve(rehearse),
    ...(example.world?.coverage === undefined ? {} : { coverage: example.world.coverage }),
    ...more,
  });
}

/** `SMTPD201 4:18`, in order. */
export function placesOf({ findings }: Examination): readonly string[] {
  return findings.map(({ code, primary: { start } }) => `${code} ${start.line}:${start.column}`);
}

export function codesOf({ findings }: Examination): readonly Code[] {
  return findings.map((finding) => finding.code);
}
