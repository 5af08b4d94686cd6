/**
 * Rehearsals against sessions: for random configurations and messages, what `explain` and routing tests say is what a client
 * of the listener sees and what the spool is given, and a routing test written from that passes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import { compileRoutes } from "../../src/binding/route.ts";
import type { Config, ListenerConfig } from "../../src/config/config.ts";
import { failedTest, unknownTestName } from "../../src/config/lint/routing_test.ts";
import { canMeet, type ImaginedMessage, parseAddress, replyLine } from "../../src/config/rehearsal.ts";
import { tomlValue } from "../../src/config/toml_text.ts";
import { rehearse } from "../../src/server/rehearsal.ts";
import type { NewMessage, Spool } from "../../src/spool/spool.ts";
import { examineExample } from "../config/example_world.ts";
import { World } from "./listener_world.ts";

await loadRegexEngine();

type Table = Readonly<Record<string, unknown>>;

function maybe<Value>(arbitrary: fc.Arbitrary<Value>, weight = 3): fc.Arbitrary<Value | undefined> {
  return fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

/** Without keys that have no value. */
function compact(table: object): Table {
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined));
}

const local = fc.constantFrom("a", "A", "b", "a+x", "case-7");
const domain = fc.constantFrom("x.example", "X.example", "s.x.example", "mx.example.com", "müller.example");
const address = fc.tuple(local, domain).map(([left, right]) => `${left}@${right}`);
const pattern = fc.oneof(
  address,
  fc.constantFrom("*", "*@x.example", "*@*.x.example", "a+*@x.example", "?@x.example", "/^case-(\\d)@/", "postmaster"),
);
const conditions = fc.record({
  recipients: maybe(fc.array(pattern, { minLength: 1, maxLength: 2 }), 1),
  senders: maybe(fc.constantFrom(["<>"], ["*@y.example"], ["a@x.example", "/^me@/"])),
  clients: maybe(fc.constantFrom(["192.0.2.0/24"], ["10.0.0.0/8"])),
  helo: maybe(fc.constantFrom(["*.example"], ["evil"])),
  tls: maybe(fc.boolean()),
  listeners: maybe(fc.constantFrom(["in"], ["public"])),
  size: maybe(fc.constantFrom({ min: 1000 }, { max: 999 })),
  headers: maybe(fc.constantFrom({ Subject: ["*spam*"] }, { "X-A": ["1"] }), 2),
  dsn: maybe(fc.constant("report"), 6),
}).map(compact);

const changes = fc.record({
  rewrite_recipient: maybe(fc.constantFrom("a@x.example", "${local}@s.x.example", "bad ${local}")),
  rewrite_sender: maybe(fc.constantFrom("<>", "${local}@y.example")),
  add_headers: maybe(fc.constant({ "X-Queue": "${recipient}" })),
  subject_prefix: maybe(fc.constant("[${extension}]")),
  hold: maybe(fc.constant(true)),
}).map(compact);

const outcome: fc.Arbitrary<Table> = fc.oneof(
  fc.tuple(fc.constantFrom(["one"], ["one", "two"], ["far"]), changes, maybe(fc.constant(true))).map(
    ([deliver, made, goesOn]) => compact({ deliver, ...made, continue: goesOn }),
  ),
  fc.constantFrom({ reject: "550 5.1.1 No" }, { defer: "451 4.7.1 Later" }, { discard: true }),
  changes.filter((made) => Object.keys(made).length > 0).map((made) => ({ ...made, continue: true })),
);

const binding = fc.tuple(conditions, maybe(conditions, 4), outcome).map(([holds, not, done]): Table => ({
  // A binding needs a condition.
  ...(Object.keys(holds).length === 0 ? { recipients: ["*"] } : holds),
  ...(not === undefined || Object.keys(not).length === 0 ? {} : { not }),
  ...done,
}));

const bindings = fc.array(binding, { maxLength: 5 });

const world = fc.record({
  own: bindings,
  shared: bindings,
  protocol: fc.constantFrom("smtp", "lmtp"),
  tls: fc.constantFrom("off", "starttls", "required", "implicit"),
});

const message = fc.record({
  to: fc.oneof({ weight: 8, arbitrary: address }, { weight: 1, arbitrary: fc.constant("Postmaster") }),
  from: fc.constantFrom("me@y.example", "a@x.example", "<>"),
  ip: fc.constantFrom("192.0.2.7", "10.1.2.3", "2001:db8::1"),
  helo: fc.constantFrom("mail.example", "evil"),
  tls: fc.constantFrom(undefined, true, false),
  size: fc.constantFrom(undefined, 300, 5000, 200_000),
  headers: fc.constantFrom<Readonly<Record<string, string>>>(
    {},
    { Subject: "all SPAM" },
    { "X-A": "1" },
    { Subject: "ein Gruß", "X-A": "1" },
    { ".dot": "spam" },
  ),
});

