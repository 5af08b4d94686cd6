/** Templates: what is refused and how it is said, what the variables are, and that paths stay below their root, each its own. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { addressKey, canonicalDomain } from "../../src/binding/match.ts";
import {
  PathTemplate,
  pathTemplateOption,
  TemplateError,
  type TemplateValues,
  templateValues,
  TextTemplate,
  textTemplateOption,
} from "../../src/channel/template.ts";
import { formatMailbox } from "../../src/smtp/address.ts";
import { jobFor, jobOf } from "./channel_world.ts";

const CONTEXT = { name: "box", hostName: "mail.example.com" };

function valuesFor(recipient: string, sender = "ann@example.org"): TemplateValues {
  const job = jobOf("", 1, 1, { reversePath: sender });
  return templateValues(job.message, { recipient }, CONTEXT);
}

function pathFor(path: string, recipient: string, sender?: string): string {
  return PathTemplate.compile(path).expand(valuesFor(recipient, sender));
}

test("template: the variables of a delivery", () => {
  assert.deepEqual(valuesFor("Bob+Lists+x@Example.COM"), {
    recipient: "Bob+Lists+x@Example.COM",
    local: "Bob",
    domain: "Example.COM",
    extension: "Lists+x",
    sender: "ann@example.org",
    message: "message-1",
    channel: "box",
  });
  const cases: readonly (readonly [recipient: string, local: string, extension: string, domain: string])[] = [
    ["bob@example.com", "bob", "", "example.com"],
    ["+bob@example.com", "+bob", "", "example.com"],
    ["bob+@example.com", "bob+", "", "example.com"],
    ["bob+-@example.com", "bob", "-", "example.com"],
    ['"a b+c@d"@example.com', "a b", "c@d", "example.com"],
    ["bob@[192.0.2.1]", "bob", "", "[192.0.2.1]"],
    ["Postmaster", "Postmaster", "", "mail.example.com"],
    ["not an address@example.com", "not an address", "", "example.com"],
  ];
  for (const [recipient, ...expected] of cases) {
    const { local, extension, domain } = valuesFor(recipient);
    assert.deepEqual([local, extension, domain], expected, recipient);
  }
});

test("template: texts keep values as they are, and only ${ means something", () => {
  const values = valuesFor("Bob+x@Example.com");
  for (
    const [text, expected] of [
      ["", ""],
      ["plain $5 $x {y} }", "plain $5 $x {y} }"],
      ["${local}/${extension}", "Bob/x"],
      ["<${recipient}>", "<Bob+x@Example.com>"],
      ["$${local} is ${local}", "${local} is Bob"],
      ["$$${local}", "$${local}"],
      ["${local}${local}", "BobBob"],
    ] as const
  ) assert.equal(TextTemplate.compile(text).expand(values), expected);
  const odd = valuesFor("a\nb\x01@x");
  assert.equal(TextTemplate.compile("${local}").expand(odd), "a\nb\x01");
  assert.throws(() => TextTemplate.compile("x${local}").expand(valuesFor("a\0b@x")), TemplateError);
});

test("template: what is wrong is said at check time, with the nearest name", () => {
  const path = pathTemplateOption("Where.", "mail/${local}");
  const text = textTemplateOption("What.", "${local}");
  const told = (schema: v.GenericSchema<unknown, unknown>, value: string) =>
    v.safeParse(schema, value).issues?.map(({ message }) => message);
  assert.equal(told(path, "/mail/${domain}/${local}"), undefined);
  assert.equal(told(path, "/mail/${local}@${domain}"), undefined);
  for (const schema of [path, text]) {
    assert.deepEqual(told(schema, "/x/${lcoal}"), ['there is no variable "${lcoal}"; did you mean "${local}"?']);
    assert.match(told(schema, "/x/${}")?.[0] ?? "", /^there is no variable "\$\{\}"; there are "\$\{recipient\}", /);
    assert.match(told(schema, "/x/${constructor}")?.[0] ?? "", /^there is no variable/);
    assert.match(told(schema, "/x/${local")?.[0] ?? "", /no "}" behind it/);
  }
  assert.match(told(path, "/mail/${domain}/../${local}")?.[0] ?? "", /"\." or "\.\."/);
  for (
    const unclear of ["${local}${extension}", "${local}-${domain}", "${sender}@${recipient}", "${local}+${extension}"]
  ) {
    assert.match(told(path, `/mail/${unclear}`)?.[0] ?? "", /could share a path/, unclear);
  }
});

test("template: paths have readable names for ordinary addresses", () => {
  const cases: readonly (readonly [path: string, recipient: string, expected: string])[] = [
    ["/m/${domain}/${local}", "Bob.Smith+x@Example.COM", "/m/example.com/bob.smith"],
    ["/m/${recipient}", "Bob+x@Example.COM", "/m/bob+x@example.com"],
    ["/m/${local}.mbox", "bob@example.com", "/m/bob.mbox"],
    ["/m/${domain}/${local}/.${extension}", "bob+lists@example.com", "/m/example.com/bob/.lists"],
    ["/m/${domain}/${local}/.${extension}", "bob@example.com", "/m/example.com/bob/%2e"],
    ["/m/${extension}/x", "bob@example.com", "/m/%/x"],
    ["/m/${sender}", "bob@example.com", "/m/ann@example.org"],
    ["/m/${message}/${channel}/", "bob@example.com", "/m/message-1/box"],
    ["/${local}", "bob@example.com", "/bob"],
    ["/m//plain/", "bob@example.com", "/m//plain/"],
    ["/m/${domain}", "bob@BÜCHER.example", "/m/xn--bcher-kva.example"],
    ["/m/${recipient}", "Postmaster", "/m/postmaster@mail.example.com"],
    ["/m/$${local}/${local}", "bob@example.com", "/m/$%{local}/bob".replace("%", "")],
  ];
  for (const [path, recipient, expected] of cases) assert.equal(pathFor(path, recipient), expected, path);
  assert.equal(PathTemplate.compile("/m/x${local}/y").root, "/m");
  assert.equal(PathTemplate.compile("/${local}").root, "/");
  assert.equal(PathTemplate.compile("/m/box").root, "/m/box");
});

test("template: hostile addresses are only names", () => {
  const cases: readonly (readonly [local: string, expected: string])[] = [
    ["../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"],
    ["..", "%2e."],
    [".", "%2e"],
    ["", "%"],
    ["/", "%2f"],
    ["\\", "%5c"],
    // These are no addresses, so their quotes are taken as they stand.
    ["a\0b", "%22a%00b%22"],
    ["a\r\nb\x1b[2J\x7f", "%22a%0d%0ab%1b%5b2j%7f%22"],
    ["%2e%2e", "%252e%252e"],
    ["%", "%25"],
    ["ß", "%c3%9f"],
    ["~root", "~root"],
    ["*?'\"`$(id)", "%2a%3f%27%22%60%24%28id%29"],
    ["bob.lock", "bob%2elock"],
    ["bob.lock.break", "bob%2elock.break"],
  ];
  for (const [local, expected] of cases) {
    assert.equal(pathFor("/m/${local}", formatMailbox({ localPart: local, domain: "example.com" })), `/m/${expected}`);
  }
  const long = pathFor("/m/${local}/x", `${"\u{1f4e7}".repeat(200)}@example.com`);
  assert.ok(long.split("/").every((name) => name.length <= 202));
  assert.ok(long.endsWith("/x"));
});

/** Addresses as hostile as text can be, and ordinary ones that differ in little. */
const localPart = fc.oneof(
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({ unit: fc.constantFrom(".", "/", "\\", "%", "+", "a", "A", "\0", "2", "e", "@", " "), maxLength: 8 }),
  fc.string({ unit: fc.constantFrom("a", ".", "/", "é"), minLength: 60, maxLength: 400 }),
  fc.constantFrom("..", ".", "", "x.lock", "x%2elock", "X.LOCK", "%", "%2e"),
);
const domain = fc.oneof(
  fc.domain(),
  fc.constantFrom("example.com", "EXAMPLE.com", "[192.0.2.1]", "[IPv6:::1]", "bücher.example", "..", "x"),
);
const mailbox = fc.record({ localPart, domain });

