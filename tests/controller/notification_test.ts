/** Who is told what, when, and in which order that is recorded (RFC 3461). */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChannelConfig } from "../../src/config/config.ts";
import { isWarningDue } from "../../src/controller/notify.ts";
import type { DsnNotify } from "../../src/smtp/transaction.ts";
import { deferred, delivered, failed, NotificationWorld, type Says, SENDERS } from "./notification_world.ts";

const MINUTE_MS = 60_000;

/** The action in a notification's part for programs. */
function actionsOf(text: string): readonly string[] {
  return [...text.matchAll(/^Action: (.*)\r$/gmu)].map(([, action = ""]) => action);
}

const NOTIFY: readonly (readonly [DsnNotify | undefined, string])[] = [
  [undefined, "failed delayed"],
  [["never"], ""],
  [["success"], "delivered"],
  [["failure"], "failed"],
  [["delay"], "delayed"],
  [["success", "failure"], "failed delivered"],
  [["failure", "delay"], "failed delayed"],
  [["success", "failure", "delay"], "failed delayed delivered"],
];

const ENDINGS: Readonly<Record<string, { readonly says: Says; readonly config: Partial<ChannelConfig> }>> = {
  failed: { says: failed, config: {} },
  "failed, given up": { says: deferred, config: { retry: { firstDelayMs: 1, maxDelayMs: 1, maxAgeMs: 0 } } },
  delayed: { says: deferred, config: { noticesMs: [0 + 1] } },
  delivered: { says: delivered, config: {} },
};

for (const [notify, expected] of NOTIFY) {
  const name = notify === undefined ? "no NOTIFY" : `NOTIFY=${notify.join(",").toUpperCase()}`;
  test(`notifications: ${name} tells of ${expected === "" ? "nothing" : expected} (RFC 3461 §4.1)`, async () => {
    for (const [ending, { says, config }] of Object.entries(ENDINGS)) {
      const [action = ""] = ending.split(",");
      const isTold = expected.split(" ").includes(action);
      for (const sender of ["sender@example.org", ""]) {
        for (const policy of [undefined, "sender", "both", "keep"] as const) {
          await using world = new NotificationWorld({
            channels: { x: says },
            config: { ...config, ...(policy === undefined ? {} : { notify: policy }) },
          });
          await world.add([notify === undefined ? {} : { notify }], { reversePath: sender });
          await world.clock.advance(10);
          await world.controller.idle();
          const what = `${ending}, from <${sender}>, ${policy}`;
          const told = await world.notifications();
          const wanted = isTold && sender !== "" && policy !== "keep";
          assert.deepEqual(told.map(({ text }) => actionsOf(text)), wanted ? [[action]] : [], what);
          const isGone = action === "delivered" || (action === "failed" && wanted && policy !== "both");
          const state = action === "delayed" ? "queued" : "failed";
          assert.deepEqual(await world.queue(), isGone ? [] : [`m1 r1@example.com x ${state}`], what);
        }
      }
    }
  });
}

test("notifications: stored before the delivery is settled; what is not told of waits for nothing", async () => {
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add();
  await world.controller.idle();
  assert.deepEqual(world.done, ["commit message", "commit notification", "settle done"]);
  world.done.length = 0;
  await world.add([{ notify: ["never"] }]);
  await world.controller.idle();
  assert.deepEqual(world.done, ["commit message", "settle failed"]);
});

test("notifications: after a crash between notification and settlement the sender is told twice, never not at all", async () => {
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add();
  world.failing.settle = 1_000;
  world.controller.start();
  await world.clock.advance(1_000);
  assert.deepEqual(world.done, ["commit message", "commit notification"]);
  // The process is gone with what it knew; its lease runs out.
  const stopped = world.controller.stop(0);
  await world.clock.advance(60_000);
  await stopped;
  world.failing.settle = 0;
  assert.deepEqual(await world.queue(), ["m1 r1@example.com x queued"]);
  const next = world.open({ channels: { x: failed } });
  await next.idle();
  assert.deepEqual(await world.queue(), []);
  assert.equal((await world.notifications()).length, 2);
});

