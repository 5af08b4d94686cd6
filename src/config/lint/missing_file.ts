/**
 * Files that the configuration names and that must be there when the program starts: certificates, keys, secrets. It must
 * not know what is in them.
 */
import { quote } from "../diagnostic.ts";
import type { LintRule } from "./rule.ts";

export const missingFile: LintRule = {
  code: "SMTPD202",
  async check({ references, environment, report }) {
    for (const reference of references) {
      if (reference.kind !== "file") continue;
      const { path, place } = reference;
      const result = await environment.files.readText(path);
      if ("reason" in result) {
        report(`Cannot read ${quote(path)}: ${result.reason}`, place, {
          help: "Check the path, which is relative to the configuration file, and that this user may read it.",
        });
      } else if (result.text.trim() === "") {
        report(`The file ${quote(path)} is empty`, place, { help: "Write the certificate, key or secret into it." });
      }
    }
  },
};
