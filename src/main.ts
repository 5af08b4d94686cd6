/**
 * The entry point: chooses the runtime once, hands it to the command line, ends with its exit code. It must not know
 * anything else.
 */
import { run } from "./cli/cli.ts";
import { currentRuntime } from "./runtime/current.ts";

const runtime = await currentRuntime();
runtime.processes.exit(await run(runtime));
