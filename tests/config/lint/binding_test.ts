/** Rules about bindings and their patterns, beyond the examples of their pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compileRoutes, type Query } from "../../../src/binding/route.ts";
import { broadPattern } from "../../../src/config/lint/broad_pattern.ts";
import { duplicatePattern } from "../../../src/config/lint/duplicate_pattern.ts";
import type { LintRule } from "../../../src/config/lint/rule.ts";
import { shadowedBinding } from "../../../src/config/lint/shadowed_binding.ts";
import { unusedChannel } from "../../../src/config/lint/unused_channel.ts";
import { examineExample } from "../example_world.ts";

const LISTENER = '[[listener]]\nname = "in"\nport = 2525\nhost_name = "mx.example.com"\n';
const ARCHIVE = '[[channel]]\nname = "archive"\ntype = "maildir"\npath = "mail"\n';

type Given = readonly [name: string, recipients: readonly string[] | undefined, more?: string];

function binding([name, recipients, more = ""]: Given, table = "binding"): string {
  const list = recipients === undefined ? "" : `recipients = [${recipients.map((one) => `'${one}'`).join(", ")}]\n`;
  return `[[${table}]]\nname = "${name}"\n${list}deliver = "archive"\n${more}`;
}

async function run(rule: LintRule, text: string) {
  const { loaded, findings } = await examineExample({ text }, { rules: [rule] });
  assert.ok(loaded.config !== undefined, JSON.stringify(findings));
  return findings.filter((finding) => finding.code === rule.code);
}

async function shadowed(...given: readonly Given[]): Promise<readonly string[]> {
  const text = [LISTENER, ...given.map((one) => binding(one)), ARCHIVE].join("");
  return (await run(shadowedBinding, text)).map((finding) => finding.message);
}

const ALL = (name: string, by: string) => `The binding "${name}" can never match: ${by} all its recipients before it`;

test("shadowed: every kind of pattern is taken by each wider one before it", async () => {
  const pairs = [
    ["a@d.example", "A@D.example"],
    ["a+*@d.example", "a+b@d.example"],
    ["a+*@d.example", "a+b+*@d.example"],
    ["a+*@d.example", "a+*@d.example"],
    ["*@d.example", "a@d.example"],
    ["*@d.example", "a+*@d.example"],
    ["*@d.example", "a*b@d.example"],
    ["*@d.example", "*@D.example"],
    ["*@*.example", "*@d.example"],
    ["*@*.example", "a@d.example"],
    ["*@*.example", "*@*.d.example"],
    ["*@*.d.example", "*@*.d.example"],
    ["*@*.example", "a*@d.example"],
    ["*@*.d.example", "a*@*.d.example"],
    ["*@*.example", "a*@?d.example"],
    ["a*@*.d.example", "a*@*.d.example"],
    ["/^a@/", "/^a@/"],
    ["postmaster", "Postmaster"],
    ["*", "postmaster"],
    ["*", "/^a@/"],
    ["*", "*@d.example"],
    ["*", "*"],
  ] as const;
  for (const [wide, narrow] of pairs) {
    assert.deepEqual(
      await shadowed(["one", [wide]], ["two", [narrow]]),
      [ALL("two", '"one" takes')],
      `${wide} ${narrow}`,
    );
  }
});

test("shadowed: what is not certainly taken is not reported", async () => {
  const pairs = [
    ["a@d.example", "*@d.example"],
    ["a@d.example", "a+*@d.example"],
    ["a+*@d.example", "a@d.example"],
    ["a+b+*@d.example", "a+*@d.example"],
    ["a+*@d.example", "a+b@e.example"],
    ["*@*.d.example", "*@d.example"],
    ["*@*.d.example", "*@xd.example"],
    ["*@d.example", "*@*.d.example"],
    ["*@d.example", "postmaster"],
    ["postmaster", "postmaster@d.example"],
    ["a*@d.example", "ab@d.example"],
    ["*@*.d.example", "a*@*d.example"],
    ["*@d.example", "a*@?.example"],
    ["/./", "/^a@/"],
    ["a@d.example", "*"],
  ] as const;
  for (const [first, second] of pairs) {
    assert.deepEqual(await shadowed(["one", [first]], ["two", [second]]), [], `${first} ${second}`);
  }
});

test("shadowed: several bindings may take a binding's patterns; single patterns are told by themselves", async () => {
  assert.deepEqual(
    await shadowed(["one", ["a@d.example"]], ["two", ["*@e.example"]], ["three", ["x@e.example", "a@d.example"]]),
    [ALL("three", '"two" and "one" take')],
  );
  assert.deepEqual(await shadowed(["one", ["a@d.example"]], ["two", ["b@d.example", "a@d.example"]]), [
    '"a@d.example" never matches here: "one" takes it before',
  ]);
});

test("shadowed: bindings with further conditions, and those that continue, take nothing for sure", async () => {
  const conditions = [
    'clients = ["10.0.0.0/8"]\n',
    'senders = ["*"]\n',
    "authenticated = false\n",
    'not = { clients = ["10.0.0.0/8"] }\n',
    "size = { max = 1000 }\n",
    "continue = true\n",
  ];
  for (const condition of conditions) {
    assert.deepEqual(await shadowed(["one", ["*"], condition], ["two", ["*@d.example"]]), [], condition);
    assert.deepEqual(await shadowed(["one", ["*"]], ["two", ["*@d.example"], condition]), [ALL("two", '"one" takes')]);
  }
  for (
    const harmless of ['description = "d"\n', 'tags = "t"\n', 'add_headers = { "X-Queue" = "q" }\n', "hold = true\n"]
  ) {
    assert.equal((await shadowed(["one", ["*"], harmless], ["two", ["*@d.example"]])).length, 1, harmless);
  }
});

test("shadowed: a binding without recipients is for every recipient", async () => {
  const sender = 'senders = ["a@b.example"]\n';
  assert.deepEqual(await shadowed(["one", ["*"]], ["two", undefined, sender]), [ALL("two", '"one" takes')]);
  assert.deepEqual(await shadowed(["one", ["*@d.example"]], ["two", undefined, sender]), []);
  assert.deepEqual(await shadowed(["one", undefined, sender], ["two", ["a@d.example"]]), []);
});

test("shadowed: an address that is rewritten on the way may meet for the first time what stands behind", async () => {
  const rewrite = 'rewrite_recipient = "a@d.example"\ncontinue = true\n';
  const renamed: Given = ["renamed", ["b@d.example"], rewrite];
  assert.deepEqual(await shadowed(["one", ["a@d.example"]], renamed, ["two", ["a@d.example"]]), []);
  assert.equal((await shadowed(["one", ["*"]], renamed, ["two", ["a@d.example"]])).length, 2);
  const own = binding(["own", ["a@d.example"]], "listener.binding");
  const text = (shared: readonly Given[]) => [LISTENER, own, ...shared.map((one) => binding(one)), ARCHIVE].join("");
  assert.equal((await run(shadowedBinding, text([["two", ["a@d.example"]]]))).length, 1);
  assert.deepEqual(await run(shadowedBinding, text([renamed, ["two", ["a@d.example"]]])), []);
});

test("shadowed: shared bindings are dead only where every listener's own ones take everything", async () => {
  const second = '[[listener]]\nname = "two"\nport = 2526\n';
  const own = (name: string, pattern: string) => binding([name, [pattern]], "listener.binding");
  const shared = binding(["shared", ["a@d.example"]]);
  assert.deepEqual(await run(shadowedBinding, [LISTENER, own("o", "*"), second, shared, ARCHIVE].join("")), []);
  const both = [LISTENER, own("o", "*"), second, own("p", "*@d.example"), shared, ARCHIVE].join("");
  assert.deepEqual((await run(shadowedBinding, both)).map((finding) => finding.message), [
    ALL("shared", '"o" and "p" take'),
  ]);
});

test("shadowed: the finding points at the name, and at the patterns that take it", async () => {
  const text = [LISTENER, binding(["one", ["*@d.example"]]), binding(["two", ["a@d.example"]]), ARCHIVE].join("");
  const [finding] = await run(shadowedBinding, text);
  assert.equal(finding?.primary.start.line, 10);
  assert.deepEqual(finding.secondary.map(({ start, label }) => [start.line, start.column, label]), [
    [7, 15, 'taken here by "one"'],
  ]);
});

test("shadowed: time grows with the number of bindings, not with its square", async () => {
  const given = Array.from({ length: 3000 }, (_, index): Given => [`b${index}`, [`user${index}@d.example`]]);
  const text = [LISTENER, ...given.map((one) => binding(one)), binding(["last", ["user7@d.example"]]), ARCHIVE].join(
    "",
  );
  assert.equal((await run(shadowedBinding, text)).length, 1);
});

const LOCAL_PARTS = ["a", "b", "a+b", "a+b+c", "postmaster"];
const DOMAINS = ["d.example", "s.d.example", "t.s.d.example", "e.example", "mx.example.com"];
const PATTERNS = [
  ...["*", "postmaster", "*@*.example", "*@*.d.example", "*@mx.example.com", "a+*@d.example", "a+b+*@d.example"],
  ...["a*@d.example", "*@?.example", "a*@*.example", "/^a@/", "/@d\\.example$/", "*+c@t.s.d.example"],
  ...LOCAL_PARTS.flatMap((local) => DOMAINS.map((domain) => `${local}@${domain}`)),
  ...DOMAINS.map((domain) => `*@${domain}`),
];
const MORE = [
  ...["", "", "", 'clients = ["10.0.0.0/8"]\n', "authenticated = true\n", 'not = { recipients = ["a@d.example"] }\n'],
  ...["continue = true\n", 'rewrite_recipient = "a@d.example"\ncontinue = true\n', 'add_headers = { "X-A" = "b" }\n'],
];

/** Without one, a binding needs recipients. */
const CONDITION = /^(?:clients|authenticated|not)/;

