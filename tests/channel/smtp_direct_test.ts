/** Mail that goes to each domain's own servers, as a DNS server of the test names them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChannelContext } from "../../src/channel/channel.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { jobFor } from "./channel_world.ts";
import { startDns, type Zone } from "./dns_server.ts";
import { Downstream } from "./downstream.ts";
import { contextWith, kinds, openSmtp } from "./smtp_world.ts";

/** What a job for these recipients comes to. */
async function send(
  zone: Zone,
  port: number,
  recipients: readonly string[],
  changes: Partial<ChannelContext> = {},
  options: Readonly<Record<string, unknown>> = {},
) {
  await using dns = await startDns(zone);
  await using channel = await openSmtp({ port, tls: "off", connect_timeout: 1, ...options }, contextWith(dns, changes));
  const outcomes = await outcomesOf(channel, jobFor(recipients));
  return { kinds: kinds(outcomes), details: outcomes.map(({ detail }) => detail), questions: dns.questions };
}

test("direct: the servers of a domain by preference, the next when one is down, and one transaction for each domain", async () => {
  await using second = await Downstream.start({ address: "127.0.0.2" });
  await using third = await Downstream.start({ address: "127.0.0.3", port: second.port });
  const zone: Zone = {
    "one.example": { mx: [[30, "c.example"], [10, "a.example"], [20, "b.example"]] },
    "two.example": { mx: [[0, "c.example"]] },
    "a.example": { a: ["127.0.0.9"] },
    "b.example": { a: ["127.0.0.2"] },
    "c.example": { a: ["127.0.0.3"] },
  };
  const to = ["u@one.example", "x@two.example", "v@ONE.example"];
  const sent = await send(zone, second.port, to);
  assert.deepEqual(sent.kinds, ["delivered", "delivered", "delivered"]);
  assert.ok(sent.details.some((detail) => detail.startsWith(`Taken by b.example (127.0.0.2:${second.port}): 250`)));
  assert.deepEqual(second.taken.map((message) => message.to), [["u@one.example", "v@ONE.example"]]);
  assert.deepEqual(third.taken.map((message) => message.to), [["x@two.example"]]);
});

test("direct: without MX the domain's own address, and address literals without any question", async () => {
  await using server = await Downstream.start();
  const zone: Zone = { "bare.example": { a: ["127.0.0.1"] }, "xn--bcher-kva.example": { a: ["127.0.0.1"] } };
  const sent = await send(zone, server.port, ["u@bare.example", "u@bücher.example"]);
  assert.deepEqual(sent.kinds, ["delivered", "delivered"]);
  const literal = await send({}, server.port, ["u@[127.0.0.1]"]);
  assert.deepEqual([literal.kinds, literal.questions], [["delivered"], []]);
});

test("direct: equal preferences are shuffled", async () => {
  await using one = await Downstream.start({ address: "127.0.0.2" });
  await using other = await Downstream.start({ address: "127.0.0.3", port: one.port });
  await using dns = await startDns({
    "pair.example": { mx: [[10, "a.example"], [10, "b.example"]] },
    "a.example": { a: ["127.0.0.2"] },
    "b.example": { a: ["127.0.0.3"] },
  });
  let draw = 0;
  const context = contextWith(dns);
  // The second draw is the lower one every other time.
  const random = { ...context.runtime.random, fraction: () => [0.1, 0.9, 0.9, 0.1][draw++ % 4] ?? 0 };
  const shuffling = { ...context, runtime: { ...context.runtime, random } };
  await using channel = await openSmtp({ port: one.port, tls: "off", connection_idle: 0 }, shuffling);
  for (let count = 0; count < 4; count++) await outcomesOf(channel, jobFor(["u@pair.example"]));
  assert.deepEqual([one.taken.length, other.taken.length], [2, 2]);
});

test("direct: what the DNS says for certain is final, what nobody could tell is tried again", async () => {
  const zone: Zone = {
    "null.example": { mx: [[0, ""]] },
    "empty.example": {},
    "lost.example": { mx: [[10, "gone.example"], [20, "empty.example"]] },
    "failing.example": { trouble: "servfail" },
    "silent.example": { trouble: "silent" },
    "half.example": { mx: [[10, "gone.example"], [20, "failing.example"]] },
  };
  const of = async (recipient: string) => {
    const { kinds: [kind], details: [detail = ""] } = await send(zone, 1, [recipient]);
    return `${kind} ${/^\d\.\d+\.\d+/.exec(detail)?.[0]}`;
  };
  assert.equal(await of("u@null.example"), "failed 5.1.10");
  assert.equal(await of("u@gone.example"), "failed 5.1.2");
  assert.equal(await of("u@empty.example"), "failed 5.4.4");
  assert.equal(await of("u@lost.example"), "failed 5.4.4");
  assert.equal(await of("u@failing.example"), "deferred 4.4.3");
  assert.equal(await of("u@silent.example"), "deferred 4.4.3");
  assert.equal(await of("u@half.example"), "deferred 4.4.3");
  assert.equal(await of("postmaster"), "failed 5.1.2");
});

