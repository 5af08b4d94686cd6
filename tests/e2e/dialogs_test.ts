/**
 * The dialogs against a whole server in a process of its own: configuration, listeners, bindings, spool and all. One server
 * has a listener for each set of options; dialogs that need a policy of their own, or limits that no configuration may have,
 * stay in tests/dialogs.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ServerSessionOptions } from "../../src/smtp/session.ts";
import { SocketConnection } from "../dialogs/connections.ts";
import { dialogFiles } from "../dialogs/corpus.ts";
import { DEFAULT_OPTIONS, type Dialog } from "../dialogs/dialog.ts";
import { playOver, suits } from "../dialogs/play_over.ts";
import { ServerProcess } from "../helpers/server_process.ts";

/** The least `max_message_size` that a configuration may have. */
const MIN_SIZE_BYTES = 1024;

function isPortable({ memoryOnly, options }: Dialog): boolean {
  if (options.tls === "impossible" || options.maxMessagesAt !== undefined) return false;
  return !memoryOnly && options.tls !== "active" && options.maxMessageSizeBytes >= MIN_SIZE_BYTES;
}

const TLS_MODES = {
  unavailable: "off",
  offered: "starttls",
  required: "required",
  active: "implicit",
  impossible: "required",
} as const;

function listenerText(name: string, options: ServerSessionOptions): string {
  const tls = options.tls === "unavailable" ? [] : ['certificate = "cert.pem"', 'private_key = "key.pem"'];
  return [
    "[[listener]]",
    `name = "${name}"`,
    `protocol = "${options.protocol}"`,
    'listen_ip = "127.0.0.1"',
    "port = 0",
    `max_message_size = ${options.maxMessageSizeBytes}`,
    `max_recipients = ${options.maxRecipients}`,
    `max_errors = ${options.maxErrors}`,
    `line_endings = "${options.lineEndings}"`,
    ...(options.maxMessages === undefined ? [] : [`session_max_messages = ${options.maxMessages}`]),
    "[listener.tls]",
    `mode = "${TLS_MODES[options.tls]}"`,
    ...tls,
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
const listeners = new Map<string, string>();
const texts: string[] = [];
for (const { options } of files.flatMap(({ dialogs }) => dialogs)) {
  const key = JSON.stringify(options);
  if (listeners.has(key)) continue;
  const name = `options-${listeners.size + 1}`;
  listeners.set(key, name);
  texts.push(listenerText(name, options));
}

let server: ServerProcess | undefined;
before(async () => {
  const spool = '[spool]\nurl = "sqlite:spool.db"\nmin_free_space = 0\n';
  const text = `host_name = "${DEFAULT_OPTIONS.hostName}"\n${spool}\n${texts.join("\n")}\n${BINDINGS}`;
  server = await ServerProcess.start(text);
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
});

for (const { name, dialogs } of files) {
  test(`dialogs against the server: ${name}`, { timeout: 120_000 }, async () => {
    assert.ok(dialogs.length > 0, "No dialog of this file can be played against a server");
    for (const dialog of dialogs) {
      const listener = listeners.get(JSON.stringify(dialog.options));
      for (const pace of ["lock-step", "one buffer", "byte by byte"] as const) {
        if (!suits(dialog, pace, { tls: true })) continue;
        await using connection = await SocketConnection.open(server?.port(listener) ?? 0);
        await playOver(dialog, connection, pace);
      }
    }
  });
}
