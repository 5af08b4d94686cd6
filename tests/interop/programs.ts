/** Which programs of other people are on this machine. A test that needs one that is missing is skipped, and says so. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Sending a whole corpus takes seconds; the bound is for a hang. */
export const TEST_TIMEOUT_MS = 110_000;

const told = new Set<string>();

/**
 * Options of a test that runs the programs: skipped, with the reason, when one is not installed. A name with "::" is that
 * of a Perl module.
 */
export function needs(...programs: readonly string[]): { readonly timeout: number; readonly skip?: string } {
  const missing = programs.filter((program) => !isInstalled(program));
  if (missing.length === 0) return { timeout: TEST_TIMEOUT_MS };
  const reason = missing.map((program) => `${program} is not installed`).join(", ");
  // Runners count what was skipped, and not all of them print the reason.
  if (!told.has(reason)) console.log(`skipped: ${reason}`);
  told.add(reason);
  return { timeout: TEST_TIMEOUT_MS, skip: reason };
}

function isInstalled(program: string): boolean {
  if (program.includes("::")) return spawnSync("perl", [`-M${program}`, "-e", "1"]).status === 0;
  return (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs the jobs, so many at one time. */
export async function inParallel<Job>(
  jobs: readonly Job[],
  atOneTime: number,
  run: (job: Job) => Promise<void>,
): Promise<void> {
  const left = jobs.values();
  await Promise.all(Array.from({ length: atOneTime }, async () => {
    for (const job of left) await run(job);
  }));
}