test("direct: a server that refuses at the greeting is passed over, and only when all do the mail fails", async () => {
  await using refusing = await Downstream.start({
    address: "127.0.0.2",
    answer: (event) => event === "connect" ? "554 5.7.1 No mail here" : undefined,
  });
  await using good = await Downstream.start({ address: "127.0.0.3", port: refusing.port });
  const zone: Zone = {
    "one.example": { mx: [[10, "a.example"], [20, "b.example"]] },
    "two.example": { mx: [[10, "a.example"]] },
    "a.example": { a: ["127.0.0.2"] },
    "b.example": { a: ["127.0.0.3"] },
  };
  const sent = await send(zone, good.port, ["u@one.example", "u@two.example"]);
  assert.deepEqual(sent.kinds, ["delivered", "failed"]);
});

test("direct: never to ourselves, whether the DNS, the address or the server's name says so (RFC 5321 §5.1)", async () => {
  await using server = await Downstream.start({ name: "mail.example.com" });
  await using other = await Downstream.start({ address: "127.0.0.2", port: server.port });
  const zone: Zone = {
    "us.example": { mx: [[10, "mail.example.com"], [20, "other.example"]] },
    "backup.example": { mx: [[10, "other.example"], [20, "MAIL.example.com"], [30, "worse.example"]] },
    "hidden.example": { mx: [[10, "alias.example"]] },
    "alias.example": { a: ["127.0.0.1"] },
    "other.example": { a: ["127.0.0.2"] },
  };
  const of = async (recipient: string, changes: Partial<ChannelContext> = {}) => {
    const { kinds: [kind], details: [detail = ""] } = await send(zone, server.port, [recipient], changes);
    return `${kind} ${/5\.4\.6/.exec(detail)?.[0] ?? ""}`;
  };
  assert.equal(await of("u@us.example"), "failed 5.4.6");
  assert.equal(await of("u@backup.example"), "delivered ");
  assert.equal(await of("u@hidden.example"), "failed 5.4.6");
  assert.equal(server.connections, 1);
  const isOwnEndpoint = (address: string, port: number) => address === "127.0.0.1" && port === server.port;
  assert.equal(await of("u@hidden.example", { isOwnEndpoint }), "failed 5.4.6");
  assert.deepEqual([server.connections, server.taken.length, other.taken.length], [1, 0, 1]);
});

test("direct: one destination that hangs does not hold up the others of the job", async () => {
  await using slow = await Downstream.start({
    address: "127.0.0.2",
    answer: (event) => event === "mail" ? { do: "hang" } : undefined,
  });
  await using good = await Downstream.start({ address: "127.0.0.3", port: slow.port });
  await using dns = await startDns({ "slow.example": { a: ["127.0.0.2"] }, "good.example": { a: ["127.0.0.3"] } });
  await using channel = await openSmtp({ port: good.port, tls: "off", reply_timeout: 1 }, contextWith(dns));
  const order: string[] = [];
  const job = jobFor(["u@slow.example", "u@good.example"]);
  for await (const outcome of channel.deliver(job, new AbortController().signal)) order.push(outcome.kind);
  assert.deepEqual(order, ["delivered", "deferred"]);
});

test("direct: a job for many domains has an outcome for each, however many end at the same moment", async () => {
  await using server = await Downstream.start();
  const domains = Array.from({ length: 35 }, (_, index) => `d${index}.example`);
  const zone = Object.fromEntries(
    domains.map((domain, index) => [domain, index % 3 === 0 ? { mx: [] } : { a: ["127.0.0.1"] }]),
  );
  const sent = await send(zone, server.port, domains.flatMap((domain) => [`a@${domain}`, `b@${domain}`]));
  assert.equal(sent.kinds.length, 70);
  assert.deepEqual(sent.kinds.filter((kind) => kind === "delivered").length, 46);
  assert.equal(server.taken.length, 23);
});
