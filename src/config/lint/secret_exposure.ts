/**
 * Secrets that others can read: in files open to everybody on the machine, or in the configuration itself. It must not
 * know what the secrets are for, and never puts their text into a finding.
 */
import { quote } from "../diagnostic.ts";
import type { LintRule } from "./rule.ts";

const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;

export const openSecretFile: LintRule = {
  code: "SMTPD240",
  async check({ references, environment: { files }, report }) {
    for (const reference of references) {
      if (reference.kind !== "file" || reference.isPublic === true) continue;
      const { path, place } = reference;
      const info = await files.info(path);
      if (info?.kind !== "file" || info.mode === undefined) continue;
      const verbs = [
        ...(info.mode & OTHERS_READ ? ["read"] : []),
        ...(info.mode & OTHERS_WRITE ? ["changed"] : []),
      ];
      if (verbs.length === 0 || await isPublic(path, files)) continue;
      const mode = (info.mode & 0o777).toString(8).padStart(4, "0");
      report(`The file ${quote(path)} can be ${verbs.join(" and ")} by every user of this machine`, place, {
        notes: [`Its mode is ${mode}.`],
        help: `chmod 600 ${shellWord(path)}; it must belong to the user that the server runs as.`,
      });
    }
  },
};

/** Certificates are for everybody; a file that holds a key beside them is not. */
async function isPublic(
  path: string,
  files: Parameters<LintRule["check"]>[0]["environment"]["files"],
): Promise<boolean> {
  const result = await files.readText(path);
  // That a file cannot be read is another rule's finding.
  if ("reason" in result) return true;
  return result.text.includes("-----BEGIN CERTIFICATE-----") && !result.text.includes("PRIVATE KEY-----");
}

function shellWord(path: string): string {
  return /^[\w./+@:-]+$/u.test(path) ? path : "FILE";
}

export const inlineSecret: LintRule = {
  code: "SMTPD241",
  check({ references, report }) {
    for (const reference of references) {
      if (reference.kind !== "inline") continue;
      report("A secret stands in the configuration", reference.place, {
        help: 'Keep it elsewhere, and say where: { file = "secrets/NAME" } or { env = "NAME" }. Then replace it by a ' +
          "new one, because copies of the file still hold it.",
      });
    }
  },
};
