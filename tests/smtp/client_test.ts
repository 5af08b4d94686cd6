/** Client sessions: what they say, what they make of replies, and what they do when a server misbehaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClientSession } from "../../src/smtp/client.ts";
import { loginMechanism, plainMechanism, xoauth2Mechanism } from "../../src/smtp/sasl_client.ts";
import { type ClientDialog, kinds, play, playCut } from "./client_dialog.ts";

const MINUTE = 60_000;

/** Up to the first command of a transaction, with these extensions. */
const hello = (...extensions: readonly string[]): string => {
  const lines = ["mx.example.net", ...extensions];
  return [
    "S: 220 mx.example.net ready",
    "C: EHLO me.example.com",
    ...lines.map((line, index) => `S: 250${index === lines.length - 1 ? " " : "-"}${line}`),
  ].join("\n");
};

const QUIT = "C: QUIT\nS: 221 Bye\n";
const CONTENT = "C: Subject: Hi\nC:\nC: Text\nC: .\n";
const one = [{ to: ["b@example.net"] }];

test("client: one command after the other without PIPELINING, with the limits of RFC 5321 §4.5.3.2", () => {
  const played = playCut({
    text: `${hello()}
      C: MAIL FROM:<a@example.org>
      S: 250 OK
      C: RCPT TO:<b@example.net>
      S: 250 OK
      C: DATA
      S: 354 Go on
      ${CONTENT}
      S: 250 2.0.0 Queued as 1
      ${QUIT}`,
    mails: one,
  });
  assert.deepEqual(played.results, [{
    unheard: false,
    recipients: [{
      kind: "delivered",
      detail: "250 2.0.0 Queued as 1",
      reply: { code: 250, enhanced: "2.0.0", lines: ["Queued as 1"] },
    }],
  }]);
  assert.equal(played.failure, undefined);
  assert.deepEqual(
    play({
      text:
        `${hello()}\nC: MAIL FROM:<a@example.org>\nS: 250 OK\nC: RCPT TO:<b@example.net>\nS: 250 OK\nC: DATA\nS: 354 Go on\n${CONTENT}\nS: 250 OK\n${QUIT}`,
      mails: one,
    }).timeoutsMs,
    [5 * MINUTE, 5 * MINUTE, 5 * MINUTE, 5 * MINUTE, 2 * MINUTE, 10 * MINUTE, 5_000],
  );
});

test("client: envelope and DATA in one batch with PIPELINING, and the next message on the same connection", () => {
  const envelope = "C: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\nC: RCPT TO:<c@example.net>\nC: DATA\n";
  const played = playCut({
    text: `${hello("PIPELINING")}
      ${envelope}
      S: 250 OK
      S: 250 OK
      S: 550 5.1.1 No such user
      S: 354 Go on
      ${CONTENT}
      S: 250 OK
      ${envelope}
      S: 250 OK
      S: 450 4.2.0 Busy
      S: 550 5.1.1 No such user
      S: 554 5.5.1 No valid recipients
      C: RSET
      ${envelope}
      S: 250 OK
      S: 451 Later
      S: 250 OK
      S: 250 OK
      S: 354 Go on
      C: .
      S: 554 Nothing to deliver
      ${envelope}
      S: 250 OK
      S: 250 OK
      S: 250 OK
      S: 354 Go on
      ${CONTENT}
      S: 552 5.2.2 Full
      ${QUIT}`,
    mails: Array(4).fill({ to: ["b@example.net", "c@example.net"] }),
  });
  assert.deepEqual(kinds(played, 0), ["delivered", "failed 5.1.1"]);
  assert.deepEqual(kinds(played, 1), ["deferred 4.2.0", "failed 5.1.1"]);
  assert.deepEqual(kinds(played, 2), ["deferred", "deferred"]);
  assert.deepEqual(kinds(played, 3), ["failed 5.2.2", "failed 5.2.2"]);
});

