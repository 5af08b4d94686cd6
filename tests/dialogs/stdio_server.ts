/**
 * A program for tests: one session on its standard streams, with the options and the policy that its argument names as JSON.
 * At the end it writes what was stored to standard error, as JSON.
 */
import { currentRuntime } from "../../src/runtime/current.ts";
import { drive } from "../../src/server/drive.ts";
import { createServerSession } from "../../src/smtp/server.ts";
import type { Dialog } from "./dialog.ts";
import { latin1 } from "./play.ts";
import { Policy } from "./policy.ts";
import { PolicyHost } from "./policy_host.ts";

const { processes } = await currentRuntime();
const { options, rules } = JSON.parse(processes.args[0] ?? "") as Pick<Dialog, "options" | "rules">;
const host = new PolicyHost(new Policy(rules, options.protocol), undefined);
const watch = { within: () => {}, [Symbol.dispose]: () => {} };
await drive(createServerSession(options), processes.stdio.transport(), host, watch);
const stored = host.stored.map(({ envelope, body }) => [envelope, latin1(body)]);
processes.stdio.writeErr(JSON.stringify(stored));
processes.exit(0);
