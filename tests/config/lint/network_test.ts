/** Rules that ask the network with --online, beyond the examples of their pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LintNetwork } from "../../../src/config/lint/rule.ts";
import { lint } from "../../../src/config/lint/run.ts";
import { lintRules } from "../../../src/config/lint/rules.ts";
import { examineExample, exampleEnvironment } from "../example_world.ts";

/** Nobody answers, unless told otherwise; remembers what was asked. */
function silent(given: Partial<LintNetwork>, asked: string[] = []): LintNetwork {
  const unknown = (question: string) => {
    asked.push(question);
    return Promise.resolve(undefined);
  };
  return {
    addresses: (name) => given.addresses?.(name) ?? unknown(`addresses ${name}`),
    names: (address) => given.names?.(address) ?? unknown(`names ${address}`),
    mailExchangers: (domain) => given.mailExchangers?.(domain) ?? unknown(`mx ${domain}`),
    answers: (host, port) => given.answers?.(host, port) ?? unknown(`${host}:${port}`),
  };
}

async function messages(text: string, network: LintNetwork | undefined): Promise<readonly string[]> {
  const { loaded, findings } = await examineExample({ text }, { rules: [] });
  assert.ok(loaded.config !== undefined, JSON.stringify(findings));
  const rules = lintRules.filter(({ code }) => code >= "SMTPD270");
  const environment = exampleEnvironment({ text });
  const found = await lint(loaded, {
    environment: network === undefined ? environment : { ...environment, network },
    rules,
  });
  return found.map(({ code, message }) => `${code} ${message}`);
}

const RELAY = `[[listener]]
name = "in"
port = 25
listen_ip = "127.0.0.1"
[[binding]]
name = "b"
recipients = ["*@example.com"]
deliver = ["out", "hook"]
[[channel]]
name = "out"
type = "smtp"
host = "relay.example"
port = 26
[[channel]]
name = "hook"
type = "webhook"
url = "https://app.example/x"
`;

const INBOUND = `host_name = "mx.example.com"
[[listener]]
name = "in"
port = 25
[[binding]]
name = "b"
recipients = ["*@example.com", "a@example.com"]
deliver = "archive"
[[channel]]
name = "archive"
type = "discard"
`;

test("without --online nothing is asked and nothing is said", async () => {
  assert.deepEqual(await messages(RELAY, undefined), []);
  assert.deepEqual(await messages(INBOUND, undefined), []);
});

test("where nobody answers, nothing is said", async () => {
  const asked: string[] = [];
  assert.deepEqual(await messages(RELAY, silent({}, asked)), []);
  assert.deepEqual(await messages(INBOUND, silent({}, asked)), []);
  for (const question of ["relay.example:26", "app.example:443", "mx example.com", "addresses mx.example.com"]) {
    assert.ok(asked.includes(question), question);
  }
});

test("endpoints: a name that is nowhere and a port that is closed are different findings", async () => {
  const closed = { answers: () => Promise.resolve(false) };
  assert.deepEqual(await messages(RELAY, silent({ ...closed, addresses: () => Promise.resolve([]) })), [
    'SMTPD270 The host "relay.example" cannot be found in the DNS',
    'SMTPD270 The host "app.example" cannot be found in the DNS',
  ]);
  assert.deepEqual(await messages(RELAY, silent({ ...closed, addresses: () => Promise.resolve(["192.0.2.1"]) })), [
    'SMTPD273 Nothing answers at "relay.example:26"',
    'SMTPD273 Nothing answers at "app.example:443"',
  ]);
  // Names of /etc/hosts or of a container's network.
  const local = { addresses: () => Promise.resolve([]), answers: () => Promise.resolve(true) };
  assert.deepEqual(await messages(RELAY, silent(local)), []);
});

test("mail exchangers: by name, by address, or by the domain's own address", async () => {
  const with_ = (
    exchangers: readonly string[],
    addresses: Readonly<Record<string, readonly string[]>>,
    text = INBOUND,
  ) =>
    messages(
      text,
      silent({
        mailExchangers: () => Promise.resolve(exchangers.map((name) => ({ preference: 1, name }))),
        addresses: (name) => Promise.resolve(addresses[name] ?? []),
        names: () => Promise.resolve(["mx.example.com"]),
      }),
    );
  const ours = { "mx.example.com": ["192.0.2.1"] };
  assert.deepEqual(await with_(["MX.example.com."], ours), []);
  assert.deepEqual(await with_(["other.example", "alias.example"], { ...ours, "alias.example": ["192.0.2.1"] }), []);
  assert.deepEqual(await with_([], { ...ours, "example.com": ["192.0.2.1"] }), []);
  const elsewhere = 'SMTPD271 Mail for "example.com" does not come here:';
  const other = { ...ours, "other.example": ["192.0.2.2"], "example.com": ["192.0.2.2"] };
  assert.deepEqual(await with_(["other.example"], other), [`${elsewhere} its MX is "other.example"`]);
  assert.deepEqual(await with_([], other), [
    `${elsewhere} it has no MX record, and its address is not this server's`,
  ]);
  assert.deepEqual(await with_([], ours), [`${elsewhere} it is not in the DNS`]);
  assert.deepEqual(await with_([""], ours), [`${elsewhere} its MX record says that it takes no mail`]);
  assert.deepEqual(
    await with_(["other.example"], other, INBOUND.replace("port = 25", 'port = 25\nlisten_ip = "::1"')),
    [],
  );
  assert.deepEqual(
    await with_(["other.example"], other, INBOUND.replace("port = 25", 'port = 25\nprotocol = "lmtp"')),
    [],
  );
});

test("host name: every address leads back to it", async () => {
  const with_ = (addresses: readonly string[], names: Readonly<Record<string, readonly string[] | undefined>>) =>
    messages(
      INBOUND,
      silent({
        addresses: (name) => Promise.resolve(name === "mx.example.com" ? addresses : undefined),
        names: (address) => Promise.resolve(names[address]),
      }),
    );
  const start = 'SMTPD272 The DNS does not agree with the host name "mx.example.com":';
  assert.deepEqual(await with_(["192.0.2.1"], { "192.0.2.1": ["other.example", "MX.example.com."] }), []);
  assert.deepEqual(await with_([], {}), [`${start} it has no address`]);
  assert.deepEqual(await with_(["192.0.2.1", "::1"], { "192.0.2.1": ["mx.example.com"], "::1": [] }), [
    `${start} its address ::1 has no name`,
  ]);
  assert.deepEqual(await with_(["192.0.2.1"], { "192.0.2.1": ["pool.example"] }), [
    `${start} its address 192.0.2.1 has the name "pool.example"`,
  ]);
  assert.deepEqual(await with_(["192.0.2.1"], {}), []);
});