test("client: HELO where EHLO is not known, and then no extension is used", () => {
  const played = playCut({
    text: `S: 220 old
      C: EHLO me.example.com
      S: 502 What?
      C: HELO me.example.com
      S: 250 old SIZE 10 PIPELINING
      C: MAIL FROM:<>
      S: 250 OK
      C: RCPT TO:<Postmaster>
      S: 250 OK
      C: DATA
      S: 354 Go on
      ${CONTENT}
      S: 250 OK
      ${QUIT}`,
    mails: [{ reversePath: "", to: ["Postmaster"], sizeBytes: 100, ret: "full" }],
  });
  assert.deepEqual(kinds(played), ["delivered"]);
});

test("client: parameters only for extensions that are offered; DSN is passed on as xtext", () => {
  const mail = {
    to: [{ address: "b@example.net", notify: ["success", "delay"] as const, orcpt: "rfc822;b+x=y z@example.net" }],
    body: "8bitmime" as const,
    sizeBytes: 123,
    ret: "headers" as const,
    envid: "a b+c",
  };
  const body = `C: DATA\nS: 354 Go on\n${CONTENT}\nS: 250 OK\n${QUIT}`;
  playCut({
    text: `${hello("8BITMIME", "SIZE 1000", "DSN")}
      C: MAIL FROM:<a@example.org> SIZE=123 BODY=8BITMIME RET=HDRS ENVID=a+20b+2Bc
      S: 250 OK
      C: RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx+3Dy+20z@example.net
      S: 250 OK
      ${body}`,
    mails: [mail],
  });
  playCut({
    text: `${hello("8bitmime")}
      C: MAIL FROM:<a@example.org> BODY=8BITMIME
      S: 250 OK
      C: RCPT TO:<b@example.net>
      S: 250 OK
      ${body}`,
    mails: [mail],
  });
  playCut({
    text: `${hello("SMTPUTF8", "8BITMIME")}
      C: MAIL FROM:<a@example.org> SMTPUTF8
      S: 250 OK
      C: RCPT TO:<j\\xc3\\xbcrgen@example.net>
      S: 250 OK
      ${body}`,
    mails: [{ to: ["jürgen@example.net"] }],
  });
});

test("client: what the server cannot take is not sent to it", () => {
  const refused = (mail: Omit<NonNullable<ClientDialog["mails"]>[number], "to">, ...extensions: readonly string[]) =>
    kinds(playCut({ text: `${hello(...extensions)}\n${QUIT}`, mails: [{ to: ["b@example.net"], ...mail }] }));
  assert.deepEqual(refused({ body: "8bitmime" }), ["failed 5.6.3"]);
  assert.deepEqual(refused({ body: "binarymime" }, "8BITMIME", "BINARYMIME"), ["failed 5.6.1"]);
  assert.deepEqual(refused({ smtputf8: true }), ["failed 5.6.7"]);
  assert.deepEqual(refused({ reversePath: "jürgen@example.org" }), ["failed 5.6.7"]);
  assert.deepEqual(refused({ sizeBytes: 1001 }, "SIZE 1000"), ["failed 5.3.4"]);
  const { results } = playCut({
    text: `${hello()}\n${QUIT}`,
    mails: [{ to: ["jürgen@example.net", "b"] }],
  });
  assert.deepEqual(results[0]?.recipients.map(({ enhanced }) => enhanced), ["5.6.7", "5.1.3"]);
});

