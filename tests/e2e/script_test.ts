/**
 * Script channels of the running server: a module beside the configuration, and what it may do to the server that runs it.
 * With the executable this shows that a thread inside of it loads modules from outside.
 */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ServerProcess } from "../helpers/server_process.ts";
import { ConnectionLost, RawClient, sendMail } from "./raw_client.ts";
import { queueEmpty, queueLength, TemporaryDirectory, until } from "./setup.ts";

const timeout = 120_000;

const MODULE = `
import { EmailMessage } from "cloudflare:email";
import { answer } from "./answer.ts";

interface Env { readonly NAME: string; readonly SECRET: string }

export default {
  async email(message: any, env: Env, ctx: any): Promise<void> {
    const subject: string | null = message.headers.get("subject");
    console.log("got", subject, env.SECRET.length);
    process.stdout.write("loose text\\n");
    switch (subject) {
      case "forward": return await message.forward("copy@corp.example", new Headers({ "X-By": env.NAME }));
      case "reply": return await message.reply(new EmailMessage(message.to, message.from, answer(message.from)));
      case "reject": return message.setReject("Not wanted here");
      case "loop": for (;;);
      case "exit": process.exit(0);
      case "memory": { const all = []; for (;;) all.push(new Array(1e5).fill(Math.random())); }
      case "late":
        setTimeout(() => { throw new Error("Late throw"); }, 1);
        Promise.reject(new Error("Late rejection"));
    }
  },
};
`;

const ANSWER = 'export const answer = (to: string): string => "To: <" + to + ">\\nSubject: Re\\n\\nThank you\\n";';

const CONFIG = `host_name = "mx.example.com"
[spool]
url = "sqlite:spool/smtpd.db"
[[listener]]
name = "inbound"
listen_ip = "127.0.0.1"
port = 0
[[binding]]
name = "everything"
recipients = ["*"]
deliver = ["worker"]
[[channel]]
name = "worker"
type = "script"
module = "worker.ts"
env = { NAME = "smtpd", SECRET = { env = "SCRIPT_SECRET" } }
forward_channel = "out"
time_limit = "2s"
memory_limit = "64MiB"
[[channel]]
name = "out"
type = "maildir"
path = "mail"
`;

async function startServer(directory: string, config = CONFIG): Promise<ServerProcess> {
  await writeFile(join(directory, "worker.ts"), MODULE);
  await writeFile(join(directory, "answer.ts"), ANSWER);
  return await ServerProcess.start(config, { directory, environment: { SCRIPT_SECRET: "12345" } });
}

async function send(server: ServerProcess, ...subjects: readonly string[]): Promise<void> {
  const client = await RawClient.greet(server.port());
  for (const subject of subjects) {
    const content = new TextEncoder().encode(`Subject: ${subject}\r\nMessage-ID: <1@example.org>\r\n\r\nText\r\n`);
    await sendMail(client, { from: "sender@example.org", to: ["desk@example.com"], content });
  }
  await client.quit();
}

/** Sends a message to which the server may say anything, and gives what it says. */
async function answered(client: RawClient, subject: string): Promise<string> {
  await client.command("MAIL FROM:<sender@example.org>", 250);
  await client.command("RCPT TO:<desk@example.com>", 250);
  await client.command("DATA", 354);
  return (await client.command(`Subject: ${subject}\r\n\r\nText\r\n.`)).lines.join(" | ");
}

async function stored(directory: string): Promise<readonly string[]> {
  const folder = join(directory, "mail/new");
  const names = await readdir(folder).catch(() => []);
  return await Promise.all(names.map((name) => readFile(join(folder, name), "latin1")));
}

test("Script: forwards, replies and rejects; its output is in the log and nowhere else", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await using server = await startServer(directory.path);
  await send(server, "forward", "reply", "reject");
  await until("both copies are stored", async () => (await stored(directory.path)).length === 2);
  const [forwarded, reply] = (await stored(directory.path)).toSorted((one) => one.includes("x-by: smtpd") ? -1 : 1);
  assert.match(
    forwarded ?? "",
    /^Return-Path: <sender@example\.org>\r\nDelivered-To: copy@corp\.example\r\nReceived: /,
  );
  assert.match(reply ?? "", /^Return-Path: <desk@example\.com>\r\nDelivered-To: sender@example\.org\r\nReceived: /);
  assert.match(reply ?? "", /\r\nSubject: Re\r\n\r\nThank you\r\n$/);
  const failed = await server.logged(({ event }) => event === "failed");
  assert.equal(failed["detail"], "Rejected by the script: Not wanted here");
  const line = await server.logged(({ event, text }) => event === "script" && text === "got forward 5");
  assert.equal(line["channel"], "worker");
  assert.equal(server.stderr, "");
  assert.equal(await server.stop(), 0);
});

