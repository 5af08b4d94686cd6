/**
 * The queue from outside, beside a running server: deliveries that cannot be made are held, released, tried again, read,
 * counted and removed, and in the end every message is where the commands say.
 */
import assert from "node:assert/strict";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ServerProcess } from "../helpers/server_process.ts";
import { RawClient } from "./raw_client.ts";
import { maildirConfig, maildirOf, until } from "./setup.ts";

const config = maildirConfig({ head: 'shutdown_grace = "1s"' }) + '\n[channel.retry]\nfirst_delay = "1h"\n';
const content = "Subject: =?utf-8?q?L=C3=A4rm?=\r\n\r\n\x1b]0;title\x07 text\r\n";

async function queue(server: ServerProcess, args: readonly string[], code = 0): Promise<string> {
  const result = await server.command("queue", ...args);
  assert.equal(result.code, code, `queue ${args.join(" ")}: ${result.err}`);
  return result.out;
}

async function entries(server: ServerProcess, ...args: readonly string[]) {
  return JSON.parse(await queue(server, ["list", "--json", ...args])) as readonly {
    readonly message: string;
    readonly state: string;
    readonly recipient: string;
    readonly attempts: number;
  }[];
}

/** The recipients whose mail has arrived. */
async function arrived(server: ServerProcess): Promise<number> {
  return (await readdir(join(maildirOf(server), "new"))).length;
}

test(
  "queue: held, released, retried, read, counted and removed beside a running server",
  { timeout: 120_000 },
  async () => {
    await using server = await ServerProcess.start(config);
    const maildir = maildirOf(server);
    await rm(maildir, { recursive: true });
    await writeFile(maildir, "A file where the maildir was.");
    const client = await RawClient.greet(server.port());
    for (const recipients of [["one@example.com"], ["two@example.com", "three@Example.org"], ["four@example.org"]]) {
      await client.command("MAIL FROM:<sender@example.net>", 250);
      for (const recipient of recipients) await client.command(`RCPT TO:<${recipient}>`, 250);
      await client.command("DATA", 354);
      await client.command(`${content}.`, 250);
    }
    await client.quit();
    await until("four deliveries were put off", async () => {
      const all = await entries(server, "--state", "queued");
      return all.length === 4 && all.every((entry) => entry.attempts === 1);
    });

    const { total, groups } = JSON.parse(await queue(server, ["summary", "--json"]));
    assert.deepEqual(total, { queued: 4, leased: 0, held: 0, failed: 0 });
    assert.deepEqual(
      groups.map((group: Record<string, unknown>) => [group["channel"], group["domain"], group["queued"]]),
      [["box", "example.com", 2], ["box", "example.org", 2]],
    );

    const [first] = await entries(server, "--recipient", "one@example.com");
    assert.ok(first !== undefined);
    const stored = await queue(server, ["cat", first.message]);
    assert.ok(stored.endsWith(content), JSON.stringify(stored));
    const history = JSON.parse(await queue(server, ["history", first.message, "--json"]));
    assert.equal(history.length, 1);
    assert.equal(history[0].kind, "retry");

    // Held deliveries stay where they are when the others are tried again.
    assert.match(await queue(server, ["hold", "--recipient", "*@example.org"]), /^Held 2 deliveries of 2 messages\.$/m);
    await rm(maildir);
    assert.match(await queue(server, ["retry", "--subject", "lärm"]), /^Made due 2 deliveries of 2 messages\./);
    await until("what was retried arrived", async () => (await entries(server)).length === 2);
    assert.equal(await arrived(server), 2);
    assert.deepEqual((await entries(server)).map(({ state }) => state), ["held", "held"]);

    const [three, four] = await entries(server);
    assert.ok(three !== undefined && four !== undefined);
    await queue(server, ["release", three.message]);
    await until("what was released arrived", async () => (await entries(server)).length === 1);
    assert.equal(await arrived(server), 3);

    // Given up and told of, kept, and tried again on demand.
    await queue(server, ["bounce", four.message, "--reason", "Trying"]);
    await until("the notification arrived", async () => await arrived(server) === 4);
    assert.deepEqual((await entries(server)).map(({ state }) => state), ["failed"]);
    await queue(server, ["hold", four.message], 1);
    await queue(server, ["retry", four.message]);
    await until("what had failed arrived", async () => (await entries(server)).length === 0);
    assert.equal(await arrived(server), 5);
    await queue(server, ["retry", four.message], 1);
  },
);

test("queue: a whole queue is removed with --yes only, with no server running", { timeout: 120_000 }, async () => {
  await using server = await ServerProcess.start(config);
  await rm(maildirOf(server), { recursive: true });
  await writeFile(maildirOf(server), "A file where the maildir was.");
  const client = await RawClient.greet(server.port());
  await client.command("MAIL FROM:<sender@example.net>", 250);
  await client.command("RCPT TO:<one@example.com>", 250);
  await client.command("DATA", 354);
  await client.command(`${content}.`, 250);
  await client.quit();
  assert.equal(await server.stop(), 0);
  await queue(server, ["remove", "--all"], 64);
  await queue(server, ["remove", "--all", "--dry-run"]);
  assert.equal((await entries(server)).length, 1);
  assert.match(await queue(server, ["remove", "--all", "--yes"]), /^Removed 1 delivery of 1 message\.$/m);
  assert.deepEqual(await entries(server), []);
  await queue(server, ["remove", "--all", "--yes"], 1);
});
