/**
 * Gathers the references to RFCs in the comments of src into tables: what is supported, and every deviation with its
 * reason. The sources are the only place where this is written down by hand.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sourceText } from "./source_text.ts";
import { root, run } from "./tools.ts";

/** What the RFCs are called in a table; one that is cited and not listed here is an error. */
const titles: Readonly<Record<number, string>> = {
  1035: "DNS messages",
  1870: "SIZE",
  2033: "LMTP",
  2034: "ENHANCEDSTATUSCODES",
  2045: "MIME",
  2046: "MIME: multipart",
  2047: "Encoded words",
  2231: "MIME parameters",
  2442: "Batch SMTP",
  2606: "Reserved domain names",
  2920: "PIPELINING",
  3030: "CHUNKING and BINARYMIME",
  3207: "STARTTLS",
  3461: "DSN: parameters",
  3462: "DSN: multipart/report",
  3463: "Enhanced status codes",
  3464: "DSN: reports",
  3629: "UTF-8",
  3834: "Automatic responses",
  3848: "with keywords of Received",
  4155: "mbox",
  4291: "IPv6 addressing",
  4616: "AUTH PLAIN",
  4648: "Base64",
  4954: "AUTH",
  5234: "ABNF",
  5248: "Registry of status codes",
  5321: "SMTP",
  5322: "Message format",
  5452: "DNS against forged answers",
  5737: "Documentation addresses",
  5890: "IDNA: definitions",
  5891: "IDNA: protocol",
  6052: "NAT64 addresses",
  6066: "TLS extensions",
  6152: "8BITMIME",
  6522: "DSN: multipart/report",
  6531: "SMTPUTF8",
  6532: "Internationalised headers",
  6533: "DSN: internationalised addresses",
  6761: "Special-use domain names",
  6762: "Multicast DNS",
  6890: "Special-purpose addresses",
  7505: "Null MX",
  7578: "multipart/form-data",
  7617: "HTTP Basic authentication",
  8314: "Implicit TLS",
  8601: "Authentication-Results",
  8996: "TLS 1.0 and 1.1 are gone",
  9110: "HTTP semantics",
  9422: "LIMITS",
  9562: "UUIDs",
};

const begin = "<!-- support:begin -->";
const end = "<!-- support:end -->";

interface Deviation {
  readonly rfc: number;
  readonly section: string;
  readonly text: string;
}

interface Support {
  readonly sections: ReadonlyMap<number, ReadonlySet<string>>;
  readonly deviations: readonly Deviation[];
}

const reference = /\bRFC (\d{3,4})((?:,? (?:and )?§[0-9A-Z]+(?:\.\d+)*)*)/g;
const deviation = /^Deviation, RFC (\d{3,4}) §([0-9A-Z]+(?:\.\d+)*):\s*(.+)$/s;

/** Comments as paragraphs without their markers: a `//` block or a block comment, divided at empty lines. */
function paragraphs(comments: string): readonly string[] {
  return comments.split("\n")
    .map((line) => line.replace(/^\s*(?:\/\*\*?|\*\/|\*(?!\/)|\/\/)?\s?/, "").replace(/\s*\*\/\s*$/, "").trim())
    .join("\n")
    .split(/\n{2,}|\n(?=Deviation, RFC )/)
    .map((paragraph) => paragraph.replace(/\s+/g, " ").trim())
    .filter((paragraph) => paragraph !== "");
}

async function gather(): Promise<Support> {
  const sections = new Map<number, Set<string>>();
  const deviations: Deviation[] = [];
  for (const entry of await readdir(join(root, "src"), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const { comments } = sourceText(await readFile(join(entry.parentPath, entry.name), "utf8"));
    for (const paragraph of paragraphs(comments)) {
      for (const [, number = "", cited = ""] of paragraph.matchAll(reference)) {
        const known = sections.get(Number(number)) ?? new Set();
        sections.set(Number(number), known);
        for (const [, section = ""] of cited.matchAll(/§([0-9A-Z]+(?:\.\d+)*)/g)) known.add(section);
      }
      const found = deviation.exec(paragraph);
      if (found !== null) deviations.push({ rfc: Number(found[1]), section: found[2] ?? "", text: found[3] ?? "" });
    }
  }
  return { sections, deviations };
}

/** `4.1.2` before `4.1.10`. */
function bySection(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function cell(text: string): string {
  return text.replace(/\|/g, "\\|");
}

function markdown({ sections, deviations }: Support): string {
  const numbers = [...sections.keys()].sort((a, b) => a - b);
  const supported = numbers.map((number) => {
    const cited = [...sections.get(number) ?? []].sort(bySection).map((section) => `§${section}`).join(" ");
    return `| RFC ${number} | ${titles[number]} | ${cited} |`;
  });
  const deviating = [...deviations]
    .sort((a, b) => a.rfc - b.rfc || bySection(a.section, b.section) || a.text.localeCompare(b.text, "en"))
    .map(({ rfc, section, text }) => `| RFC ${rfc} §${section} | ${cell(text)} |`);
  return [
    "| RFC | what | sections the sources cite |",
    "| --- | ---- | ------------------------- |",
    ...supported,
    "",
    ...(deviating.length === 0
      ? ["No deviations."]
      : ["| deviation from | what, and why |", "| --- | --- |", ...deviating]),
    "",
  ].join("\n");
}

/** README.md as it should be, or undefined when it has no markers. */
function withTables(readme: string, tables: string): string | undefined {
  const from = readme.indexOf(begin);
  const to = readme.indexOf(end);
  if (from < 0 || to < from) return undefined;
  return `${readme.slice(0, from)}${begin}\n\n${tables}\n${readme.slice(to)}`;
}

/** Tables padded by `deno fmt` are the same tables. */
function normalized(text: string): string {
  return text.replace(/[ \t]+/g, " ").replace(/-{3,}/g, "---");
}

async function main(option: string | undefined): Promise<number> {
  const support = await gather();
  const untitled = [...support.sections.keys()].filter((number) => titles[number] === undefined);
  if (untitled.length > 0) {
    console.error(`support: Say in scripts/support.ts what RFC ${untitled.join(", RFC ")} is.`);
    return 1;
  }
  const tables = markdown(support);
  if (option === undefined) {
    console.log(tables);
    return 0;
  }
  if (option !== "--write" && option !== "--check") {
    console.error(`support: Unknown option "${option}"; there are --write and --check.`);
    return 64;
  }
  const file = join(root, "README.md");
  const readme = await readFile(file, "utf8").catch(() => "");
  const wanted = withTables(readme, tables);
  if (wanted === undefined) {
    console.log("README.md has no markers for the tables.");
    return 0;
  }
  if (option === "--write") {
    await writeFile(file, wanted);
    return await run(join(root, "node_modules/.bin/deno"), ["fmt", "--quiet", "README.md"]);
  }
  if (normalized(wanted) !== normalized(readme)) {
    console.error("support: The tables in README.md are not current: run scripts/support --write.");
    return 1;
  }
  return 0;
}

process.exitCode = await main(process.argv[2]);
