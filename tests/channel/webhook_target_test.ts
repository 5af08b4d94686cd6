/** Where requests may go: addresses, names that lead to them, and configurations that name them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import type { ChannelContext } from "../../src/channel/channel.ts";
import { webhookChannel } from "../../src/channel/webhook.ts";
import { isPublicAddress } from "../../src/channel/webhook/target.ts";
import { TransportError } from "../../src/runtime/runtime.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { contextOf, jobOf } from "./channel_world.ts";
import { openChannel, Receiver, send } from "./webhook_world.ts";

const PRIVATE = [
  "0.0.0.0",
  "0.1.2.3",
  "10.0.0.1",
  "10.255.255.255",
  "100.64.0.1",
  "100.100.100.200",
  "127.0.0.1",
  "127.255.255.254",
  "168.63.129.16",
  "169.254.0.1",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.192",
  "192.168.1.1",
  "198.18.0.1",
  "224.0.0.1",
  "239.255.255.255",
  "255.255.255.255",
  "::",
  "::1",
  "::7f00:1",
  "::ffff:127.0.0.1",
  "::ffff:a9fe:a9fe",
  "::ffff:0:127.0.0.1",
  "64:ff9b::127.0.0.1",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b:1::1",
  "100::1",
  "2001::1",
  "2001:db8::1",
  "2002:7f00:1::1",
  "2002:a9fe:a9fe::1",
  "3fff::1",
  "fc00::1",
  "fd00:ec2::254",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
];

const PUBLIC = [
  "1.1.1.1",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "172.15.255.255",
  "172.32.0.0",
  "192.167.255.255",
  "223.255.255.255",
  "::ffff:8.8.8.8",
  "64:ff9b::808:808",
  "2001:4860:4860::8888",
  "2606:4700::1111",
];

test("webhook target: private, loopback, link-local, shared, metadata and multicast addresses are not public", () => {
  for (const address of PRIVATE) assert.equal(isPublicAddress(address), false, address);
  for (const address of PUBLIC) assert.equal(isPublicAddress(address), true, address);
  for (const text of ["", "localhost", "1.2.3", "1.1.1.1/0", "::/0", "0x7f.1", "[::1]"]) {
    assert.equal(isPublicAddress(text), false, text);
  }
});

test("webhook target: no IPv6 form of an IPv4 address is public when the address is not", () => {
  const hex = (a: number, b: number) => (a * 256 + b).toString(16);
  fc.assert(
    fc.property(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)), ([a, b, c, d]) => {
      const dotted = [a, b, c, d].join(".");
      const isPublic = isPublicAddress(dotted);
      const tail = `${hex(a, b)}:${hex(c, d)}`;
      for (const form of [`::ffff:${dotted}`, `::ffff:${tail}`, `64:ff9b::${tail}`, `0:0:0:0:0:ffff:${tail}`]) {
        assert.equal(isPublicAddress(form), isPublic, form);
      }
      for (const form of [`::${dotted}`, `2002:${tail}::1`, `2001:0:${tail}::`]) {
        assert.equal(isPublicAddress(form), false, form);
      }
    }),
    { numRuns: 2_000 },
  );
});

const accepts = (options: object) => v.safeParse(webhookChannel.schema, options).success;

test("webhook target: a configuration cannot name the machine or a private address, however it is written", () => {
  for (
    const host of [
      "127.0.0.1",
      "127.1",
      "0x7f000001",
      "2130706433",
      "017700000001",
      "0",
      "169.254.169.254",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "[::ffff:7f00:1]",
      "[fd00:ec2::254]",
      "localhost",
      "LOCALHOST.",
      "app.localhost",
      "１２７.０.０.１",
    ]
  ) {
    const url = `http://${host}:8080/in`;
    assert.equal(accepts({ url }), false, host);
    assert.equal(accepts({ url, allow_private: true }), true, host);
  }
  for (
    const url of ["https://app.example.com/in", "https://1.1.1.1/", "http://[2606:4700::1111]/", "http://u:p@a.b/"]
  ) {
    assert.equal(accepts({ url }), true, url);
  }
  for (
    const url of ["", "app.example.com", "ftp://a.b/", "https://", "https://a.b/#x", "https://a b/", "file:///etc"]
  ) {
    assert.equal(accepts({ url, allow_private: true }), false, url);
  }
});

/** A context in which names have the addresses that are next in the list. */
function resolving(...answers: readonly (readonly string[])[]) {
  const context = contextOf();
  const asked: string[] = [];
  const resolver = {
    addresses: (host: string) => {
      const answer = answers[Math.min(asked.length, answers.length - 1)];
      asked.push(host);
      return answer === undefined
        ? Promise.reject(new TransportError(`Cannot find "${host}"`, "ENOTFOUND"))
        : Promise.resolve(answer);
    },
  };
  const changed: ChannelContext = { ...context, runtime: { ...context.runtime, resolver } };
  return { context: changed, asked };
}

