/** Messaging Server configurations translated: channels, rewrite rules, option files, and what has no equivalent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { importImta } from "../../../src/config/import/imta.ts";
import { optionInteger } from "../../../src/config/import/imta_listener.ts";
import { KEYWORDS, OPTIONS } from "../../../src/config/import/imta_terms.ts";
import { load } from "../world.ts";

type Files = Readonly<Record<string, string>>;

function imported(files: Files) {
  return importImta(Object.entries(files).map(([name, text]) => ({ name, text })));
}

function translated(files: Files) {
  const result = imported(files);
  assert.ok(result.ok, JSON.stringify(result));
  return { toml: result.toml, remarks: result.remarks.map(({ file, line, text }) => `${file}:${line}: ${text}`) };
}

function refused(files: Files): readonly string[] {
  const result = imported(files);
  assert.ok(!result.ok, JSON.stringify(result));
  return result.problems.map(({ file, line, text }) => `${file}:${line}: ${text}`);
}

async function loaded(files: Files) {
  const { toml, remarks } = translated(files);
  const { config, diagnostics } = await load(toml);
  assert.ok(config !== undefined, toml + JSON.stringify(diagnostics));
  return { config, toml, remarks, diagnostics };
}

const TYPICAL = `! imta.cnf of a small site
!
$*  $A$E$F$U%$H$V$H@mailhost.example.com
example.com  $U%$D@ims-ms-daemon
example.net  $U@ims-ms-daemon
mailhost.example.com $U@$D
.  $U%$H@tcp-daemon
</opt/rules/internet.rules

defaults notices 1 2 4 7 logging maxjobs 7

! people of this house
l viaaliasrequired backoff pt30m pt1h "pt4h"
mailhost.example.com

ims-ms defragment subdirs 20 maxjobs 2
ims-ms-daemon

tcp_local smtp_crorlf mx maytlsserver maysaslserver saslswitchchannel tcp_auth recipientlimit 500 \\
  blocklimit 10240 disconnectbadcommandlimit 9 slave_debg description "the Internet"
tcp-daemon relay.example.com
other.example.com

tcp_auth smtp mustsaslserver
tcp_auth-daemon

tcp_submit smtp mustsaslserver maytlsserver
tcp_submit-daemon

bitbucket
bitbucket-daemon
`;

test("import imta: a typical configuration", async () => {
  const { config, diagnostics, toml } = await loaded({ "imta.cnf": TYPICAL });
  assert.deepEqual(diagnostics, []);
  assert.equal(config.hostName, "mailhost.example.com");
  assert.equal(config.listeners.length, 1);
  const listener = config.listeners[0] ?? assert.fail();
  assert.deepEqual(
    [listener.name, listener.port, listener.hostName, listener.description, listener.lineEndings, listener.tls.mode],
    ["tcp_local", 25, "relay.example.com", "the Internet", "normalize", "starttls"],
  );
  assert.deepEqual([listener.maxRecipients, listener.maxMessageSizeBytes, listener.maxErrors], [500, 10_485_760, 9]);
  assert.deepEqual(config.bindings.map(({ name }) => name), ["to-ims-ms", "to-l"]);
  assert.match(toml, /recipients = \["\*@example\.com", "\*@example\.net"\]\ndeliver = \["ims-ms"\]/u);
  assert.match(toml, /recipients = \["\*@mailhost\.example\.com"\]\ndeliver = \["l"\]/u);
  assert.deepEqual(config.channels.map(({ name, type }) => `${name} ${type}`), [
    "l maildir",
    "ims-ms maildir",
    "bitbucket discard",
  ]);
  assert.deepEqual(config.channels.map(({ maxConcurrency }) => maxConcurrency), [7, 2, 7]);
  assert.deepEqual(config.channels[0]?.retry, {
    firstDelayMs: 1_800_000,
    maxDelayMs: 14_400_000,
    maxAgeMs: 604_800_000,
  });
  const dayMs = 86_400_000;
  assert.deepEqual(config.channels.map(({ noticesMs }) => noticesMs), Array(3).fill([dayMs, 2 * dayMs, 4 * dayMs]));
  assert.match(toml, /# people of this house\n\[\[channel\]\]\nname = "l"/u);
});

test("import imta: everything without an equivalent is told with its line", () => {
  const { remarks } = translated({ "imta.cnf": TYPICAL });
  assert.deepEqual(remarks.map((remark) => remark.replace(/^imta\.cnf:/u, "")), [
    '3: The rewrite rule "$* $A$E$F$U%$H$V$H@mailhost.example.com" has no equivalent',
    '4: Every address in "example.com" is taken: there is no directory and no alias',
    '5: Every address in "example.net" is taken: there is no directory and no alias',
    '6: Every address in "mailhost.example.com" is taken: there is no directory and no alias',
    '7: The rewrite rule ". $U%$H@tcp-daemon" has no equivalent',
    '8: The included file "/opt/rules/internet.rules" is not read: put it in place of this line',
    '10: "logging" of "defaults": needs nothing, every message is logged',
    '13: Mail for "l" is kept in the maildir "mail/l"',
    '13: "backoff pt30m pt1h pt4h": the first wait and the longest are kept; between them each is twice the one before',
    '13: "viaaliasrequired" of the channel "l": no equivalent; there is no directory and no alias',
    '16: Mail for "ims-ms" is kept in the maildir "mail/ims-ms"',
    '16: "defragment" of the channel "ims-ms": no equivalent; content is not changed',
    '16: "subdirs 20" of the channel "ims-ms": no equivalent; the queue is one database, whose work is shared out by itself',
    '17: The host name "ims-ms-daemon" serves routing within Messaging Server only',
    '19: "mx" of the channel "tcp_local": no equivalent; smtpd does not send to other servers',
    '19: "maysaslserver" of the channel "tcp_local": no equivalent; there is no authentication',
    '19: "saslswitchchannel tcp_auth" of the channel "tcp_local": no equivalent; a session keeps its listener',
    '19: "slave_debg" of the channel "tcp_local": unknown keyword; did you mean "slave_debug"?',
    '19: The port of "tcp_local" stands in dispatcher.cnf; 25 is assumed',
    '19: Certificate and key of "tcp_local" are placeholders: set their paths',
    '21: The host name "tcp-daemon" serves routing within Messaging Server only',
    '22: The host name "other.example.com" serves routing within Messaging Server only',
    '24: The channel "tcp_auth" has no equivalent: its clients must log in, and there is no authentication; ' +
    'its keywords: "smtp mustsaslserver"',
    '25: The line "tcp_auth-daemon" belongs to it',
    '27: The channel "tcp_submit" has no equivalent: its clients must log in, and there is no authentication; ' +
    'its keywords: "smtp mustsaslserver maytlsserver"',
    '28: The line "tcp_submit-daemon" belongs to it',
    '31: The host name "bitbucket-daemon" serves routing within Messaging Server only',
  ]);
});

const OPTION_FILE = `! for the Internet
ALLOW_TRANSACTIONS_PER_SESSION=16%1F
ALLOW_RECIPIENTS_PER_TRANSACTION=200
BANNER_ADDITION=No spam|please
BANNER_HOST=mx.example.com
HIDE_VERIFY=1
PROXY_PASSWORD=hunter2
BANER_HOST=x
`;

test("import imta: an option file alone becomes a listener", async () => {
  const { config, remarks } = await loaded({ "/etc/tcp_local_option": OPTION_FILE });
  const listener = config.listeners[0] ?? assert.fail();
  assert.deepEqual(
    [listener.name, listener.sessionMaxMessages, listener.maxRecipients, listener.banner, listener.hostName],
    ["tcp_local", 31, 200, "ESMTP No spam please", "mx.example.com"],
  );
  assert.deepEqual(remarks.map((remark) => remark.replace("/etc/tcp_local_option:", "")), [
    '1: The port of "tcp_local" stands in dispatcher.cnf; 25 is assumed',
    '1: "tcp_local" takes any line end there; here only CRLF, unless line_endings = "normalize"',
    '4: BANNER_ADDITION="No spam|please": the banner is one line of printable ASCII',
    '6: HIDE_VERIFY="1": no equivalent; VRFY is answered with 252',
    '7: PROXY_PASSWORD="(not shown)": no equivalent',
    '8: BANER_HOST="x": unknown option; did you mean "BANNER_HOST"?',
  ]);
});

test("import imta: an option file belongs to the channel it is named after", async () => {
  const files = { "imta.cnf": TYPICAL, tcp_local_option: OPTION_FILE, tcp_other_option: "BANNER_HOST=a.example\n" };
  const { config, remarks } = await loaded(files);
  assert.equal(config.listeners.length, 1);
  assert.equal(config.listeners[0]?.sessionMaxMessages, 31);
  // The alias in the channel block comes first.
  assert.equal(config.listeners[0]?.hostName, "relay.example.com");
  assert.ok(
    remarks.includes('tcp_local_option:5: BANNER_HOST="mx.example.com": the name "relay.example.com" is given already'),
  );
  assert.ok(
    remarks.includes('tcp_other_option:1: BANNER_HOST="a.example": no listener is made of the channel "tcp_other"'),
  );
});

const channels: readonly (readonly [string, string, (toml: string) => boolean])[] = [
  ["smtp is strict", "tcp_local smtp", (toml) => !toml.includes("line_endings")],
  ["smtp_crlf is strict", "tcp_local smtp_crlf", (toml) => !toml.includes("line_endings")],
  ["smtp_lf is repaired", "tcp_local smtp_lf", (toml) => toml.includes('line_endings = "normalize"')],
  ["smtp_cr is repaired", "tcp_local smtp_cr", (toml) => toml.includes('line_endings = "normalize"')],
  ["lmtp is LMTP", "tcp_lmtpss lmtp", (toml) => toml.includes('protocol = "lmtp"') && toml.includes("port = 225")],
  ["musttlsserver requires TLS", "tcp_local smtp musttlsserver", (toml) => toml.includes('mode = "required"')],
  ["musttls requires TLS", "tcp_local smtp musttls", (toml) => toml.includes('mode = "required"')],
  ["the last of several counts", "tcp_local smtp musttls notlsserver", (toml) => !toml.includes("[listener.tls]")],
  ["keywords in capitals count", "TCP_LOCAL SMTP MUSTTLSSERVER", (toml) => toml.includes('mode = "required"')],
  ["another channel has a port above 1024", "x_test smtp", (toml) => toml.includes("port = 2525")],
];

for (const [what, block, holds] of channels) {
  test(`import imta: ${what}`, async () => {
    const { toml } = await loaded({ "imta.cnf": `\n${block}\ntcp-daemon\n` });
    assert.ok(holds(toml), toml);
  });
}

const broken: readonly (readonly [string, Files, RegExp])[] = [
  ["nothing", { "imta.cnf": "" }, /^imta\.cnf:1: No channel here receives by SMTP/u],
  ["only outgoing channels", { "imta.cnf": "tcp_out smtp daemon router\nsmart.example.com\n" }, /:1: No channel here/u],
  [
    "only channels with a log-in",
    { "imta.cnf": "tcp_local smtp mustsaslserver\ntcp-daemon\n" },
    /:1: No channel here/u,
  ],
  ["the options of the whole server", { "option.dat": "LOG_FORMAT=4\n" }, /^option\.dat:1: This file does not belong/u],
  [
    "an option that is no number",
    { tcp_local_option: "! x\nALLOW_TRANSACTIONS_PER_SESSION=many\n" },
    /^tcp_local_option:2: ALLOW_TRANSACTIONS_PER_SESSION="many": "many" is not a whole number: write 10/u,
  ],
  [
    "a base without its digits",
    { tcp_local_option: "ALLOW_TRANSACTIONS_PER_SESSION=8%9\n" },
    /"8%9" is not a whole number/u,
  ],
  [
    "a limit in words",
    { "imta.cnf": "tcp_local smtp blocklimit big\ntcp-daemon\n" },
    /:1: "blocklimit big": "big" is/u,
  ],
  [
    "waits that are none",
    { "imta.cnf": "tcp_local smtp\nx\n\nl backoff 5\nx\n" },
    /:4: "backoff 5": expected durations/u,
  ],
];

for (const [what, files, expected] of broken) {
  test(`import imta: ${what} is refused with its place`, () => {
    const [first, ...more] = refused(files);
    assert.match(first ?? "", expected);
    assert.deepEqual(more, []);
  });
}

test("import imta: values out of bounds keep the default and are told", async () => {
  const { config, remarks } = await loaded({
    "imta.cnf": "tcp_local smtp recipientlimit 0\ntcp-daemon\n\nl maxjobs 5000 notices 1 90 backoff P30D\nlocalhost\n",
  });
  assert.equal(config.listeners[0]?.maxRecipients, 1000);
  assert.equal(config.channels[0]?.maxConcurrency, 10);
  assert.ok(
    remarks.includes('imta.cnf:1: "recipientlimit 0": 0 is no value for max_recipients, which keeps its default'),
  );
  assert.ok(remarks.includes('imta.cnf:4: "maxjobs 5000": max_concurrency keeps its default'));
});

test("import imta: warnings come before the last age or not at all", async () => {
  const { config, remarks } = await loaded({
    "imta.cnf": "tcp_local smtp\ntcp-daemon\n\nl notices 3 0 9 6\nlocalhost\n\nreprocess notices 6\nreprocess-daemon\n",
  });
  assert.deepEqual([config.channels[0]?.noticesMs, config.channels[0]?.retry.maxAgeMs], [[259_200_000], 518_400_000]);
  assert.ok(remarks.includes('imta.cnf:4: "notices 3 0 9 6": ages that are not before the last one are left out'));
});

test("import imta: integers of options may have a base", () => {
  assert.deepEqual(["10", "16%1F", "2%101", "-5", "36%Z"].map(optionInteger), [10, 31, 5, -5, 35]);
  assert.deepEqual(["", "x", "8%8", "1%0", "37%1", "16%", "%5", "1.5"].map(optionInteger), Array(8).fill(undefined));
});

test("import imta: many channels of one name and many unknown keywords take no time", () => {
  const block = "x_test smtp\nhost\n\n".repeat(20_000);
  assert.ok(translated({ "imta.cnf": block }).toml.length > 0);
  const words = Array.from({ length: 100_000 }, (_, index) => `word${index}`).join(" ");
  const { remarks } = translated({ "imta.cnf": `tcp_local smtp ${words}\nhost\n` });
  assert.ok(remarks.some((remark) => remark.includes('"word99999"')));
});

test("import imta: no text throws, and what comes out loads", async () => {
  const words = fc.constantFrom(
    ...KEYWORDS.keys(),
    ..."tcp_local tcp_submit l ims-ms bitbucket native x_test defaults nodefaults 0 1 7 50 99999999999 pt1h p1d".split(
      " ",
    ),
    ...'example.com $U@$D $U%$D@l-host l-host " "a \\ ! < \u0000 \u001b \ud800 ä'.split(" "),
    "\n",
    "\n\n",
    "\\\n",
    "\r",
  );
  const options = fc.tuple(
    fc.constantFrom(...OPTIONS.keys(), "X", "522"),
    fc.oneof(fc.constantFrom("1", "0", "16%FF", "-1", "x|y", ""), fc.string({ unit: "binary", maxLength: 10 })),
  ).map(([name, value]) => `${name}=${value}\n`);
  const text = fc.oneof(
    fc.array(words, { maxLength: 40 }).map((parts) => parts.join(" ")),
    fc.array(words, { maxLength: 30 }).map((parts) => `\ntcp_local smtp\nhost\n\n${parts.join(" ")}`),
    fc.array(options, { maxLength: 8 }).map((lines) => lines.join("")),
    fc.string({ unit: "binary", maxLength: 100 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom("imta.cnf", "tcp_local_option", "\u001b_option"), text), {
        minLength: 1,
        maxLength: 3,
      }),
      async (given) => {
        const result = importImta(given.map(([name, text]) => ({ name, text })));
        for (const { line, text } of result.ok ? result.remarks : result.problems) {
          assert.ok(line >= 1);
          // deno-lint-ignore no-control-regex
          assert.doesNotMatch(text, /[\u0000-\u001f\u007f-\u009f\u202e]/u);
        }
        if (!result.ok) return assert.ok(result.problems.length > 0);
        const { config, diagnostics } = await load(result.toml);
        assert.ok(config !== undefined, result.toml + JSON.stringify(diagnostics));
      },
    ),
    { numRuns: 2000 },
  );
});