test("shadowed: no binding that is reported is ever chosen by the router", async () => {
  let reported = 0;
  const recipients = fc.option(fc.array(fc.constantFrom(...PATTERNS), { minLength: 1, maxLength: 3 }), {
    nil: undefined,
    freq: 12,
  });
  const list = fc.array(fc.tuple(recipients, fc.constantFrom(...MORE)), { maxLength: 6 });
  const bindings = (
    given: readonly (readonly [readonly string[] | undefined, string])[],
    table: string,
    prefix: string,
  ) =>
    given.map(([patterns, more], index) =>
      binding([`${prefix}${index}`, patterns ?? (CONDITION.test(more) ? undefined : ["*"]), more], table)
    ).join("");
  await fc.assert(
    fc.asyncProperty(list, list, list, async (first, second, shared) => {
      const text = LISTENER + bindings(first, "listener.binding", "f") +
        '[[listener]]\nname = "two"\nport = 2526\nhost_name = "d.example"\n' +
        bindings(second, "listener.binding", "s") + bindings(shared, "binding", "c") + ARCHIVE;
      const { loaded: { config }, findings } = await examineExample({ text }, { rules: [shadowedBinding] });
      assert.ok(config !== undefined, JSON.stringify(findings));
      const dead = new Set(findings.flatMap(({ message }) => /^The binding "(\w+)"/.exec(message)?.[1] ?? []));
      reported += dead.size;
      for (const listener of config.listeners) {
        const router = compileRoutes(listener, config.bindings);
        for (const query of queries()) {
          const matched = router.explain(query).steps.filter((step) => step.result === "matched");
          assert.deepEqual(matched.filter((step) => dead.has(step.binding)), []);
        }
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(reported > 50, `Only ${reported} bindings were reported`);
});

function* queries(): Iterable<Query> {
  const recipients = [
    { localPart: "Postmaster", domain: "" },
    ...LOCAL_PARTS.flatMap((localPart) => DOMAINS.map((domain) => ({ localPart, domain }))),
  ];
  for (const recipient of recipients) {
    for (const [clientAddress, user] of [["10.1.1.1", undefined], ["192.0.2.1", "ann"]] as const) {
      yield {
        ...{ recipient, clientAddress, user, sender: null, helo: "h", tls: undefined, notify: undefined, nowMs: 0 },
        ...{ declaredSizeBytes: 10, body: { sizeBytes: 10, fields: [] } },
      };
    }
  }
}

test("given twice: the forms of one pattern are the same, in every list", async () => {
  const lines = async (...given: readonly Given[]) =>
    (await run(duplicatePattern, [LISTENER, ...given.map((one) => binding(one)), ARCHIVE].join("")))
      .map(({ message }) => message);
  assert.deepEqual(await lines(["b", ["a@d.example", "A@D.EXAMPLE"]]), [
    '"A@D.EXAMPLE" stands twice in this binding, as "a@d.example"',
  ]);
  assert.deepEqual(await lines(["b", ["*@d.example", "*@d.example"]]), ['"*@d.example" stands twice in this binding']);
  for (
    const [one, other] of [
      ['"a"@d.example', "a@D.example"],
      ["a@münchen.example", "a@xn--mnchen-3ya.example"],
      ["*@MÜNCHEN.example", "*@xn--mnchen-3ya.example"],
      ["*@*.münchen.example", "*@*.xn--mnchen-3ya.example"],
      ["a+*@münchen.example", "A+*@xn--mnchen-3ya.example"],
      ["a*@münchen.example", "a*@xn--mnchen-3ya.example"],
      ["postmaster", "Postmaster"],
    ] as const
  ) assert.equal((await lines(["b", [one, other]])).length, 1, one);
  assert.deepEqual(await lines(["b", ["/^a@/", "/^a@/"]]), ['"/^a@/" stands twice in this binding']);
  assert.deepEqual(await lines(["b", ["a@d.example"]], ["c", ["a@d.example"]]), []);
  assert.deepEqual(await lines(["b", ["*@d.example", "a@d.example", "/^A@/", "/^a@/"]]), []);
  const senders = 'senders = ["<>", "<>"]\nnot = { recipients = ["x@d.example", "x@d.example"] }\n';
  assert.equal((await lines(["b", ["a@d.example"], senders])).length, 2);
});

test("given twice: the proposed change takes the repetition away and keeps comments", async () => {
  const fixed = async (list: string) => {
    const text = `${LISTENER}[[binding]]\nname = "b"\nrecipients = ${list}\ndeliver = "archive"\n${ARCHIVE}`;
    const [finding] = await run(duplicatePattern, text);
    const edit = finding?.fix?.edits[0];
    if (edit === undefined) return undefined;
    const whole = text.slice(0, edit.span.start.offset) + edit.text + text.slice(edit.span.end.offset);
    assert.deepEqual(await run(duplicatePattern, whole), []);
    return whole.slice(whole.indexOf("recipients = ") + 13, whole.indexOf("\ndeliver"));
  };
  assert.equal(await fixed('["a@d.example", "A@d.example", "b@d.example"]'), '["a@d.example", "b@d.example"]');
  assert.equal(await fixed('[\n  "a@d.example",\n  "A@d.example",\n]'), '[\n  "a@d.example",\n]');
  assert.equal(await fixed('[\n  "a@d.example", # Ann\n  "A@d.example",\n]'), undefined);
});

test("broad: well-known slips are told, and their corrections are not", async () => {
  const told = async (pattern: string) =>
    (await run(broadPattern, LISTENER + binding(["b", [pattern]]) + ARCHIVE)).map(({ message }) =>
      message.replace(/^The pattern ".*?" /, "")
    )[0];
  assert.equal(await told("/@example\\.com/"), 'is open at its end: it also matches "x@example.com.example.net"');
  assert.equal(await told("/@example\\.com\\$/"), "is open at its end");
  assert.equal(await told("/example\\.com$/"), 'is open at its beginning: it also matches "x@notexample.com"');
  assert.equal(await told("/@example.com$/"), "has a dot that stands for any character");
  for (const all of ["/./", "/@/", "/.*/", "/^.+@.+$/", "/^.*$/", "/^(.*)@(.*)$/", "/^[^@]+@/", "*@*", "**@**"]) {
    assert.equal(await told(all), "matches every address", all);
  }
  assert.equal(
    await told("*@*example.com"),
    'also matches domains that only end in "example.com", such as "notexample.com"',
  );
  const right = [
    ...[
      "/@example\\.com$/",
      "/^case-(\\d+)@/",
      "/^case-(\\d+)@example\\.com$/",
      "/\\.example\\.com$/",
      "/@(a|b)\\.example\\.com$/",
    ],
    ...[
      "/@(a\\.example|b\\.example)$/",
      "/@(a\\.example$|b\\.example$)/",
      "/@example\\.com\\z/",
      "/@example\\..*/",
      "/^info@/i",
    ],
    ...["*@*.example.com", "*@example.*", "a*@example.com", "*@mx?.example.com", "*", "/@[a-z]+\\.example\\.com$/"],
  ];
  for (const pattern of right) assert.equal(await told(pattern), undefined, pattern);
});

test("broad: what is reported as open does match what it is said to match", async () => {
  const text = LISTENER + binding(["b", ["/@example\\.com/", "/example\\.org$/", "*@*example.net"]]) + ARCHIVE;
  const { loaded: { config }, findings } = await examineExample({ text }, { rules: [broadPattern] });
  assert.ok(config?.listeners[0] !== undefined);
  const router = compileRoutes(config.listeners[0], config.bindings);
  const examples = findings.map(({ message }) => /(?:matches|such as) "(?:x@)?([^"]+)"$/.exec(message)?.[1]);
  assert.equal(examples.length, 3);
  const [query] = queries();
  for (const domain of examples) {
    assert.ok(query !== undefined && domain !== undefined);
    assert.equal(router.route({ ...query, recipient: { localPart: "x", domain } }).kind, "accept", domain);
  }
});

test("unused channel: deliveries of listeners' own bindings count; nothing is said beside errors", async () => {
  const other = '[[channel]]\nname = "other"\ntype = "discard"\n';
  const own = binding(["own", ["a@d.example"]], "listener.binding");
  assert.deepEqual(await run(unusedChannel, LISTENER + own + ARCHIVE), []);
  assert.deepEqual((await run(unusedChannel, LISTENER + own + ARCHIVE + other)).map(({ message }) => message), [
    'No binding delivers to the channel "other"',
  ]);
  const misspelt = LISTENER + own.replace('"archive"', '"archiv"') + ARCHIVE;
  const { findings } = await examineExample({ text: misspelt }, { rules: [unusedChannel] });
  assert.deepEqual(findings.map(({ code }) => code), ["SMTPD105"]);
});
