/** What bindings make of whole sessions: a reply for each recipient, one at the end of data that is true for all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import type { BindingConfig } from "../../src/config/config.ts";
import { reply } from "../../src/smtp/reply.ts";
import { binding, goesOn, rejects } from "../binding/world.ts";
import { settled } from "../helpers/virtual_clock.ts";
import { type Client, type Kept, World } from "./listener_world.ts";

await loadRegexEngine();

const MESSAGE = ["Subject: Hello", "X-A: 1", "", "body"];

function to(channels: readonly string[], parts: Partial<BindingConfig>): BindingConfig {
  return binding(channels.join("-"), { ...parts, outcome: { kind: "deliver", channels } });
}

async function greeted(world: World, verb = "EHLO"): Promise<Client> {
  const client = world.connect();
  await client.say(`${verb} client.example`);
  return client;
}

/** The codes of the replies to MAIL, to each RCPT and to the end of data; without a recipient, there is no data. */
async function sent(
  client: Client,
  recipients: readonly string[],
  message: readonly string[] = MESSAGE,
  mail = "MAIL FROM:<me@example.org>",
): Promise<readonly string[]> {
  const answers = [await client.say(mail)];
  for (const recipient of recipients) answers.push(await client.say(`RCPT TO:<${recipient}>`));
  if (answers.some((answer, index) => index > 0 && answer.startsWith("250"))) {
    await client.say("DATA");
    answers.push(...(await client.say(...message, ".")).trim().split("\r\n"));
  } else await client.say("RSET");
  await settled(20);
  return answers.map((answer) => /^\d{3} \d\.\d\.\d/u.exec(answer)?.[0] ?? answer);
}

async function waiting(world: World): Promise<readonly string[]> {
  const entries = await world.spool.list({});
  return entries.map(({ delivery, state }) => `${delivery.recipient} ${delivery.channel} ${state}`);
}

function shown(kept: readonly Kept[]): readonly string[] {
  return kept.map(({ channel, sender, recipients }) => `${channel} <${sender}> ${recipients.join(" ")}`).sort();
}

test("one transaction rejects one recipient, delivers another to two places, holds a third, discards a fourth", async () => {
  await using world = await World.open({
    bindings: [
      rejects("no", { recipients: ["bad@x.example"] }),
      to(["one", "two"], { recipients: ["both@x.example"] }),
      to(["one"], { recipients: ["held@x.example"], hold: true }),
      binding("gone", { recipients: ["gone@x.example"], outcome: { kind: "discard" } }),
      binding("later", {
        recipients: ["later@x.example"],
        outcome: { kind: "reject", reply: reply(451, "4.7.1", "Later") },
      }),
    ],
  });
  const client = await greeted(world);
  const recipients = ["bad", "both", "held", "gone", "later"].map((name) => `${name}@x.example`);
  assert.deepEqual(await sent(client, recipients), [
    "250 2.1.0",
    "550 5.1.1",
    "250 2.1.5",
    "250 2.1.5",
    "250 2.1.5",
    "451 4.7.1",
    "250 2.0.0",
  ]);
  assert.deepEqual(shown(world.kept), ["one <me@example.org> both@x.example", "two <me@example.org> both@x.example"]);
  assert.deepEqual(await waiting(world), ["held@x.example one held"]);
});

test("a message that everybody discards is accepted and stored nowhere", async () => {
  await using world = await World.open({ bindings: [binding("gone", { outcome: { kind: "discard" } })] });
  assert.deepEqual(await sent(await greeted(world), ["a@x.example"]), ["250 2.1.0", "250 2.1.5", "250 2.0.0"]);
  assert.deepEqual(await waiting(world), []);
});

