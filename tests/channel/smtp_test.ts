/** The smtp channel and servers that behave and misbehave in every way at every step: what becomes of the message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobFor, jobOf } from "./channel_world.ts";
import { type Action, Downstream, type Event } from "./downstream.ts";
import { messages } from "./messages.ts";
import { gateway, kinds, openLmtp, openSmtp, sendOnce } from "./smtp_world.ts";

for (const protocol of ["smtp", "lmtp"] as const) {
  channelContract(protocol, async () => {
    const server = await Downstream.start({ protocol, extensions: ["PIPELINING", "8BITMIME"] });
    const channel = await (protocol === "smtp" ? openSmtp : openLmtp)(gateway(server.port));
    return {
      channel,
      async [Symbol.asyncDispose]() {
        await channel[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  }, { readsContent: true });
}

test("smtp: the octets that arrive are those that were sent, with DATA and with BDAT", async () => {
  for (const extensions of [["8BITMIME"], ["8BITMIME", "PIPELINING"], ["8BITMIME", "PIPELINING", "CHUNKING"]]) {
    await using server = await Downstream.start({ extensions });
    await using channel = await openSmtp(gateway(server.port));
    for (const [name, content] of await messages()) {
      const [outcome] = await outcomesOf(channel, jobOf(content, 1, 1, {}, 777));
      const text = Buffer.from(content).toString("latin1");
      if (text.includes("\0")) {
        assert.deepEqual([outcome?.kind, server.taken.length], ["failed", 0], name);
        continue;
      }
      assert.equal(outcome?.kind, "delivered", `${name}: ${outcome?.detail}`);
      const repaired = text.replace(/\r\n|\r|\n/g, "\r\n");
      const expected = repaired === "" || repaired.endsWith("\r\n") ? repaired : `${repaired}\r\n`;
      assert.equal(server.taken.pop()?.content, expected, name);
    }
  }
});

test("smtp: one transaction for many recipients, one connection for many jobs up to its cap, and QUIT at the end", async () => {
  await using server = await Downstream.start({ extensions: ["PIPELINING"] });
  {
    await using channel = await openSmtp(gateway(server.port, { connection_max_messages: 3 }));
    for (let count = 0; count < 7; count++) {
      const outcomes = await outcomesOf(channel, jobOf("Subject: Hi\r\n\r\n", 3));
      assert.match(outcomes[0]?.detail ?? "", /^Taken by 127\.0\.0\.1:\d+: 250 2\.0\.0 Taken$/);
    }
    assert.equal(server.taken.length, 7);
    assert.deepEqual(server.taken[0]?.to, ["r1@example.com", "r2@example.com", "r3@example.com"]);
    assert.equal(server.connections, 3);
  }
  assert.equal(server.commands.filter((line) => line === "QUIT").length, 3);
});

test("smtp: a kept connection that the server ended meanwhile costs nothing but a new one", async () => {
  for (const answer of [{ last: "421 4.4.2 Idle" }, { do: "close" }, { do: "reset" }, "421 4.3.2 Bye"] as const) {
    await using server = await Downstream.start({
      answer: (event, count) => event === "mail" && count === 2 ? answer : undefined,
    });
    await using channel = await openSmtp(gateway(server.port));
    const job = jobFor(["b@example.net"]);
    assert.deepEqual(kinds(await outcomesOf(channel, job)), ["delivered"]);
    assert.deepEqual(kinds(await outcomesOf(channel, job)), ["delivered"], JSON.stringify(answer));
    assert.deepEqual([server.connections, server.taken.length], [2, 2]);
  }
});

const TEMPORARY = "451 4.3.0 Later";
const PERMANENT = "550 5.7.1 Never";

/** What RFC 5321 asks for, by step and misbehaviour. At greeting and EHLO a relay that refuses is a matter for its people. */
const FATES: readonly (readonly [Event, Action, string, RegExp])[] = [
  ["connect", TEMPORARY, "deferred", /Greeting: 451 4\.3\.0 Later/],
  ["connect", PERMANENT, "deferred", /Greeting: 550 5\.7\.1 Never/],
  ["hello", TEMPORARY, "deferred", /Reply to EHLO: 451/],
  ["hello", PERMANENT, "deferred", /Reply to HELO: 550/],
  ["mail", TEMPORARY, "deferred", /Reply to MAIL: 451 4\.3\.0 Later/],
  ["mail", PERMANENT, "failed", /Reply to MAIL: 550 5\.7\.1 Never/],
  ["rcpt", TEMPORARY, "deferred", /Reply to RCPT: 451/],
  ["rcpt", PERMANENT, "failed", /Reply to RCPT: 550 5\.7\.1 Never/],
  ["data", TEMPORARY, "deferred", /Reply to DATA: 451/],
  ["data", PERMANENT, "failed", /Reply to DATA: 550/],
  ["end", TEMPORARY, "deferred", /Reply to the data: 451/],
  ["end", PERMANENT, "failed", /Reply to the data: 550/],
  ["body", { last: PERMANENT }, "failed", /Reply to the data: 550/],
  ["body", { last: TEMPORARY }, "deferred", /Reply to the data: 451/],
  ["end", "354 Go on", "deferred", /Outcome unknown/],
  ["end", "garbage", "deferred", /Outcome unknown/],
];

