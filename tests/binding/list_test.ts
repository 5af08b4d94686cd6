/** Lists and aliases from files: what they say, when they are read again, what becomes of bad ones, loops among aliases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ListError, ListFiles, listLines, type ListWorld } from "../../src/binding/list.ts";
import { binding, goesOn, query, rejects, router, routeText } from "./world.ts";

class MemoryWorld implements ListWorld {
  readonly texts = new Map<string, { text: string; modifiedMs: number }>();
  readonly told: string[] = [];
  nowMs = 0;
  looks = 0;
  readonly files = {
    readText: (path: string) => {
      const file = this.texts.get(path);
      return file === undefined ? Promise.reject(new Error(`no ${path}`)) : Promise.resolve(file.text);
    },
    info: (path: string) => {
      this.looks++;
      const file = this.texts.get(path);
      return Promise.resolve(
        file === undefined ? undefined : { modifiedMs: file.modifiedMs, sizeBytes: file.text.length },
      );
    },
  };
  readonly clock = { monotonicMs: () => this.nowMs };
  readonly log = {
    info: (event: string) => void this.told.push(event),
    warn: (event: string, fields: Readonly<Record<string, string | number>>) =>
      void this.told.push(`${event}: ${fields["error"]}`),
  };

  constructor(texts: Readonly<Record<string, string>>) {
    for (const [path, text] of Object.entries(texts)) this.write(path, text);
  }

  write(path: string, text: string): void {
    this.texts.set(path, { text, modifiedMs: (this.texts.get(path)?.modifiedMs ?? 0) + 1 });
  }
}

/** Until everything that was begun in the background is done. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await undefined;
}

test("lines: comments, blank lines, indentation, line ends", () => {
  const lines = listLines("\ufeff# head\r\na@x.example # why\r\n\n  b#c@x.example\n\t#\nlast");
  assert.deepEqual(lines, [
    { number: 2, text: "a@x.example", indented: false },
    { number: 4, text: "b#c@x.example", indented: true },
    { number: 6, text: "last", indented: false },
  ]);
});

test("lists stand beside patterns in every condition, and captures come from them too", async () => {
  const lists = new ListFiles(
    new MemoryWorld({
      to: "a@x.example\n*@y.example\n/^case-(\\d+)@/\n",
      from: "*@example.org\n",
      nets: "192.0.2.0/24\n::1\n",
      names: "*.example.org\n",
    }),
  );
  const using = router(
    [binding("b", {
      recipients: ["c@x.example", { file: "to" }],
      senders: [{ file: "from" }],
      clients: [{ file: "nets" }],
      helo: [{ file: "names" }],
      changes: { rewriteRecipient: "n$1@z.example" },
    })],
    [],
    lists,
  );
  assert.throws(() => using.route(query("a@x.example")), /was not loaded/u);
  await lists.load();
  const at = (address: string) => routeText(using, query(address));
  assert.equal(at("A@x.example"), "accept b: to-b>n@z.example");
  assert.equal(at("c@x.example"), "accept b: to-b>n@z.example");
  assert.equal(at("q@Y.example"), "accept b: to-b>n@z.example");
  assert.equal(at("case-12@w.example"), "accept b: to-b>n12@z.example");
  assert.equal(at("d@x.example"), "refuse - 550 5.7.1");
  assert.equal(routeText(using, query("a@x.example", { clientAddress: "10.0.0.1" })), "refuse - 550 5.7.1");
});

test("a list is read again when it has changed, at most once a second and in the background", async () => {
  const world = new MemoryWorld({ blocked: "a@x.example\n" });
  const lists = new ListFiles(world);
  const using = router([rejects("no", { recipients: [{ file: "blocked" }] }), binding("rest")], [], lists);
  await lists.load();
  const at = async (address: string, timeMs: number) => {
    world.nowMs = timeMs;
    const text = routeText(using, query(address));
    await settled();
    return text.split(" ", 2).join(" ");
  };
  assert.equal(await at("a@x.example", 10), "refuse no");
  world.write("blocked", "b@x.example\n");
  world.looks = 0;
  assert.equal(await at("a@x.example", 999), "refuse no");
  assert.equal(world.looks, 0);
  assert.equal(await at("a@x.example", 1_000), "refuse no", "this one still by the old list");
  assert.equal(await at("a@x.example", 1_001), "accept rest:");
  assert.equal(await at("b@x.example", 1_999), "refuse no");
  assert.equal(world.looks, 1);
  assert.deepEqual(world.told, ["list read again"]);
  world.write("blocked", "not an address\n");
  await at("b@x.example", 3_000);
  assert.equal(await at("b@x.example", 3_001), "refuse no", "the last good content stays");
  assert.match(world.told[1] ?? "", /line 1: spaces/u);
  await at("b@x.example", 5_000);
  assert.equal(world.told.length, 2, "told once for each change");
  world.texts.delete("blocked");
  await at("b@x.example", 7_000);
  assert.equal(await at("b@x.example", 7_001), "refuse no");
  world.write("blocked", "c@x.example");
  await at("c@x.example", 9_000);
  assert.equal(await at("c@x.example", 9_001), "refuse no");
});

test("a list that cannot be used at the start says where", async () => {
  const lists = new ListFiles(new MemoryWorld({ bad: "a@x.example\n\n*@@\n(\n/(/\n" }));
  router([binding("b", { recipients: [{ file: "bad" }] })], [], lists);
  await assert.rejects(lists.load(), (error) => {
    assert.ok(error instanceof ListError);
    assert.match(error.message, /"bad": line 3: .*, and 2 more lines/u);
    return true;
  });
  const missing = new ListFiles(new MemoryWorld({}));
  router([binding("b", { senders: [{ file: "gone" }] })], [], missing);
  await assert.rejects(missing.load(), /no gone/u);
});

const ALIASES = `
# local-parts, addresses, domains
info: ann@x.example, bob@x.example
sales@x.example  ann@x.example bob
team:
  ann@x.example,
  carl
ann: ann, ann@archive.example
loop-a: loop-b
loop-b: loop-c
loop-c: loop-a
"odd name": bob
partly: bob, nobody@else.example
@old.example: bob@x.example
many: m1, m1, m1
`;

async function aliased(more = ""): Promise<(address: string) => string> {
  const lists = new ListFiles(new MemoryWorld({ aliases: ALIASES + more }));
  const using = router(
    [
      binding("aliases", {
        recipients: ["*@x.example", "*@old.example"],
        outcome: { kind: "aliases", file: "aliases" },
      }),
      binding("users", { recipients: ["ann@x.example", "bob@x.example", "carl@x.example"] }),
      binding("archive", { recipients: ["*@archive.example"] }),
    ],
    [],
    lists,
  );
  await lists.load();
  return (address) => routeText(using, query(address));
}

test("aliases take the recipient's place and are routed from the first binding on", async () => {
  const at = await aliased();
  const ann = "to-users>ann@x.example to-archive>ann@archive.example";
  assert.equal(at("Info@x.example"), `accept aliases: ${ann} to-users>bob@x.example`);
  assert.equal(at("sales@x.example"), `accept aliases: ${ann} to-users>bob@x.example`);
  assert.equal(at("team+x@x.example"), `accept aliases: ${ann} to-users>carl@x.example`);
  assert.equal(at("ann@x.example"), `accept aliases: ${ann}`, "a name among its own targets is meant as it is");
  assert.equal(at("odd name@x.example"), "accept aliases: to-users>bob@x.example");
  assert.equal(at("anything@old.example"), "accept aliases: to-users>bob@x.example");
  assert.equal(at("bob@x.example"), "accept users: to-users", "without an alias, the bindings that follow");
  assert.equal(at("info@z.example"), "refuse - 550 5.7.1");
});

test("aliases that lead back, or to somebody who is refused, refuse the recipient", async () => {
  const at = await aliased();
  for (const name of ["loop-a", "loop-b", "loop-c+x"]) {
    assert.equal(at(`${name}@x.example`), "refuse aliases 550 5.4.6");
  }
  assert.equal(at("partly@x.example"), "refuse - 550 5.7.1");
  assert.equal(at("many@x.example"), "refuse - 550 5.7.1");
  const chain = (length: number) =>
    Array.from({ length }, (_, index) => `c${index}: ${index + 1 === length ? "bob" : `c${index + 1}`}\n`).join("");
  assert.equal((await aliased(chain(30)))("c0@x.example"), "accept aliases: to-users>bob@x.example");
  assert.equal((await aliased(chain(40)))("c0@x.example"), "refuse aliases 550 5.4.6");
  const tree = Array.from({ length: 20 }, (_, index) => `t${index}: t${index + 1}, t${index + 1}\n`).join("") +
    "t20: bob\n";
  assert.equal((await aliased(tree))("t0@x.example"), "refuse aliases 550 5.4.6", "bounded, not exponential");
});

test("aliases carry the changes made before them, and may be undecided", async () => {
  const lists = new ListFiles(new MemoryWorld({ aliases: "info: ann, bob\n" }));
  const using = router(
    [
      goesOn("mark", { recipients: ["info@x.example"], hold: true, changes: { subjectPrefix: "[${local}]" } }),
      binding("aliases", { recipients: ["info@x.example"], outcome: { kind: "aliases", file: "aliases" } }),
      rejects("spam", { recipients: ["bob@x.example"], headers: { X: ["1"] } }),
      binding("users", { recipients: ["*@x.example"] }),
    ],
    [],
    lists,
  );
  await lists.load();
  assert.equal(routeText(using, query("info@x.example")), "undecided spam may be refused");
  const known = query("info@x.example", { body: { sizeBytes: 1, fields: [] } });
  const route = using.route(known);
  assert.ok(route.kind === "accept");
  assert.deepEqual(
    route.deliveries.map(({ recipient, edits, held }) => [recipient?.localPart, edits, held]),
    ["ann", "bob"].map((name) => [name, [{ kind: "prefix-subject", text: "[info]" }], true]),
  );
  const spam = { ...known, body: { sizeBytes: 1, fields: [{ name: "x", value: "1" }] } };
  assert.equal(routeText(using, spam), "refuse spam 550 5.1.1");
  const { steps } = using.explain(known);
  assert.deepEqual(steps.map(({ binding: name, recipient, then }) => [name, recipient, then]).slice(0, 3), [
    ["mark", "info@x.example", "continues"],
    ["aliases", "info@x.example", "expands"],
    ["mark", "ann@x.example", undefined],
  ]);
});

test("lines that are no aliases are refused with their number", async () => {
  for (
    const [text, reason] of [["  a@x.example", /continues nothing/u], ["a: <b@c>", /not an address/u], [
      ": b",
      /begin with a name/u,
    ]] as const
  ) {
    const lists = new ListFiles(new MemoryWorld({ aliases: `${text}\n` }));
    router([binding("a", { outcome: { kind: "aliases", file: "aliases" } })], [], lists);
    await assert.rejects(lists.load(), reason);
  }
});
