/** Every condition by itself: when it holds, when it does not, when it cannot be known yet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileGlob } from "../../src/binding/glob.ts";
import { NetworkSet, parseNetwork } from "../../src/binding/network.ts";
import { loadRegexEngine } from "../../src/binding/regex.ts";
import type { Query } from "../../src/binding/route.ts";
import { parseTemplate } from "../../src/binding/template.ts";
import { isWithin, parseClockTime, parseDays, timeText, type TimeWindow } from "../../src/binding/time_window.ts";
import type { Conditions } from "../../src/config/config.ts";
import { binding, body, mailbox, query, router } from "./world.ts";

await loadRegexEngine();

const ADDRESS = "a@x.example";

/** `yes`, `no` or `unknown`; and the other way round under `not`. */
function holds(conditions: Conditions, more: Partial<Query> = {}): string {
  const answer = (parts: Parameters<typeof binding>[1]) => {
    const route = router([binding("b", parts)]).route(query(ADDRESS, more));
    return route.kind === "undecided" ? "unknown" : route.kind === "accept" ? "yes" : "no";
  };
  const direct = answer(conditions);
  const opposite = { yes: "no", no: "yes", unknown: "unknown" }[direct];
  assert.equal(answer({ not: conditions }), opposite, `not ${JSON.stringify(conditions)}`);
  return direct;
}

test("conditions", () => {
  const tls = { version: "TLSv1.2", clientName: "mail.partner.example" };
  const cases: readonly (readonly [Conditions, Partial<Query>, "yes" | "no" | "unknown"])[] = [
    [{ recipients: ["*@x.example"] }, {}, "yes"],
    [{ recipients: ["*@y.example", "/^b@/"] }, {}, "no"],
    [{ senders: ["*@example.org"] }, {}, "yes"],
    [{ senders: ["<>"] }, {}, "no"],
    [{ senders: ["<>", "b@c.d"] }, { sender: null }, "yes"],
    [{ senders: ["*@müller.example"] }, { sender: mailbox("a@xn--mller-kva.example") }, "yes"],
    [{ listeners: ["in"] }, {}, "yes"],
    [{ listeners: ["out", "public"] }, {}, "yes"],
    [{ listeners: ["out"] }, {}, "no"],
    [{ clients: ["192.0.2.1"] }, {}, "yes"],
    [{ clients: ["10.0.0.0/8", "192.0.2.0/31"] }, {}, "yes"],
    [{ clients: ["192.0.2.0/32"] }, {}, "no"],
    [{ clients: ["0.0.0.0/0", "::/0"] }, { clientAddress: "" }, "no"],
    [{ authenticated: true }, {}, "no"],
    [{ authenticated: false }, {}, "yes"],
    [{ authenticated: true }, { user: "joe" }, "yes"],
    [{ authenticated: ["J*"] }, { user: "joe" }, "yes"],
    [{ authenticated: ["j*"] }, {}, "no"],
    [{ helo: ["*.EXAMPLE.org"] }, {}, "yes"],
    [{ helo: ["/^\\[/"] }, {}, "no"],
    [{ helo: ["/^\\[/"] }, { helo: "[192.0.2.1]" }, "yes"],
    [{ tls: true }, {}, "no"],
    [{ tls: false }, {}, "yes"],
    [{ tls: true }, { tls }, "yes"],
    [{ tls: { minVersion: "1.2" } }, { tls }, "yes"],
    [{ tls: { minVersion: "1.3" } }, { tls }, "no"],
    [{ tls: { minVersion: "1.0" } }, { tls: { version: "SSLv3" } }, "no"],
    [{ tls: { clientName: ["*.partner.example"] } }, { tls }, "yes"],
    [{ tls: { clientName: ["*"] } }, { tls: { version: "TLSv1.3" } }, "no"],
    [{ tls: {} }, {}, "no"],
    [{ size: { min: 100 } }, {}, "unknown"],
    [{ size: { min: 100 } }, { declaredSizeBytes: 100 }, "yes"],
    [{ size: { min: 100 } }, { declaredSizeBytes: 100, body: body(99) }, "no"],
    [{ size: { max: 100 } }, { body: body(100) }, "yes"],
    [{ size: { max: 100 } }, { body: body(101) }, "no"],
    [{ size: { min: 1, max: 2 } }, { body: body(3) }, "no"],
    [{ headers: { Subject: ["*"] } }, {}, "unknown"],
    [{ headers: { Subject: ["*"] } }, { body: body(1) }, "no"],
    [{ headers: { subject: ["hello"] } }, { body: body(1, { Subject: "Hello" }) }, "yes"],
    [{ headers: { Subject: ["hello"] } }, { body: body(1, { Subject: "Hello you" }) }, "no"],
    [{ headers: { Subject: ["x", "h*u"] } }, { body: body(1, { Subject: "Hello you" }) }, "yes"],
    [{ headers: { Subject: ["/^he.*YOU$/"] } }, { body: body(1, { Subject: "Hello you" }) }, "yes"],
    [{ headers: { A: ["1"] } }, { body: { sizeBytes: 1, fields: undefined } }, "no"],
    [{ dsn: ["report"] }, {}, "no"],
    [{ dsn: ["report"] }, { sender: null }, "yes"],
    [{ dsn: ["success", "never"] }, { notify: ["failure", "success"] }, "yes"],
    [{ dsn: ["never"] }, { notify: ["failure"] }, "no"],
    [{ dsn: ["failure"] }, {}, "no"],
    [{ time: [{ days: ["mon-fri"], from: "08:00", to: "18:00", zone: "UTC" }] }, {}, "yes"],
    [{ time: [{ days: ["sat-sun"], from: "00:00", to: "24:00", zone: "UTC" }] }, {}, "no"],
  ];
  for (const [conditions, more, expected] of cases) {
    assert.equal(holds(conditions, more), expected, JSON.stringify([conditions, more]));
  }
});

