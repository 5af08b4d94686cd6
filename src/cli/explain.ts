/**
 * `smtpd explain CODE`: the page of a code. It must not know how findings are made.
 */
import { CODES, isCode } from "../config/codes.ts";
import { pageOf } from "../config/pages/pages.ts";
import { pageText } from "../config/pages/text.ts";
import { nearestCode } from "../config/severity.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";

export interface ExplainOptions {
  readonly json?: boolean;
}

/** Codes are written in capitals; people type them as they like. */
const CODE = /^smtpd\d+$/iu;

export function explainCommand(runtime: Runtime, subject: string, options: ExplainOptions): Promise<number> {
  if (!CODE.test(subject)) {
    throw new CommandError(
      `Cannot explain "${subject}": it is no code. Codes look like SMTPD101; "smtpd check" shows them`,
      exitCode.usage,
    );
  }
  explainCode(runtime, subject.toUpperCase(), options);
  return Promise.resolve(exitCode.ok);
}

function explainCode(runtime: Runtime, code: string, { json }: ExplainOptions): void {
  if (!isCode(code)) {
    const meant = nearestCode(code);
    const hint = meant === undefined ? '"smtpd check" shows the codes of what it finds' : `Did you mean "${meant}"?`;
    throw new CommandError(`There is no code "${code}". ${hint}`, exitCode.usage);
  }
  const page = pageOf(code);
  const { stdio } = runtime.processes;
  if (json === true) {
    const { what, why, bad, good } = page;
    const value = { code, title: CODES[code].title, severity: CODES[code].severity, what, why, bad, good };
    stdio.writeOut(`${JSON.stringify(value, undefined, 2)}\n`);
  } else stdio.writeOut(`${pageText(page, Math.min(Math.max(stdio.columns() ?? 80, 40), 100))}\n`);
}
