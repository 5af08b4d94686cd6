/**
 * The lint rules there are, in the order of their codes. It must not know what they look at.
 */
import type { LintRule } from "./rule.ts";
import { missingFile } from "./missing_file.ts";
import { unsetVariable } from "./unset_variable.ts";

export const lintRules: readonly LintRule[] = [missingFile, unsetVariable];
