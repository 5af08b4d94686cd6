/** Channels that decide before a message is acknowledged: the reply is theirs, and what is refused is nowhere afterwards. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Decision } from "../../src/channel/channel.ts";
import type { BindingConfig, ListenerConfig } from "../../src/config/config.ts";
import { type Spool, SpoolError } from "../../src/spool/spool.ts";
import { binding, goesOn } from "../binding/world.ts";
import { settled } from "../helpers/virtual_clock.ts";
import { type Client, type Decide, World } from "./listener_world.ts";

const ACCEPTED: Decision = { kind: "accept", detail: "Fine" };
const REJECTED: Decision = { kind: "reject", detail: "Rejected by the script: No", reason: "Not for us" };
const DEFERRED: Decision = { kind: "defer", detail: "The script failed: secret things" };

function to(channels: readonly string[], parts: Partial<BindingConfig>): BindingConfig {
  return binding(channels.join("-"), { ...parts, outcome: { kind: "deliver", channels } });
}

/** ask*@ is decided about, both@ too and kept as well, plain@ only kept, held@ waits for somebody. */
const BINDINGS = [
  to(["asked"], { recipients: ["ask+*@x.example", "ask@x.example"] }),
  to(["one", "asked"], { recipients: ["both@x.example", "both+*@x.example"] }),
  to(["asked", "other"], { recipients: ["twice@x.example"] }),
  to(["one"], { recipients: ["held@x.example"], hold: true }),
  to(["one"], { recipients: ["plain@x.example"] }),
  goesOn("copy", { recipients: ["copied@x.example"], hold: true, outcome: { kind: "deliver", channels: ["two"] } }),
  to(["asked"], { recipients: ["copied@x.example"] }),
];

interface Given {
  readonly decide: Decide;
  readonly other?: Decide;
  readonly listener?: Partial<ListenerConfig>;
  readonly wrapSpool?: (spool: Spool) => Spool;
}

async function open({ decide, other, listener, wrapSpool }: Given): Promise<World> {
  const deciders = { asked: decide, other: other ?? (() => Promise.resolve(ACCEPTED)) };
  return await World.open({ bindings: BINDINGS, ...listener }, wrapSpool ?? ((spool) => spool), [], deciders);
}

/** Up to the data; gives the codes of the replies to RCPT. */
async function addressed(client: Client, verb: string, recipients: readonly string[]): Promise<readonly string[]> {
  await client.say(`${verb} client.example`, "MAIL FROM:<me@example.org>");
  const codes: string[] = [];
  for (const recipient of recipients) codes.push((await client.say(`RCPT TO:<${recipient}>`)).slice(0, 9));
  await client.say("DATA");
  return codes;
}

async function sent(client: Client, recipients: readonly string[], verb = "EHLO"): Promise<string> {
  await addressed(client, verb, recipients);
  const answer = await client.say("Subject: Hello", "", "body", ".");
  await settled(20);
  return answer;
}

async function waiting(world: World): Promise<readonly string[]> {
  const entries = await world.spool.list({});
  return entries.map(({ delivery, state }) => `${delivery.recipient} ${delivery.channel} ${state}`);
}

const kept = (world: World) => world.kept.map(({ channel, recipients }) => `${channel} ${recipients.join(" ")}`);

const byRecipient = (decisions: Readonly<Record<string, Decision>>): Decide => (job) =>
  Promise.resolve(decisions[job.recipients[0]?.delivery.recipient ?? ""] ?? ACCEPTED);

test("decision: an accepted message is done where it was decided and goes on elsewhere", async () => {
  const seen: string[] = [];
  const decide: Decide = async (job) => {
    for await (const piece of job.content()) seen.push(new TextDecoder().decode(piece));
    seen.push(...job.recipients.map(({ delivery }) => delivery.recipient));
    return ACCEPTED;
  };
  await using world = await open({ decide });
  assert.match(await sent(world.connect(), ["both@x.example"]), /^250 2\.0\.0 Queued as /);
  assert.match(seen.join("|"), /Received: .*\|Subject: Hello\r\n\r\nbody\r\n\|both@x\.example$/s);
  assert.deepEqual(kept(world), ["one both@x.example"]);
  assert.deepEqual(await waiting(world), []);
});

