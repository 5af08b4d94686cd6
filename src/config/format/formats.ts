/**
 * The formats there are, each loaded when it is asked for. `text` is not among them: it is for people, and `render.ts`
 * makes it. It must not know what is in a report.
 */
import type { Format } from "./report.ts";

export const FORMAT_NAMES = ["text", "concise", "json", "github", "gitlab", "sarif", "junit"] as const;

export type FormatName = (typeof FORMAT_NAMES)[number];

export async function loadFormat(name: Exclude<FormatName, "text">): Promise<Format> {
  switch (name) {
    case "concise":
      return (await import("./concise.ts")).formatConcise;
    case "json":
      return (await import("./json.ts")).formatJson;
    case "github":
      return (await import("./github.ts")).formatGithub;
    case "gitlab":
      return (await import("./gitlab.ts")).formatGitlab;
    case "sarif":
      return (await import("./sarif.ts")).formatSarif;
    case "junit":
      return (await import("./junit.ts")).formatJunit;
  }
}