test("different recipients never see each other's changes; equal ones share a job, repetitions are one", async () => {
  await using world = await World.open({
    bindings: [
      goesOn("case", {
        recipients: ["/^case-(\\d+)@/"],
        changes: { subjectPrefix: "[$1]", addHeaders: [{ name: "X-Case", value: "$1" }], removeHeaders: ["X-A"] },
      }),
      goesOn("alias", { recipients: ["info@x.example"], changes: { rewriteRecipient: "plain@x.example" } }),
      goesOn("sender", { recipients: ["out@x.example"], changes: { rewriteSender: "bounces@x.example" } }),
      to(["one"], { recipients: ["*@x.example"] }),
    ],
  });
  const names = ["case-1", "plain", "case-2", "info", "other", "out", "plain"];
  const replies = await sent(await greeted(world), names.map((name) => `${name}@x.example`));
  assert.equal(replies.at(-1), "250 2.0.0");
  assert.deepEqual(shown(world.kept), [
    "one <bounces@x.example> out@x.example",
    "one <me@example.org> case-1@x.example",
    "one <me@example.org> case-2@x.example",
    "one <me@example.org> plain@x.example other@x.example",
  ]);
  for (const { recipients, content } of world.kept) {
    const id = /^case-(\d)/u.exec(recipients[0] ?? "")?.[1];
    assert.equal(/^X-Case: (.*)\r\nReceived: /u.exec(content)?.[1], id);
    assert.equal(/^Subject: (.*)\r$/mu.exec(content)?.[1], id === undefined ? "Hello" : `[${id}] Hello`);
    assert.equal(content.includes("X-A: 1"), id === undefined);
    assert.ok(content.endsWith("\r\n\r\nbody\r\n"));
  }
});

const SPAM = rejects("spam", {
  headers: { Subject: ["*spam*"] },
  outcome: { kind: "reject", reply: reply(550, "5.7.1", "No spam") },
});

test("rules on header fields answer at the end of data, and unknown recipients are still refused at RCPT", async () => {
  await using world = await World.open({ bindings: [SPAM, to(["one"], { recipients: ["*@x.example"] })] });
  const client = await greeted(world);
  const both = ["a@x.example", "b@x.example", "a@unknown.example"];
  const accepted = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "550 5.7.1"];
  assert.deepEqual(await sent(client, both, ["Subject: =?utf-8?q?Sp=61m?= here", "", "x"]), [...accepted, "550 5.7.1"]);
  assert.deepEqual(await sent(client, both, ["Subject: fine", "", "Subject: spam"]), [...accepted, "250 2.0.0"]);
  assert.deepEqual(shown(world.kept), ["one <me@example.org> a@x.example b@x.example"]);
  assert.deepEqual(await waiting(world), []);
  const large = [...new Array<string>(300).fill(`X-Pad: ${"x".repeat(990)}`), "Subject: spam", "", "x"];
  await using small = await World.open({
    maxMessageSizeBytes: 1_000_000,
    bindings: [SPAM, to(["one"], { recipients: ["*@x.example"] })],
  });
  assert.deepEqual((await sent(await greeted(small), ["a@x.example"], large)).at(-1), "250 2.0.0");
});

test("recipients under other rules are sent to another transaction, so that the one reply is true for all", async () => {
  const bindings = [
    { ...SPAM, recipients: ["*@strict.example"] },
    to(["one"], { recipients: ["*@strict.example", "*@x.example"] }),
  ];
  await using world = await World.open({ bindings });
  const client = await greeted(world);
  const spam = ["Subject: spam", "", "x"];
  assert.deepEqual(await sent(client, ["a@x.example", "b@strict.example", "c@x.example"], spam), [
    "250 2.1.0",
    "250 2.1.5",
    "452 4.5.3",
    "250 2.1.5",
    "250 2.0.0",
  ]);
  assert.deepEqual(await sent(client, ["b@strict.example", "a@x.example", "c@strict.example"], spam), [
    "250 2.1.0",
    "250 2.1.5",
    "452 4.5.3",
    "250 2.1.5",
    "550 5.7.1",
  ]);
  assert.deepEqual(shown(world.kept), ["one <me@example.org> a@x.example c@x.example"]);
});