const STEPS: readonly Event[] = ["connect", "hello", "mail", "rcpt", "data", "body", "end"];

test("smtp: a refusal at any step has its outcome, with the server's words", async () => {
  for (const [event, answer, kind, detail] of FATES) {
    for (const extensions of [[], ["PIPELINING"]]) {
      await using server = await Downstream.start({
        extensions,
        answer: (each) => each === event ? answer : undefined,
      });
      const large = jobOf("Subject: Large\r\n\r\n" + "Text that goes on.\r\n".repeat(event === "body" ? 400_000 : 1));
      const [outcome] = await sendOnce(gateway(server.port), large);
      assert.equal(outcome?.kind, kind, `${event} ${JSON.stringify(answer)}: ${outcome?.detail}`);
      assert.match(outcome?.detail ?? "", detail);
      assert.deepEqual(server.taken, []);
    }
  }
});

test("smtp: no reply, an end or a reset at any step is never a delivery; after the data the outcome is unknown", async () => {
  for (const event of STEPS) {
    for (const how of ["close", "hang", "reset"] as const) {
      if (event === "body" && how === "hang") continue;
      await using server = await Downstream.start({ answer: (each) => each === event ? { do: how } : undefined });
      const [outcome] = await sendOnce(gateway(server.port, { reply_timeout: 0.2 }));
      assert.equal(outcome?.kind, "deferred", `${event} ${how}`);
      // A server that closes in mid-data may have had all of it.
      const unknown = event === "end" || event === "body";
      assert.equal(/Outcome unknown/.test(outcome?.detail ?? ""), unknown, `${event} ${how}: ${outcome?.detail}`);
      if (how === "hang") assert.match(outcome?.detail ?? "", /The time limit passed/, event);
    }
  }
});

test("smtp: a late answer counts when it comes within the limit, and does not when it comes behind it", async () => {
  for (const event of ["connect", "hello", "mail", "rcpt", "end"] as const) {
    const late = event === "connect" ? "220 late" : "250 late";
    await using server = await Downstream.start({
      answer: (each) => each === event ? { late, afterMs: 100 } : undefined,
    });
    assert.deepEqual(kinds(await sendOnce(gateway(server.port, { reply_timeout: 5 }))), ["delivered"], event);
  }
  await using server = await Downstream.start({
    answer: (each, count) => each === "end" && count === 1 ? { late: "250 late", afterMs: 400 } : undefined,
  });
  const [outcome] = await sendOnce(gateway(server.port, { reply_timeout: 0.2 }));
  assert.match(outcome?.detail ?? "", /Outcome unknown\. .*The time limit passed/);
});