test("client: nothing that is no address or name gets on the wire (CR, LF, NUL)", () => {
  for (
    const bad of ["b@example.net\r\nRCPT TO:<c@example.net>", "b@x>\r\nDATA", "b\0@x", "b@x\n", "<b@x>", "b@x> X", ""]
  ) {
    const { results } = playCut({ text: `${hello("PIPELINING")}\n${QUIT}`, mails: [{ to: [bad] }] });
    assert.equal(results[0]?.recipients[0]?.enhanced, "5.1.3", JSON.stringify(bad));
    if (bad === "") continue;
    const asSender = playCut({ text: `${hello("PIPELINING")}\n${QUIT}`, mails: [{ reversePath: bad, to: ["b@x"] }] });
    assert.equal(asSender.results[0]?.recipients[0]?.enhanced, "5.1.7", JSON.stringify(bad));
  }
  for (const heloName of ["me\r\nMAIL FROM:<x@y>", "a b", "", "me\0", "[x]", "[127.0.0.1]\n"]) {
    assert.throws(() => createClientSession({ protocol: "smtp", heloName, tls: "off" }), RangeError);
  }
  const envelope = "C: RCPT TO:<b@example.net>\nS: 250 OK\nC: DATA\nS: 354 Go on\n";
  playCut({
    text: `${hello("DSN")}
      C: MAIL FROM:<a@example.org> ENVID=xDATA
      S: 250 OK
      ${envelope}
      ${CONTENT}
      S: 250 OK
      ${QUIT}`,
    mails: [{ to: [{ address: "b@example.net", orcpt: "utf-8;b\r\nX" }], envid: "x\r\nDATA" }],
  });
});

test("client: BDAT where CHUNKING is offered, without dots, in chunks", () => {
  const text = `${"0123456789abcdef".repeat(4)}\r\n`.repeat(2000);
  const played = play({
    text: `${hello("CHUNKING", "PIPELINING")}
      C: MAIL FROM:<a@example.org>
      C: RCPT TO:<b@example.net>
      S: 250 OK
      S: 250 OK
      C: BDAT 65536
      C! ${escaped(text.slice(0, 65536))}
      C: BDAT 65536
      C! ${escaped(text.slice(65536, 131072))}
      C: BDAT ${text.length - 131072} LAST
      C! ${escaped(text.slice(131072))}
      S: 250 65536 octets
      S: 250 65536 octets
      S: 250 OK
      C: MAIL FROM:<a@example.org>
      C: RCPT TO:<b@example.net>
      S: 250 OK
      S: 250 OK
      C: BDAT 3 LAST
      C! .\\r\\n
      S: 250 OK
      ${QUIT}`,
    mails: [{ ...one[0]!, content: text }, { ...one[0]!, content: "." }],
  }, [65536]);
  assert.deepEqual(played.results.map((_, index) => kinds(played, index)), [["delivered"], ["delivered"]]);
});

test("client: a refused chunk ends the message, and RSET comes before the next", () => {
  const text = `${"0123456789abcdef".repeat(4)}\r\n`.repeat(1500);
  const played = play({
    text: `${hello("CHUNKING")}
      C: MAIL FROM:<a@example.org>
      S: 250 OK
      C: RCPT TO:<b@example.net>
      S: 250 OK
      C: BDAT 65536
      C! ${escaped(text.slice(0, 65536))}
      S: 552 5.3.4 Too large
      C: RSET
      S: 250 OK
      C: MAIL FROM:<a@example.org>
      S: 550 5.7.1 No
      ${QUIT}`,
    mails: [{ ...one[0]!, content: text }, one[0]!],
  }, [65536]);
  assert.deepEqual(played.results.map((_, index) => kinds(played, index)), [["failed 5.3.4"], ["failed 5.7.1"]]);
});

test("client: binary content goes out octet by octet as it is", () => {
  const played = playCut({
    text: `${hello("CHUNKING", "BINARYMIME", "8BITMIME")}
      C: MAIL FROM:<a@example.org> BODY=BINARYMIME
      S: 250 OK
      C: RCPT TO:<b@example.net>
      S: 250 OK
      C: BDAT 9 LAST
      C! a\\n.\\rb\\x00\\xff\\n.
      S: 250 OK
      ${QUIT}`,
    mails: [{ ...one[0]!, body: "binarymime", content: "a\n.\rb\0\xff\n." }],
  });
  assert.deepEqual(kinds(played), ["delivered"]);
});

/** As a dialogue writes it. */
function escaped(text: string): string {
  return text.replaceAll("\r", "\\r").replaceAll("\n", "\\n");
}

