/** The formats, each read as receivers read them: JSON, forms parsed by the runtime, and what other services promise. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import type { Job } from "../../src/channel/channel.ts";
import { outcomesOf } from "../contract/channel_contract.ts";
import { bytesOf, contextOf, jobFor, jobOf } from "./channel_world.ts";
import { messages } from "./messages.ts";
import { formOf, openChannel, Receiver, send } from "./webhook_world.ts";

const PNG = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x00, 0xff]);

const MESSAGE = [
  "Received: from a by b; Mon, 1 Jan 2024 10:00:00 +0000",
  "received: from c by d; Mon, 1 Jan 2024 09:59:00 +0000",
  "From: =?utf-8?B?w4RubmE=?= <anna@example.org>",
  'To: "Bob, the builder" <bob+tickets@example.com>, Team: eve@example.com, mallory@example.com;',
  "Cc: carol@example.net",
  "Reply-To: Desk <desk@example.org>",
  "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from",
  " far away",
  "Date: Mon, 1 Jan 2024 11:00:00 +0100",
  "Message-ID: <id-1@example.org>",
  "X-Token: 1",
  "Signature: forged",
  "Recipient: forged@example.com",
  "MIME-Version: 1.0",
  'Content-Type: multipart/mixed; boundary="outer"',
  "",
  "--outer",
  'Content-Type: multipart/alternative; boundary="inner"',
  "",
  "--inner",
  "Content-Type: text/plain; charset=iso-8859-1",
  "Content-Transfer-Encoding: quoted-printable",
  "",
  "Zw=F6lf",
  "-- ",
  "Anna",
  "",
  "On Sunday, Bob wrote:",
  "> Wie viele?",
  "--inner",
  "Content-Type: text/html; charset=utf-8",
  "",
  "<p>Zwölf</p>",
  "--inner--",
  "--outer",
  'Content-Type: IMAGE/png; name="pic.png"',
  "Content-Disposition: inline; filename*=utf-8''b%22%C3%A4%0D%0A.png",
  "Content-ID: <pic@example.org>",
  "Content-Transfer-Encoding: base64",
  "",
  Buffer.from(PNG).toString("base64"),
  "--outer",
  "Content-Type: message/rfc822",
  "",
  "Subject: Inside",
  "",
  "Deep",
  "--outer--",
  "",
].join("\r\n");

function job(): Job {
  const made = jobFor(["bob+tickets@example.com"], MESSAGE);
  const [recipient] = made.recipients;
  assert.ok(recipient);
  const delivery = { ...recipient.delivery, originalRecipient: "old+hash@example.com" };
  return { ...made, recipients: [{ ...recipient, delivery }] };
}

async function received(options: Readonly<Record<string, unknown>>, given: Job = job(), path = "/inbound") {
  await using receiver = await Receiver.open();
  const [outcome] = await send({ ...options, url: `http://127.0.0.1:${receiver.port}${path}` }, given);
  assert.equal(outcome?.kind, "delivered", String(outcome?.detail));
  return receiver.last;
}

async function json(options: Readonly<Record<string, unknown>>, given?: Job) {
  const request = await received(options, given);
  assert.equal(request.headers["content-type"], "application/json");
  return JSON.parse(request.body.toString()) as Record<string, unknown>;
}

async function form(options: Readonly<Record<string, unknown>>, given?: Job) {
  const request = await received(options, given);
  const parsed = await formOf(request);
  const texts: Record<string, string> = {};
  const files: Record<string, { readonly name: string; readonly type: string; readonly bytes: Uint8Array }> = {};
  for (const [name, value] of parsed.entries() as Iterable<[string, unknown]>) {
    if (typeof value === "string") texts[name] = value;
    else if (value instanceof File) {
      files[name] = { name: value.name, type: value.type, bytes: new Uint8Array(await value.arrayBuffer()) };
    }
  }
  return { request, texts, files };
}

const TEXT = "Zwölf\n-- \nAnna\n\nOn Sunday, Bob wrote:\n> Wie viele?\n";
/** The parser ends lines of parts that are not encoded with LF. */
const INSIDE = "Subject: Inside\n\nDeep\n";

