/**
 * A rule's page as text for a terminal and as Markdown. It must not know where it is shown.
 */
import { CODES } from "../codes.ts";
import { filled } from "../fill.ts";
import type { Example, RulePage } from "./page.ts";

const WIDTH = 80;

/** Paragraphs filled to a width, examples indented. Without a line end at its end. */
export function pageText(page: RulePage, width: number = WIDTH): string {
  const { title, severity } = CODES[page.code];
  const fill = (text: string) => text.split("\n").map((line) => filled(line, width)).join("\n");
  return [
    `${page.code}: ${title} (${severity})`,
    fill(page.what),
    fill(page.why),
    `Bad:\n\n${files(page.bad).map(([name, text]) => indented(labelled(name, text))).join("\n\n")}`,
    `Good:\n\n${files(page.good).map(([name, text]) => indented(labelled(name, text))).join("\n\n")}`,
  ].join("\n\n");
}

export function pageMarkdown(page: RulePage): string {
  const { title, severity } = CODES[page.code];
  const blocks = (example: Example) =>
    files(example).map(([name, text]) => `\`\`\`toml\n${labelled(name, text)}\n\`\`\``).join("\n\n");
  return [
    `# ${page.code}: ${title}`,
    `Severity: ${severity}`,
    page.what,
    page.why,
    `## Bad\n\n${blocks(page.bad)}`,
    `## Good\n\n${blocks(page.good)}`,
  ].join("\n\n");
}

/** The files of an example that are worth showing, the main one without a name when it is alone. */
function files({ text, files = {} }: Example): readonly (readonly [name: string, text: string])[] {
  const others = Object.entries(files).filter(([name]) => name.endsWith(".toml"));
  return [[others.length === 0 ? "" : "smtpd.toml", text], ...others];
}

function labelled(name: string, text: string): string {
  const trimmed = text.trimEnd();
  return name === "" ? trimmed : `# ${name}\n${trimmed}`;
}

function indented(text: string): string {
  return text.split("\n").map((line) => line === "" ? "" : `    ${line}`).join("\n");
}