test("all conditions must hold, of those under not none; one that fails settles it before the body is known", () => {
  const answer = (parts: Parameters<typeof binding>[1]) => router([binding("b", parts)]).route(query(ADDRESS)).kind;
  const [yes, no] = [{ helo: ["*"] }, { helo: ["nobody"] }];
  const unknown = { headers: { X: ["1"] } };
  assert.equal(answer({ ...yes, senders: ["*"] }), "accept");
  assert.equal(answer({ ...no, senders: ["*"] }), "refuse");
  assert.equal(answer({ ...no, ...unknown }), "refuse");
  assert.equal(answer({ ...yes, ...unknown }), "undecided");
  assert.equal(answer({ not: { ...no, clients: ["10.0.0.1"] } }), "accept");
  assert.equal(answer({ not: { ...no, clients: ["192.0.2.1"] } }), "refuse", "one of them holds");
  assert.equal(answer({ not: { ...unknown, clients: ["192.0.2.1"] } }), "refuse");
  assert.equal(answer({ not: { ...unknown, clients: ["10.0.0.1"] } }), "undecided");
  const withBody = (headers: Conditions["headers"], isNot: boolean) => {
    const parts = headers === undefined ? {} : isNot ? { not: { headers } } : { headers };
    return router([binding("b", parts)]).route(query(ADDRESS, { body: body(1, { A: "1" }) })).kind;
  };
  assert.equal(withBody({ A: ["1"], B: ["2"] }, false), "refuse", "both fields are wanted");
  assert.equal(withBody({ A: ["1"], B: ["2"] }, true), "refuse", "neither field may be there");
  assert.equal(withBody({ A: ["2"], B: ["2"] }, true), "accept");
});

test("networks: both families, prefixes of any length, IPv4 inside IPv6", () => {
  const has = (networks: readonly string[], address: string) =>
    new NetworkSet(networks.map((text) => parseNetwork(text) ?? assert.fail(text))).has(address);
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["192.0.2.0/24", "192.0.2.255", true],
    ["192.0.2.77/24", "192.0.2.1", true],
    ["192.0.2.0/25", "192.0.2.128", false],
    ["192.0.2.128/25", "192.0.2.128", true],
    ["0.0.0.0/0", "255.1.2.3", true],
    ["0.0.0.0/0", "::1", false],
    ["10.128.0.0/9", "10.129.0.1", true],
    ["10.128.0.0/9", "10.127.0.1", false],
    ["2001:db8::/32", "2001:DB8:1::1", true],
    ["2001:db8::/32", "2001:db9::1", false],
    ["2001:db8::/31", "2001:db9::1", true],
    ["::1", "0:0:0:0:0:0:0:1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    ["::ffff:192.0.2.1", "192.0.2.1", true],
    ["::ffff:192.0.2.0/120", "192.0.2.9", true],
    ["192.0.2.0/24", "::ffff:192.0.2.9", true],
    ["192.0.2.0/24", "::ffff:c000:0209", true],
    ["::/0", "1:2:3:4:5:6:7:8", true],
    ["192.0.2.1", "x", false],
  ];
  for (const [network, address, expected] of cases) {
    assert.equal(has([network], address), expected, `${network} ${address}`);
  }
  assert.ok(has(["10.0.0.0/8", "192.0.2.0/24", "::1"], "192.0.2.1"));
  for (
    const text of [
      "",
      "x",
      "1.2.3",
      "1.2.3.4/33",
      "1.2.3.4/-1",
      "1.2.3.4/",
      "::/129",
      "1.2.3.4/8/8",
      "::ffff:1.2.3.4/90",
    ]
  ) {
    assert.equal(parseNetwork(text), undefined, text);
  }
});