const TEMPLATES = [
  "/root/${recipient}",
  "/root/${domain}/${local}/${extension}",
  "/root/${domain}/${local},${extension}.mbox",
  "/root/a${local}b/.${extension}/${domain}",
  "/root/${extension}/${local}@${domain}",
];

test("template: an expanded path is always below its root, with names that a file system takes", () => {
  fc.assert(
    fc.property(mailbox, fc.constantFrom(...TEMPLATES), (address, template) => {
      const path = pathFor(template, formatMailbox(address));
      assert.equal(resolve(path), path);
      assert.ok(path.startsWith("/root/"));
      for (const name of path.split("/").slice(1)) {
        assert.match(name, /^[A-Za-z0-9._+=@~,%-]{1,220}$/);
        assert.doesNotMatch(name, /^\.{1,2}$|\.lock(\.break)?$/i);
      }
    }),
    { numRuns: 3_000 },
  );
});

test("template: two addresses share a path only when routing takes them for the same one", () => {
  const key = (address: { readonly localPart: string; readonly domain: string }) =>
    addressKey(address.localPart, canonicalDomain(address.domain));
  // Little alphabets make addresses that nearly meet.
  const close = fc.record({
    localPart: fc.string({ unit: fc.constantFrom("a", "A", ".", "%", "+", ",", "@", "/"), maxLength: 5 }),
    domain: fc.constantFrom("a", "A", "b.a", "a.a"),
  });
  const pair = fc.oneof(fc.tuple(close, close), fc.tuple(mailbox, mailbox));
  fc.assert(
    fc.property(pair, fc.constantFrom(...TEMPLATES), ([one, other], template) => {
      const [first, second] = [one, other].map((address) => pathFor(template, formatMailbox(address)));
      assert.equal(first === second, key(one) === key(other));
    }),
    { numRuns: 20_000 },
  );
});

test("template: every recipient of a job has values of its own", () => {
  const job = jobFor(["a@x.example", "b@y.example"]);
  const paths = job.recipients.map(({ delivery }) =>
    PathTemplate.compile("/m/${domain}").expand(templateValues(job.message, delivery, CONTEXT))
  );
  assert.deepEqual(paths, ["/m/x.example", "/m/y.example"]);
});