test("decision: a rejected message is refused with the reason, and nobody else gets it", async () => {
  await using world = await open({ decide: () => Promise.resolve(REJECTED) });
  const client = world.connect();
  assert.equal(await sent(client, ["both@x.example"]), "550 5.7.1 Not for us\r\n");
  assert.deepEqual([kept(world), await waiting(world)], [[], []]);
  assert.match(await sent(client, ["plain@x.example"]), /250 2\.0\.0 Queued as /);
  assert.deepEqual(kept(world), ["one plain@x.example"]);
});

test("decision: one reason among several, the first that is final", async () => {
  const other: Decide = () => Promise.resolve(REJECTED);
  await using world = await open({ decide: () => Promise.resolve(DEFERRED), other });
  assert.equal(await sent(world.connect(), ["twice@x.example"]), "550 5.7.1 Not for us\r\n");
  assert.deepEqual(await waiting(world), []);
});

for (
  const [what, decide] of [
    ["defers", () => Promise.resolve(DEFERRED)],
    ["throws", () => Promise.reject(new Error("secret things"))],
    ["throws at once", () => {
      throw new Error("secret things");
    }],
  ] satisfies [string, Decide][]
) {
  test(`decision: a channel that ${what} makes the client try again, and nothing is kept`, async () => {
    await using world = await open({ decide });
    const answer = await sent(world.connect(), ["both@x.example"]);
    assert.equal(answer, "451 4.3.0 Cannot decide about the message now; try again later\r\n");
    assert.deepEqual([kept(world), await waiting(world)], [[], []]);
  });
}

