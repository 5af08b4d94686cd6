/**
 * `smtpd explain`: the page of a code, or what becomes of an address. It must not know how findings are made.
 */
import { CODES, isCode } from "../config/codes.ts";
import type { HeaderTemplate } from "../config/config.ts";
import { pageOf } from "../config/pages/pages.ts";
import { pageText } from "../config/pages/text.ts";
import { nearestCode } from "../config/severity.ts";
import type { Mailbox } from "../smtp/address.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";

/** All but `json` are for addresses; what is absent is a stranger's. */
export interface ExplainOptions {
  readonly json?: boolean;
  readonly from?: { readonly mailbox: Mailbox | null };
  readonly ip?: string;
  /** Empty: all. */
  readonly listener: readonly string[];
  readonly helo?: string;
  readonly tls?: boolean;
  readonly user?: string;
  readonly size?: number;
  readonly header: readonly HeaderTemplate[];
  readonly time?: number;
  readonly config?: string;
}

/** Codes are written in capitals; people type them as they like. */
const CODE = /^smtpd\d+$/iu;

export async function explainCommand(runtime: Runtime, subject: string, options: ExplainOptions): Promise<number> {
  if (!CODE.test(subject)) {
    const { explainAddress } = await import("./explain_address.ts");
    return await explainAddress(runtime, subject, options);
  }
  const { json: _, ...others } = options;
  const given = Object.entries(others).find(([, value]) => !Array.isArray(value) || value.length > 0);
  if (given !== undefined) {
    throw new CommandError(`"--${given[0]}" is for addresses, and "${subject}" is a code`, exitCode.usage);
  }
  explainCode(runtime, subject.toUpperCase(), options);
  return exitCode.ok;
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
