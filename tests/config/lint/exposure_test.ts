/** Rules about key pairs and secrets, beyond the examples of their pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopback } from "../../../src/config/lint/host.ts";
import type { ExampleWorld } from "../../../src/config/pages/page.ts";
import { examineExample, placesOf } from "../example_world.ts";

const FILES = { "cert.pem": "a certificate", "key.pem": "its key" };

function listener(name: string, port: number, more = ""): string {
  return `[[listener]]
name = "${name}"
port = ${port}
${more}tls = { mode = "starttls", certificate = "cert.pem", private_key = "key.pem" }
`;
}

function examineTls(text: string, world: ExampleWorld, files: Readonly<Record<string, string>> = FILES) {
  return examineExample({ text, files, world });
}

const NOW = "2026-01-01T00:00:00Z";

test("key pair: what cannot be used is told with its reason at the half that is wrong", async () => {
  const problem = (field: "certificate" | "privateKey" | "pair") =>
    examineTls(listener("in", 25), {
      keyPair: { problem: { field, reason: "Cannot read it: it is damaged. Give an intact file." } },
    });
  for (const [field, column] of [["certificate", 42], ["privateKey", 68], ["pair", 68]] as const) {
    const { findings: [finding, ...others] } = await problem(field);
    assert.equal(finding?.message, "Cannot read it: it is damaged");
    assert.equal(finding.help, "Give an intact file.");
    assert.equal(finding.primary.start.column, column, field);
    assert.equal(finding.secondary.length, field === "pair" ? 1 : 0);
    assert.deepEqual(others, []);
  }
});

test("key pair: the moments of beginning and end are exact", async () => {
  const codes = async (keyPair: NonNullable<ExampleWorld["keyPair"]>) =>
    placesOf(await examineTls(listener("in", 25), { now: NOW, keyPair }));
  assert.deepEqual(await codes({ notAfter: NOW }), ["SMTPD230 4:42"]);
  assert.deepEqual(await codes({ notAfter: "2026-01-01T00:00:01Z" }), ["SMTPD231 4:42"]);
  assert.deepEqual(await codes({ notAfter: "2026-01-22T00:00:00Z" }), ["SMTPD231 4:42"]);
  assert.deepEqual(await codes({ notAfter: "2026-01-22T00:00:01Z" }), []);
  assert.deepEqual(await codes({ notBefore: NOW }), []);
  assert.deepEqual(await codes({ notBefore: "2026-01-01T00:00:01Z" }), ["SMTPD230 4:42"]);
});

test("key pair: every listener is looked at, and files that are missing are left to their rule", async () => {
  const both = `${listener("a", 25)}${listener("b", 26)}[[listener]]\nname = "c"\nport = 27\n`;
  assert.deepEqual(placesOf(await examineTls(both, { keyPair: { notAfter: NOW } })), [
    "SMTPD230 4:42",
    "SMTPD230 8:42",
  ]);
  const absent = await examineTls(both, { keyPair: { notAfter: NOW } }, { "cert.pem": "a certificate" });
  assert.deepEqual([...new Set(absent.findings.map((finding) => finding.code))], ["SMTPD202"]);
});

test("host name of a certificate: the listener's own name counts, the system's does not", async () => {
  const world: ExampleWorld = { keyPair: { names: ["mail.example.com", "localhost"] } };
  const of = async (text: string) => placesOf(await examineTls(text, world));
  assert.deepEqual(await of(listener("in", 25)), []);
  assert.deepEqual(await of(`host_name = "mail.example.com"\n${listener("in", 25)}`), []);
  assert.deepEqual(await of(`host_name = "mx.example.com"\n${listener("in", 25)}`), ["SMTPD232 5:42"]);
  assert.deepEqual(await of(listener("in", 25, 'host_name = "mx.example.com"\n')), ["SMTPD232 5:42"]);
  // Clients of a loopback listener connect to localhost.
  assert.deepEqual(await of(`host_name = "mx.example.com"\n${listener("in", 25, 'listen_ip = "127.0.0.1"\n')}`), []);
});

test("secret file: any access of others counts, that of the group does not", async () => {
  const of = async (mode: number, key = "its key") =>
    placesOf(
      await examineTls(listener("in", 25), { modes: { "key.pem": mode, "cert.pem": 0o644 } }, {
        "cert.pem": "-----BEGIN CERTIFICATE-----",
        "key.pem": key,
      }),
    );
  assert.deepEqual(await of(0o640), []);
  assert.deepEqual(await of(0o604), ["SMTPD240 4:68"]);
  assert.deepEqual(await of(0o602), ["SMTPD240 4:68"]);
  const together = "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----";
  assert.deepEqual(await of(0o644, together), ["SMTPD240 4:68"]);
  assert.deepEqual(await of(0o644, "-----BEGIN CERTIFICATE-----"), []);
});

test("secret file: its text is in no finding", async () => {
  const { findings } = await examineTls(listener("in", 25), { modes: { "key.pem": 0o644 } }, {
    ...FILES,
    "key.pem": "hunter2",
  });
  assert.ok(findings.length > 0);
  assert.ok(!JSON.stringify(findings).includes("hunter2"));
});

test("webhook: only http to other hosts is reported", async () => {
  const of = async (url: string) =>
    (await examineExample({
      text: `[[listener]]\nname = "in"\nport = 2525\n[[binding]]\nname = "b"\nrecipients = "a@b.example"\n` +
        `deliver = "app"\n[[channel]]\nname = "app"\ntype = "webhook"\nurl = "${url}"\n`,
    })).findings.filter((finding) => finding.code === "SMTPD242").length;
  for (const url of ["http://app.example/x", "http://10.0.0.1/", "HTTP://app.example", "http://localhost.example/"]) {
    assert.equal(await of(url), 1, url);
  }
  for (
    const url of [
      "https://app.example/",
      "http://localhost:80/",
      "http://127.0.0.1/",
      "http://[::1]:3/",
      "http://a.localhost/",
    ]
  ) {
    assert.equal(await of(url), 0, url);
  }
});

test("loopback: addresses in every form, and names", () => {
  for (
    const host of [
      ...["127.0.0.1", "127.255.0.3", "::1", "0:0:0:0:0:0:0:1", "[::1]", "[IPv6:::1]", "::ffff:127.0.0.1"],
      ...["::ffff:7f00:1", "localhost", "LOCALHOST.", "app.localhost"],
    ]
  ) assert.equal(isLoopback(host), true, host);
  for (
    const host of [
      "128.0.0.1",
      "0.0.0.0",
      "::",
      "::2",
      "1::1",
      "::ffff:10.0.0.1",
      "localhost.example",
      "127.example",
      "",
    ]
  ) assert.equal(isLoopback(host), false, host);
});
