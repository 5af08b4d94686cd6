/**
 * Environment variables that secrets are taken from and that are not set where the check runs. `serve` refuses to start
 * without them; where a configuration is only checked they are rarely there, so that this is a warning. It must not know
 * what the secrets are for.
 */
import { quote } from "../diagnostic.ts";
import { spanOf } from "../source.ts";
import type { LintRule } from "./rule.ts";

export const unsetVariable: LintRule = {
  code: "SMTPD203",
  check({ references, environment, report }) {
    const byName = Map.groupBy(references.filter((one) => one.kind === "env"), (reference) => reference.name);
    for (const [name, named] of byName) {
      const [first, ...others] = named;
      const value = environment.variable(name);
      if (first === undefined || (value !== undefined && value !== "")) continue;
      const state = value === undefined ? "not set" : "empty";
      report(`The environment variable ${quote(name)} is ${state}`, first.place, {
        secondary: others.map(({ place }) => ({ ...spanOf(place), label: "also named here" })),
        help:
          "serve does not start without it. Set it where the server runs; smtpd check --strict makes this an error.",
      });
    }
  },
};