test("smtp: a server that takes less than it offers decides itself", async () => {
  const refusing = (verb: Event, reply: string) => (event: Event) => event === verb ? reply : undefined;
  const cases = [
    [["SIZE 5000"], refusing("mail", "552 5.3.4 Too large"), "failed"],
    [["8BITMIME", "SMTPUTF8"], refusing("mail", "555 5.5.4 What is that?"), "failed"],
    [["PIPELINING", "CHUNKING"], refusing("body", "500 5.5.1 What?"), "failed"],
    [["PIPELINING"], (event: Event) => event === "rcpt" ? "250 OK\r\n250 OK" : undefined, "deferred"],
  ] as const;
  for (const [extensions, answer, kind] of cases) {
    await using server = await Downstream.start({ extensions, answer });
    const job = jobOf(`Subject: Hi\r\n\r\n${"Text\r\n".repeat(15_000)}`);
    assert.deepEqual(
      kinds(await sendOnce(gateway(server.port), { ...job, message: { ...job.message, sizeBytes: 100 } })),
      [
        kind,
      ],
    );
  }
});

test("smtp: limits of the server split the recipients; 452 in the middle leaves the rest for another transaction", async () => {
  await using limited = await Downstream.start({ extensions: ["PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"] });
  assert.deepEqual(
    kinds(await sendOnce(gateway(limited.port), jobOf("Subject: Hi\r\n\r\n", 5))),
    Array(5).fill("delivered"),
  );
  assert.deepEqual(limited.taken.map(({ to }) => to.length), [2, 2, 1]);
  assert.equal(limited.connections, 2);
  let inTransaction = 0;
  await using strict = await Downstream.start({
    extensions: ["PIPELINING"],
    answer(event) {
      if (event === "mail") inTransaction = 0;
      return event === "rcpt" && ++inTransaction > 2 ? "452 4.5.3 Too many recipients" : undefined;
    },
  });
  assert.deepEqual(
    kinds(await sendOnce(gateway(strict.port), jobOf("Subject: Hi\r\n\r\n", 5))),
    Array(5).fill("delivered"),
  );
  assert.deepEqual(strict.taken.map(({ to }) => to.length), [2, 2, 1]);
});

test("smtp: each recipient has its own outcome; lmtp's come at the end of the data", async () => {
  await using server = await Downstream.start({
    answer: (event, count) => event === "rcpt" && count === 2 ? "550 5.1.1 Unknown" : undefined,
  });
  const job = jobOf("Subject: Hi\r\n\r\n", 3);
  assert.deepEqual(kinds(await sendOnce(gateway(server.port), job)), ["delivered", "failed", "delivered"]);
  await using store = await Downstream.start({
    protocol: "lmtp",
    answer(event, count) {
      if (event !== "end") return undefined;
      return count === 1 ? "452 4.2.2 Full" : count === 3 ? "550 5.2.1 Disabled" : undefined;
    },
  });
  await using channel = await openLmtp(gateway(store.port));
  assert.deepEqual(kinds(await outcomesOf(channel, job)), ["deferred", "delivered", "failed"]);
});

test("smtp: 8-bit text and UTF-8 headers fail where the server does not take them, and only where they are there", async () => {
  await using server = await Downstream.start();
  const sent = async (content: string, envelope: Parameters<typeof jobOf>[3]) =>
    (await sendOnce(gateway(server.port), jobOf(content, 1, 1, envelope)))[0];
  assert.equal((await sent("Subject: Hi\r\n\r\nText\r\n", { body: "8bitmime", smtputf8: true }))?.kind, "delivered");
  assert.match((await sent("Subject: Hi\r\n\r\nÄ\r\n", { body: "8bitmime" }))?.detail ?? "", / 5\.6\.3 /);
  assert.equal((await sent("Subject: Hi\r\n\r\nText\r\n", { body: "binarymime" }))?.kind, "delivered");
  assert.match((await sent("Subject: Hi\r\n\r\nText\n", { body: "binarymime" }))?.detail ?? "", / 5\.6\.1 /);
  await using eight = await Downstream.start({ extensions: ["8BITMIME"] });
  const [utf8] = await sendOnce(
    gateway(eight.port),
    jobOf("Subject: Ä\r\n\r\n", 1, 1, { body: "8bitmime", smtputf8: true }),
  );
  assert.match(utf8?.detail ?? "", / 5\.6\.7 /);
  const body = jobOf("Subject: Hi\r\n\r\nÄ\r\n", 1, 1, { body: "8bitmime", smtputf8: true });
  assert.deepEqual(kinds(await sendOnce(gateway(eight.port), body)), ["delivered"]);
  const domains = jobFor(["b@bücher.example", "ü@example.net"]);
  assert.deepEqual(kinds(await sendOnce(gateway(eight.port), domains)), ["delivered", "failed"]);
  assert.deepEqual(eight.taken.at(-1)?.to, ["b@xn--bcher-kva.example"]);
});