interface Given {
  readonly own: readonly Table[];
  readonly shared: readonly Table[];
  readonly protocol: string;
  readonly tls: string;
}

type Sent = typeof message extends fc.Arbitrary<infer Value> ? Value : never;

function tables(header: string, items: readonly Table[], prefix: string): string {
  return items.map((item, index) => `[[${header}]]\n${lines({ name: `${prefix}${index}`, ...item })}`).join("");
}

function lines(table: Table): string {
  return Object.entries(table).map(([key, value]) => `${key} = ${tomlValue(value)}\n`).join("");
}

function configuration({ own, shared, protocol, tls }: Given): string {
  const pair = tls === "off" ? "" : 'certificate = "c.pem"\nprivate_key = "k.pem"\n';
  return 'host_name = "mx.example.com"\n' +
    `[[listener]]\nname = "in"\ntags = "public"\nport = 2525\nprotocol = "${protocol}"\nmax_message_size = 100000\n` +
    `[listener.tls]\nmode = "${tls}"\n${pair}` +
    tables("listener.binding", own, "own-") + tables("binding", shared, "shared-") +
    ["one", "two", "far"].map((name) => `[[channel]]\nname = "${name}"\ntype = "discard"\n`).join("");
}

function examined(text: string) {
  const files = { "c.pem": "certificate", "k.pem": "key" };
  return examineExample({ text, files }, { rules: [failedTest, unknownTestName] });
}

