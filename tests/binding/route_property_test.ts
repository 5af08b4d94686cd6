/**
 * The router against a plain scan over all bindings that knows no tables, for random bindings of every kind; what it says
 * before the end of data against what it says then; its explanations against its routes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matches, parsePattern, type PatternRole, subjectOf } from "../../src/binding/match.ts";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import type { Query, Route, Router } from "../../src/binding/route.ts";
import type { BindingConfig, Conditions } from "../../src/config/config.ts";
import type { Mailbox } from "../../src/smtp/address.ts";
import { reply } from "../../src/smtp/reply.ts";
import { binding, body, HOST, mailbox, query, router } from "./world.ts";

await loadRegexEngine();

const local = fc.constantFrom("a", "A", "b", "a+x", "b+y+z", "postmaster", "ü");
const domain = fc.constantFrom(
  "x.example",
  "X.Example",
  "s.x.example",
  HOST,
  "müller.example",
  "xn--mller-kva.example",
  "[192.0.2.1]",
);
const address = fc.tuple(local, domain).map(([left, right]) => `${left}@${right}`);
const pattern = fc.oneof(
  { weight: 4, arbitrary: address },
  { weight: 3, arbitrary: domain.map((name) => `*@${name}`) },
  fc.constantFrom("*", "*@*.example", "*@*.x.example", "*@*.com"),
  fc.constantFrom("a+*@x.example", "b+y+*@x.example", "ü*@x.example", "?@x.example", "a@*", "*+*@*"),
  fc.constantFrom("/^a/", "/\\+(.)@/", "/@x\\.example$/", "/^postmaster@mx/"),
);
const recipients = fc.array(fc.oneof(pattern, fc.constant("postmaster")), { minLength: 1, maxLength: 3 });
const senders = fc.array(fc.oneof(pattern, fc.constant("<>")), { minLength: 1, maxLength: 2 });

function absent<Value>(arbitrary: fc.Arbitrary<Value>, weight = 3): fc.Arbitrary<Value | undefined> {
  return fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

/** Without properties that are undefined. */
function compact<Value extends object>(value: Value) {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined));
}

const conditions: fc.Arbitrary<Conditions> = fc.record({
  recipients: absent(recipients, 1),
  senders: absent(senders),
  clients: absent(fc.constantFrom(["192.0.2.0/24"], ["10.0.0.0/8", "192.0.2.7"])),
  helo: absent(fc.constantFrom(["*.example.org"], ["/^evil/"])),
  tls: absent(fc.boolean()),
  listeners: absent(fc.constantFrom(["in"], ["public"], ["other"])),
  size: absent(fc.constantFrom({ min: 100 }, { max: 99 })),
  headers: absent(fc.constantFrom({ Subject: ["*spam*"] }, { "X-A": ["1"] })),
}).map(compact);

const outcome = fc.constantFrom<BindingConfig["outcome"]>(
  { kind: "deliver", channels: ["one"] },
  { kind: "deliver", channels: ["one", "two"] },
  { kind: "reject", reply: reply(550, "5.1.1", "No") },
  { kind: "reject", reply: reply(451, "4.7.1", "Later") },
  { kind: "discard" },
  { kind: "none" },
);

const change = fc.record({
  rewriteRecipient: absent(fc.constantFrom("a@x.example", "b@s.x.example", "${local}@x.example", "bad")),
  rewriteSender: absent(fc.constantFrom("a@x.example", "<>")),
  subjectPrefix: absent(fc.constantFrom("[a]", "[${local}]")),
}).map(compact);

const made = fc.tuple(conditions, absent(conditions), outcome, absent(change), fc.boolean(), fc.boolean()).map(
  ([holds, not, chosen, changes, hold, continues]): Omit<BindingConfig, "name" | "tags"> => {
    const changing = chosen.kind === "deliver" || chosen.kind === "none";
    return {
      ...holds,
      ...(not === undefined ? {} : { not }),
      outcome: chosen,
      ...(changing && changes !== undefined ? { changes } : {}),
      ...(changing && hold ? { hold } : {}),
      ...(chosen.kind === "none" || (chosen.kind === "deliver" && continues) ? { continues: true } : {}),
    };
  },
);
const list = fc.array(made, { maxLength: 6 });

const bodies = [
  body(50),
  body(50, { Subject: "all SPAM" }),
  body(500, { "X-A": "1" }),
  body(500, { Subject: "spam", "X-A": "1" }),
];

