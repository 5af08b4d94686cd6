/**
 * One line for each finding, as compilers and editors write and read it. It must not know where the text goes.
 */
import { renderConcise } from "../render.ts";
import type { Report } from "./report.ts";

export function formatConcise({ findings }: Report): string {
  return findings.map((finding) => `${renderConcise(finding)}\n`).join("");
}
