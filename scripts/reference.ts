/**
 * Makes the files in docs/ that follow from the schema of the configuration: the reference for people and the JSON Schema
 * for editors. Every key, type, default and example is taken from the schema; nothing about them is written here.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { channelTypes } from "../src/channel/registry.ts";
import { referenceMarkdown } from "../src/config/reference.ts";
import { configurationJsonSchema } from "../src/config/json_schema.ts";
import { capture, root, run } from "./tools.ts";

const deno = join(root, "node_modules/.bin/deno");

function files(): ReadonlyMap<string, string> {
  const kinds = [...channelTypes.values()];
  return new Map([
    ["docs/configuration.md", referenceMarkdown(kinds)],
    ["docs/smtpd.schema.json", `${JSON.stringify(configurationJsonSchema(kinds), undefined, 2)}\n`],
  ]);
}

async function main(option: string | undefined): Promise<number> {
  const wanted = files();
  if (option === undefined) {
    console.log(wanted.get("docs/configuration.md"));
    return 0;
  }
  if (option !== "--write" && option !== "--check") {
    console.error(`reference: Unknown option "${option}"; there are --write and --check.`);
    return 64;
  }
  // Formatted in a folder of its own when it is only compared.
  const folder = option === "--write" ? root : join(root, "dist", "reference");
  for (const [name, text] of wanted) {
    await mkdir(join(folder, "docs"), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  const paths = [...wanted.keys()].map((name) => join(folder, name));
  if (option === "--write") return await run(deno, ["fmt", "--quiet", ...paths]);
  await formatted(paths);
  let code = 0;
  for (const name of wanted.keys()) {
    const [current, expected] = await Promise.all([
      readFile(join(root, name), "utf8").catch(() => ""),
      readFile(join(folder, name), "utf8"),
    ]);
    if (current === expected) continue;
    console.error(`reference: ${name} is not current: run scripts/reference --write.`);
    code = 1;
  }
  return code;
}

/** dist/ is excluded from formatting by name, so the files go through a configuration that excludes nothing. */
async function formatted(paths: readonly string[]): Promise<void> {
  const { code, output } = await capture(deno, ["fmt", "--quiet", "--no-config", "--line-width=120", ...paths]);
  if (code !== 0) throw new Error(`Formatting failed:\n${output}`);
}

process.exitCode = await main(process.argv[2]);
