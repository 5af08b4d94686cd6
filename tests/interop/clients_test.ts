/** Other people's clients send every message of the corpus in every way to use TLS, and what is stored is what was sent. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { createTransport } from "nodemailer";
import { runCommand, testKeyPair } from "../helpers/server_process.ts";
import { asData, letter, letters, onTheWire } from "./letters.ts";
import { type Mail, MailServer, type Mode, modes, sender, Shared } from "./mail_server.ts";
import { inParallel, needs, TEST_TIMEOUT_MS } from "./programs.ts";
import { sendWithSmtplib } from "./smtplib.ts";

const shared = new Shared(() => MailServer.start());

/** Runs a client that has to be content. */
async function run(command: string, args: readonly string[], input: string | Uint8Array = ""): Promise<void> {
  const { code, out, err } = await runCommand(command, args, { input, timeoutMs: TEST_TIMEOUT_MS });
  assert.equal(code, 0, `${command} ${args.join(" ")}\n${out}${err}`);
}

/** One process, one connection for all: curl keeps it from one transfer to the next. */
async function sendWithCurl({ server, port, certificateFile }: Target, mails: readonly Mail[], mode: Mode) {
  const url = `${mode === "implicit" ? "smtps" : "smtp"}://127.0.0.1:${port}`;
  const transfers = mails.map(({ recipient, file }) =>
    [
      `url = "${url}"`,
      `mail-from = "${sender}"`,
      `mail-rcpt = "${recipient}"`,
      `upload-file = "${file}"`,
      `cacert = "${certificateFile}"`,
      ...(mode === "starttls" ? ["ssl-reqd"] : []),
      "silent",
      "show-error",
      "fail-early",
    ].join("\n")
  );
  const config = join(server.server.directory, `curl-${mode}`);
  await writeFile(config, transfers.join("\nnext\n"));
  await run("curl", ["--disable", "--config", config]);
}

/** One process for each message. The options keep it from adding and removing header fields. */
async function sendWithMsmtp({ port, certificateFile }: Target, mails: readonly Mail[], mode: Mode) {
  const options = [
    "--file=/dev/null",
    "--host=127.0.0.1",
    `--port=${port}`,
    "--auth=off",
    `--tls=${mode === "plain" ? "off" : "on"}`,
    ...(mode === "plain" ? [] : [
      `--tls-starttls=${mode === "starttls" ? "on" : "off"}`,
      `--tls-trust-file=${certificateFile}`,
    ]),
    "--set-from-header=off",
    "--set-date-header=off",
    "--set-msgid-header=off",
    "--remove-bcc-headers=off",
    `--from=${sender}`,
  ];
  await inParallel(mails, 4, async ({ recipient, letter }) => {
    await run("msmtp", [...options, "--", recipient], letter.bytes);
  });
}

/** Perl takes its time to start, so swaks sends a handful. Told not to touch the data, it wants them as on the wire. */
async function sendWithSwaks({ port, certificateFile }: Target, mails: readonly Mail[], mode: Mode) {
  const options = ["--server", "127.0.0.1", "--port", String(port), "--from", sender, "--helo", "swaks.example.net"];
  const security = { plain: [], starttls: ["--tls"], implicit: ["--tls-on-connect"] }[mode];
  const verify = mode === "plain" ? [] : ["--tls-ca-path", certificateFile, "--tls-verify"];
  await inParallel(mails, 2, async ({ recipient, letter }) => {
    const args = [...options, ...security, ...verify, "--to", recipient, "--no-data-fixup", "--data", "-"];
    await run("swaks", args, onTheWire(letter.bytes));
  });
}

/** In this process, over two connections that are kept. */
async function sendWithNodemailer({ port }: Target, mails: readonly Mail[], mode: Mode) {
  const { certificate } = await testKeyPair();
  const transport = createTransport({
    host: "127.0.0.1",
    port,
    name: "nodemailer.example.net",
    pool: true,
    maxConnections: 2,
    maxMessages: Infinity,
    secure: mode === "implicit",
    requireTLS: mode === "starttls",
    ignoreTLS: mode === "plain",
    tls: { ca: certificate },
  });
  try {
    await Promise.all(mails.map(async ({ recipient, letter }) => {
      const sent = await transport.sendMail({ envelope: { from: sender, to: recipient }, raw: letter.bytes });
      assert.match(sent.response, /^250 2\.0\.0 Queued as /);
    }));
  } finally {
    transport.close();
  }
}

async function sendWithPython({ port, certificateFile }: Target, mails: readonly Mail[], mode: Mode) {
  const results = await sendWithSmtplib({
    mode,
    port,
    certificate: certificateFile,
    mails: mails.map(({ recipient, file }) => ({
      sender,
      recipients: [recipient],
      file,
      mail_options: ["BODY=8BITMIME"],
    })),
  });
  for (const result of results) assert.deepEqual(result, { refused: {}, error: null });
}

interface Target {
  readonly server: MailServer;
  readonly port: number;
  readonly certificateFile: string;
}

interface Client {
  readonly name: string;
  readonly programs: readonly string[];
  /** What it needs besides for TLS. */
  readonly forTls?: readonly string[];
  readonly letters: () => Promise<Parameters<MailServer["mails"]>[1]>;
  readonly send: (target: Target, mails: readonly Mail[], mode: Mode) => Promise<void>;
  /** What it makes of a message on the wire; absent: only the missing end of the last line is added. */
  readonly changes?: (bytes: Buffer) => Buffer;
}

/** Some end the last line even where there is none. */
function lastLineEnded(bytes: Buffer): Buffer {
  return bytes.length === 0 ? Buffer.from("\r\n") : asData(bytes);
}

const hardest = ["plain", "only_dots", "dots", "long_lines", "eight_bit", "no_final_newline", "empty"];

const clients: readonly Client[] = [
  { name: "curl", programs: ["curl"], letters, send: sendWithCurl },
  { name: "msmtp", programs: ["msmtp"], letters, send: sendWithMsmtp },
  {
    name: "swaks",
    programs: ["swaks"],
    forTls: ["Net::SSLeay"],
    letters: () => Promise.all(hardest.map((name) => letter(name))),
    send: sendWithSwaks,
  },
  { name: "nodemailer", programs: [], letters, send: sendWithNodemailer, changes: lastLineEnded },
  {
    name: "smtplib",
    programs: ["python3"],
    letters,
    send: sendWithPython,
    changes: lastLineEnded,
  },
];

describe("Messages sent by other people's clients are stored unchanged", () => {
  after(() => shared.end());

  for (const client of clients) {
    for (const mode of modes) {
      const programs = [...client.programs, ...(mode === "plain" ? [] : client.forTls ?? [])];
      it(`${client.name}, ${mode}`, needs(...programs), async () => {
        const server = await shared.get();
        const mails = server.mails(`${client.name}-${mode}`, await client.letters());
        await client.send({ server, port: server.port(mode), certificateFile: server.certificateFile }, mails, mode);
        await server.assertStored(mails, mode, client.changes);
      });
    }
  }
});