test("webhook json: envelope, header fields in order, text, HTML and attachments", async () => {
  const { headers, ...rest } = await json({ format: "json" });
  assert.deepEqual(
    (headers as { name: string; value: string }[]).slice(0, 7).map(({ name }) => name),
    ["Received", "received", "From", "To", "Cc", "Reply-To", "Subject"],
  );
  assert.equal((headers as { value: string }[])[6]?.value, "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= from far away");
  const { text, attachments, ...facts } = rest;
  assert.equal(String(text).replaceAll("\r\n", "\n").trimEnd(), TEXT.trimEnd());
  assert.deepEqual(facts, {
    id: "message-1-1",
    attempt: 1,
    channel: "box",
    binding: "all",
    receivedAt: "2026-08-01T09:08:07.000Z",
    envelope: {
      from: "sender@example.org",
      to: "bob+tickets@example.com",
      originalTo: "old+hash@example.com",
      extension: "tickets",
      body: "8bitmime",
      smtputf8: false,
    },
    client: { listener: "in", address: "127.0.0.1", helo: "client", protocol: "ESMTP" },
    messageId: "<id-1@example.org>",
    date: "2024-01-01T10:00:00.000Z",
    subject: "Grüße from far away",
    from: [{ name: "Änna", address: "anna@example.org" }],
    replyTo: [{ name: "Desk", address: "desk@example.org" }],
    to: [
      { name: "Bob, the builder", address: "bob+tickets@example.com" },
      { name: "", address: "eve@example.com" },
      { name: "", address: "mallory@example.com" },
    ],
    cc: [{ name: "", address: "carol@example.net" }],
    html: "<p>Zwölf</p>\n",
  });
  assert.deepEqual(attachments, [
    {
      fileName: 'b"ä .png',
      contentType: "image/png",
      disposition: "inline",
      contentId: "pic@example.org",
      sizeBytes: PNG.length,
      content: Buffer.from(PNG).toString("base64"),
    },
    {
      fileName: null,
      contentType: "message/rfc822",
      disposition: null,
      contentId: null,
      sizeBytes: INSIDE.length,
      content: Buffer.from(INSIDE).toString("base64"),
    },
  ]);
});

test("webhook json: the whole message on request, byte for byte", async () => {
  for (const [name, content] of await messages()) {
    const { raw } = await json({ format: "json", include_raw: true }, jobOf(content));
    assert.equal(Buffer.compare(Buffer.from(String(raw), "base64"), content), 0, name);
  }
});

