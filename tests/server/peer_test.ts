/** Who the client of a session on standard input is: each convention, their order, and what must not be believed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Endpoint, endpointText, type StandardInput } from "../../src/runtime/runtime.ts";
import { findPeer, type FoundPeer } from "../../src/server/peer.ts";

const ip = (address: string, port: number): Endpoint => ({ kind: "ip", address, port });
const OTHER: StandardInput = { kind: "other" };
const SOCKET: StandardInput = {
  kind: "socket",
  ends: { peer: ip("192.0.2.7", 7), local: ip("192.0.2.8", 25) },
};

function find(
  environment: Readonly<Record<string, string>>,
  input: StandardInput = OTHER,
  given: { readonly peer?: Endpoint; readonly local?: Endpoint } = {},
): Promise<FoundPeer> {
  return findPeer({ ...given, environment: (name) => environment[name], input: () => Promise.resolve(input) });
}

async function ends(...parameters: Parameters<typeof find>): Promise<string> {
  const { peer, local, origin, problems } = await find(...parameters);
  assert.deepEqual(problems, []);
  return `${endpointText(peer)} ${endpointText(local)} ${origin}`;
}

const TRANSPORTINFO = "TCP|192.0.2.2|25|192.0.2.1|1244";
const TCPSERVER = {
  PROTO: "TCP",
  TCPREMOTEIP: "192.0.2.3",
  TCPREMOTEPORT: "3",
  TCPLOCALIP: "192.0.2.4",
  TCPLOCALPORT: "25",
};
const SOCAT = {
  SOCAT_PEERADDR: "[2001:0db8:0000:0000:0000:0000:0000:0001]",
  SOCAT_PEERPORT: "5",
  SOCAT_SOCKADDR: "[2001:0db8:0000:0000:0000:0000:0000:0002]",
  SOCAT_SOCKPORT: "25",
};
const NCAT = { NCAT_REMOTE_ADDR: "192.0.2.6", NCAT_REMOTE_PORT: "6", NCAT_LOCAL_ADDR: "::1", NCAT_LOCAL_PORT: "25" };
const REMOTE = { REMOTE_ADDR: "192.0.2.9", REMOTE_PORT: "9" };
const SSH = { SSH_CONNECTION: "192.0.2.10 10 192.0.2.11 22" };

test("peer: each convention", async () => {
  assert.equal(await ends({ TRANSPORTINFO }), "192.0.2.1:1244 192.0.2.2:25 TRANSPORTINFO");
  assert.equal(
    await ends({ TRANSPORTINFO: "TCP6|2001:db8::2|25|2001:DB8:0::1|1" }),
    "[2001:db8::1]:1 [2001:db8::2]:25 TRANSPORTINFO",
  );
  assert.equal(await ends({}, SOCKET), "192.0.2.7:7 192.0.2.8:25 socket");
  assert.equal(await ends(TCPSERVER), "192.0.2.3:3 192.0.2.4:25 TCPREMOTEIP");
  assert.equal(
    await ends({ PROTO: "TCP6", TCP6REMOTEIP: "2001:db8::3", TCP6REMOTEPORT: "3", TCPREMOTEIP: "192.0.2.99" }),
    "[2001:db8::3]:3 unknown TCPREMOTEIP",
  );
  assert.equal(await ends(SOCAT), "[2001:db8::1]:5 [2001:db8::2]:25 SOCAT_PEERADDR");
  assert.equal(await ends(NCAT), "192.0.2.6:6 [::1]:25 NCAT_REMOTE_ADDR");
  assert.equal(await ends(REMOTE), "192.0.2.9:9 unknown REMOTE_ADDR");
  assert.equal(await ends(SSH), "192.0.2.10:10 192.0.2.11:22 SSH_CONNECTION");
  assert.equal(await ends({}), "unknown unknown nothing");
});

test("peer: the first that says something counts", async () => {
  const order: readonly (readonly [string, Readonly<Record<string, string>>, StandardInput])[] = [
    ["TRANSPORTINFO", { TRANSPORTINFO }, OTHER],
    ["socket", {}, SOCKET],
    ["TCPREMOTEIP", TCPSERVER, OTHER],
    ["SOCAT_PEERADDR", SOCAT, OTHER],
    ["NCAT_REMOTE_ADDR", NCAT, OTHER],
    ["REMOTE_ADDR", REMOTE, OTHER],
    ["SSH_CONNECTION", SSH, OTHER],
  ];
  for (const at of order.keys()) {
    const rest = order.slice(at);
    const environment: Readonly<Record<string, string>> = Object.assign({}, ...rest.map(([, variables]) => variables));
    const input: StandardInput = rest.find(([, , candidate]) => candidate !== OTHER)?.[2] ?? OTHER;
    assert.equal((await find(environment, input)).origin, rest[0]?.[0]);
    const given = await find(environment, input, { peer: ip("192.0.2.50", 50), local: ip("192.0.2.51", 51) });
    assert.equal(`${endpointText(given.peer)} ${endpointText(given.local)}`, "192.0.2.50:50 192.0.2.51:51");
    assert.equal(given.origin, "--peer");
  }
});

test("peer: --local alone leaves the client to the others", async () => {
  assert.equal(
    await ends({ TRANSPORTINFO }, OTHER, { local: ip("192.0.2.51", 51) }),
    "192.0.2.1:1244 192.0.2.51:51 TRANSPORTINFO",
  );
});

test("peer: what says that there is a network, but not where, is never local", async () => {
  const cases: readonly (readonly [Readonly<Record<string, string>>, StandardInput])[] = [
    [{ TRANSPORTINFO: "TCP||||" }, OTHER],
    [{ TRANSPORTINFO: "TCP|192.0.2.2|25" }, OTHER],
    [{ PROTO: "TCP" }, OTHER],
    [{}, { kind: "socket", ends: "unknown" }],
  ];
  for (const [environment, input] of cases) {
    const found = await find(environment, input);
    assert.equal(found.peer.kind, "unknown");
    assert.equal(found.mayBeLocal, false, JSON.stringify(environment));
    assert.deepEqual(found.problems, []);
  }
});

test("peer: pipes and UNIX sockets may be local", async () => {
  const cases: readonly (readonly [Readonly<Record<string, string>>, StandardInput])[] = [
    [{}, OTHER],
    [{}, { kind: "socket", ends: "unix" }],
    [{ TRANSPORTINFO: "UNIX||||" }, SOCKET],
    [{ PROTO: "UNIX" }, OTHER],
    [{ SOCAT_PEERADDR: "/run/mail.sock" }, OTHER],
    [{ PROTO: "https" }, OTHER],
    [{ TRANSPORTINFO: "", REMOTE_ADDR: " " }, OTHER],
    // A browser's address in a CGI program, and the terminal of whoever started it.
    [{ ...REMOTE, GATEWAY_INTERFACE: "CGI/1.1" }, OTHER],
    [{ ...SSH, SSH_TTY: "/dev/pts/0" }, OTHER],
  ];
  for (const [environment, input] of cases) {
    const found = await find(environment, input);
    assert.equal(found.peer.kind, "unknown");
    assert.equal(found.mayBeLocal, true, JSON.stringify(environment));
  }
});

test("peer: what cannot be understood is told, and leaves the client unknown and without trust", async () => {
  for (
    const environment of [
      { TRANSPORTINFO: "TCP|192.0.2.2|25|192.0.2.300|1244", ...SSH },
      { TRANSPORTINFO: "TCP|192.0.2.2|25|192.0.2.1|65536" },
      { TRANSPORTINFO: "TCP|192.0.2.2|25|192.0.2.1|1|2" },
      { TRANSPORTINFO: "192.0.2.1" },
      { ...TCPSERVER, TCPREMOTEIP: "somewhere" },
      { ...SOCAT, SOCAT_PEERPORT: "five" },
      { NCAT_REMOTE_ADDR: "1.2.3" },
      { REMOTE_ADDR: "vsock:3:1" },
      { SSH_CONNECTION: "UNKNOWN 65535 UNKNOWN 65535" },
      { SSH_CONNECTION: "192.0.2.1 5" },
    ]
  ) {
    const found = await find(environment);
    assert.equal(found.peer.kind, "unknown", JSON.stringify(environment));
    assert.equal(found.mayBeLocal, false);
    assert.equal(found.problems.length, 1);
  }
});

test("peer: control characters are taken out", async () => {
  const found = await find({ TRANSPORTINFO: "TCP|x\u001b[31m\r\n|1" });
  assert.match(found.problems[0] ?? "", /^TRANSPORTINFO is "TCP\|x\[31m\|1", and must have the form TCP\|/);
  assert.equal(await ends({ TRANSPORTINFO: `${TRANSPORTINFO}\n\u0000` }), "192.0.2.1:1244 192.0.2.2:25 TRANSPORTINFO");
});

test("peer: an IPv4 address in an IPv6 one is what it is, and a zone does not count", async () => {
  assert.equal(await ends({ REMOTE_ADDR: "::ffff:192.0.2.1", REMOTE_PORT: "1" }), "192.0.2.1:1 unknown REMOTE_ADDR");
  assert.equal(await ends({ REMOTE_ADDR: "fe80::1%eth0", REMOTE_PORT: "1" }), "[fe80::1]:1 unknown REMOTE_ADDR");
});

test("peer: APPLICATIONINFO in both orders, and what it is not", async () => {
  const application = async (APPLICATIONINFO: string) => (await find({ APPLICATIONINFO })).application;
  assert.deepEqual(await application("SMTP"), {});
  assert.deepEqual(await application("SMTP/client.example"), { helo: "client.example" });
  for (const text of ["ESMTP/TLSv1.3/client.example", "SMTP/client.example/TLS_AES_128_GCM_SHA256"]) {
    assert.equal((await application(text))?.helo, "client.example");
    assert.match((await application(text))?.tls ?? "", /^TLS/);
  }
  assert.equal((await find({ APPLICATIONINFO: "HTTP/x" })).problems.length, 1);
  // It says nothing of where the client is.
  assert.equal((await find({ APPLICATIONINFO: "SMTP/client.example" })).mayBeLocal, true);
});

test("peer: whatever the environment says, an address comes out that is one, or none", async () => {
  const names = [
    "TRANSPORTINFO",
    "APPLICATIONINFO",
    "PROTO",
    "TCPREMOTEIP",
    "SOCAT_PEERADDR",
    "SSH_CONNECTION",
  ] as const;
  const value = fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^(TCP\|)?[0-9a-f:.|\[\] ]{0,40}$/));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), value), async (environment) => {
      const { peer, problems } = await find(environment);
      assert.match(endpointText(peer), /^(?:unknown|[0-9.]+:\d+|\[[0-9a-f:]+\]:\d+)$/);
      for (const problem of problems) assert.doesNotMatch(problem, /\p{Cc}/u);
    }),
    { numRuns: 300 },
  );
});
