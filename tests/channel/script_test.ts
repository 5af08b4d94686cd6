/** Script channels: the interface of Email Workers, what is sent, and modules that change. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { contextOf, jobOf } from "./channel_world.ts";
import { channelContract } from "../contract/channel_contract.ts";
import { scriptChannel } from "../../src/channel/script.ts";
import { SpoolError } from "../../src/spool/spool.ts";
import { ALLOW_LIST, AUTO_REPLY, BLOCK_LIST, FORWARD, MIME, NOTIFY } from "./script_fixtures.ts";
import { ScriptWorld } from "./script_world.ts";

const LETTER = "Message-ID: <1@example.org>\r\nSubject: Printer\r\n  on fire\r\n\r\nHelp!\r\n";
const RELAY = { options: { forward_channel: "relay" } };

channelContract(
  "script",
  async () => {
    const world = await ScriptWorld.open(
      "export default { async email(message) { await new Response(message.raw).arrayBuffer(); } };",
    );
    return { channel: world.channel, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
  },
  { readsContent: true },
);

test("script: a forwarded message is stored for the channel to forward to, sender and content as they were", async () => {
  await using world = await ScriptWorld.open(FORWARD, RELAY);
  const { kind, detail } = await world.deliver(LETTER);
  assert.equal(kind, "delivered");
  const [sent] = world.sent;
  assert.equal(world.sent.length, 1);
  assert.deepEqual(
    [sent?.channel, sent?.recipient, sent?.envelope.reversePath, sent?.envelope.origin.session, sent?.binding],
    ["relay", "inbox@corp.example", "sender@example.org", "s1", "all"],
  );
  assert.match(sent?.text ?? "", /^Received: from mail\.example\.com\r\n\tby [^;]+; [^\r]+\r\n/);
  assert.ok(sent?.text.endsWith(`\r\n${LETTER}`));
  assert.equal(detail, `Handled by the script, sent to inbox@corp.example as ${sent?.id}`);
});

test("script: setReject fails the delivery with its reason, on one line", async () => {
  await using world = await ScriptWorld.open(BLOCK_LIST, RELAY);
  const blocked = jobOf(LETTER, 1, 1, { reversePath: "spam@example.net" });
  assert.deepEqual(await world.deliver("", blocked), {
    kind: "failed",
    detail: "Rejected by the script: Address is blocked",
    deliveryId: 1,
  });
  assert.deepEqual(world.sent, []);
  assert.equal((await world.deliver(LETTER)).kind, "delivered");
  assert.equal(world.sent.length, 1);
  await world.write("worker.ts", 'export default { email(m) { m.setReject("no\\r\\n250 yes\\x1b[1m"); } };');
  assert.equal((await world.deliver(LETTER)).detail, "Rejected by the script: no 250 yes [1m");
});

test("script: forward adds X- fields to that copy alone, and no other fields", async () => {
  await using world = await ScriptWorld.open(ALLOW_LIST, RELAY);
  assert.equal((await world.deliver(LETTER)).kind, "delivered");
  const [first, second] = world.sent;
  assert.match(first?.text ?? "", /\r\nx-allowed-by: list; Printer {2,3}on fire\r\nMessage-ID:/i);
  assert.doesNotMatch(second?.text ?? "", /x-allowed-by/i);
  assert.deepEqual(world.sent.map(({ recipient }) => recipient), ["inbox@corp.example", "archive@corp.example"]);
  await world.write("worker.ts", 'export default { email: (m) => m.forward("a@b.example", { Bcc: "x@y.example" }) };');
  const { kind, detail } = await world.deliver(LETTER);
  assert.equal(kind, "deferred");
  assert.match(detail, /header "bcc" cannot be added/);
  assert.equal(world.sent.length, 2);
});

test("script: a reply goes to the sender, with CRLF and Auto-Submitted; env has texts and secrets", async () => {
  await using world = await ScriptWorld.open(AUTO_REPLY, {
    options: { forward_channel: "relay", env: { PREFIX: "T" } },
    files: { "mime.ts": MIME },
  });
  assert.equal((await world.deliver(LETTER)).kind, "delivered");
  const [reply] = world.sent;
  assert.deepEqual([reply?.envelope.reversePath, reply?.recipient], ["r1@example.com", "sender@example.org"]);
  assert.equal(reply?.envelope.body, "7bit");
  assert.doesNotMatch(reply?.text ?? "\n", /[^\r]\n|\r[^\n]/);
  assert.match(
    reply?.text ?? "",
    /^Received: [^;]+; [^\r]+\r\nAuto-Submitted: auto-replied\r\nIn-Reply-To: <1@example.org>\r\n/,
  );
  assert.match(reply?.text ?? "", /\r\n\r\nWe got your message, your ticket number is T-7\r\n$/);
});

const REPLY_TO = (from: string, to: string) => `
import { EmailMessage } from "cloudflare:email";
export default { email: (m) => m.reply(new EmailMessage(${from}, ${to}, "Subject: x\\r\\n\\r\\ny")) };`;

for (
  const [what, module, letter, sender, why] of [
    ["to somebody else", REPLY_TO("m.to", '"x@y.example"'), LETTER, "sender@example.org", /must go to the sender/],
    ["from another domain", REPLY_TO('"x@y.example"', "m.from"), LETTER, "sender@example.org", /from the domain of/],
    ["to a bounce", REPLY_TO("m.to", '"x@y.example"'), LETTER, "", /without a sender/],
    [
      "to an automatic message (RFC 3834 §2)",
      REPLY_TO("m.to", "m.from"),
      `Auto-Submitted: auto-replied\r\n${LETTER}`,
      "sender@example.org",
      /sent by a program/,
    ],
    [
      "that is no EmailMessage",
      'export default { email: (m) => m.reply({ from: m.to, to: m.from, raw: "" }) };',
      LETTER,
      "sender@example.org",
      /must be an EmailMessage/,
    ],
    [
      "twice",
      REPLY_TO("m.to", "m.from").replace("(m) => m", "async (m) => { const e = EmailMessage; await m") // the first
        .replace(") };", "); await m.reply(new EmailMessage(m.to, m.from, 'y')); } };"),
      LETTER,
      "sender@example.org",
      /already replied/,
    ],
  ] as const
) {
  test(`script: a reply ${what} is refused, and nothing is sent`, async () => {
    await using world = await ScriptWorld.open(module, RELAY);
    const { kind, detail } = await world.deliver("", jobOf(letter, 1, 1, { reversePath: sender }));
    assert.equal(kind, "deferred");
    assert.match(detail, why);
    assert.deepEqual(world.sent, []);
  });
}

test("script: without forward_channel, canBeForwarded is false, and forward and reply say why", async () => {
  await using world = await ScriptWorld.open(`
    export default { async email(m) {
      console.log(m.canBeForwarded);
      await m.forward("a@b.example").catch((error) => console.log(error.message));
    } };`);
  assert.equal((await world.deliver(LETTER)).kind, "delivered");
  assert.equal(world.lines[0], "false");
  assert.match(String(world.lines[1]), /no "forward_channel"/);
});

test("script: a forward_channel that there is not keeps the channel from opening", async () => {
  const options = {
    module: "/nowhere.ts",
    env: {},
    forward_channel: "relai",
    when: "queued",
    time_limit: 1,
    memory_limit: 1,
  } as const;
  await assert.rejects(async () => await scriptChannel.open(options, contextOf()), /no channel "relai"/);
});

for (const address of ["nobody", "a@b@c", "", "a@b.example>\\r\\nRCPT TO:<x@y.example", "postmaster"]) {
  test(`script: forwarding to "${address}" is refused`, async () => {
    await using world = await ScriptWorld.open(`export default { email: (m) => m.forward("${address}") };`, RELAY);
    const { kind, detail } = await world.deliver(LETTER);
    assert.equal(kind, "deferred");
    assert.match(detail, /is not an address/);
    assert.deepEqual(world.sent, []);
  });
}

test("script: what a handler sent before it failed is not sent", async () => {
  await using world = await ScriptWorld.open(
    'export default { async email(m) { await m.forward("a@b.example"); throw new Error("Too late"); } };',
    RELAY,
  );
  const { kind, detail } = await world.deliver(LETTER);
  assert.equal(kind, "deferred");
  assert.match(detail, /^The script failed: Error: Too late \(.*worker\.ts:1:\d+\)$/);
  assert.deepEqual(world.sent, []);
});

test("script: when the spool cannot take what was sent, the delivery is tried again", async () => {
  await using world = await ScriptWorld.open(FORWARD, {
    ...RELAY,
    submit: () => Promise.reject(new SpoolError("The disk is full", "full")),
  });
  const { kind, detail } = await world.deliver(LETTER);
  assert.equal(kind, "deferred");
  assert.match(detail, /The disk is full/);
});

test("script: a message that was forwarded in a circle fails at last (RFC 5321 §6.3)", async () => {
  await using world = await ScriptWorld.open(FORWARD, RELAY);
  const { kind, detail } = await world.deliver(`${"Received: by a\r\n".repeat(101)}${LETTER}`);
  assert.deepEqual([kind, detail], ["failed", "5.4.6 Too many hops; the message is looping"]);
  assert.deepEqual(world.sent, []);
});

test("script: fetch and waitUntil: the delivery ends when the background work does", async () => {
  const bodies: unknown[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => body += chunk).on("end", () => {
      bodies.push(JSON.parse(body));
      response.writeHead(bodies.length === 1 ? 204 : 500).end();
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    await using world = await ScriptWorld.open(NOTIFY, { options: { env: { URL: url } } });
    assert.equal((await world.deliver(LETTER)).kind, "delivered");
    assert.deepEqual(bodies, [{
      from: "sender@example.org",
      to: "r1@example.com",
      subject: "Printer  on fire",
      size: LETTER.length,
      body: "Help!\r\n",
    }]);
    // As with Cloudflare, what fails in the background is told and changes nothing.
    assert.equal((await world.deliver(LETTER)).kind, "delivered");
    assert.match(String(world.lines[0]), /given to waitUntil failed: Error: The service answered 500/);
  } finally {
    await new Promise<void>((resolve) => void server.close(() => resolve()));
  }
});

test("script: raw is the whole message octet for octet, however large, and need not be read", async () => {
  const large = new Uint8Array(3 * 1024 * 1024 + 7).map((_, at) => at * 31 + (at >> 8));
  large.set(new TextEncoder().encode("Subject: Large\r\n\r\n"));
  await using world = await ScriptWorld.open(`
    export default { async email(m) {
      if (m.headers.get("subject") !== "Large") return;
      const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", await new Response(m.raw).arrayBuffer()))];
      console.log(m.rawSize, hash.map((byte) => byte.toString(16).padStart(2, "0")).join(""));
    } };`);
  assert.equal((await world.deliver(large)).kind, "delivered");
  const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", large))];
  assert.deepEqual(world.lines, [`${large.length} ${hash.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`]);
  large[9] = 0x6c;
  assert.equal((await world.deliver(large)).kind, "delivered");
  assert.equal((await world.deliver("")).kind, "delivered");
});

test("script: several recipients are separate calls, and one may fail alone", async () => {
  await using world = await ScriptWorld.open(
    'export default { email(m) { if (m.to.startsWith("r2@")) m.setReject("Not r2"); } };',
  );
  const kinds: string[] = [];
  for await (const { kind } of world.channel.deliver(jobOf(LETTER, 3), new AbortController().signal)) kinds.push(kind);
  assert.deepEqual(kinds, ["delivered", "failed", "delivered"]);
});

test("script: two messages at one time are handled at one time", async () => {
  // Each handler waits until the other has begun, so that one after the other would never end.
  let waiting: (() => void) | undefined;
  const server = createServer((_, response) => {
    if (waiting === undefined) return void (waiting = () => response.end("1"));
    waiting();
    response.end("2");
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    await using world = await ScriptWorld.open(
      "export default { async email(m, env) { await (await fetch(env.URL)).text(); } };",
      { options: { env: { URL: url } } },
    );
    const outcomes = await Promise.all([world.deliver(LETTER), world.deliver(LETTER)]);
    assert.deepEqual(outcomes.map(({ kind }) => kind), ["delivered", "delivered"]);
  } finally {
    server.closeAllConnections();
    await new Promise<void>((resolve) => void server.close(() => resolve()));
  }
});

test("script: a module that changed is loaded again, and so is what it imports", async () => {
  const module = 'import { word } from "./word.ts";\nexport default { email(m) { m.setReject("old " + word); } };';
  await using world = await ScriptWorld.open(module, { files: { "word.ts": 'export const word: string = "a";' } });
  const reason = async () => (await world.deliver(LETTER)).detail.replace("Rejected by the script: ", "");
  assert.equal(await reason(), "old a");
  await world.write("worker.ts", module.replace("old", "newer"));
  assert.equal(await reason(), "newer a");
  await world.write("word.ts", 'export const word: string = "changed";');
  assert.equal(await reason(), "newer changed");
});

test("script: a version that does not load is deferred with the reason, which is logged once; the next one works", async () => {
  await using world = await ScriptWorld.open("export default { email() {} };");
  assert.equal((await world.deliver(LETTER)).kind, "delivered");
  await world.write("worker.ts", 'throw new Error("Half a file");');
  const failures = await Promise.all([world.deliver(LETTER), world.deliver(LETTER), world.deliver(LETTER)]);
  for (const { kind, detail } of failures) {
    assert.equal(kind, "deferred");
    assert.match(detail, /cannot be loaded: Error: Half a file/);
  }
  assert.equal(world.events.filter(({ event }) => event === "script-not-loaded").length, 1);
  await world.write("worker.ts", "export default { email() { } };");
  assert.deepEqual((await world.deliver(LETTER)).detail, "Handled by the script");
});

for (
  const [what, module, why] of [
    ["has a syntax error", "export default { async email(m) {", /cannot be loaded: .*Error|Unexpected/],
    ["has no handler", "export default { fetch() {} };", /no email handler; write: export default/],
    ["exports nothing", "const x: number = 1;", /no email handler/],
    ["imports what is not there", 'import "./missing.ts";\nexport default { email() {} };', /missing\.ts/],
    ["throws at top level", 'throw new TypeError("Bad day");', /TypeError: Bad day/],
    ["throws nothing in particular", "throw null;", /Thrown: null/],
  ] as const
) {
  test(`script: a module that ${what} is deferred, and the reason says so`, async () => {
    await using world = await ScriptWorld.open(module);
    const { kind, detail } = await world.deliver(LETTER);
    assert.equal(kind, "deferred");
    assert.match(detail, why);
  });
}

test("script: a secret that cannot be read is deferred and names the place", async () => {
  await using world = await ScriptWorld.open("export default { email() {} };", {
    options: { env: { KEY: { file: "/nowhere/key" } } },
  });
  const { kind, detail } = await world.deliver(LETTER);
  assert.equal(kind, "deferred");
  assert.match(detail, /"\/nowhere\/key"/);
});

test("script: decides about a message before it is accepted only when it is asked to", async () => {
  await using queued = await ScriptWorld.open(BLOCK_LIST, RELAY);
  assert.equal(queued.channel.decide, undefined);
  await using world = await ScriptWorld.open(BLOCK_LIST, {
    ...RELAY,
    options: { ...RELAY.options, when: "rcpt-data" },
  });
  const { signal } = new AbortController();
  const accepted = await world.channel.decide?.(jobOf(LETTER), signal);
  assert.equal(accepted?.kind, "accept");
  assert.match(accepted.detail, /^Handled by the script, sent to /);
  assert.deepEqual(
    await world.channel.decide?.(jobOf(LETTER, 1, 1, { reversePath: "hates@example.org" }), signal),
    { kind: "reject", detail: "Rejected by the script: Address is blocked", reason: "Address is blocked" },
  );
  await world.write("worker.ts", 'export default { email() { throw new Error("Oh"); } };');
  assert.equal((await world.channel.decide?.(jobOf(LETTER), signal))?.kind, "defer");
});