test("notifications: a settlement that fails is tried again without another notification", async () => {
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add();
  world.failing.settle = 3;
  const idle = world.controller.idle();
  await world.clock.advance(10_000);
  await idle;
  assert.deepEqual(world.done, ["commit message", "commit notification", "settle done"]);
});

test("notifications: one that cannot be stored is tried again, and until then nothing is settled", async () => {
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add();
  world.failing.commit = 3;
  const idle = world.controller.idle();
  await world.clock.advance(10_000);
  await idle;
  assert.deepEqual(world.done, ["commit message", "commit notification", "settle done"]);
  assert.equal(world.events.filter(({ event }) => event === "notification-failed").length, 3);
});

test("notifications: a message that arrived does not arrive again because its sender could not be told", async () => {
  await using world = new NotificationWorld({ channels: { x: delivered } });
  await world.add([{ notify: ["success"] }]);
  world.failing.commit = 1;
  await world.controller.idle();
  assert.deepEqual(world.done, ["commit message", "settle done"]);
  assert.ok(world.events.some(({ event }) => event === "notification-dropped"));
});

test("notifications: recipients of a message that fail together share one; other senders and outcomes do not", async () => {
  const says: Says = (recipient) => recipient.startsWith("ok") ? delivered(recipient, 0) : failed(recipient, 0);
  await using world = new NotificationWorld({ channels: { x: says, y: says } });
  await world.add([
    {},
    {},
    { recipient: "alias@example.com", originalRecipient: "list@example.com", orcpt: "rfc822;List@example.com" },
    { reversePath: "other@example.org" },
    { recipient: "ok@example.com", notify: ["success", "failure"] },
    { recipient: "quiet@example.com", notify: ["never"] },
  ]);
  await world.add([{ channel: "y" }]);
  await world.controller.idle();
  const found = (await world.notifications()).map(({ delivery, text, message }) => {
    const finals = [...text.matchAll(/^Final-Recipient: rfc822; (.*)\r$/gmu)].map(([, address]) => address);
    assert.equal(message.envelope.reversePath, "");
    assert.deepEqual(delivery.notify, ["never"]);
    return `${delivery.recipient}: ${finals.join(" ")}`;
  });
  assert.deepEqual(found.toSorted(), [
    "other@example.org: r4@example.com",
    "sender@example.org: ok@example.com",
    "sender@example.org: r1@example.com",
    "sender@example.org: r1@example.com r2@example.com list@example.com",
  ]);
  assert.ok(!(await world.notifications()).some(({ text }) => text.includes("alias@")));
});

test("notifications: a notification that fails is kept, and nobody is told of it (RFC 5321 §6.1)", async () => {
  const options = { channels: { x: failed, box: failed } };
  await using world = new NotificationWorld(options);
  await world.add();
  await world.controller.idle();
  const all = await world.notifications();
  assert.deepEqual(all.map(({ state }) => state), ["failed"]);
  // Nor when a binding gives notifications a sender.
  await using rewriting = new NotificationWorld({
    ...options,
    bindings: [{ ...SENDERS, changes: { rewriteSender: "postmaster@example.org" } }],
  });
  await rewriting.add();
  await rewriting.add([{ reversePath: "forwarder@example.org" }], { reversePath: "" });
  await rewriting.controller.idle();
  assert.deepEqual((await rewriting.notifications()).map(({ state, delivery }) => [state, delivery.reversePath]), [
    ["failed", undefined],
  ]);
  assert.deepEqual(await rewriting.queue(), ["m2 r1@example.com x failed"]);
});

