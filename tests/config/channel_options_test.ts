/** Options of the TCP/IP channel option file: values, units, and what is told of the others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { interpretOptions } from "../../src/config/channel_options.ts";
import { readOptionFile } from "../../src/config/import/imta_file.ts";

function interpret(text: string) {
  return interpretOptions(readOptionFile(text).options);
}

function sessionOf(text: string) {
  const { session, problems } = interpret(text);
  assert.deepEqual(problems, []);
  return session;
}

test("channel options: what a session is asked for", () => {
  assert.deepEqual(
    sessionOf(`! A comment
ALLOW_RECIPIENTS_PER_TRANSACTION=100
allow_transactions_per_session = 16%A
TRANSACTION_LIMIT_RCPT_TO=1
BANNER_HOST=mail.example.com
CUSTOM_VERSION_STRING=Example
COMMAND_RECEIVE_TIME=10
DATA_RECEIVE_TIME=5
SESSION_TIME=60
DISABLE_EXPAND=1
HIDE_VERIFY=0
`),
    {
      maxRecipients: 100,
      maxMessages: 10,
      maxMessagesAt: "recipient",
      hostName: "mail.example.com",
      banner: "ESMTP Example",
      commandTimeoutMs: 600_000,
      dataTimeoutMs: 300_000,
      sessionTimeoutMs: 3_600_000,
    },
  );
});

test("channel options: TIMEOUT_MULTIPLIER is the unit, wherever it stands", () => {
  assert.deepEqual(sessionOf("COMMAND_RECEIVE_TIME=30\nTIMEOUT_MULTIPLIER=1\n"), { commandTimeoutMs: 30_000 });
  assert.deepEqual(sessionOf("DATA_RECEIVE_TIME=0.5\n"), { dataTimeoutMs: 30_000 });
});

test("channel options: the last one of a name counts", () => {
  assert.deepEqual(sessionOf("ALLOW_TRANSACTIONS_PER_SESSION=3\nALLOW_TRANSACTIONS_PER_SESSION=4\n"), {
    maxMessages: 4,
  });
});

test("channel options: additions to the banner", () => {
  assert.deepEqual(sessionOf("BANNER_ADDITION=No spam\n").bannerAddition, ["No spam"]);
  assert.deepEqual(sessionOf("BANNER_ADDITION=One|Two | Three\n").bannerAddition, ["One", "Two", "Three"]);
  const long = "x".repeat(81);
  assert.deepEqual(sessionOf(`BANNER_ADDITION=${long}\n`).bannerAddition, ["", long]);
});

test("channel options: those of the sending side are none of ours", () => {
  assert.deepEqual(sessionOf("ATTEMPT_TRANSACTIONS_PER_SESSION=5\nMAIL_TRANSMIT_TIME=10\nMAX_MX_RECORDS=32\n"), {});
});

test("channel options: what is wrong is told and left out", () => {
  for (
    const [text, message, help] of [
      [
        "ALLOW_TRANSACTION_PER_SESSION=5",
        /There is no option "ALLOW_TRANSACTION_PER_SESSION"/,
        /ALLOW_TRANSACTIONS_PER/,
      ],
      ["NONSENSE=5", /There is no option "NONSENSE"/, /Remove it/],
      ["BANNER_PURGE_DELAY=5", /has no effect: the banner is sent at once/, /Remove it/],
      ["ALLOW_RECIPIENTS_PER_TRANSACTION=0", /Invalid value "0"/, /left out/],
      ["ALLOW_RECIPIENTS_PER_TRANSACTION=many", /Invalid value "many"/, /left out/],
      ["ALLOW_RECIPIENTS_PER_TRANSACTION=8%9", /Invalid value "8%9"/, /left out/],
      ["TRANSACTION_LIMIT_RCPT_TO=2", /must be 0 or 1/, /left out/],
      ["BANNER_HOST=not a host", /must be a host name/, /left out/],
      ["BANNER_ADDITION=caf\u00e9", /ASCII/, /left out/],
      ["COMMAND_RECEIVE_TIME=0", /Invalid value "0"/, /left out/],
      ["TIMEOUT_MULTIPLIER=0", /Invalid value "0"/, /left out/],
    ] as const
  ) {
    const { session, problems } = interpret(`${text}\n`);
    assert.deepEqual(session, {});
    assert.equal(problems.length, 1, text);
    assert.match(problems[0]?.message ?? "", message);
    assert.match(problems[0]?.help ?? "", help);
  }
});