const job = () => jobOf("Subject: Hi\r\n\r\n");

test("webhook target: a name that leads inside is refused, and nobody there hears of it", async () => {
  await using receiver = await Receiver.open();
  for (const address of ["127.0.0.1", "::ffff:127.0.0.1", "::1", "169.254.169.254"]) {
    const { context } = resolving([address]);
    const url = `http://hook.example.com:${receiver.port}/`;
    const [outcome] = await send({ url, allow_private: false }, job(), context);
    assert.equal(outcome?.kind, "deferred");
    assert.match(outcome?.detail ?? "", /^Not sent: "hook\.example\.com" leads to .*set allow_private = true/);
  }
  assert.deepEqual([receiver.requests.length, receiver.connections], [0, 0]);
});

test("webhook target: the addresses that were judged are those connected to, and nothing asks again", async () => {
  await using receiver = await Receiver.open();
  // The second answer would lead elsewhere.
  const { context, asked } = resolving(["127.0.0.1"], ["127.0.0.2"]);
  const url = `http://rebinding.example.com:${receiver.port}/in`;
  const [outcome] = await send({ url }, job(), context);
  assert.equal(outcome?.kind, "delivered");
  assert.equal(receiver.last.headers.host, `rebinding.example.com:${receiver.port}`);
  assert.deepEqual(asked, ["rebinding.example.com"]);
});

test("webhook target: of mixed addresses only the public ones are tried", async () => {
  await using receiver = await Receiver.open();
  const { context } = resolving(["127.0.0.1", "255.255.255.255", "::1"]);
  const url = `http://hook.example.com:${receiver.port}/`;
  const [outcome] = await send({ url, allow_private: false }, job(), context);
  assert.match(outcome?.detail ?? "", /leads to 127\.0\.0\.1, 255\.255\.255\.255, ::1/);
  const mixed = resolving(["127.0.0.1", "100::1", "2606:4700::1111"]);
  const abort = new AbortController();
  await using channel = await openChannel({ url, allow_private: false }, {
    ...mixed.context,
    runtime: {
      ...mixed.context.runtime,
      http: {
        async open(options) {
          assert.deepEqual(await options.addressesOf("hook.example.com"), ["2606:4700::1111"]);
          return {
            request: () => Promise.reject(new TransportError("Seen", "E")),
            [Symbol.asyncDispose]: async () => {},
          };
        },
      },
    },
  });
  assert.equal((await outcomesOf(channel, job(), abort.signal))[0]?.detail, "Seen");
  assert.equal(receiver.connections, 0);
});

test("webhook target: proxies that the environment names are not used", async () => {
  await using receiver = await Receiver.open();
  await using proxy = await Receiver.open();
  const names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
  const before = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = `http://127.0.0.1:${proxy.port}`;
  try {
    assert.equal((await send({ url: receiver.url }))[0]?.kind, "delivered");
  } finally {
    for (const [index, name] of names.entries()) {
      const value = before[index];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
  assert.deepEqual([receiver.requests.length, proxy.connections], [1, 0]);
});
