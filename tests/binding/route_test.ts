/** Routing: order, outcomes, continuing, changes; undecided bindings; and a cost that does not depend on their number. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import { compileRoutes, NOT_ACCEPTED } from "../../src/binding/route.ts";
import type { BindingConfig } from "../../src/config/config.ts";
import { reply } from "../../src/smtp/reply.ts";
import { binding, body, goesOn, HOST, mailbox, query, rejects, router, routeText } from "./world.ts";

await loadRegexEngine();

test("the first binding that matches decides, a listener's own before the shared ones", () => {
  const own = [binding("own", { recipients: ["b@example.com", "*@own.example"] })];
  const shared = [
    binding("exact", { recipients: ["a@example.com", "b@example.com"] }),
    binding("domain", { recipients: ["*@example.com", "*@own.example"] }),
    binding("late", { recipients: ["c@example.com"] }),
    rejects("refused", { recipients: ["x@other.example"] }),
  ];
  const using = router(shared, own);
  const at = (address: string) => routeText(using, query(address));
  assert.equal(at("A@example.com"), "accept exact: to-exact");
  assert.equal(at("b@example.com"), "accept own: to-own");
  assert.equal(at("z@own.example"), "accept own: to-own");
  assert.equal(at("c@example.com"), "accept domain: to-domain", "an earlier domain comes before a later address");
  assert.deepEqual(using.route(query("x@other.example")), {
    kind: "refuse",
    binding: "refused",
    reply: reply(550, "5.1.1", "refused"),
  });
});

test("no match refuses with 550 5.7.1 and names no binding", () => {
  const route = router([binding("a", { recipients: ["a@example.com"] })]).route(query("b@example.com"));
  assert.equal(route, NOT_ACCEPTED);
  assert.ok(route.kind === "refuse" && route.reply.code === 550 && route.reply.enhanced === "5.7.1");
  assert.equal("binding" in route, false);
  assert.equal(router([]).route(query("Postmaster@")), NOT_ACCEPTED);
});

test("postmaster without a domain is also postmaster of the listener's host name", () => {
  const route = (...patterns: readonly string[]) => {
    const bindings = patterns.map((pattern) => binding(pattern, { recipients: [pattern] }));
    const chosen = compileRoutes({ name: "in", tags: [], hostName: "MX.example.com", bindings }, [])
      .route(query("Postmaster@"));
    return chosen.kind === "undecided" ? "undecided" : chosen.binding;
  };
  assert.equal(route("postmaster"), "postmaster");
  assert.equal(route("postmaster@mx.example.com"), "postmaster@mx.example.com");
  assert.equal(route("*@mx.example.com", "postmaster"), "*@mx.example.com");
  assert.equal(route("*@*.example.com", "postmaster"), "*@*.example.com");
  assert.equal(route("*@example.com", "postmaster"), "postmaster");
  assert.equal(route("*"), "*");
  assert.equal(route("/^postmaster@mx/"), "/^postmaster@mx/");
  assert.equal(route("postmaster@example.com"), undefined);
});

test("an unchecked pattern is our mistake", () => {
  assert.throws(() => router([], [binding("bad", { recipients: ["no pattern"] })]), /unchecked recipient pattern/u);
  assert.throws(() => router([], [binding("bad", { senders: ["no pattern"] })]), /unchecked item/u);
  assert.throws(() => router([], [binding("bad", { changes: { rewriteRecipient: "${x}" } })]), /unchecked template/u);
  assert.throws(() => router([], [binding("bad", { recipients: [{ file: "list" }] })]), /no files were given/u);
});

test("shared bindings are compiled once for all listeners", () => {
  let reads = 0;
  const shared = [{
    ...binding("a"),
    get recipients() {
      reads++;
      return ["a@example.com"];
    },
  }];
  const readsAfter = [1, 2, 3].map(() => {
    assert.equal(routeText(router(shared), query("a@example.com")), "accept a: to-a");
    return reads;
  });
  assert.deepEqual(readsAfter, [readsAfter[0], readsAfter[0], readsAfter[0]]);
});

test("outcomes: deliver to several, discard, hold, reject for a while", () => {
  const using = router([
    binding("two", { recipients: ["two@x.example"], outcome: { kind: "deliver", channels: ["b", "a"] } }),
    binding("gone", { recipients: ["gone@x.example"], outcome: { kind: "discard" } }),
    binding("held", { recipients: ["held@x.example"], hold: true }),
    rejects("later", {
      recipients: ["later@x.example"],
      outcome: { kind: "reject", reply: reply(451, "4.7.1", "Later") },
    }),
  ]);
  const at = (address: string) => routeText(using, query(address));
  assert.equal(at("two@x.example"), "accept two: b a");
  assert.equal(at("gone@x.example"), "accept gone:");
  assert.equal(at("held@x.example"), "accept held: to-held held");
  assert.equal(at("later@x.example"), "refuse later 451 4.7.1");
});

test("a binding that continues adds its deliveries and leaves the rest to those that follow", () => {
  const copy = binding("copy", { recipients: ["*@x.example"], continues: true });
  const cases: readonly (readonly [readonly BindingConfig[], string])[] = [
    [[copy], "accept copy: to-copy"],
    [[copy, binding("own", { recipients: ["a@x.example"] })], "accept own: to-copy to-own"],
    [[copy, rejects("no", { recipients: ["*"] })], "refuse no 550 5.1.1"],
    [[copy, binding("gone", { outcome: { kind: "discard" } })], "accept gone: to-copy"],
    [[goesOn("changes")], "refuse - 550 5.7.1"],
    [[goesOn("holds", { hold: true }), binding("a"), binding("b")], "accept a: to-a held"],
    [[binding("a", { hold: true, continues: true }), binding("b")], "accept b: to-a held to-b"],
    [
      [goesOn("holds", { hold: true }), binding("a", { continues: true }), binding("b")],
      "accept b: to-a held to-b held",
    ],
  ];
  for (const [bindings, expected] of cases) {
    assert.equal(routeText(router(bindings), query("a@x.example")), expected);
    assert.equal(routeText(router(bindings.slice(1), bindings.slice(0, 1)), query("a@x.example")), expected);
  }
});

test("a rewritten recipient is what the bindings behind see, also where an earlier binding would have taken it", () => {
  const bindings = [
    binding("early", { recipients: ["new@x.example"] }),
    goesOn("moved", { recipients: ["/^(.+)\\.old@/"], changes: { rewriteRecipient: "$1@x.example" } }),
    rejects("late", { recipients: ["new@x.example"] }),
    binding("rest", { recipients: ["*@x.example"] }),
  ];
  const using = router(bindings);
  const at = (address: string) => routeText(using, query(address));
  assert.equal(at("new@x.example"), "accept early: to-early");
  assert.equal(at("new.old@y.example"), "refuse late 550 5.1.1");
  assert.equal(at("Joe.old@y.example"), "accept rest: to-rest>Joe@x.example");
  assert.equal(at("joe@y.example"), "refuse - 550 5.7.1");
  assert.equal(routeText(router([], bindings), query("new.old@y.example")), "refuse late 550 5.1.1");
  assert.equal(
    routeText(router(bindings.slice(0, 1), bindings.slice(1, 2)), query("new.old@y.example")),
    "accept early: to-early>new@x.example",
    "shared bindings come after the listener's own",
  );
});

test("changes are the recipient's own, and each delivery has those made before it", () => {
  const using = router([
    goesOn("tag", {
      recipients: ["/^case-(\\d+)(.*)@/"],
      changes: {
        removeHeaders: ["X-Old"],
        setHeaders: [{ name: "X-Case", value: "$1" }],
        addHeaders: [{ name: "X-To", value: "${recipient} ${local} ${extension} ${domain} $$ $9" }],
        subjectPrefix: "[$1]",
      },
    }),
    binding("first", { continues: true }),
    binding("second", { changes: { rewriteSender: "${sender_local}=${sender_domain}@x.example" } }),
  ]);
  const tagged = using.route(query("case-7+a@x.example"));
  const edits = [
    { kind: "remove", name: "X-Old" },
    { kind: "set", name: "X-Case", value: "7" },
    { kind: "add", name: "X-To", value: "case-7+a@x.example case-7 a x.example $ " },
    { kind: "prefix-subject", text: "[7]" },
  ];
  assert.deepEqual(tagged, {
    kind: "accept",
    binding: "second",
    deliveries: [
      { channel: "to-first", binding: "first", edits },
      { channel: "to-second", binding: "second", sender: mailbox("sender=example.org@x.example"), edits },
    ],
  });
  const plain = using.route(query("joe@x.example"));
  assert.ok(plain.kind === "accept" && plain.deliveries.every((delivery) => delivery.edits === undefined));
});

test("captures come from the recipient, else from the sender, else from a header field", () => {
  const captured = (parts: Partial<BindingConfig>) => {
    const changes = { addHeaders: [{ name: "X", value: "$0|$1" }] };
    const route = router([binding("a", { ...parts, changes })]).route(
      query("case-7@x.example", { body: body(10, { Subject: "[ticket 9] hello" }) }),
    );
    const edit = route.kind === "accept" ? route.deliveries[0]?.edits?.[0] : undefined;
    return edit?.kind === "add" ? edit.value : undefined;
  };
  const headers = { Subject: ["/ticket (\\d+)/"] };
  assert.equal(captured({ recipients: ["/^case-(\\d+)/"], senders: ["/^(.)/"], headers }), "case-7|7");
  assert.equal(captured({ recipients: ["case-7@x.example", "/-(\\d)/"] }), "-7|7", "also when an address would do");
  assert.equal(captured({ recipients: ["*@x.example"], senders: ["/^(.)/"], headers }), "s|s");
  assert.equal(captured({ headers }), "ticket 9|9");
  assert.equal(captured({ recipients: ["*"] }), "|");
});

test("what a template makes of an address must be one, and nothing a peer wrote can become more than a part of it", () => {
  const rewritten = (rewriteRecipient: string, recipient: string, recipients = ["/^(.*)@/s"]) => {
    const asked = { ...query("a@b.c"), recipient: mailbox(recipient) };
    return routeText(router([binding("a", { recipients, changes: { rewriteRecipient } })]), asked);
  };
  assert.equal(rewritten("$1@new.example", "joe@x.example"), "accept a: to-a>joe@new.example");
  assert.equal(rewritten("${local}@new.example", "john doe@x.example"), "accept a: to-a>john doe@new.example");
  assert.equal(rewritten("$1@new.example", "a@evil.example>@x.example"), "accept a: to-a>a@evil.example>@new.example");
  assert.equal(rewritten('"a b"@new.example', "joe@x.example"), "accept a: to-a>a b@new.example");
  assert.equal(rewritten("${local}@${domain}", "Postmaster@"), "accept a: to-a>Postmaster@mx.example.com");
  for (
    const [template, recipient] of [
      ["$1", "joe@x.example"],
      ["$1@", "joe@x.example"],
      ["@new.example", "joe@x.example"],
      ["${extension}@new.example", "joe@x.example"],
      ["$1@$1", "a b@x.example"],
      ["$1@new.example", "a\r\nRCPT TO:<x@y.example>@x.example"],
      ["$1@new.example", "a\u0000@x.example"],
      ["$1@new.example", `${"x".repeat(400)}@x.example`],
    ] as const
  ) {
    assert.equal(rewritten(template, recipient), "refuse a 553 5.1.3", `${template} ${JSON.stringify(recipient)}`);
  }
  const sender = (rewriteSender: string) => {
    const route = router([binding("a", { changes: { rewriteSender } })]).route(query("joe+x@x.example"));
    return route.kind === "accept" ? route.deliveries[0]?.sender : route.kind === "refuse" ? route.reply.enhanced : "";
  };
  assert.deepEqual(sender("bounces+${extension}@x.example"), mailbox("bounces+x@x.example"));
  assert.equal(sender("<>"), null);
  assert.equal(sender("bounces"), "5.1.7");
});

test("before the end of data, what depends on the body is undecided unless it would be refused in any case", () => {
  const spam = rejects("spam", { headers: { Subject: ["*viagra*"] } });
  const big = binding("big", { size: { min: 1000 }, outcome: { kind: "deliver", channels: ["slow"] } });
  const all = binding("all", { recipients: ["*@x.example"] });
  const cases: readonly (readonly [readonly BindingConfig[], string, string])[] = [
    [[spam, all], "a@x.example", "undecided spam may be refused"],
    [[spam, all], "a@y.example", "refuse - 550 5.7.1"],
    [[big, all], "a@x.example", "undecided big"],
    [[big, all], "a@y.example", "undecided big may be refused"],
    [[all, spam], "a@x.example", "accept all: to-all"],
    [[{ ...big, continues: true }], "a@x.example", "undecided big may be refused"],
    [[{ ...big, continues: true }, rejects("no")], "a@x.example", "refuse no 550 5.1.1"],
    [
      [goesOn("mark", { headers: { X: ["1"] }, changes: { subjectPrefix: "!" } }), all],
      "a@x.example",
      "undecided mark",
    ],
    [[goesOn("mark", { headers: { X: ["1"] } }), rejects("no")], "a@x.example", "refuse no 550 5.1.1"],
    [
      [goesOn("move", { headers: { X: ["1"] }, changes: { rewriteRecipient: "b@x.example" } }), all],
      "a@x.example",
      "undecided move may be refused",
    ],
    [[{ ...spam, senders: ["*@else.example"] }, all], "a@x.example", "accept all: to-all"],
    [[rejects("ham", { not: { headers: { X: ["1"] } } }), all], "a@x.example", "undecided ham may be refused"],
  ];
  for (const [bindings, recipient, expected] of cases) {
    assert.equal(routeText(router(bindings), query(recipient)), expected);
  }
  const using = router([spam, big, all]);
  const at = (more: Parameters<typeof query>[1]) => routeText(using, query("a@x.example", more));
  assert.equal(at({ body: body(10, { Subject: "Buy VIAGRA now" }) }), "refuse spam 550 5.1.1");
  assert.equal(at({ body: body(2000, { Subject: "Hello" }) }), "accept big: slow");
  assert.equal(at({ body: body(10) }), "accept all: to-all");
  assert.equal(at({ body: { sizeBytes: 10, fields: undefined } }), "accept all: to-all");
  assert.equal(routeText(router([big, all]), query("a@x.example", { declaredSizeBytes: 2000 })), "accept big: slow");
  assert.equal(routeText(router([big, all]), query("a@x.example", { declaredSizeBytes: 9 })), "accept all: to-all");
});

test("recipients that a body may part are never of one key", () => {
  const using = router([
    goesOn("move", { headers: { X: ["1"] }, changes: { rewriteRecipient: "${local}@x.example" } }),
    binding("only", { recipients: ["a@x.example"] }),
  ]);
  const keys = ["a@y.example", "b@y.example", "a@y.example"].map((address) => {
    const route = using.route(query(address));
    return route.kind === "undecided" ? route.refusalKey : undefined;
  });
  assert.ok(keys[0] !== undefined && keys[1] !== undefined);
  assert.notEqual(keys[0], keys[1]);
  assert.equal(keys[0], keys[2]);
});

test("a router says what it reads, so that nothing else is gathered", () => {
  assert.deepEqual(router([binding("a")]).reads, { headers: false, size: false, time: false });
  assert.deepEqual(router([binding("a", { not: { size: { min: 1 } } })]).reads.size, true);
  assert.deepEqual(router([], [binding("a", { headers: { X: ["*"] } })]).reads.headers, true);
  const time = [{ days: ["mon"], from: "00:00", to: "24:00", zone: "UTC" }];
  assert.deepEqual(router([binding("a", { time })]).reads.time, true);
});

interface Cost {
  readonly lookups: number;
  readonly reads: number;
}

/** What each recipient costs: look-ups in maps, and reads of bindings. Counted, since time proves nothing. */
function costs(count: number, addresses: readonly string[]): readonly Cost[] {
  let reads = 0;
  let lookups = 0;
  const counting: ProxyHandler<BindingConfig> = {
    get(target, key, receiver) {
      reads++;
      return Reflect.get(target, key, receiver);
    },
  };
  const pattern = (index: number) => index % 2 === 0 ? `u${index}@d${index}.example` : `*@d${index}.example`;
  const bindings = Array.from({ length: count }, (_, index) => binding(`b${index}`, { recipients: [pattern(index)] }));
  const using = compileRoutes(
    { name: "in", tags: [], hostName: HOST, bindings: [] },
    bindings.map((item) => new Proxy(item, counting)),
  );
  const original = Map.prototype.get;
  Map.prototype.get = function (key) {
    lookups++;
    return original.call(this, key);
  };
  try {
    return addresses.map((address) => {
      const asked = query(address);
      reads = 0;
      lookups = 0;
      using.route(asked);
      return { lookups, reads };
    });
  } finally {
    Map.prototype.get = original;
  }
}

test("a recipient costs the same look-ups with 100,000 bindings as with ten", () => {
  const addresses = ["u0@d0.example", "any@d1.example", "nobody@nowhere.example", "Postmaster@"];
  const few = costs(10, addresses);
  assert.deepEqual(costs(100_000, addresses), few);
  for (const { lookups, reads } of few) {
    assert.ok(lookups >= 1 && lookups <= 4, String(lookups));
    assert.equal(reads, 0, "no binding is looked at");
  }
});

test("patterns that no table holds are tried only up to the binding that decides", () => {
  let tried = 0;
  const glob = (name: string): BindingConfig =>
    binding(name, { recipients: ["*nothing*@*"], senders: ["*"], not: {}, outcome: { kind: "discard" } });
  const globs = Array.from({ length: 100 }, (_, index) => glob(`g${index}`));
  const using = router([...globs.slice(0, 3), binding("exact", { recipients: ["a@x.example"] }), ...globs.slice(3)]);
  const { steps } = using.explain(query("a@x.example"));
  tried = steps.length;
  assert.equal(tried, 4);
  assert.equal(using.explain(query("b@x.example")).steps.length, 101);
});