test("LMTP answers for each recipient and takes those under different rules together", async () => {
  const bindings = [
    { ...SPAM, recipients: ["*@strict.example"] },
    binding("gone", { recipients: ["gone@x.example"], outcome: { kind: "discard" } }),
    to(["one"], { recipients: ["*@strict.example", "*@x.example"] }),
  ];
  await using world = await World.open({ protocol: "lmtp", bindings });
  const client = await greeted(world, "LHLO");
  const recipients = ["a@x.example", "b@strict.example", "gone@x.example"];
  const all = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5"];
  assert.deepEqual(await sent(client, recipients, ["Subject: spam", "", "x"]), [
    ...all,
    "250 2.0.0",
    "550 5.7.1",
    "250 2.0.0",
  ]);
  assert.deepEqual(shown(world.kept), ["one <me@example.org> a@x.example"]);
  assert.deepEqual(await sent(client, ["b@strict.example"], ["Subject: spam", "", "x"]), [
    "250 2.1.0",
    "250 2.1.5",
    "550 5.7.1",
  ]);
  assert.deepEqual(await sent(client, recipients), [...all, "250 2.0.0", "250 2.0.0", "250 2.0.0"]);
});

test("size: the announced one decides at RCPT, and a wrong one decides nothing", async () => {
  const bindings = [
    rejects("big", { size: { min: 1000 }, outcome: { kind: "reject", reply: reply(552, "5.3.4", "Too big") } }),
    to(["one"], { recipients: ["*@x.example"] }),
  ];
  await using world = await World.open({ bindings });
  const client = await greeted(world);
  const big = ["Subject: x", "", ..."0123456789".repeat(10).split("").map((digit) => digit.repeat(50))];
  const mail = (size: number) => `MAIL FROM:<me@example.org> SIZE=${size}`;
  assert.deepEqual(await sent(client, ["a@x.example"], MESSAGE, mail(2000)), ["250 2.1.0", "552 5.3.4"]);
  assert.deepEqual(await sent(client, ["a@x.example"], MESSAGE, mail(50)), ["250 2.1.0", "250 2.1.5", "250 2.0.0"]);
  assert.deepEqual(await sent(client, ["a@x.example"], big, mail(50)), ["250 2.1.0", "250 2.1.5", "552 5.3.4"]);
  assert.deepEqual(await sent(client, ["a@x.example"], big), ["250 2.1.0", "250 2.1.5", "552 5.3.4"]);
  assert.deepEqual(await sent(client, ["a@x.example"], MESSAGE), ["250 2.1.0", "250 2.1.5", "250 2.0.0"]);
  assert.equal(world.kept.length, 2);
});

test("senders, clients, HELO, listeners and time are those of the session", async () => {
  const noon = { from: "00:00", to: "24:00", zone: "UTC", days: ["mon-sun"] };
  await using world = await World.open({
    tags: ["public"],
    bindings: [
      rejects("null", { senders: ["<>"] }),
      rejects("evil", { helo: ["evil*"] }),
      rejects("elsewhere", { not: { clients: ["192.0.2.7"] } }),
      rejects("plain", { not: { listeners: ["public"] } }),
      rejects("login", { authenticated: true }),
      rejects("encrypted", { tls: true }),
      rejects("dsn", { dsn: ["success"] }),
      to(["one"], { time: [noon], listeners: ["in"] }),
    ],
  });
  const client = await greeted(world);
  const at = async (mail: string, to: string) => {
    await client.say(`MAIL FROM:${mail}`);
    const answer = await client.say(`RCPT TO:${to}`);
    await client.say("RSET");
    return /\d\.\d\.\d [a-zR]+/u.exec(answer)?.[0];
  };
  assert.equal(await at("<>", "<a@x.example>"), "5.1.1 null");
  assert.equal(await at("<me@example.org>", "<a@x.example> NOTIFY=SUCCESS"), "5.1.1 dsn");
  assert.equal(await at("<me@example.org>", "<a@x.example>"), "2.1.5 Recipient");
  await client.say("EHLO evil.example");
  assert.equal(await at("<me@example.org>", "<a@x.example>"), "5.1.1 evil");
});