test("wildcards, in time that does not explode", () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["a*", "a", true],
    ["*a", "ba", true],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["a**b", "ab", true],
    ["*b*c*", "abacad", true],
    ["*c*b*", "abacad", false],
    ["?", "", false],
    ["??", "ab", true],
    ["a?*", "a", false],
    ["*?b", "b", false],
    ["*?b", "ab", true],
    ["*a?c*", "xabcx", true],
    ["", "", true],
  ];
  for (const [pattern, text, expected] of cases) {
    assert.equal(compileGlob(pattern).matches(text), expected, `${pattern} ${text}`);
  }
  assert.equal(compileGlob(`${"*a".repeat(100)}*b`).matches("a".repeat(100_000)), false);
});

test("time windows: days, hours, zones, over midnight", () => {
  const window = (days: string, from: string, to: string, zone = "UTC"): TimeWindow => ({
    days: new Set(parseDays(days) ?? assert.fail(days)),
    fromMinutes: parseClockTime(from) ?? assert.fail(from),
    toMinutes: parseClockTime(to) ?? assert.fail(to),
    zone,
  });
  // 2 January 2023 was a Monday; Berlin was one hour ahead then, two in July.
  const at = (day: number, hour: number, minute = 0) => Date.UTC(2023, 0, day, hour, minute);
  const cases: readonly (readonly [TimeWindow, number, boolean])[] = [
    [window("mon-fri", "08:00", "18:00"), at(2, 8), true],
    [window("mon-fri", "08:00", "18:00"), at(2, 7, 59), false],
    [window("mon-fri", "08:00", "18:00"), at(2, 18), false],
    [window("mon-fri", "08:00", "18:00"), at(1, 12), false],
    [window("sat-mon", "00:00", "24:00"), at(1, 12), true],
    [window("sat-mon", "00:00", "24:00"), at(3, 0), false],
    [window("mon", "22:00", "06:00"), at(2, 23), true],
    [window("mon", "22:00", "06:00"), at(3, 5, 59), true],
    [window("mon", "22:00", "06:00"), at(2, 5), false],
    [window("mon", "22:00", "06:00"), at(3, 22), false],
    [window("mon", "08:00", "09:00", "Europe/Berlin"), at(2, 7, 30), true],
    [window("mon", "08:00", "09:00", "Europe/Berlin"), at(2, 8, 30), false],
    [window("mon", "00:00", "01:00", "Europe/Berlin"), at(1, 23, 30), true],
    [window("sat", "08:00", "09:00", "Europe/Berlin"), Date.UTC(2023, 6, 1, 6, 30), true],
  ];
  for (const [wanted, timeMs, expected] of cases) {
    assert.equal(isWithin(wanted, timeMs), expected, `${JSON.stringify(wanted)} ${new Date(timeMs).toISOString()}`);
  }
  assert.equal(timeText("Europe/Berlin", at(1, 23, 5)), "mon 00:05 (Europe/Berlin)");
  for (const text of ["", "monday", "mon-", "mon-tue-wed", "-"]) assert.equal(parseDays(text), undefined, text);
  for (const text of ["", "8", "24:01", "08:60", "8:0", "x"]) assert.equal(parseClockTime(text), undefined, text);
});

test("templates: places, dollars, and what is refused", () => {
  const values = { recipient: mailbox("joe+x+y@x.example"), sender: null, captures: () => ["all", "one"] };
  const expand = (text: string) => {
    const parsed = parseTemplate(text);
    return parsed.ok ? parsed.template.expand(values) : parsed.reason;
  };
  assert.equal(expand("a $0 $1 $2 ${1} ${10} b"), "a all one  one  b");
  assert.equal(expand("${local}/${extension}/${domain}/${recipient}"), "joe/x+y/x.example/joe+x+y@x.example");
  assert.equal(expand("[${sender}${sender_local}${sender_domain}]"), "[]");
  assert.equal(expand("$$1 $$$1 $${local}"), "$1 $one ${local}");
  assert.equal(expand("${loca}"), "there is no ${loca}");
  assert.equal(expand("5$ each"), 'a "$" stands alone');
  assert.equal(expand("${local"), 'a "$" stands alone');
  assert.equal(expand("${toString}"), "there is no ${toString}");
});
