/**
 * The page of every code; a code without one does not compile. Loaded only by commands that show pages. It must not know
 * how pages are shown.
 */
import type { Code } from "../codes.ts";
import { filePages } from "./files.ts";
import { keyPages } from "./keys.ts";
import { lintPages } from "./lint.ts";
import type { PageContent, RulePage } from "./page.ts";
import { structurePages } from "./structure.ts";

const PAGES: Readonly<Record<Code, PageContent>> = { ...filePages, ...keyPages, ...structurePages, ...lintPages };

export function pageOf(code: Code): RulePage {
  return { code, ...PAGES[code] };
}
