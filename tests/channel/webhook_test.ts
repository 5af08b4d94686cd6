/** The webhook channel with real receivers: the raw format, signatures, answers, and receivers that do not behave. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import type { Job, Outcome } from "../../src/channel/channel.ts";
import { TransportError } from "../../src/runtime/runtime.ts";
import { channelContract, outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, jobFor, jobOf, RECEIVED_AT_MS, temporaryFolder } from "./channel_world.ts";
import { messages } from "./messages.ts";
import { changed, openChannel, OTHER_SECRET, type Received, Receiver, SECRET, send } from "./webhook_world.ts";

channelContract("webhook", async () => {
  const receiver = await Receiver.open();
  const channel = await openChannel({ url: receiver.url });
  return {
    channel,
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]();
      await receiver[Symbol.asyncDispose]();
    },
  };
}, { readsContent: true });

const FIELDS = "Return-Path: <sender@example.org>\r\nDelivered-To: r1@example.com\r\n";

test("webhook: raw sends the message as it is below the fields of final delivery, with its exact length", async () => {
  await using receiver = await Receiver.open();
  await using channel = await openChannel({ url: receiver.url, method: "PUT" });
  for (const [name, content] of await messages()) {
    const [outcome] = await outcomesOf(channel, jobOf(content, 1, 1, {}, 1_000));
    assert.equal(outcome?.kind, "delivered", name);
    const { method, path, headers, body } = receiver.last;
    assert.deepEqual([method, path, headers["content-type"]], ["PUT", "/inbound", "message/rfc822"]);
    assert.equal(Buffer.compare(body, Buffer.concat([bytesOf(FIELDS), content])), 0, name);
    assert.equal(headers["content-length"], String(body.length), name);
    assert.equal(headers["transfer-encoding"], undefined);
  }
});

test("webhook: the envelope is in header fields, one request for each recipient", async () => {
  await using receiver = await Receiver.open();
  const job = jobOf("Subject: Hi\r\n\r\n", 2, 7, { reversePath: "änn%@example.org", envid: "e 1" });
  const [first, second] = job.recipients;
  assert.ok(first && second);
  const delivery = {
    ...first.delivery,
    recipient: "Bob+x@example.com",
    originalRecipient: "old@example.com\r\nX-Evil: 1",
  };
  await send({ url: receiver.url }, { ...job, recipients: [{ ...first, attempts: 2, delivery }, second] });
  const [one, two] = receiver.requests;
  assert.ok(one && two);
  const envelope = Object.entries(one.headers).filter(([name]) => name.startsWith("x-smtpd-"));
  assert.deepEqual(Object.fromEntries(envelope), {
    "x-smtpd-delivery-id": "message-7-7",
    "x-smtpd-message-id": "message-7",
    "x-smtpd-attempt": "3",
    "x-smtpd-sender": "%C3%A4nn%25@example.org",
    "x-smtpd-recipient": "Bob+x@example.com",
    "x-smtpd-original-recipient": "old@example.com%0D%0AX-Evil: 1",
    "x-smtpd-extension": "x",
    "x-smtpd-received-at": new Date(RECEIVED_AT_MS).toISOString(),
    "x-smtpd-listener": "in",
    "x-smtpd-client-address": "127.0.0.1",
    "x-smtpd-client-helo": "client",
    "x-smtpd-client-protocol": "ESMTP",
    "x-smtpd-channel": "box",
    "x-smtpd-envid": "e 1",
  });
  assert.deepEqual([one.headers["webhook-id"], one.headers["webhook-signature"]], ["message-7-7", undefined]);
  assert.equal(two.headers["x-smtpd-recipient"], "r2@example.com");
  assert.equal(two.headers["webhook-id"], "message-7-8");
  assert.match(
    two.body.toString(),
    /^Return-Path: <\?nn%@example\.org>\r\nDelivered-To: r2@example\.com\r\nSubject: Hi/,
  );
});

/** As receivers do: with the published library. */
function verify(secret: string, { headers, body }: Received): void {
  new Webhook(secret).verify(body, headers as Record<string, string>, { jsonParse: false });
}