test("client: LMTP has a reply for each recipient at the end, and those that do not come leave it unknown", () => {
  const envelope = `S: 220 store
      C: LHLO me.example.com
      S: 250-store
      S: 250 PIPELINING
      C: MAIL FROM:<a@example.org>
      C: RCPT TO:<b@example.net>
      C: RCPT TO:<c@example.net>
      C: RCPT TO:<d@example.net>
      C: DATA
      S: 250 OK
      S: 250 OK
      S: 550 5.1.1 Unknown
      S: 250 OK
      S: 354 Go on
      ${CONTENT}`;
  const options = { protocol: "lmtp" as const };
  const mails = [{ to: ["b@example.net", "c@example.net", "d@example.net"] }];
  const played = playCut({ options, mails, text: `${envelope}\nS: 452 4.2.2 Full\nS: 250 2.0.0 Stored\n${QUIT}` });
  assert.deepEqual(kinds(played), ["deferred 4.2.2", "failed 5.1.1", "delivered"]);
  const broken = playCut({ options, mails, text: `${envelope}\nS: 250 2.0.0 Stored\nEND` });
  assert.deepEqual(kinds(broken), ["delivered", "failed 5.1.1", "unknown 4.4.2"]);
  const none = playCut({
    options,
    mails: one,
    text: `S: 220 store
      C: LHLO me.example.com
      S: 250 store
      C: MAIL FROM:<a@example.org>
      S: 250 OK
      C: RCPT TO:<b@example.net>
      S: 550 5.1.1 Unknown
      ${QUIT}`,
  });
  assert.deepEqual(kinds(none), ["failed 5.1.1"]);
});

test("client: STARTTLS forgets everything that was said before (RFC 3207 §4.2)", () => {
  const text = `${hello("STARTTLS", "PIPELINING", "SIZE 1", "AUTH PLAIN")}
    C: STARTTLS
    S: 220 Go on
    TLS
    C: EHLO me.example.com
    S: 250 mx.example.net
    C: MAIL FROM:<a@example.org>
    S: 550 No
    ${QUIT}`;
  for (const tls of ["opportunistic", "required"] as const) {
    assert.deepEqual(kinds(playCut({ text, options: { tls }, mails: [{ ...one[0]!, sizeBytes: 5 }] })), ["failed"]);
  }
  const without = playCut({ text: hello(), options: { tls: "required" } });
  assert.deepEqual([without.failure?.kind, without.failure?.stage], ["temporary", "tls"]);
  const refused = `${hello("STARTTLS")}\nC: STARTTLS\nS: 454 4.7.0 No key`;
  assert.equal(playCut({ text: refused, options: { tls: "required" } }).failure?.stage, "tls");
  assert.equal(playCut({ text: `${refused}\n${QUIT}`, options: { tls: "opportunistic" } }).failure, undefined);
});

test("client: plain text behind the reply to STARTTLS ends the session", () => {
  const text = `${hello("STARTTLS")}\nC: STARTTLS\nS: 220 Go on\nS: 250-evil\nS: 250 AUTH PLAIN`;
  const { failure } = play({ text, options: { tls: "opportunistic" } });
  assert.deepEqual([failure?.kind, failure?.stage], ["temporary", "tls"]);
  const half = play({
    text: `${hello("STARTTLS")}\nC: STARTTLS\nS: 220 Go on\nS! 2`,
    options: { tls: "opportunistic" },
  });
  assert.equal(half.failure?.stage, "tls");
});

const credentials = { user: "me", password: "sesam" };

test("client: login with PLAIN, LOGIN and XOAUTH2, the first that is offered", () => {
  const options = {
    tls: "active" as const,
    mechanisms: [plainMechanism(credentials), loginMechanism(credentials), xoauth2Mechanism(credentials)],
  };
  playCut({ options, text: `${hello("AUTH LOGIN PLAIN")}\nC: AUTH PLAIN AG1lAHNlc2Ft\nS: 235 2.7.0 Hello\n${QUIT}` });
  playCut({
    options,
    text: `${hello("AUTH=LOGIN")}
      C: AUTH LOGIN
      S: 334 VXNlcm5hbWU6
      C: bWU=
      S: 334 UGFzc3dvcmQ6
      C: c2VzYW0=
      S: 235 2.7.0 Hello
      ${QUIT}`,
  });
  const refused = playCut({
    options,
    text: `${hello("AUTH XOAUTH2")}
      C: AUTH XOAUTH2 dXNlcj1tZQFhdXRoPUJlYXJlciBzZXNhbQEB
      S: 334 eyJzdGF0dXMiOiI0MDEifQ==
      C:
      S: 535 5.7.8 No`,
  });
  assert.deepEqual([refused.failure?.kind, refused.failure?.stage], ["temporary", "login"]);
});