test("webhook form: fields and files that the runtime's parser reads", async () => {
  const { texts, files } = await form({ format: "form", include_raw: true });
  assert.deepEqual(JSON.parse(texts["envelope"] ?? ""), (await json({ format: "json" }))["envelope"]);
  assert.equal((JSON.parse(texts["headers"] ?? "") as unknown[]).length, 14);
  assert.equal(texts["subject"], "Grüße from far away");
  assert.equal(texts["html"], "<p>Zwölf</p>\n");
  assert.deepEqual(Object.keys(files), ["attachment1", "attachment2", "raw"]);
  assert.deepEqual(files["attachment1"]?.bytes, PNG);
  assert.match(files["attachment1"]?.name ?? "", /^b("|%22)ä \.png$/);
  assert.equal(files["attachment1"]?.type, "image/png");
  assert.deepEqual(files["raw"]?.bytes, bytesOf(MESSAGE));
});

test("webhook postmark: what the service's receivers read", async () => {
  const { Headers, Attachments, TextBody, ...rest } = await json({ format: "postmark", include_raw: true });
  const { MessageID, ...facts } = rest;
  assert.match(String(MessageID), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal((await json({ format: "postmark" }))["MessageID"], MessageID);
  assert.match(String(TextBody), /^Zwölf/);
  assert.deepEqual(facts, {
    FromName: "Änna",
    MessageStream: "inbound",
    From: "anna@example.org",
    FromFull: { Email: "anna@example.org", Name: "Änna", MailboxHash: "" },
    To: '"Bob, the builder" <bob+tickets@example.com>, Team: eve@example.com, mallory@example.com;',
    ToFull: [
      { Email: "bob+tickets@example.com", Name: "Bob, the builder", MailboxHash: "tickets" },
      { Email: "eve@example.com", Name: "", MailboxHash: "" },
      { Email: "mallory@example.com", Name: "", MailboxHash: "" },
    ],
    Cc: "carol@example.net",
    CcFull: [{ Email: "carol@example.net", Name: "", MailboxHash: "" }],
    Bcc: "",
    BccFull: [],
    OriginalRecipient: "old+hash@example.com",
    Subject: "Grüße from far away",
    ReplyTo: "Desk <desk@example.org>",
    MailboxHash: "tickets",
    Date: "Mon, 1 Jan 2024 11:00:00 +0100",
    HtmlBody: "<p>Zwölf</p>\n",
    StrippedTextReply: "Zwölf",
    Tag: "",
    RawEmail: MESSAGE,
  });
  const names = (Headers as { Name: string; Value: string }[]).map(({ Name }) => Name);
  assert.deepEqual(names.slice(0, 4), ["Received", "received", "Message-ID", "X-Token"]);
  assert.deepEqual(Attachments, [
    {
      Name: 'b"ä .png',
      Content: Buffer.from(PNG).toString("base64"),
      ContentType: "image/png",
      ContentLength: PNG.length,
      ContentID: "pic@example.org",
    },
    {
      Name: "message-2.eml",
      Content: Buffer.from(INSIDE).toString("base64"),
      ContentType: "message/rfc822",
      ContentLength: INSIDE.length,
      ContentID: "",
    },
  ]);
});

test("webhook mailgun: fields, files, and a signature that is new at each attempt", async () => {
  const options = { format: "mailgun", secret: "key-123" };
  const { request, texts, files } = await form(options);
  assert.match(request.headers["content-type"] ?? "", /^multipart\/form-data; boundary=/);
  assert.equal(request.headers["webhook-signature"], undefined);
  const { timestamp = "", token = "", signature } = texts;
  assert.equal(signature, createHmac("sha256", "key-123").update(timestamp + token).digest("hex"));
  assert.match(token, /^[0-9a-f]{50}$/);
  assert.ok(Math.abs(Number(timestamp) - Date.now() / 1_000) < 60);
  const wanted = {
    recipient: "bob+tickets@example.com",
    sender: "sender@example.org",
    from: "Änna <anna@example.org>",
    subject: "Grüße from far away",
    "stripped-text": "Zwölf",
    "stripped-signature": "Anna",
    "body-html": "<p>Zwölf</p>\n",
    "stripped-html": "<p>Zwölf</p>\n",
    "attachment-count": "2",
    "content-id-map": '{"<pic@example.org>":"attachment-1"}',
    "Message-Id": "<id-1@example.org>",
    "X-Token": "1",
    From: "Änna <anna@example.org>",
    Subject: "Grüße from far away",
  };
  for (const [name, value] of Object.entries(wanted)) assert.equal(texts[name], value, name);
  assert.match(texts["body-plain"] ?? "", /^Zwölf/);
  const pairs = JSON.parse(texts["message-headers"] ?? "") as [string, string][];
  assert.deepEqual(pairs.slice(0, 2).map(([name]) => name), ["Received", "received"]);
  assert.deepEqual(Object.keys(files), ["attachment-1", "attachment-2"]);
  assert.deepEqual(files["attachment-1"]?.bytes, PNG);
  for (const name of ["Recipient", "Signature", "Timestamp", "Token"]) assert.equal(texts[name], undefined, name);
});

test("webhook mailgun: urlencoded without attachments, and the whole message to a path that ends in mime", async () => {
  const content = "From: a@example.org\r\nSubject: a&b=c+d\r\n\r\nZwölf & more\r\n";
  const { request, texts } = await form({ format: "mailgun" }, jobFor(["bob@example.com"], content));
  assert.equal(request.headers["content-type"], "application/x-www-form-urlencoded");
  assert.equal(texts["subject"], "a&b=c+d");
  assert.equal(texts["body-plain"]?.trim(), "Zwölf & more");
  assert.equal(texts["signature"], undefined);
  const mime = await formOf(await received({ format: "mailgun" }, jobFor(["bob@example.com"], content), "/in/mime"));
  assert.equal(mime.get("body-mime"), content);
  assert.equal(mime.get("recipient"), "bob@example.com");
  assert.equal(mime.get("body-plain"), null);
});

test("webhook sendgrid: fields and files, or the whole message", async () => {
  const { texts, files } = await form({ format: "sendgrid" });
  const { headers, text, ...rest } = texts;
  assert.equal(headers, MESSAGE.slice(0, MESSAGE.indexOf("\r\n\r\n")));
  assert.match(text ?? "", /^Zwölf/);
  const { charsets, "attachment-info": info, "content-ids": ids, envelope, ...facts } = rest;
  assert.deepEqual(facts, {
    dkim: "",
    SPF: "",
    to: '"Bob, the builder" <bob+tickets@example.com>, Team: eve@example.com, mallory@example.com;',
    cc: "carol@example.net",
    from: "Änna <anna@example.org>",
    subject: "Grüße from far away",
    sender_ip: "127.0.0.1",
    html: "<p>Zwölf</p>\n",
    attachments: "2",
  });
  assert.deepEqual(JSON.parse(envelope ?? ""), { to: ["bob+tickets@example.com"], from: "sender@example.org" });
  assert.deepEqual(JSON.parse(ids ?? ""), { "pic@example.org": "attachment1" });
  assert.equal((JSON.parse(charsets ?? "") as { text: string }).text, "UTF-8");
  assert.deepEqual((JSON.parse(info ?? "") as Record<string, unknown>)["attachment1"], {
    filename: 'b"ä .png',
    name: 'b"ä .png',
    type: "image/png",
    "content-id": "pic@example.org",
  });
  assert.deepEqual(files["attachment1"]?.bytes, PNG);
  const whole = await form({ format: "sendgrid", include_raw: true });
  assert.equal(whole.texts["email"], MESSAGE);
  assert.equal(whole.texts["text"], undefined);
  assert.deepEqual(whole.files, {});
});

const FORMATS = ["json", "form", "postmark", "mailgun", "sendgrid"];

test("webhook formats: every message of the corpus is sent in every format and can be read", async () => {
  for (const format of FORMATS) {
    for (const [name, content] of await messages()) {
      const request = await received({ format }, jobOf(content));
      if (request.headers["content-type"] === "application/json") JSON.parse(request.body.toString());
      else assert.ok([...(await formOf(request)).keys()].length > 5, `${format} ${name}`);
    }
  }
});

test("webhook formats: recipients of one message get what is theirs alone", async () => {
  await using receiver = await Receiver.open();
  await send({ url: receiver.url, format: "json" }, jobOf(MESSAGE, 3));
  const bodies = receiver.requests.map(({ body }) =>
    JSON.parse(body.toString()) as { envelope: { to: string }; id: string }
  );
  assert.deepEqual(bodies.map(({ envelope }) => envelope.to), ["r1@example.com", "r2@example.com", "r3@example.com"]);
  assert.deepEqual(bodies.map(({ id }) => id), ["message-1-1", "message-1-2", "message-1-3"]);
});

test("webhook formats: nothing in a message ends a form's part or its header", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("\r\n", "\n", '"', "--smtpd-", "%", ";", "ü", "a", "\\", ": ", "\0", "--"), {
        maxLength: 20,
      }),
      async (parts) => {
        const name = encodeURIComponent(parts.join(""));
        const content = 'Subject: x\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n' +
          `Content-Type: a/b\r\nContent-Disposition: attachment; filename*=utf-8''${name}\r\n\r\n${
            parts.join("")
          }\r\n--b--`;
        const { texts, files } = await form({ format: "sendgrid" }, jobFor(["bob@example.com"], content));
        assert.deepEqual(Object.keys(files), ["attachment1"]);
        assert.equal(texts["attachments"], "1");
        assert.equal(Object.keys(texts).length, 12);
      },
    ),
    { numRuns: 60 },
  );
});