const asked = fc.tuple(
  fc.oneof({ weight: 8, arbitrary: address }, { weight: 1, arbitrary: fc.constant("Postmaster@") }),
  fc.constantFrom("a@x.example", "b+y@müller.example", "<>"),
  fc.constantFrom("192.0.2.7", "10.1.2.3", ""),
  fc.constantFrom("mail.example.org", "evil"),
  fc.boolean(),
).map(([to, from, clientAddress, helo, tls]): Query =>
  query(to, {
    sender: from === "<>" ? null : mailbox(from),
    clientAddress,
    helo,
    tls: tls ? { version: "TLSv1.3" } : undefined,
  })
);

function named(kind: string, items: readonly Omit<BindingConfig, "name" | "tags">[]): readonly BindingConfig[] {
  return items.map((item, index) => binding(`${kind}${index}`, item));
}

/** The definition: each binding in turn, each condition by itself. */
function scan(bindings: readonly BindingConfig[], asking: Query): string {
  let recipient = asking.recipient;
  let sender = asking.sender;
  let prefix = "";
  let held = false;
  let delivered: string | undefined;
  const deliveries: string[] = [];
  for (const each of bindings) {
    if (!allHold(each, each.not, { ...asking, recipient, sender })) continue;
    if (each.outcome.kind === "reject") return `refuse ${each.name} ${each.outcome.reply.code}`;
    const { rewriteRecipient, rewriteSender, subjectPrefix } = each.changes ?? {};
    const base = /^(.[^+]*)(?:\+.+)?$/u.exec(recipient.localPart)?.[1] ?? recipient.localPart;
    if (rewriteRecipient === "bad") return `refuse ${each.name} 553`;
    if (subjectPrefix !== undefined) prefix += `(${subjectPrefix.replace("${local}", base)})`;
    if (rewriteSender !== undefined) sender = rewriteSender === "<>" ? null : mailbox(rewriteSender);
    if (rewriteRecipient !== undefined) recipient = mailbox(rewriteRecipient.replace("${local}", base));
    if (each.outcome.kind === "deliver") {
      delivered = each.name;
      for (const channel of each.outcome.channels) {
        deliveries.push(deliveryText(channel, recipient, sender, prefix, held || each.hold === true));
      }
    } else held ||= each.hold === true;
    if (each.continues !== true) return [`accept ${each.name}`, ...deliveries].join(" ");
  }
  return delivered === undefined ? "refuse - 550" : [`accept ${delivered}`, ...deliveries].join(" ");
}

function deliveryText(channel: string, to: Mailbox, from: Mailbox | null, prefix: string, held: boolean): string {
  const sender = from === null ? "" : `${from.localPart}@${from.domain}`;
  return `${channel}:${to.localPart}@${to.domain}:${sender}:${prefix}:${held}`;
}

function allHold(wanted: Conditions, not: Conditions | undefined, asking: Query): boolean {
  return each(wanted, asking).every((holds) => holds) && !each(not ?? {}, asking).some((holds) => holds);
}

function each(wanted: Conditions, asking: Query): readonly boolean[] {
  const results: boolean[] = [];
  const { recipients, senders, clients, helo, tls, listeners, size, headers } = wanted;
  if (recipients !== undefined) results.push(anyMatches(recipients, "recipient", asking.recipient));
  if (senders !== undefined) results.push(anyMatches(senders, "sender", asking.sender));
  if (clients !== undefined) {
    const first = clients.includes("192.0.2.0/24") ? "192.0.2." : "10.";
    results.push(asking.clientAddress.startsWith(first) || clients.includes(asking.clientAddress));
  }
  if (helo !== undefined) results.push(helo[0] === "/^evil/" ? asking.helo === "evil" : asking.helo !== "evil");
  if (tls !== undefined) results.push(tls === (asking.tls !== undefined));
  if (listeners !== undefined) results.push(listeners[0] !== "other");
  const { sizeBytes = 0, fields = [] } = asking.body ?? {};
  if (size !== undefined) results.push(sizeBytes >= (size.min ?? 0) && sizeBytes <= (size.max ?? Infinity));
  if (headers !== undefined) {
    const name = "Subject" in headers ? "subject" : "x-a";
    const value = fields.find((field) => field.name === name)?.value ?? "";
    results.push(name === "subject" ? /spam/iu.test(value) : value === "1");
  }
  return results;
}

