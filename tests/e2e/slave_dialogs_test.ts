/**
 * The dialogs against `channel slave`: configuration, bindings and spool and all, over the pipes of a process for each. One
 * channel for each set of options; what needs a policy of its own, TLS, or limits that no configuration may have stays in
 * tests/dialogs.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import type { ServerSessionOptions } from "../../src/smtp/session.ts";
import { ProcessConnection } from "../dialogs/connections.ts";
import { dialogFiles } from "../dialogs/corpus.ts";
import { DEFAULT_OPTIONS, type Dialog } from "../dialogs/dialog.ts";
import { playOver, suits } from "../dialogs/play_over.ts";
import { SlaveWorld } from "../helpers/slave_process.ts";

/** The least `max_message_size` that a configuration may have. */
const MIN_SIZE_BYTES = 1024;
const AT_ONE_TIME = 4;

function isPortable({ memoryOnly, options, events }: Dialog): boolean {
  if (memoryOnly || options.maxMessageSizeBytes < MIN_SIZE_BYTES) return false;
  if (options.tls !== "unavailable" && options.tls !== "impossible") return false;
  return !events.some(({ kind }) => kind === "stop" || kind === "tls");
}

function channelText(name: string, options: ServerSessionOptions): string {
  return [
    "[[channel]]",
    `name = "${name}"`,
    'type = "stdio"',
    `line_endings = "${options.lineEndings === "strict" ? "crlf" : "crorlf"}"`,
    `options = { TRANSACTION_LIMIT_RCPT_TO = ${options.maxMessagesAt === "recipient" ? 1 : 0} }`,
    "[channel.slave]",
    `protocol = "${options.protocol}"`,
    `max_message_size = ${options.maxMessageSizeBytes}`,
    `max_recipients = ${options.maxRecipients}`,
    `max_errors = ${options.maxErrors}`,
    `tls = "${options.tls === "impossible" ? "required" : "off"}"`,
    ...(options.maxMessages === undefined ? [] : [`session_max_messages = ${options.maxMessages}`]),
    "",
  ].join("\n");
}

/** What policy.ts says, in the words of a configuration. */
const BINDINGS = `
[[binding]]
name = "rejected"
recipients = ["reject@example.com"]
reject = "550 5.1.1 No such user"

[[binding]]
name = "deferred"
recipients = ["defer@example.com"]
reject = "451 4.2.1 Try again later"

[[binding]]
name = "accepted"
recipients = ["*@example.com", "postmaster"]
deliver = ["nowhere"]

[[channel]]
name = "nowhere"
type = "discard"
`;

const files = dialogFiles().map(({ name, dialogs }) => ({ name, dialogs: dialogs.filter(isPortable) }));
const channels = new Map<string, string>();
const texts: string[] = [];
for (const { options } of files.flatMap(({ dialogs }) => dialogs)) {
  const key = JSON.stringify(options);
  if (channels.has(key)) continue;
  const name = `options-${channels.size + 1}`;
  channels.set(key, name);
  texts.push(channelText(name, options));
}

let world: SlaveWorld | undefined;
before(async () => {
  const spool = '[spool]\nurl = "sqlite:spool.db"\nmin_free_space = 0\n';
  world = await SlaveWorld.create(
    `host_name = "${DEFAULT_OPTIONS.hostName}"\n${spool}\n${texts.join("\n")}\n${BINDINGS}`,
  );
});
after(async () => {
  await world?.[Symbol.asyncDispose]();
});

async function play(dialog: Dialog): Promise<void> {
  assert.ok(world !== undefined);
  const channel = channels.get(JSON.stringify(dialog.options)) ?? "";
  const { command, args } = world.commandLine({
    command: ["channel", "slave", "--channel", channel],
    args: ["--log-level", "warn"],
  });
  const child = spawn(command, [...args], { cwd: world.directory });
  let report = "";
  child.stderr.on("data", (bytes: Uint8Array) => report += new TextDecoder().decode(bytes));
  const ended = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)));
  await using connection = new ProcessConnection(child);
  await playOver(dialog, connection, "one buffer");
  await connection.end();
  assert.equal(await ended, 0, `${dialog.place}: ${report}`);
  assert.equal(report, "", dialog.place);
}

for (const { name, dialogs } of files) {
  const waiting = dialogs.filter((dialog) => suits(dialog, "one buffer", { tls: false }));
  test(`dialogs against channel slave: ${name}`, { timeout: 180_000 }, async () => {
    assert.ok(waiting.length > 0, "No dialog of this file can be played so");
    const work = async () => {
      for (let dialog = waiting.pop(); dialog !== undefined; dialog = waiting.pop()) await play(dialog);
    };
    await Promise.all(Array.from({ length: AT_ONE_TIME }, work));
  });
}