test("webhook formats: a message that is too large or nested too deep fails and says what to do", async () => {
  await using receiver = await Receiver.open();
  const large = jobOf(`Subject: x\r\n\r\n${"x".repeat(3_000)}`, 2);
  const outcomes = await send({ url: receiver.url, format: "json", max_parsed_size: 2_000 }, large);
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["failed", "failed"]);
  assert.match(outcomes[0]?.detail ?? "", /larger than 2000 bytes; raise max_parsed_size, or use format = "raw"/);
  // What bindings add is not in the stored size.
  const edited = { ...large, message: { ...large.message, sizeBytes: 1 } };
  assert.equal((await send({ url: receiver.url, format: "json", max_parsed_size: 2_000 }, edited))[0]?.kind, "failed");
  let nested = "";
  for (let depth = 0; depth < 200; depth++) {
    nested += `Content-Type: multipart/mixed; boundary="b${depth}"\r\n\r\n--b${depth}\r\n`;
  }
  const [deep] = await send({ url: receiver.url, format: "json" }, jobOf(nested));
  assert.equal(deep?.kind, "failed");
  assert.match(deep?.detail ?? "", /^The message cannot be taken apart: /);
  assert.equal(receiver.requests.length, 0);
});

test("webhook formats: large messages go one after the other, and a signal ends the wait", async () => {
  let inside = 0;
  let most = 0;
  await using receiver = await Receiver.open((_, response) => {
    most = Math.max(most, ++inside);
    setTimeout(() => {
      inside--;
      response.end();
    }, 10);
  });
  await using channel = await openChannel({ url: receiver.url, format: "json" });
  const large = jobOf(`Subject: x\r\n\r\n${`${"x".repeat(900)}\r\n`.repeat(1_400)}`);
  const results = [1, 2, 3].map(() => outcomesOf(channel, large));
  const abort = new AbortController();
  const waiting = outcomesOf(channel, large, abort.signal);
  abort.abort(new Error("Stopped"));
  assert.deepEqual(await waiting, []);
  assert.deepEqual((await Promise.all(results)).map(([outcome]) => outcome?.kind), Array(3).fill("delivered"));
  assert.equal(most, 1);
});