const DECIDING = `${CONFIG}
[[channel]]
name = "judge"
type = "script"
module = "judge.ts"
when = "rcpt-data"
time_limit = "2s"
[[channel]]
name = "box"
type = "maildir"
path = "mail"
`.replace('deliver = ["worker"]', 'deliver = ["judge", "box"]');

const JUDGE = `
export default {
  async email(message: any): Promise<void> {
    const subject: string = message.headers.get("subject");
    if (subject === "hang") for (;;);
    if (subject === "slow") await new Promise((resolve) => setTimeout(resolve, 60_000));
    if (subject === "throw") throw new Error("Broken");
    if (subject.startsWith("no ")) message.setReject("Größe: " + subject.slice(3) + "\\r\\n250 Fine");
  },
};
`;

test(
  "Script: with when = rcpt-data its verdict is the reply, and what it refuses is nowhere",
  { timeout },
  async () => {
    await using directory = await TemporaryDirectory.create();
    await writeFile(join(directory.path, "judge.ts"), JUDGE);
    await using server = await startServer(directory.path, DECIDING);
    const client = await RawClient.greet(server.port());
    const answers: string[] = [];
    for (const subject of ["no size", "yes", "throw", "hang", "no ads", "yes"]) {
      answers.push(await answered(client, subject));
    }
    await client.quit();
    assert.deepEqual(answers.map((answer) => answer.replace(/Queued as .*$/, "Queued")), [
      "550 5.7.1 Gr??e: size 250 Fine",
      "250 2.0.0 Queued",
      "451 4.3.0 Cannot decide about the message now; try again later",
      "451 4.3.0 Cannot decide about the message now; try again later",
      "550 5.7.1 Gr??e: ads 250 Fine",
      "250 2.0.0 Queued",
    ]);
    await queueEmpty(server);
    assert.equal((await stored(directory.path)).length, 2);
    assert.equal(await server.stop(), 0);
  },
);

test(
  "Script: a crash while it decides loses nothing, and nobody was told that it was accepted",
  { timeout },
  async () => {
    await using directory = await TemporaryDirectory.create();
    await writeFile(join(directory.path, "judge.ts"), JUDGE);
    const slow = DECIDING.replace('time_limit = "2s"\n[[channel]]\nname = "box"', '[[channel]]\nname = "box"');
    await using first = await startServer(directory.path, slow);
    const client = await RawClient.greet(first.port());
    // Not a loop: where scripts are processes, one that loops would outlive the server that is killed here.
    const answer = answered(client, "slow").catch((error: unknown) => error);
    await until("the message is in the spool", async () => await queueLength(first) === 2);
    assert.deepEqual(await stored(directory.path), []);
    await first.kill9();
    assert.ok(await answer instanceof ConnectionLost);
    await writeFile(join(directory.path, "judge.ts"), JUDGE.replace('"slow"', '"other"'));
    await using second = await startServer(directory.path, slow);
    await queueEmpty(second);
    assert.equal((await stored(directory.path)).length, 1);
    assert.equal(await second.stop(), 0);
  },
);

test(
  "Script: what ends its thread or fails late is tried again or logged, and the server goes on",
  { timeout },
  async () => {
    await using directory = await TemporaryDirectory.create();
    await using server = await startServer(directory.path);
    const reasons = {
      loop: /took longer than 2 s/,
      exit: /ended its (?:thread|process) with code 0/,
      memory: /more memory than the 64 MiB/,
    };
    // One by one: of two threads that cannot be asked, both may be taken for the one that eats memory.
    for (const [subject, why] of Object.entries(reasons)) {
      await send(server, subject);
      await server.logged(({ event, detail }) => event === "deferred" && why.test(String(detail)));
    }
    await send(server, "late");
    for (const late of ["Late throw", "Late rejection"]) {
      await server.logged(({ event, text }) => event === "script" && String(text).includes(late));
    }
    await send(server, "forward");
    await until("the copy is stored", async () => (await stored(directory.path)).length === 1);
    assert.equal(await queueLength(server), 3);
    assert.equal(server.running, true);
    assert.equal(server.stderr, "");
    assert.equal(await server.stop(), 0);
  },
);

test("Script: a module that is replaced while the server runs is used for what comes then", { timeout }, async () => {
  await using directory = await TemporaryDirectory.create();
  await using server = await startServer(directory.path);
  await send(server, "nothing");
  await queueEmpty(server);
  await writeFile(
    join(directory.path, "worker.ts"),
    "export default { email: (m) => m.forward('new@corp.example') };\n",
  );
  await until("the new module is in use", async () => {
    await send(server, "nothing");
    return (await stored(directory.path)).some((text) => text.includes("Delivered-To: new@corp.example"));
  });
  assert.equal(await server.stop(), 0);
});