function anyMatches(items: NonNullable<Conditions["recipients"]>, role: PatternRole, given: Mailbox | null): boolean {
  return items.some((item) => {
    const parsed = typeof item === "string" ? parsePattern(item, role) : undefined;
    return parsed?.ok === true && matches(parsed.pattern, subjectOf(given, role === "recipient" ? HOST : ""));
  });
}

function routeString(route: Route, asking: Query): string {
  if (route.kind === "refuse") return `refuse ${route.binding ?? "-"} ${route.reply.code}`;
  if (route.kind === "undecided") return "undecided";
  const deliveries = route.deliveries.map(({ channel, recipient, sender, edits, held }) => {
    const prefix = (edits ?? []).map((edit) => edit.kind === "prefix-subject" ? `(${edit.text})` : "?").join("");
    const from = sender === undefined ? asking.sender : sender;
    return deliveryText(channel, recipient ?? asking.recipient, from, prefix, held === true);
  });
  return [`accept ${route.binding}`, ...deliveries].join(" ");
}

test("with the body known, the router decides as a scan over all bindings does", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(list, list, asked, fc.constantFrom(...bodies), (ownList, sharedList, before, known) => {
      const own = named("own", ownList);
      const shared = named("shared", sharedList);
      const asking = { ...before, body: known };
      const got = routeString(router(shared, own).route(asking), asking);
      assert.equal(got, scan([...own, ...shared], asking));
      seen.add(got.split(" ", 1)[0] ?? "");
    }),
    { numRuns: 3000 },
  );
  assert.deepEqual([...seen].sort(), ["accept", "refuse"]);
});

/** What becomes of the recipient with each of the bodies. */
function endings(using: Router, asking: Query): readonly string[] {
  return bodies.map((known) => routeString(using.route({ ...asking, body: known }), asking));
}

test("what is decided before the end of data holds then, and one reply is true for recipients of one key", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(list, list, fc.array(asked, { minLength: 8, maxLength: 12 }), (ownList, sharedList, queries) => {
      const using = router(named("shared", sharedList), named("own", ownList));
      const refusedWith = new Map<string, string>();
      // Recipients of one transaction have all but the address in common.
      for (const { recipient } of queries) {
        const asking: Query = { ...(queries[0] as Query), recipient };
        const route = using.route(asking);
        const then = endings(using, asking);
        const refused = then.map((text) => text.startsWith("refuse"));
        if (route.kind === "accept") assert.deepEqual(new Set(then), new Set([routeString(route, asking)]));
        if (route.kind === "refuse") assert.ok(refused.every((is) => is), then.join("\n"));
        if (route.kind !== "undecided") continue;
        seen.add(route.refusalKey === undefined ? "accepted in any case" : "may be refused");
        if (route.refusalKey === undefined) assert.ok(!refused.includes(true), then.join("\n"));
        else {
          const before = refusedWith.get(route.refusalKey);
          if (before !== undefined) assert.equal(before, String(refused), `of one key ${route.refusalKey}`);
          refusedWith.set(route.refusalKey, String(refused));
        }
      }
    }),
    { numRuns: 3000 },
  );
  assert.equal(seen.size, 2);
});

test("an explanation comes to what the route is, and its steps name every binding up to there in order", () => {
  fc.assert(
    fc.property(list, list, asked, fc.boolean(), (ownList, sharedList, before, isKnown) => {
      const own = named("own", ownList);
      const shared = named("shared", sharedList);
      const using = router(shared, own);
      const asking = isKnown ? { ...before, body: bodies[1] } : before;
      const { route, steps } = using.explain(asking);
      assert.deepEqual(route, using.route(asking));
      const names = [...own, ...shared].map(({ name }) => name);
      assert.deepEqual(steps.map((step) => step.binding), names.slice(0, steps.length));
      const last = steps.at(-1);
      if (last?.then === "decides" || last?.then === "refuses") {
        assert.ok(route.kind === "undecided" || route.binding === last.binding);
      } else assert.equal(steps.length, names.length);
      for (const step of steps) {
        assert.equal(step.result === "matched", step.condition === undefined, "only what failed has a condition");
        assert.equal(step.result === "matched", step.then !== undefined);
      }
      const open = steps.filter((step) => step.result === "undecided").map((step) => step.binding);
      if (route.kind === "undecided") assert.deepEqual(route.bindings, open);
      if (route.kind === "accept") assert.deepEqual(open, []);
    }),
    { numRuns: 1500 },
  );
});