test("webhook formats: in its thread, a message made of very many tiny parts holds nothing up but itself", async () => {
  await using receiver = await Receiver.open();
  await using channel = await openChannel({ url: receiver.url, format: "json" }, contextOf());
  const tiny = `Content-Type: multipart/mixed; boundary=a\r\n\r\n${"--a\r\n\r\nx\r\n".repeat(40_000)}`;
  let turns = 0;
  const ticker = setInterval(() => turns++, 1);
  const [outcome] = await outcomesOf(channel, jobOf(tiny));
  clearInterval(ticker);
  assert.equal(outcome?.kind, "delivered");
  assert.ok(turns > 10, `${turns} turns of the event loop`);
  // The same thread goes on.
  assert.equal((await outcomesOf(channel, job()))[0]?.kind, "delivered");
  assert.equal((JSON.parse(receiver.last.body.toString()) as { subject: string }).subject, "Grüße from far away");
});

test("webhook formats: a thread that dies defers, one that is silent ends with the signal, and the next message has another one", async () => {
  await using receiver = await Receiver.open();
  const context = contextOf();
  const opened: string[] = [];
  const { workers } = context.runtime;
  const runtime = {
    ...context.runtime,
    workers: {
      open(name: "spool" | "webhook") {
        opened.push(name);
        if (opened.length > 2) return workers.open(name);
        const isDying = opened.length === 1;
        return {
          post: () => {},
          onMessage: () => {},
          onError: (call: (error: Error) => void) =>
            void (isDying ? setTimeout(call, 1, new Error("Boom")) : undefined),
          terminate: () => {},
        };
      },
    },
  };
  await using channel = await openChannel({ url: receiver.url, format: "json" }, { ...context, runtime });
  const attempt = async () => (await outcomesOf(channel, jobOf(MESSAGE)))[0];
  const died = await attempt();
  assert.deepEqual([died?.kind, died?.detail], ["deferred", "The thread for messages died: Boom"]);
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("Too late")), 20);
  assert.deepEqual(await outcomesOf(channel, jobOf(MESSAGE), abort.signal), []);
  assert.equal((await attempt())?.kind, "delivered");
  assert.equal((await attempt())?.kind, "delivered");
  assert.deepEqual(opened, ["webhook", "webhook", "webhook"]);
});

test("webhook formats: a message that takes too long to take apart defers", async () => {
  await using receiver = await Receiver.open();
  const context = contextOf();
  const { workers, clock } = context.runtime;
  let ended = 0;
  const runtime = {
    ...context.runtime,
    workers: {
      open(name: "spool" | "webhook") {
        const port = workers.open(name);
        const terminate = () => {
          ended++;
          port.terminate();
        };
        return { ...port, post: () => {}, terminate };
      },
    },
    clock: { ...clock, after: (delayMs: number, call: () => void) => clock.after(delayMs / 1_000, call) },
  };
  const [outcome] = await send({ url: receiver.url, format: "json" }, jobOf(MESSAGE), { ...context, runtime });
  assert.deepEqual([outcome?.kind, outcome?.detail], [
    "deferred",
    "The message could not be taken apart within 20 s",
  ]);
  assert.equal(ended, 1);
});