test("notifications: whom no binding takes, the channel of [notifications] gets; else the delivery is kept and says why", async () => {
  const cases: readonly (readonly [ConstructorParameters<typeof NotificationWorld>[0], string | RegExp])[] = [
    [
      { bindings: [] },
      /^550 5\.1\.1 No such user \(the sender was not told: no binding takes mail to "sender@example\.org", /,
    ],
    [{ bindings: [], channel: "out" }, "out"],
    [
      { bindings: [{ ...SENDERS, outcome: { kind: "discard" } }], channel: "out" },
      /: the binding "senders" discards mail/,
    ],
    [{
      bindings: [{ ...SENDERS, outcome: { kind: "reject", reply: { code: 550, enhanced: "5.1.1", lines: ["No"] } } }],
    }, /: the binding "senders" refuses mail to "sender@example\.org"\)$/],
    [{ bindings: [{ ...SENDERS, listeners: ["in"] }], channel: "out" }, "out"],
    [{ bindings: [{ ...SENDERS, listeners: ["notifications"] }], channel: "out" }, "box"],
    [{ bindings: [{ ...SENDERS, dsn: ["report"] }] }, "box"],
    [{
      bindings: [{ ...SENDERS, headers: { "Auto-Submitted": ["auto-replied"] }, clients: ["10.0.0.0/8"] }],
      channel: "out",
    }, "out"],
    [{ bindings: [{ ...SENDERS, headers: { "Auto-Submitted": ["auto-replied"] }, hold: true }] }, "box held"],
  ];
  for (const [options, expected] of cases) {
    await using world = new NotificationWorld({ channels: { x: failed }, ...options });
    await world.add();
    await world.controller.idle();
    const told = (await world.notifications()).map(({ delivery, state }) =>
      state === "held" ? `${delivery.channel} held` : delivery.channel
    );
    if (typeof expected === "string") {
      assert.deepEqual([told, await world.queue()], [[expected], []]);
    } else {
      const [entry] = await world.spool.list({});
      assert.deepEqual([told, entry?.state], [[], "failed"]);
      assert.match(entry?.lastDetail ?? "", expected);
    }
  }
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add([{ reversePath: "no address\r\n" }]);
  await world.controller.idle();
  assert.match((await world.spool.list({}))[0]?.lastDetail ?? "", /is not an address\)$/);
});

test("notifications: a warning at each age, once, also over restarts; none for what arrives in time", async () => {
  let isUp = false;
  const says: Says = (recipient, attempts) => isUp ? delivered(recipient, attempts) : deferred(recipient, attempts);
  const retry = { firstDelayMs: 10_000, maxDelayMs: MINUTE_MS, maxAgeMs: 120 * MINUTE_MS };
  const noticesMs = [4 * MINUTE_MS, 24 * MINUTE_MS, 72 * MINUTE_MS];
  const options = { channels: { x: says }, config: { retry, noticesMs } };
  await using world = new NotificationWorld(options);
  await world.add([{}, {}]);
  const warned = async () => (await world.notifications()).length;
  let { controller } = world;
  const counts: number[] = [];
  for (const minutes of [3, 6, 23, 26, 70, 75, 118]) {
    controller.start();
    await world.clock.advance(minutes * MINUTE_MS - (world.clock.nowMs() - Date.UTC(2026, 0, 1)));
    counts.push(await warned());
    const stopped = controller.stop(0);
    await world.clock.advance(1_000);
    await stopped;
    controller = world.open(options);
  }
  assert.deepEqual(counts, [0, 1, 1, 2, 2, 3, 3]);
  const [first] = await world.notifications();
  assert.deepEqual(actionsOf(first?.text ?? ""), ["delayed", "delayed"]);
  assert.match(first?.text ?? "", /^Will-Retry-Until: Thu, 1 Jan 2026 02:00:00 \+0000\r$/mu);
  assert.match(first?.text ?? "", /^Status: 4\.3\.0\r$/mu);
  controller.start();
  await world.clock.advance(4 * MINUTE_MS);
  assert.deepEqual(await world.queue(), []);
  const last = (await world.notifications()).at(-1);
  assert.deepEqual(actionsOf(last?.text ?? ""), ["failed", "failed"]);
  assert.match(last?.text ?? "", /Given up after 2 h: 451 4\.3\.0 Busy/);
  isUp = true;
  await world.add();
  await world.clock.advance(10 * MINUTE_MS);
  assert.equal(await warned(), 4);
  const stopped = controller.stop(0);
  await world.clock.advance(1_000);
  await stopped;
});

test("isWarningDue: an age that was passed since the attempt before", () => {
  const message = { id: "m", receivedAtMs: 1_000, sizeBytes: 1 } as Parameters<typeof isWarningDue>[1];
  const cases: readonly (readonly [readonly number[], number | undefined, number, boolean])[] = [
    [[100], undefined, 1_099, false],
    [[100], undefined, 1_100, true],
    [[100], 1_099, 1_100, true],
    [[100], 1_100, 1_200, false],
    [[100, 200], 1_150, 1_250, true],
    [[100, 200], 1_200, 1_250, false],
    [[], undefined, 9_999, false],
  ];
  for (const [notices, before, now, expected] of cases) {
    assert.equal(isWarningDue(notices, message, before, now), expected, `${notices} ${before} ${now}`);
  }
});

