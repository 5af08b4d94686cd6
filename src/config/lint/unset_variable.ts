/**
 * Environment variables that secrets are taken from and that are not set where the check runs. `serve` refuses to start
 * without them; where a configuration is only checked they are rarely there, so that this is a warning. It must not know
 * what the secrets are for.
 */
import { quote } from "../diagnostic.ts";
import type { LintRule } from "./rule.ts";

export const unsetVariable: LintRule = {
  code: "SMTPD203",
  check({ references, environment, report }) {
    for (const reference of references) {
      if (reference.kind !== "env") continue;
      const value = environment.variable(reference.name);
      if (value !== undefined && value !== "") continue;
      const state = value === undefined ? "not set" : "empty";
      report(`The environment variable ${quote(reference.name)} is ${state}`, reference.place, {
        help:
          "serve does not start without it. Set it where the server runs; smtpd check --strict makes this an error.",
      });
    }
  },
};