test("webhook: signatures are what the published library verifies, with one secret and with two", async () => {
  await using receiver = await Receiver.open();
  const job = jobFor(["bob@example.com"], "Subject: Grüße\r\n\r\nZwölf\r\n");
  for (const format of ["raw", "json", "form", "postmark", "sendgrid"]) {
    await send({ url: receiver.url, format, secret: SECRET }, job);
    verify(SECRET, receiver.last);
    assert.throws(() => verify(OTHER_SECRET, receiver.last), format);
    await send({ url: receiver.url, format, secret: SECRET, old_secret: OTHER_SECRET }, job);
    verify(SECRET, receiver.last);
    verify(OTHER_SECRET, receiver.last);
    const tampered = { ...receiver.last, body: Buffer.concat([receiver.last.body, bytesOf(" ")]) };
    assert.throws(() => verify(SECRET, tampered), format);
  }
});

test("webhook: a large message is signed and streamed whole, piece by piece, and read no further than needed", async () => {
  const digest = createHash("sha256");
  const server = http.createServer((request, response) => {
    request.on("data", (piece: Buffer) => digest.update(piece));
    request.on("end", () => response.end(JSON.stringify(request.headers)));
  });
  await using receiver = await Receiver.over(server);
  const piece = new Uint8Array(65_536);
  const expected = createHash("sha256").update(FIELDS);
  let readings = 0;
  const job: Job = {
    ...jobOf(""),
    async *content() {
      readings++;
      // The same buffer again and again, as spools give it.
      for (let index = 0; index < 300; index++) yield await Promise.resolve(piece.fill(0x61 + index % 26));
    },
  };
  for await (const each of job.content()) expected.update(each);
  // What bindings add is not in the stored size.
  const large = { ...job, message: { ...job.message, sizeBytes: 300 * piece.length - 1_000 } };
  const [outcome] = await send({ url: receiver.url, secret: SECRET }, large);
  assert.equal(outcome?.kind, "delivered");
  assert.equal(readings, 3);
  assert.equal(digest.digest("hex"), expected.digest("hex"));
});

test("webhook: the id stays the same over attempts, time and signature do not", async () => {
  await using receiver = await Receiver.open((_, response) => void response.writeHead(503).end());
  let nowMs = Date.now();
  const context = contextOf();
  const clock = { ...context.runtime.clock, nowMs: () => nowMs };
  await using channel = await openChannel(
    { url: receiver.url, secret: SECRET },
    { ...context, runtime: { ...context.runtime, clock } },
  );
  const job = jobOf("Subject: Hi\r\n\r\n");
  for (let attempts = 0; attempts < 3; attempts++, nowMs += 60_000) {
    const [outcome] = await outcomesOf(channel, changed(job, { attempts }));
    assert.equal(outcome?.kind, "deferred");
    verify(SECRET, receiver.last);
  }
  const distinct = (name: string) => new Set(receiver.requests.map(({ headers }) => headers[name])).size;
  assert.deepEqual(["webhook-id", "webhook-timestamp", "webhook-signature"].map(distinct), [1, 3, 3]);
  assert.deepEqual(receiver.requests.map(({ headers }) => headers["x-smtpd-attempt"]), ["1", "2", "3"]);
});

test("webhook: secrets and header values are read at each attempt; one that cannot be used defers", async () => {
  await using folder = await temporaryFolder();
  await using receiver = await Receiver.open();
  const file = `${folder.path}/secret`;
  await writeFile(file, `${SECRET}\n`);
  const variables: Record<string, string> = { TOKEN: "Bearer abc" };
  const context = contextOf({}, { environment: (name) => variables[name] });
  const options = {
    url: receiver.url,
    secret: { file },
    headers: { Authorization: { env: "TOKEN" }, "X-Source": "smtpd" },
  };
  await using channel = await openChannel(options, context);
  const attempt = async () => (await outcomesOf(channel, jobOf("Subject: Hi\r\n\r\n")))[0];
  assert.equal((await attempt())?.kind, "delivered");
  const { authorization, "x-source": source, "user-agent": agent } = receiver.last.headers;
  assert.deepEqual([authorization, source, agent], ["Bearer abc", "smtpd", "smtpd"]);
  await writeFile(file, OTHER_SECRET);
  assert.equal((await attempt())?.kind, "delivered");
  verify(OTHER_SECRET, receiver.last);
  const wrong: readonly (readonly [change: () => unknown, detail: RegExp])[] = [
    [() => writeFile(file, "whsec_c2hvcnQ="), /The secret cannot be used for signatures: it has less than 24 bytes/],
    [() => writeFile(file, "not base64!"), /it is not in base64/],
    [() => variables["TOKEN"] = "a\r\nX-Evil: 1", /"Authorization" has characters/],
    [() => delete variables["TOKEN"], /"TOKEN" is not set/],
  ];
  for (const [change, detail] of wrong) {
    await change();
    const outcome = await attempt();
    assert.equal(outcome?.kind, "deferred");
    assert.match(outcome?.detail ?? "", detail);
    assert.doesNotMatch(outcome?.detail ?? "", /c2hvcnQ|not base64|Evil/);
  }
  assert.equal(receiver.requests.length, 2);
});

