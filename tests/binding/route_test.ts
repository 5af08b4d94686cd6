/** Routing: order, postmaster, no match; the same as a scan; and a cost that does not depend on the number of bindings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matches, parsePattern } from "../../src/binding/match.ts";
import { compileRoutes, NOT_ACCEPTED, type Route } from "../../src/binding/route.ts";
import type { BindingConfig } from "../../src/config/config.ts";
import type { Mailbox } from "../../src/smtp/address.ts";
import { reply } from "../../src/smtp/reply.ts";

function binding(name: string, recipients: readonly string[], rejects = false): BindingConfig {
  return {
    name,
    tags: [],
    recipients,
    outcome: rejects
      ? { kind: "reject", reply: reply(550, "5.1.1", name) }
      : { kind: "deliver", channels: [`to-${name}`] },
  };
}

function mailbox(text: string): Mailbox {
  const at = text.lastIndexOf("@");
  return { localPart: text.slice(0, at), domain: text.slice(at + 1) };
}

function nameOf(route: Route): string | undefined {
  return route.binding;
}

const HOST = "mx.example.com";

test("the first binding that matches decides, a listener's own before the shared ones", () => {
  const own = [binding("own", ["b@example.com", "*@own.example"])];
  const shared = [
    binding("exact", ["a@example.com", "b@example.com"]),
    binding("domain", ["*@example.com", "*@own.example"]),
    binding("late", ["c@example.com"]),
    binding("refused", ["x@other.example"], true),
  ];
  const router = compileRoutes({ hostName: HOST, bindings: own }, shared);
  const at = (address: string) => nameOf(router.route(mailbox(address)));
  assert.equal(at("A@example.com"), "exact");
  assert.equal(at("b@example.com"), "own");
  assert.equal(at("z@own.example"), "own");
  assert.equal(at("c@example.com"), "domain", "an earlier domain comes before a later address");
  assert.deepEqual(router.route(mailbox("a@example.com")), {
    kind: "deliver",
    binding: "exact",
    channels: ["to-exact"],
  });
  assert.deepEqual(router.route(mailbox("x@other.example")), {
    kind: "reject",
    binding: "refused",
    reply: reply(550, "5.1.1", "refused"),
  });
});

test("no match refuses with 550 5.7.1 and names no binding", () => {
  const router = compileRoutes({ hostName: HOST, bindings: [] }, [binding("a", ["a@example.com"])]);
  const route = router.route(mailbox("b@example.com"));
  assert.equal(route, NOT_ACCEPTED);
  assert.ok(route.kind === "reject" && route.reply.code === 550 && route.reply.enhanced === "5.7.1");
  assert.equal("binding" in route, false);
  assert.equal(compileRoutes({ hostName: HOST, bindings: [] }, []).route(mailbox("Postmaster@")), NOT_ACCEPTED);
});

test("postmaster without a domain is also postmaster of the listener's host name", () => {
  const route = (...patterns: readonly string[]) => {
    const bindings = patterns.map((pattern) => binding(pattern, [pattern]));
    return nameOf(compileRoutes({ hostName: "MX.example.com", bindings }, []).route(mailbox("Postmaster@")));
  };
  assert.equal(route("postmaster"), "postmaster");
  assert.equal(route("postmaster@mx.example.com"), "postmaster@mx.example.com");
  assert.equal(route("*@mx.example.com", "postmaster"), "*@mx.example.com");
  assert.equal(route("*@example.com", "postmaster"), "postmaster");
  assert.equal(route("*"), "*");
  assert.equal(route("postmaster@example.com"), undefined);
});

test("an unchecked pattern is our mistake", () => {
  const bindings = [binding("bad", ["no pattern"])];
  assert.throws(() => compileRoutes({ hostName: HOST, bindings }, []), /unchecked recipient pattern/u);
});

test("shared bindings are compiled once for all listeners", () => {
  let reads = 0;
  const shared = [{
    ...binding("a", []),
    get recipients() {
      reads++;
      return ["a@example.com"];
    },
  }];
  for (let count = 0; count < 3; count++) {
    const router = compileRoutes({ hostName: HOST, bindings: [] }, shared);
    assert.equal(nameOf(router.route(mailbox("a@example.com"))), "a");
  }
  assert.equal(reads, 1);
});

test("the router decides as a scan over all bindings does", () => {
  const local = fc.constantFrom("a", "A", "b", "postmaster", "Postmaster", "ü");
  const domain = fc.constantFrom(
    "x.example",
    "X.Example",
    "mx.example.com",
    "müller.example",
    "xn--mller-kva.example",
    "[192.0.2.1]",
  );
  const address = fc.tuple(local, domain).map(([left, right]) => `${left}@${right}`);
  const text = fc.oneof(address, domain.map((name) => `*@${name}`), fc.constantFrom("*", "postmaster"));
  const list = fc.array(fc.tuple(fc.array(text, { maxLength: 4 }), fc.boolean()), { maxLength: 6 });
  const recipient = fc.oneof(address, fc.constantFrom("Postmaster@", "postmaster@"));
  fc.assert(
    fc.property(list, list, recipient, (ownList, sharedList, forwardPath) => {
      const make = (kind: string, items: typeof ownList) =>
        items.map(([patterns, rejects], index) => binding(`${kind}${index}`, patterns, rejects));
      const own = make("own", ownList);
      const shared = make("shared", sharedList);
      const expected = [...own, ...shared].find(({ recipients }) =>
        recipients.some((recipientPattern) => {
          const parsed = parsePattern(recipientPattern);
          return parsed.ok && matches(parsed.pattern, mailbox(forwardPath), HOST);
        })
      );
      const route = compileRoutes({ hostName: HOST, bindings: own }, shared).route(mailbox(forwardPath));
      assert.equal(nameOf(route), expected?.name);
      if (expected !== undefined) assert.equal(route.kind, expected.outcome.kind);
    }),
    { numRuns: 1000 },
  );
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
  const bindings = Array.from({ length: count }, (_, index) => binding(`b${index}`, [pattern(index)]));
  const router = compileRoutes({ hostName: HOST, bindings: [] }, bindings.map((item) => new Proxy(item, counting)));
  const original = Map.prototype.get;
  Map.prototype.get = function (key) {
    lookups++;
    return original.call(this, key);
  };
  try {
    return addresses.map((address) => {
      reads = 0;
      lookups = 0;
      router.route(mailbox(address));
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