test("client: no password without encryption, without a mechanism in common, or to who asks too much", () => {
  const mechanisms = [loginMechanism(credentials)];
  const login = (text: string, tls: "off" | "active") => playCut({ text, options: { tls, mechanisms } }).failure;
  assert.equal(login(hello("AUTH LOGIN"), "off")?.stage, "login");
  assert.equal(login(hello("AUTH GSSAPI"), "active")?.stage, "login");
  const asking =
    `C: AUTH LOGIN\nS: 334 YQ==\nC: bWU=\nS: 334 YQ==\nC: c2VzYW0=\nS: 334 YQ==\nC: *\nS: 501 5.7.0 Cancelled`;
  assert.equal(login(`${hello("AUTH LOGIN")}\n${asking}`, "active")?.stage, "login");
  assert.equal(login(`${hello("AUTH LOGIN")}\nC: AUTH LOGIN\nS: 334 !\nC: *\nS: 501 No`, "active")?.stage, "login");
});

const before = `C: MAIL FROM:<a@example.org>\nS: 250 OK\nC: RCPT TO:<b@example.net>\nS: 250 OK\n`;

test("client: an end of the connection before the data are complete is no delivery, after that nobody knows", () => {
  const at = (text: string) => kinds(playCut({ text: `${hello()}\n${text}\nEND`, mails: one }));
  assert.deepEqual(at("C: MAIL FROM:<a@example.org>"), ["deferred 4.4.2"]);
  assert.deepEqual(at(`${before}C: DATA`), ["deferred 4.4.2"]);
  assert.deepEqual(at(`${before}C: DATA\nS: 354 Go on\n${CONTENT}`), ["unknown 4.4.2"]);
  assert.deepEqual(at(`${before}C: DATA\nS: 354 Go on\n${CONTENT}\nS! 250 OK`), ["unknown 4.4.2"]);
  for (const text of ["END", "S: 220 mx\nC: EHLO me.example.com\nEND"]) {
    assert.equal(playCut({ text }).failure?.kind, "temporary");
  }
});

test("client: 421 ends the session wherever it comes; one before anything was heard of the message says so", () => {
  const played = playCut({ text: `${hello()}\nC: MAIL FROM:<a@example.org>\nS: 421 4.3.2 Bye`, mails: one });
  assert.deepEqual(kinds(played), ["deferred 4.3.2"]);
  assert.equal(played.results[0]?.unheard, true);
  const later = playCut({ text: `${hello()}\n${before}C: DATA\nS: 421 4.3.2 Bye`, mails: one });
  assert.deepEqual([kinds(later), later.results[0]?.unheard], [["deferred 4.3.2"], false]);
  const end = playCut({ text: `${hello()}\n${before}C: DATA\nS: 354 Go on\n${CONTENT}\nS: 421 4.3.2 Bye`, mails: one });
  assert.deepEqual([kinds(end), end.failure?.kind], [["deferred 4.3.2"], "temporary"]);
});