test("webhook: a user and password in the URL become an Authorization header and are shown nowhere", async () => {
  await using receiver = await Receiver.open((_, response) => void response.writeHead(500).end());
  const url = receiver.url.replace("http://", "http://us%C3%A4r:p%40ss@");
  const [outcome] = await send({ url });
  assert.equal(receiver.last.headers.authorization, `Basic ${Buffer.from("usär:p@ss").toString("base64")}`);
  assert.doesNotMatch(outcome?.detail ?? "", /ss@|p%40|us%C3/);
  await send({ url, headers: { authorization: "Own" } });
  assert.equal(receiver.last.headers.authorization, "Own");
});

test("webhook: answers decide, and their first line is the detail", async () => {
  const answers:
    readonly (readonly [status: number, body: string, options: object, kind: Outcome["kind"], detail: RegExp])[] = [
      [200, "", {}, "delivered", /^"127\.0\.0\.1:\d+" answered 200 OK$/],
      [204, "", {}, "delivered", /204 No Content$/],
      [202, "queued as 17\nmore", {}, "delivered", /202 Accepted: queued as 17$/],
      [406, "\n\n no such user \n", {}, "failed", /406 Not Acceptable: no such user$/],
      [410, "", {}, "failed", /410 Gone$/],
      [400, "", {}, "deferred", /400 Bad Request$/],
      [403, "", {}, "deferred", /403/],
      [403, "", { format: "postmark" }, "failed", /403/],
      [404, "", {}, "deferred", /404/],
      [404, "", { bounce_status: [404] }, "failed", /404/],
      [410, "", { bounce_status: [] }, "deferred", /410/],
      [500, "<!doctype html><html><head><title>It broke</title></head>", {}, "deferred", /: It broke$/],
      [503, `a\u0000b\u001b[31mc\u2028d${"x".repeat(2_000)}`, {}, "deferred", /: a b \[31mc dx{200,300}$/],
      [304, "", {}, "deferred", /304 .*redirects are not followed/],
    ];
  let answer: readonly [number, string] = [0, ""];
  await using receiver = await Receiver.open((_, response) => void response.writeHead(answer[0]).end(answer[1]));
  for (const [status, body, options, kind, detail] of answers) {
    answer = [status, body];
    const [outcome] = await send({ url: receiver.url, ...options });
    assert.equal(outcome?.kind, kind, `${status}`);
    assert.match(outcome?.detail ?? "", detail);
    assert.match(outcome?.detail ?? "", /^[^\p{Cc}]{1,500}$/u);
  }
});

test("webhook: redirects are not followed and told with their target", async () => {
  await using other = await Receiver.open();
  await using receiver = await Receiver.open((_, response) =>
    void response.writeHead(307, { Location: `${other.url}?\u00e4"` }).end()
  );
  const [outcome] = await send({ url: receiver.url });
  assert.equal(outcome?.kind, "deferred");
  assert.match(outcome?.detail ?? "", /answered 307 .* points to "http:\/\/127\.0\.0\.1:\d+\/inbound\?.*put the final/);
  assert.equal(other.requests.length, 0);
});

test("webhook: Retry-After is passed on with deferred outcomes alone", async () => {
  let status = 503;
  await using receiver = await Receiver.open((_, response) =>
    void response.writeHead(status, { "Retry-After": "120" }).end()
  );
  const waitOf = async () => {
    const [outcome] = await send({ url: receiver.url });
    assert.ok(outcome);
    return "retryAfterMs" in outcome ? outcome.retryAfterMs : undefined;
  };
  assert.equal(await waitOf(), 120_000);
  status = 429;
  assert.equal(await waitOf(), 120_000);
  status = 410;
  assert.equal(await waitOf(), undefined);
  status = 200;
  assert.equal(await waitOf(), undefined);
});

test("webhook: connections are used again, by jobs and recipients", async () => {
  await using receiver = await Receiver.open();
  await using channel = await openChannel({ url: receiver.url });
  for (let job = 0; job < 5; job++) await outcomesOf(channel, jobOf("Subject: Hi\r\n\r\n", 3, job * 10));
  assert.equal(receiver.requests.length, 15);
  assert.equal(receiver.connections, 1);
});

test("webhook: nobody listening, a host without an address, a receiver that hangs up: deferred, each in a line", async () => {
  await using closing = await Receiver.over(net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.destroy());
  }));
  const context = contextOf();
  const resolver = {
    addresses: (host: string) => Promise.reject(new TransportError(`Cannot find "${host}"`, "ENOTFOUND")),
  };
  const nowhere = { ...context, runtime: { ...context.runtime, resolver } };
  const large = jobOf("x".repeat(5_000_000));
  for (
    const [url, job, given] of [
      ["http://127.0.0.1:1/", jobOf("Subject: Hi\r\n\r\n"), context],
      ["http://hook.invalid/", jobOf("Subject: Hi\r\n\r\n"), nowhere],
      [closing.url, jobOf("Subject: Hi\r\n\r\n"), context],
      [closing.url, large, context],
    ] as const
  ) {
    const [outcome] = await send({ url }, job, given);
    assert.equal(outcome?.kind, "deferred", url);
    assert.match(outcome?.detail ?? "", /^Cannot [^\p{Cc}]+$/u);
  }
});

