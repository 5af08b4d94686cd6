/** Routing tests: their keys, which listeners they are for, what a failure says and where, names, coverage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { failedTest, lowCoverage, unknownTestName, unreachedBinding } from "../../src/config/lint/routing_test.ts";
import { examineExample, placesOf } from "./example_world.ts";
import { findings, load } from "./world.ts";

const rules = [failedTest, unknownTestName, unreachedBinding, lowCoverage];

const CONFIGURATION = `[[listener]]
name = "inbound"
tags = "public"
port = 2525
max_message_size = "1MiB"
[listener.tls]
mode = "starttls"
certificate = "c.pem"
private_key = "k.pem"
[[listener.binding]]
name = "own"
recipients = ["own@example.com"]
deliver = ["archive"]
[[listener]]
name = "local"
protocol = "lmtp"
port = 2424
[[binding]]
name = "mark"
recipients = ["*@example.com"]
headers = { Subject = "*invoice*" }
add_headers = { X-Queue = "money" }
continue = true
[[binding]]
name = "staff"
recipients = ["staff@example.com"]
authenticated = ["ann"]
deliver = ["archive"]
[[binding]]
name = "cases"
recipients = ['/^case-(\\d+)@example\\.com$/']
rewrite_recipient = "case@tickets.example.com"
deliver = ["archive", "tickets"]
[[binding]]
name = "night"
recipients = ["office@example.com"]
time = { from = "20:00", to = "06:00" }
defer = "451 4.7.1 Closed"
[[binding]]
name = "big"
recipients = ["*@example.com"]
size = { min = "100KiB" }
reject = "552 5.3.4 Too much"
[[binding]]
name = "secret"
recipients = ["secret@example.com"]
tls = true
clients = ["192.0.2.0/24"]
senders = ["<>"]
helo = ["*.partner.example"]
hold = true
deliver = ["archive"]
[[binding]]
name = "sink"
recipients = ["sink@example.com"]
discard = true
[[channel]]
name = "archive"
type = "discard"
[[channel]]
name = "tickets"
type = "discard"
`;
const LINES = CONFIGURATION.split("\n").length - 1;

function examined(tests: string, coverage?: { readonly minPercent?: number }) {
  const files = { "c.pem": "certificate", "k.pem": "key" };
  return examineExample(
    { text: CONFIGURATION + tests, files, ...(coverage === undefined ? {} : { world: { coverage } }) },
    { rules },
  );
}

async function messages(tests: string): Promise<readonly string[]> {
  return (await examined(tests)).findings.map(({ message }) => message);
}

const PASSING = `[[test]]
name = "every key"
to = "secret@example.com"
from = "<>"
ip = "192.0.2.9"
listener = "inbound"
tls = true
helo = "mx.partner.example"
expect = { binding = "secret", deliver = "archive", outcome = "hold", reply = "250", recipient = "Secret@EXAMPLE.com" }
[[test]]
to = ["case-1@example.com", "CASE-22@example.com"]
headers = { Subject = "your invoice", X-Other = ["a", "b"] }
expect = { binding = "mark", deliver = ["tickets", "archive"], recipient = "case@tickets.example.com" }
[[test]]
to = "staff@example.com"
user = "ann"
expect = { binding = "staff" }
[[test]]
to = "office@example.com"
time = "2026-01-05T22:00:00+01:00"
expect = { outcome = "defer", reply = "451 4.7.1", deliver = [] }
[[test]]
to = "office@example.com"
time = "2026-01-05T12:00:00Z"
expect = { reply = "550 5.7.1" }
[[test]]
to = "sink@example.com"
size = "200KiB"
expect = { binding = "big", reply = "5" }
[[test]]
to = "sink@example.com"
expect = { outcome = "discard", reply = "2" }
[[test]]
to = "own@example.com"
expect = { binding = "own" }
`;

test("every key has its effect, and what is expected may be said in parts", async () => {
  assert.deepEqual(await messages(PASSING), []);
});

test("a failure is at the expectation, and says what happened and how to see more", async () => {
  const { findings: found, ...examination } = await examined(
    '[[test]]\nto = "case-7@example.com"\nfrom = "<>"\nlistener = "local"\nheaders = { Subject = "it\'s" }\n' +
      'expect = { binding = "sink", deliver = ["tickets"], recipient = "x@y.example" }\n',
  );
  assert.deepEqual(placesOf({ findings: found, ...examination }), [`SMTPD280 ${LINES + 6}:22`]);
  const [finding] = found;
  assert.equal(
    finding?.message,
    'The routing test for "case-7@example.com" on listener "local" failed: expected binding "sink", found "cases"',
  );
  assert.deepEqual(finding?.notes, [
    'expected deliver "tickets", found "archive", "tickets"',
    'expected recipient "x@y.example", found "case@tickets.example.com"',
    '"sink" was not tried: an earlier one decided.',
    '"cases" decided: deliver to "archive" for "case@tickets.example.com", "tickets" for "case@tickets.example.com"; ' +
    'end of data is answered "250 2.0.0 Queued as ID".',
  ]);
  assert.deepEqual(finding?.secondary.map(({ label }) => label), ["this one was expected"]);
  assert.equal(
    finding?.help,
    "smtpd explain case-7@example.com --from '<>' --listener local --header 'Subject: it'\\''s' " +
      "--config /etc/smtpd/smtpd.toml shows everything that was tried.",
  );
});

test("the note says which condition kept the expected binding from matching", async () => {
  const { findings: [finding] } = await examined(
    '[[test]]\nto = "staff@example.com"\nexpect = { binding = "staff" }\n',
  );
  assert.equal(finding?.notes[0], '"staff" did not match: authenticated saw "not authenticated".');
  assert.equal(
    finding?.notes[1],
    'No binding matched: reject; RCPT is answered "550 5.7.1 Recipient not accepted here; ' +
      'relaying denied".',
  );
});

test("without a listener a test is for the owner of the binding, else for all that the client can meet", async () => {
  const own = '[[test]]\nto = "own@example.com"\n';
  assert.deepEqual(await messages(`${own}expect = { outcome = "deliver" }\n`), [
    'The routing test for "own@example.com" on listener "local" failed: expected outcome "deliver", found "reject"',
  ]);
  assert.deepEqual(await messages(`${own}tls = true\nexpect = { outcome = "deliver" }\n`), []);
  assert.deepEqual(await messages(`${own}listener = "local"\ntls = true\nexpect = { reply = "250" }\n`), [
    'The routing test for "own@example.com" on listener "local" failed: expected reply "250", found "502 5.5.1"',
  ]);
});

test("the limits of the listener count as well", async () => {
  assert.deepEqual(
    await messages('[[test]]\nto = "own@example.com"\nsize = "2MiB"\nexpect = { reply = "552 5.3.4" }\n'),
    [],
  );
});

test("names that do not exist are found, with the nearest, and the test is not run", async () => {
  const examination = await examined(
    '[[test]]\nto = "x@other.example"\nlistener = "inbuond"\nexpect = { binding = "sinc", deliver = ["archive", "nowhere"] }\n',
  );
  assert.deepEqual(examination.findings.map(({ message, help }) => [message, help]), [
    ['There is no listener "inbuond"', 'Did you mean "inbound"?'],
    ['There is no binding "sinc"', 'Did you mean "sink"?'],
    ['There is no channel "nowhere"', "Correct the name; the test was not run."],
  ]);
  assert.deepEqual(placesOf(examination), [
    `SMTPD281 ${LINES + 3}:12`,
    `SMTPD281 ${LINES + 4}:22`,
    `SMTPD281 ${LINES + 4}:52`,
  ]);
});

test("coverage: bindings that match on the way count, and what no test reaches is found at its name", async () => {
  const { findings: found, coverage } = await examined(PASSING, { minPercent: 100 });
  assert.deepEqual([found, coverage], [[], { bindings: 8, reached: 8, percent: 100 }]);
  const less = await examined('[[test]]\nto = "sink@example.com"\nexpect = { outcome = "discard" }\n', {
    minPercent: 13,
  });
  assert.deepEqual(less.coverage, { bindings: 8, reached: 1, percent: 12 });
  assert.deepEqual(less.findings.filter(({ code }) => code === "SMTPD282").length, 7);
  assert.deepEqual(
    less.findings.find(({ code }) => code === "SMTPD283")?.message,
    "The routing tests reach 1 of 8 bindings: 12 %, and 13 % are wanted",
  );
  const enough = await examined('[[test]]\nto = "sink@example.com"\nexpect = { outcome = "discard" }\n', {
    minPercent: 12,
  });
  assert.equal(enough.findings.some(({ code }) => code === "SMTPD283"), false);
  assert.equal((await examined(PASSING)).coverage, undefined);
});

test("no tests reach nothing; a configuration with errors is not tested", async () => {
  assert.deepEqual((await examined("", {})).coverage, { bindings: 8, reached: 0, percent: 0 });
  const broken = await examined('nonsense = 1\n[[test]]\nto = "x@y.example"\nexpect = { binding = "sink" }\n', {});
  assert.deepEqual([broken.findings.map(({ code }) => code), broken.coverage], [["SMTPD101"], undefined]);
});

test("a list that cannot be read keeps tests from running, and that is said once", async () => {
  const text = '[[listener]]\nname = "in"\nport = 2525\n[[binding]]\nname = "b"\nrecipients = { file = "list.txt" }\n' +
    'discard = true\n[[test]]\nto = "a@b.example"\nexpect = { binding = "b" }\n[[test]]\nto = "a@b.example"\n' +
    'expect = { binding = "b" }\n';
  const found = async (list: string) =>
    (await examineExample({ text, files: { "list.txt": list } }, { rules })).findings.map(({ message }) => message);
  assert.deepEqual(await found("a@b.example\n"), []);
  assert.deepEqual(await found("no address\n"), [
    "The routing tests were not run: a file that bindings name cannot be used",
  ]);
});

test("values that no message can have are refused where they stand", async () => {
  const head = '[[listener]]\nname = "in"\nport = 2525\n[[test]]\n';
  const wrong: readonly (readonly [string, string])[] = [
    ['to = "nobody"\nexpect = { reply = "550" }', "must be an address"],
    ['to = ["a@b.example", "<>"]\nexpect = { reply = "550" }', "must be an address"],
    ['to = []\nexpect = { reply = "550" }', "must not be empty"],
    ['to = "a@b.example"\nfrom = "x y@z"\nexpect = { reply = "550" }', "must be an address, or"],
    ['to = "a@b.example"\nip = "localhost"\nexpect = { reply = "550" }', "must be an IPv4 or IPv6 address"],
    ['to = "a@b.example"\nhelo = "a b"\nexpect = { reply = "550" }', "must be a name such as"],
    ['to = "a@b.example"\nsize = "5 parsecs"\nexpect = { reply = "550" }', "must be"],
    ['to = "a@b.example"\nheaders = { "a b" = "c" }\nexpect = { reply = "550" }', "must be the name of a header field"],
    ['to = "a@b.example"\nheaders = { a = "c\\u000ad" }\nexpect = { reply = "550" }', "must be one line"],
    ['to = "a@b.example"\ntime = "noon"\nexpect = { reply = "550" }', "must be a moment"],
    ['to = "a@b.example"\ntime = "2026-02-31T25:00:00Z"\nexpect = { reply = "550" }', "must be a moment"],
    ['to = "a@b.example"\nexpect = { reply = "no" }', "must be a code"],
    ['to = "a@b.example"\nexpect = { reply = "350" }', "must be a code"],
    ['to = "a@b.example"\nexpect = { outcome = "delivered" }', 'must be one of "deliver"'],
    ['to = "a@b.example"\nexpect = {}', "must expect something"],
    ['to = "a@b.example"', 'Missing key "expect"'],
    ['expect = { reply = "550" }', 'Missing key "to"'],
    ['to = "a@b.example"\nexpect = { bindings = "x" }', 'Unknown key "bindings"'],
  ];
  for (const [lines, reason] of wrong) {
    const result = await load(`${head}${lines}\n`);
    assert.equal(result.config, undefined, lines);
    assert.equal(findings(result).length, 1, `${lines}: ${findings(result).join("; ")}`);
    assert.ok(findings(result)[0]?.includes(reason), `${lines}: ${findings(result)[0]}`);
  }
});

test("a failing test may be allowed with a reason, or turned down; unreached bindings are no unused comments", async () => {
  const failing = '[[test]]\nto = "sink@example.com"\n# smtpd: allow SMTPD280 because it is to be decided\n' +
    'expect = { binding = "big" }\n';
  assert.deepEqual(await messages(failing), []);
  const warned = await examined(
    `[check]\nseverity = { SMTPD280 = "warning" }\n${failing.replace(/# smtpd.*\n/u, "")}`,
  );
  assert.deepEqual(warned.findings.map(({ severity }) => severity), ["warning"]);
  const text = CONFIGURATION.replace(
    'name = "mark"',
    'name = "mark" # smtpd: allow SMTPD282 because it changes nothing',
  );
  const files = { "c.pem": "certificate", "k.pem": "key" };
  assert.deepEqual((await examineExample({ text, files }, { rules })).findings, []);
});
