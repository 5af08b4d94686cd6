/** Questions to a DNS server: records, aliases, answers that are long, wrong or missing, and what each failure is called. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { systemDns } from "../../src/runtime/dns.ts";
import { decodeAnswer, encodeQuestion } from "../../src/runtime/dns_message.ts";
import { TransportError } from "../../src/runtime/runtime.ts";
import { startDns, type Zone } from "../channel/dns_server.ts";

const zone: Zone = {
  "example.net": { mx: [[10, "b.example.net"], [5, "a.example.net"]], a: ["192.0.2.9"] },
  "null.example.net": { mx: [[0, ""]] },
  "bare.example.net": { a: ["192.0.2.1", "192.0.2.2"], aaaa: ["2001:db8::1"] },
  "alias.example.net": { cname: "bare.example.net" },
  "long.example.net": {
    mx: Array.from({ length: 100 }, (_, index) => [index, `mx${index}.example.net`]),
    trouble: "long",
  },
  "forged.example.net": { a: ["192.0.2.7"], trouble: "forged" },
  "failing.example.net": { trouble: "servfail" },
  "refused.example.net": { trouble: "refused" },
  "silent.example.net": { trouble: "silent" },
};

const code = (expected: string) => (error: unknown) => error instanceof TransportError && error.code === expected;

test("dns: mail exchangers, none, the root, and many over TCP", async () => {
  await using server = await startDns(zone);
  const dns = systemDns({ servers: () => server.server });
  assert.deepEqual(await dns.mailExchangers("example.net"), [
    { preference: 10, host: "b.example.net" },
    { preference: 5, host: "a.example.net" },
  ]);
  assert.deepEqual(await dns.mailExchangers("Bare.Example.net."), []);
  assert.deepEqual(await dns.mailExchangers("null.example.net"), [{ preference: 0, host: "" }]);
  assert.equal((await dns.mailExchangers("long.example.net")).length, 100);
});

test("dns: addresses of both families, through an alias, and past an answer to another question", async () => {
  await using server = await startDns(zone);
  const dns = systemDns({ servers: () => server.server });
  const all = ["2001:db8:0:0:0:0:0:1", "192.0.2.1", "192.0.2.2"];
  assert.deepEqual(await dns.addresses("bare.example.net"), all);
  assert.deepEqual(await dns.addresses("alias.example.net"), all);
  assert.deepEqual(await dns.addresses("forged.example.net"), ["192.0.2.7"]);
  assert.deepEqual(await dns.addresses("null.example.net"), []);
});

test("dns: a name that is not there is told from a server that fails, refuses or is silent", async () => {
  await using server = await startDns(zone);
  const dns = systemDns({ servers: () => server.server, roundsMs: [100, 100] });
  for (const ask of [dns.mailExchangers, dns.addresses]) {
    await assert.rejects(ask("gone.example.net"), code("ENOTFOUND"));
    await assert.rejects(ask("failing.example.net"), code("ESERVFAIL"));
    await assert.rejects(ask("refused.example.net"), code("ESERVFAIL"));
    await assert.rejects(ask("silent.example.net"), code("ETIMEDOUT"));
    for (const bad of ["", "a..b", "a b", `${"x".repeat(64)}.net`, "x.".repeat(130), "é.net", "a\nb"]) {
      await assert.rejects(ask(bad), code("ENOTFOUND"), bad);
    }
  }
  const two = systemDns({ servers: () => `127.0.0.1:1 ${server.server}`, roundsMs: [300, 300] });
  assert.equal((await two.mailExchangers("example.net")).length, 2);
  const wrong = systemDns({ servers: () => "dns.example.net" });
  await assert.rejects(wrong.addresses("example.net"), code("EINVAL"));
});

test("dns: answers made of any octets are read or left alone, in bounded time", () => {
  const question = encodeQuestion(0x1234, "example.net", "MX");
  const answer = Uint8Array.from(question);
  answer[2] = 0x81;
  answer[7] = 3;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 40 }), (tail, at) => {
      const bytes = new Uint8Array([...answer, ...tail]);
      const flipped = Uint8Array.from(bytes);
      flipped[at % flipped.length] = tail[0] ?? 0;
      for (const each of [tail, bytes, flipped]) {
        const read = decodeAnswer(each, 0x1234, "example.net", "MX");
        assert.ok(read === undefined || read.kind !== "records" || read.records.length <= 3);
      }
    }),
    { numRuns: 2_000 },
  );
  const looping = new Uint8Array([...answer, 0xc0, 29, 0, 15]);
  assert.equal(decodeAnswer(looping, 0x1234, "example.net", "MX"), undefined);
});
