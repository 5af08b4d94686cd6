/**
 * Files that the configuration names and that must be there when the program starts: certificates, keys, secrets. It must
 * not know what is in them.
 */
import { quote } from "../diagnostic.ts";
import { spanOf } from "../source.ts";
import type { LintRule } from "./rule.ts";

export const missingFile: LintRule = {
  code: "SMTPD202",
  async check({ references, environment, report }) {
    const byPath = Map.groupBy(references.filter((one) => one.kind === "file"), (reference) => reference.path);
    for (const [path, named] of byPath) {
      const [first, ...others] = named;
      if (first === undefined) continue;
      const result = await environment.files.readText(path);
      // A list may have nothing in it.
      const isEmpty = "text" in result && result.text.trim() === "" && first.isPublic !== true;
      if ("text" in result && !isEmpty) continue;
      const message = "text" in result
        ? `The file ${quote(path)} is empty`
        : `Cannot read ${quote(path)}: ${result.reason}`;
      report(message, first.place, {
        secondary: others.map(({ place }) => ({ ...spanOf(place), label: "also named here" })),
        help: isEmpty
          ? "Write the certificate, key or secret into it."
          : "Check the path, which is relative to the configuration file, and that this user may read it.",
      });
    }
  },
};