test("notifications: RET, ENVID and ORCPT are honoured; successes and delays never bring the message back (RFC 3461 §6.2)", async () => {
  const content = "Subject: Hello\r\n\r\nThe text itself\r\n";
  const cases: readonly (readonly [Says, "full" | "headers" | undefined, DsnNotify | undefined, boolean])[] = [
    [failed, "full", undefined, true],
    [failed, undefined, undefined, true],
    [failed, "headers", undefined, false],
    [delivered, "full", ["success"], false],
    [deferred, "full", ["delay"], false],
  ];
  for (const [says, ret, notify, isWhole] of cases) {
    await using world = new NotificationWorld({ channels: { x: says }, config: { noticesMs: [1] } });
    const orcpt = "rfc822;Someone Else@example.net";
    await world.add([{ orcpt, ...(notify === undefined ? {} : { notify }) }], {
      envid: "QQ+314159=",
      ...(ret === undefined ? {} : { ret }),
    }, content);
    await world.clock.advance(5);
    await world.controller.idle();
    const [{ text } = { text: "" }] = await world.notifications();
    assert.equal(text.includes("The text itself"), isWhole, `${ret} ${notify}`);
    assert.match(text, isWhole ? /^Content-Type: message\/rfc822\r$/mu : /^Content-Type: text\/rfc822-headers\r$/mu);
    assert.ok(text.includes("Subject: Hello\r\n"));
    assert.match(text, /^Original-Envelope-Id: QQ\+314159=\r$/mu);
    assert.match(text, /^Original-Recipient: rfc822; Someone Else@example\.net\r$/mu);
  }
  await using binary = new NotificationWorld({ channels: { x: failed } });
  await binary.add([{}], { body: "binarymime", ret: "full" }, content);
  await binary.controller.idle();
  assert.ok(!(await binary.notifications())[0]?.text.includes("The text itself"));
});

test("notifications: of 100 MiB the header comes back", { timeout: 60_000 }, async () => {
  const large = new Uint8Array(100 * 1024 * 1024).fill(0x78);
  large.set(new TextEncoder().encode("Subject: Large\r\n\r\n"));
  await using world = new NotificationWorld({ channels: { x: failed } });
  await world.add([{}], { ret: "full" }, large);
  await world.controller.idle();
  const [entry] = await world.notifications();
  assert.ok((entry?.message.sizeBytes ?? Infinity) < 4_096);
  assert.match(entry?.text ?? "", /Content-Type: text\/rfc822-headers\r\n(?:.+\r\n)+\r\nSubject: Large\r\n\r\n--=_/);
  assert.deepEqual(await world.queue(), []);
});

test("notifications: what was handed on is relayed, or nothing when the next system tells the sender itself", async () => {
  for (const [onward, expected] of [["relayed", ["relayed"]], ["notifies", undefined]] as const) {
    const says = () => ({ kind: "delivered", detail: "250 2.0.0 ok", remoteMta: "mx.example.net", onward }) as const;
    await using world = new NotificationWorld({ channels: { x: says } });
    await world.add([{ notify: ["success"] }]);
    await world.controller.idle();
    const [entry] = await world.notifications();
    assert.deepEqual(entry && actionsOf(entry.text), expected);
    if (entry !== undefined) {
      assert.match(entry.text, /^Remote-MTA: dns; mx\.example\.net\r\nDiagnostic-Code: smtp; 250 /mu);
    }
    assert.deepEqual(await world.queue(), []);
  }
});

test("notifications: a flood of failures is told in bounded pieces and to the last one", async () => {
  await using world = new NotificationWorld({ channels: { x: failed }, config: { maxConcurrency: 50 } });
  for (let count = 0; count < 300; count++) await world.add([{}, {}]);
  world.controller.start();
  await world.clock.advance(10_000);
  assert.deepEqual(await world.queue(), []);
  assert.equal((await world.notifications()).length, 300);
});