test("client: a greeting or EHLO that refuses, and one of our own name", () => {
  const failureOf = (text: string, ownNames: readonly string[] = []) => {
    const { failure } = playCut({ text, options: { ownNames } });
    return [failure?.kind, failure?.stage, failure?.enhanced];
  };
  assert.deepEqual(failureOf("S: 554 5.7.1 Go away"), ["permanent", "greeting", "5.7.1"]);
  assert.deepEqual(failureOf("S: 421 4.3.2 Busy"), ["temporary", "greeting", "4.3.2"]);
  assert.deepEqual(
    failureOf("S: 220 x\nC: EHLO me.example.com\nS: 450 Later"),
    ["temporary", "hello", "4.0.0"],
  );
  assert.deepEqual(
    failureOf("S: 220 x\nC: EHLO me.example.com\nS: 550 No\nC: HELO me.example.com\nS: 550 No"),
    ["permanent", "hello", "5.0.0"],
  );
  assert.deepEqual(failureOf("S: 220 ME.example.com ESMTP", ["me.example.com"]), ["permanent", "hello", "5.4.6"]);
  assert.deepEqual(
    failureOf("S: 220 x\nC: EHLO me.example.com\nS: 250 me.example.com", ["me.example.com"]),
    ["permanent", "hello", "5.4.6"],
  );
});

test("client: what is no reply ends the session, and nothing counts as delivered", () => {
  const long = "x".repeat(3000);
  for (
    const bad of [
      "S: hello",
      "S: 25",
      "S: 250OK",
      "S: 150 OK",
      "S: 650 OK",
      "S! 250 OK\\n\\r\\n",
      "S: 250 O\\rK",
      "S: 250 O\\x00K",
      `S: 250 ${long}`,
      `S! 250-${long}${long}${long}`,
      "S: 250-a\nS: 251 b",
      Array(120).fill("S: 250-babble").join("\n"),
      "S: 354 Go on",
    ]
  ) {
    const end = bad.startsWith("S! 250-") ? "\nEND" : "";
    const played = play({ text: `${hello()}\nC: MAIL FROM:<a@example.org>\n${bad}${end}`, mails: one });
    assert.equal(played.results[0]?.recipients[0]?.kind, "deferred", bad.slice(0, 40));
    assert.equal(played.failure?.kind, "temporary", bad.slice(0, 40));
    const late = play({
      text: `${hello()}\n${before}C: DATA\nS: 354 Go on\n${CONTENT}\n${bad.replaceAll("250", "299")}${end}`,
      mails: one,
    });
    if (bad !== "S: 354 Go on") assert.equal(late.results[0]?.recipients[0]?.kind, "unknown", bad.slice(0, 40));
  }
});

test("client: a server that answers before it is asked is not trusted", () => {
  for (
    const text of [
      "S: 220 x\nS: 250 y",
      `${hello()}\nS: 250 OK`,
      `${hello()}\nC: MAIL FROM:<a@example.org>\nS: 250 OK\nS: 250 OK`,
      `${hello()}\n${before}C: DATA\nS: 354 Go on\nS: 250 Delivered already`,
      `${hello()}\n${before}C: DATA\nS: 250 Delivered already`,
    ]
  ) {
    const { results, failure } = play({ text, mails: one });
    assert.equal(failure?.kind, "temporary", text);
    assert.deepEqual(results.filter(({ recipients }) => recipients[0]?.kind !== "deferred"), [], text);
  }
});

test("client: fail in mid-data takes the server's reason when it gave one", () => {
  for (const [said, expected] of [["552 5.3.4 Too large\r\n", "failed 5.3.4"], ["", "deferred 4.4.2"]] as const) {
    const session = createClientSession({ protocol: "smtp", heloName: "me.example.com", tls: "off" });
    const replies = ["220 x", "250 x", "250 OK", "250 OK", "354 Go on"].map((line) => `${line}\r\n`);
    const seen: string[] = [];
    for (;;) {
      const step = session.next();
      if (step.kind === "read") session.receive(new TextEncoder().encode(replies.shift() ?? ""));
      else if (step.kind === "ready") {
        session.send({
          reversePath: "",
          recipients: [{ address: "b@example.net" }],
          body: "7bit",
          smtputf8: false,
        });
      } else if (step.kind === "need-body") {
        session.receive(new TextEncoder().encode(said));
        session.fail("The connection broke");
      } else if (step.kind === "result") {
        seen.push(...step.result.recipients.map(({ kind, enhanced }) => `${kind} ${enhanced}`));
      } else if (step.kind === "close") break;
    }
    assert.deepEqual(seen, [expected]);
  }
});
