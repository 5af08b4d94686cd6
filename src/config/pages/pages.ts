/**
 * The page of every code; a code without one does not compile. Loaded only by commands that show pages. It must not know
 * how pages are shown.
 */
import type { Code } from "../codes.ts";
import { exposurePages } from "./exposure.ts";
import { filePages } from "./files.ts";
import { keyPages } from "./keys.ts";
import { lintPages } from "./lint.ts";
import { machinePages } from "./machine.ts";
import { networkPages } from "./network.ts";
import type { PageContent, RulePage } from "./page.ts";
import { routingPages } from "./routing.ts";
import { routingTestPages } from "./routing_test.ts";
import { structurePages } from "./structure.ts";

const PAGES: Readonly<Record<Code, PageContent>> = {
  ...filePages,
  ...keyPages,
  ...structurePages,
  ...lintPages,
  ...routingPages,
  ...exposurePages,
  ...machinePages,
  ...networkPages,
  ...routingTestPages,
};

export function pageOf(code: Code): RulePage {
  return { code, ...PAGES[code] };
}