test("smtp: login, the password in no detail, and no login without encryption unless tls is off", async () => {
  await using server = await Downstream.start({ extensions: ["AUTH LOGIN PLAIN"] });
  const auth = { user: "relay", password: "geheim" };
  assert.deepEqual(kinds(await sendOnce(gateway(server.port, { auth }))), ["delivered"]);
  assert.ok(server.commands.includes(`AUTH PLAIN ${btoa("\0relay\0geheim")}`));
  assert.deepEqual(kinds(await sendOnce(gateway(server.port, { auth: { ...auth, mechanism: "login" } }))), [
    "delivered",
  ]);
  const [plain] = await sendOnce(gateway(server.port, { auth, tls: "opportunistic" }));
  assert.match(plain?.detail ?? "", /not encrypted/);
  await using wrong = await Downstream.start({
    extensions: ["AUTH PLAIN"],
    answer: (event) => event === "auth" ? "535 5.7.8 Wrong" : undefined,
  });
  const [refused] = await sendOnce(gateway(wrong.port, { auth }));
  assert.equal(refused?.kind, "deferred");
  assert.match(refused?.detail ?? "", /535 5\.7\.8 Wrong/);
  assert.doesNotMatch(refused?.detail ?? "", /geheim/);
});

test("smtp: the next relay when one is down or refuses; one that is down is not asked first again", async () => {
  await using refusing = await Downstream.start({
    address: "127.0.0.2",
    answer: (event) => event === "connect" ? "421 4.3.2 Full" : undefined,
  });
  await using good = await Downstream.start({ address: "127.0.0.4", port: refusing.port });
  const options = gateway(good.port, { host: ["127.0.0.2", "127.0.0.3", "127.0.0.4"], connection_idle: 0 });
  await using channel = await openSmtp(options);
  const job = jobFor(["b@example.net"]);
  assert.deepEqual(kinds(await outcomesOf(channel, job)), ["delivered"]);
  assert.deepEqual(kinds(await outcomesOf(channel, job)), ["delivered"]);
  assert.deepEqual([refusing.connections, good.taken.length], [2, 2]);
});

test("smtp: a relay that cannot be reached is left alone for a while, and each job is told why", async () => {
  const down = await Downstream.start();
  const { port } = down;
  await down[Symbol.asyncDispose]();
  let nowMs = 0;
  const context = contextOf();
  const clock = { ...context.runtime.clock, monotonicMs: () => nowMs };
  await using channel = await openSmtp(gateway(port), { ...context, runtime: { ...context.runtime, clock } });
  const job = jobFor(["b@example.net"]);
  const first = (await outcomesOf(channel, job))[0];
  assert.match(
    first?.detail ?? "",
    /4\.4\.1 Cannot connect to 127\.0\.0\.1:\d+: nobody listens there \(ECONNREFUSED\)/,
  );
  assert.ok(first?.kind === "deferred" && first.retryAfterMs === 5_000);
  await using up = await Downstream.start({ port });
  nowMs = 3_000;
  const second = (await outcomesOf(channel, job))[0];
  assert.match(second?.detail ?? "", /^Not tried again so soon; before: .*ECONNREFUSED/);
  assert.ok(second?.kind === "deferred" && second.retryAfterMs === 2_000);
  assert.equal(up.connections, 0);
  nowMs = 5_001;
  assert.deepEqual(kinds(await outcomesOf(channel, job)), ["delivered"]);
});

test("smtp: an attempt that is stopped while the server thinks still hears its verdict", async () => {
  const stop = new AbortController();
  await using server = await Downstream.start({
    answer(event) {
      if (event !== "end") return undefined;
      stop.abort(new Error("Stopped"));
      return { late: "250 2.0.0 Taken", afterMs: 100 };
    },
  });
  await using channel = await openSmtp(gateway(server.port));
  assert.deepEqual(kinds(await outcomesOf(channel, jobFor(["b@example.net"]), stop.signal)), ["delivered"]);
});
