/** Sends with Python's smtplib: the job goes to `smtplib_client.py` as JSON, and so does the answer come back. */
import assert from "node:assert/strict";
import { projectRoot, runCommand } from "../helpers/server_process.ts";
import { TEST_TIMEOUT_MS } from "./programs.ts";

export interface SmtplibJob {
  readonly protocol?: "smtp" | "lmtp";
  readonly mode: "plain" | "starttls" | "implicit";
  readonly port: number;
  /** PEM file that the server's certificate is checked against. */
  readonly certificate: string;
  readonly mails: readonly SmtplibMail[];
}

export interface SmtplibMail {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly file: string;
  readonly mail_options?: readonly string[];
  readonly rcpt_options?: readonly string[];
}

export interface SmtplibResult {
  /** Code and text of each recipient that was refused. */
  readonly refused: Readonly<Record<string, readonly [number, string]>>;
  /** The exception that refused the whole message. */
  readonly error: string | null;
  readonly reply?: readonly [number, string];
}

export async function sendWithSmtplib(job: SmtplibJob): Promise<readonly SmtplibResult[]> {
  const script = `${projectRoot}/tests/interop/smtplib_client.py`;
  const { code, out, err } = await runCommand("python3", [script], {
    input: JSON.stringify(job),
    timeoutMs: TEST_TIMEOUT_MS,
  });
  assert.equal(code, 0, err);
  return JSON.parse(out) as readonly SmtplibResult[];
}