test("webhook: a receiver that answers without reading the message is believed", async () => {
  let status = 410;
  const server = http.createServer((_, response) =>
    void response.writeHead(status, { Connection: "close" }).end("done")
  );
  await using receiver = await Receiver.over(server);
  await using channel = await openChannel({ url: receiver.url });
  const job = jobOf("x".repeat(20_000_000));
  for (const [answer, kind] of [[410, "failed"], [413, "deferred"], [200, "delivered"]] as const) {
    status = answer;
    assert.equal((await outcomesOf(channel, job))[0]?.kind, kind, String(answer));
  }
});

test("webhook: an endless answer is cut off and its status counts", async () => {
  const server = http.createServer((request, response) => {
    request.resume();
    response.writeHead(500);
    const flood = () => {
      while (!response.destroyed && response.write("endless ".repeat(8_192)));
    };
    response.on("drain", flood);
    flood();
  });
  await using receiver = await Receiver.over(server);
  const [outcome] = await send({ url: receiver.url, max_response: 10 });
  assert.equal(outcome?.kind, "deferred");
  assert.match(outcome?.detail ?? "", /500 Internal Server Error: endless en$/);
});

test("webhook: receivers that never answer, drip, or stop reading end with the signal, and nothing is said of them", async () => {
  const silent = net.createServer((socket) => void socket.on("error", () => {}).pause());
  const dripping = http.createServer((request, response) => {
    request.resume();
    response.writeHead(200);
    const timer = setInterval(() => response.write("."), 10);
    response.on("close", () => clearInterval(timer));
  });
  const drippingHead = net.createServer((socket) => {
    socket.write("HTTP/1.1 200 OK\r\nX-Slow: ");
    const timer = setInterval(() => socket.write("."), 10);
    socket.on("error", () => {}).on("close", () => clearInterval(timer));
  });
  for (const server of [silent, dripping, drippingHead]) {
    await using receiver = await Receiver.over(server);
    await using channel = await openChannel({ url: receiver.url });
    for (const job of [jobOf("Subject: Hi\r\n\r\n", 2), jobOf("x".repeat(30_000_000))]) {
      const late = new AbortController();
      setTimeout(() => late.abort(new Error("Too late")), 60);
      assert.deepEqual(await outcomesOf(channel, job, late.signal), []);
    }
  }
});