for (
  const [what, decide] of [
    [
      "stops when it is told to",
      (_, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    ],
    ["is deaf", () => new Promise(() => {})],
  ] satisfies [string, Decide][]
) {
  test(`decision: a channel that hangs and ${what} holds the client no longer than its time limit`, async () => {
    await using world = await open({ decide, listener: { sessionTimeoutMs: 60_000 } });
    const client = world.connect();
    await addressed(client, "EHLO", ["both@x.example"]);
    assert.equal(await client.say("Subject: Hello", "", "body", "."), "");
    // Nobody else gets it while it is not decided, and its leases are there.
    assert.deepEqual(await waiting(world), ["both@x.example one leased", "both@x.example asked leased"]);
    assert.deepEqual(kept(world), []);
    const before = client.heard.length;
    await world.clock.advance(10_000);
    assert.match(client.heard.slice(before), /^451 4\.3\.0 Cannot decide about the message now; try again later\r\n$/);
    assert.deepEqual([kept(world), await waiting(world), client.closed], [[], [], false]);
  });
}

test("decision: nothing in a reason breaks out of the reply", async () => {
  const reasons = ["a\r\n250 2.0.0 Fine\r\nb\0c\x1b[31m", "Größe", "", "x".repeat(5_000), " \r\n "];
  await using world = await open({
    decide: () => Promise.resolve({ ...REJECTED, kind: "reject", reason: reasons.shift() ?? "" }),
  });
  const client = world.connect();
  assert.equal(await sent(client, ["ask@x.example"]), "550 5.7.1 a 250 2.0.0 Fine b c [31m\r\n");
  assert.equal(await sent(client, ["ask@x.example"]), "550 5.7.1 Gr??e\r\n");
  assert.equal(await sent(client, ["ask@x.example"]), "550 5.7.1 Not accepted\r\n");
  assert.match(await sent(client, ["ask@x.example"]), /^550 5\.7\.1 x{100,490}\??\r\n$/);
  assert.equal(await sent(client, ["ask@x.example"]), "550 5.7.1 Not accepted\r\n");
});

test("decision: recipients that others decide about come in a transaction of their own over SMTP", async () => {
  await using world = await open({ decide: () => Promise.resolve(ACCEPTED) });
  const all = ["plain@x.example", "ask@x.example", "both@x.example", "twice@x.example"];
  assert.deepEqual(await addressed(world.connect(), "EHLO", all), [
    "250 2.1.5",
    "452 4.5.3",
    "452 4.5.3",
    "452 4.5.3",
  ]);
  const asked = ["ask@x.example", "both@x.example", "plain@x.example"];
  assert.deepEqual(await addressed(world.connect(), "EHLO", asked), ["250 2.1.5", "250 2.1.5", "452 4.5.3"]);
});

test("decision: over SMTP a refusal for one recipient refuses the message for all", async () => {
  await using world = await open({ decide: byRecipient({ "ask+b@x.example": REJECTED }) });
  const client = world.connect();
  assert.equal(await sent(client, ["both+a@x.example", "ask+b@x.example"]), "550 5.7.1 Not for us\r\n");
  assert.deepEqual([kept(world), await waiting(world)], [[], []]);
  assert.match(await sent(client, ["both+a@x.example", "ask+c@x.example"]), /^250 /);
  assert.deepEqual([kept(world), await waiting(world)], [["one both+a@x.example"], []]);
});

test("decision: over LMTP each recipient has its own reply, and its own deliveries go", async () => {
  const decide = byRecipient({ "both+no@x.example": REJECTED, "ask+later@x.example": DEFERRED });
  await using world = await open({ decide, listener: { protocol: "lmtp" } });
  const recipients = [
    "both+no@x.example",
    "plain@x.example",
    "ask+later@x.example",
    "both+yes@x.example",
    "held@x.example",
    "both+no@x.example",
  ];
  const codes = (await sent(world.connect(), recipients, "LHLO")).match(/^\d{3} \d\.\d\.\d/gm);
  assert.deepEqual(codes, ["550 5.7.1", "250 2.0.0", "451 4.3.0", "250 2.0.0", "250 2.0.0", "550 5.7.1"]);
  assert.deepEqual(kept(world).toSorted(), ["one plain@x.example both+yes@x.example"]);
  assert.deepEqual(await waiting(world), ["held@x.example one held"]);
});

test("decision: what is held for a refused recipient goes with it, with an accepted one it stays", async () => {
  const decisions = [REJECTED, ACCEPTED];
  await using world = await open({ decide: () => Promise.resolve(decisions.shift() ?? DEFERRED) });
  const client = world.connect();
  assert.match(await sent(client, ["copied@x.example"]), /^550 /);
  assert.deepEqual(await waiting(world), []);
  assert.match(await sent(client, ["copied@x.example"]), /^250 /);
  assert.deepEqual(await waiting(world), ["copied@x.example two held"]);
});

test("decision: a store that fails refuses before anybody is asked; one that cannot forget tries again", async () => {
  let asked = 0;
  const failing = { commit: 1, settle: 2 };
  const wrapSpool = (spool: Spool): Spool =>
    new Proxy(spool, {
      get(target, key) {
        const value = Reflect.get(target, key) as unknown;
        if (key === "settle" && failing.settle > 0 && asked > 0) {
          failing.settle--;
          return () => Promise.reject(new SpoolError("told to fail", "broken"));
        }
        if (key !== "begin") return typeof value === "function" ? value.bind(target) : value;
        return () => {
          const draft = target.begin();
          if (failing.commit-- > 0) draft.commit = () => Promise.reject(new SpoolError("told to fail", "full"));
          return draft;
        };
      },
    });
  const decide: Decide = () => {
    asked++;
    return Promise.resolve(REJECTED);
  };
  await using world = await open({ decide, wrapSpool });
  const client = world.connect();
  assert.match(await sent(client, ["both@x.example"]), /^452 4\.3\.1 /);
  assert.equal(asked, 0);
  assert.match(await sent(client, ["both@x.example"]), /^550 /);
  await world.clock.advance(2_000);
  assert.deepEqual([kept(world), await waiting(world), asked], [[], [], 1]);
});

test("decision: while the channel has too much to do, clients are told to come back, and nobody is asked", async () => {
  let asked = 0;
  const decide: Decide = () => {
    asked++;
    return Promise.resolve(ACCEPTED);
  };
  await using world = await open({ decide });
  const client = world.connect();
  await addressed(client, "EHLO", ["both@x.example"]);
  void world.controller.stop(0);
  assert.match(await client.say("Subject: Hello", "", "body", "."), /^451 4\.3\.0 Cannot decide /);
  assert.deepEqual([asked, kept(world), await waiting(world)], [0, [], []]);
});

test("decision: a client that leaves while it waits changes nothing about what is decided", async () => {
  let answer: (decision: Decision) => void = () => {};
  await using world = await open({ decide: () => new Promise((resolve) => answer = resolve) });
  const client = world.connect();
  await addressed(client, "EHLO", ["both@x.example"]);
  await client.say("Subject: Hello", "", "body", ".");
  await client.hangUp();
  answer(ACCEPTED);
  await settled(20);
  assert.deepEqual([kept(world), await waiting(world)], [["one both@x.example"], []]);
});