/** The spool, and what it was given. */
function watched(spool: Spool, committed: NewMessage[]): Spool {
  return new Proxy(spool, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      if (key === "begin") {
        return () => {
          const draft = target.begin();
          return {
            write: (bytes: Uint8Array) => draft.write(bytes),
            commit: (given: NewMessage, options?: { readonly claimForMs?: number }) => {
              committed.push(given);
              return draft.commit(given, options);
            },
            [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
          };
        };
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** The content: exactly of the size, where one is wanted. */
function contentOf({ headers, size }: Sent): string {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  if (size === undefined) return `${fields}\r\nNobody sent this.\r\n`;
  const encoded = (text: string) => new TextEncoder().encode(text).length;
  const filler = `${"x".repeat(60)}\r\n`;
  let text = `${fields}\r\n`;
  while (size - encoded(text) > 130) text += filler;
  return `${text}${"y".repeat(size - encoded(text) - 2)}\r\n`;
}

interface Seen {
  /** Of MAIL, RCPT and the end of data, as far as it came. */
  readonly replies: readonly string[];
  readonly committed: NewMessage | undefined;
}

/** A client of the listener in memory that knows nothing of rehearsals. */
async function session({ listeners: [listener], bindings }: Config, sent: Sent): Promise<Seen> {
  assert.ok(listener !== undefined);
  const committed: NewMessage[] = [];
  // Never disposed: its clock stands still and is its own, so nothing goes on, and disposing it would cost a virtual minute.
  const world = await World.open(listener, (spool) => watched(spool, committed), bindings);
  const client = world.connect(sent.ip);
  const verb = listener.protocol === "lmtp" ? "LHLO" : "EHLO";
  await client.say(`${verb} ${sent.helo}`);
  if (sent.tls === true && listener.tls.mode !== "implicit" || listener.tls.mode === "required") {
    assert.match(await client.say("STARTTLS"), /^220 /);
    await client.say(`${verb} ${sent.helo}`);
  }
  const smtputf8 = /[^\0-\x7f]/u.test(sent.to) ? " SMTPUTF8" : "";
  const size = sent.size === undefined ? "" : ` SIZE=${sent.size}`;
  const path = (text: string) => text === "<>" ? text : `<${text}>`;
  const said = await client.say(
    `MAIL FROM:${path(sent.from)}${size} BODY=8BITMIME${smtputf8}`,
    `RCPT TO:${path(sent.to)}`,
    "DATA",
  );
  const [mail = "", recipient = "", data = ""] = said.split("\r\n");
  if (data.startsWith("354 ")) {
    const end = await client.send(`${contentOf(sent).replaceAll(/^\./gmu, "..")}.\r\n`);
    return { replies: [mail, recipient, end.trimEnd()], committed: committed[0] };
  }
  assert.match(data, /^50[03] |^554 /, said);
  return { replies: mail.startsWith("2") ? [mail, recipient] : [mail], committed: committed[0] };
}

function imagined(sent: Sent, timeMs: number): ImaginedMessage {
  const [to, from] = [parseAddress(sent.to), parseAddress(sent.from)];
  assert.ok(to !== undefined && to !== null && from !== undefined);
  return {
    to,
    from,
    ip: sent.ip,
    helo: sent.helo,
    ...(sent.tls === undefined ? {} : { tls: sent.tls }),
    ...(sent.size === undefined ? {} : { sizeBytes: sent.size }),
    headers: Object.entries(sent.headers).map(([name, value]) => ({ name, value })),
    timeMs,
  };
}

function withoutId(text: string): string {
  return text.replace(/Queued as \w+/u, "Queued as ID");
}

/** What the spool was given, in the words of a rehearsal. */
function stored(committed: NewMessage | undefined) {
  return (committed?.deliveries ?? []).map(({ channel, binding, recipient, reversePath, edits = [], held }) => ({
    channel,
    binding,
    recipient,
    ...(reversePath === undefined ? {} : { sender: reversePath }),
    edits,
    held: held === true,
  }));
}

/** A routing test that says what was seen. */
function testOf(sent: Sent, { replies, committed }: Seen): string {
  const { size, headers, tls, ...plain } = sent;
  const [, code = "", enhanced = ""] = /^(\d{3}) (\d\.\d+\.\d+)/u.exec(replies.at(-1) ?? "") ?? [];
  const deliveries = committed?.deliveries ?? [];
  const outcome = code >= "500"
    ? "reject"
    : code >= "400"
    ? "defer"
    : deliveries.length === 0
    ? "discard"
    : deliveries.every(({ held }) => held === true)
    ? "hold"
    : "deliver";
  const [first] = deliveries;
  const expect = compact({
    binding: first?.binding,
    deliver: deliveries.map(({ channel }) => channel),
    reply: `${code} ${enhanced}`,
    recipient: first === undefined ? undefined : deliveries.map(({ recipient }) => recipient),
    outcome,
  });
  return `[[test]]\n${lines(compact({ ...plain, tls, size, headers, expect }))}`;
}

/** What became of the messages, and at which command that was decided. */
function agreement(outcomes: Set<string>) {
  return fc.asyncProperty(world, message, async (given, sent) => {
    const text = configuration(given);
    const { loaded } = await examined(text);
    const { config } = loaded;
    assert.ok(config !== undefined, `${JSON.stringify(loaded.diagnostics.map((one) => one.message))}\n${text}`);
    const [listener] = config.listeners as readonly [ListenerConfig];
    fc.pre(canMeet(listener, sent.tls));
    const seen = await session(config, sent);
    const router = compileRoutes(listener, config.bindings);
    const rehearsal = await rehearse(listener, router, imagined(sent, Date.UTC(2026, 0, 1)));
    const shown = rehearsal.dialogue
      .filter(({ command }) => ["MAIL", "RCPT", "end of data"].includes(command))
      .map(({ reply }) => replyLine(reply));
    assert.deepEqual(shown, seen.replies.map(withoutId));
    assert.deepEqual(rehearsal.deliveries, stored(seen.committed));
    outcomes.add(`${rehearsal.outcome} at ${rehearsal.dialogue.at(-1)?.command}`);

    const written = testOf(sent, seen);
    const passing = await examined(`${text}${written}`);
    assert.deepEqual(passing.findings.map((one) => [one.message, one.notes]), [], `${text}${written}`);
    const failing = await examined(`${text}${written.replace(/reply = "\d/u, `reply = "${otherDigit(written)}`)}`);
    assert.deepEqual(failing.findings.map((one) => one.code), ["SMTPD280"], written);
  });
}

/** A first digit of a reply that is not the one expected. */
function otherDigit(written: string): string {
  return /reply = "2/u.test(written) ? "5" : "2";
}

test(
  "explain says what a session does, and a routing test written from the session passes",
  { timeout: 120_000 },
  async () => {
    await fc.assert(agreement(new Set()), { numRuns: 200 });
  },
);

test(
  "the same for messages of one seed, among which is every outcome wherever it can be decided",
  { timeout: 120_000 },
  async () => {
    const outcomes = new Set<string>();
    await fc.assert(agreement(outcomes), { numRuns: 250, seed: 1 });
    assert.deepEqual([...outcomes].sort(), [
      "defer at RCPT",
      "defer at end of data",
      "deliver at end of data",
      "discard at end of data",
      "hold at end of data",
      "reject at MAIL",
      "reject at RCPT",
      "reject at end of data",
    ]);
  },
);
