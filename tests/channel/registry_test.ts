/** The registry: its names, and that the options of each type describe themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { channelTypes } from "../../src/channel/registry.ts";

test("registry: each type is found by its own name and says what it is for in one sentence", () => {
  const names = ["directory", "discard", "lmtp", "maildir", "mbox", "pipe", "script", "smtp", "stdio", "webhook"];
  assert.deepEqual([...channelTypes.keys()].sort(), names);
  for (const [name, definition] of channelTypes) {
    assert.equal(definition.type, name);
    assert.match(definition.summary, /^[A-Z][^\n]*\.$/);
  }
});

/** The least each type needs. */
const LEAST: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  directory: { path: "/var/drop" },
  discard: {},
  lmtp: { host: "store.example.com" },
  maildir: { path: "/var/mail/box" },
  mbox: { path: "/var/mail/box" },
  pipe: { command: ["/bin/cat"] },
  script: { module: "/etc/smtpd/worker.ts" },
  webhook: { url: "https://app.example.com/inbound" },
  smtp: {},
};

test("registry: unknown options are refused, and so is one that is needed and missing or empty", () => {
  for (const [name, { schema }] of channelTypes) {
    const least = LEAST[name] ?? {};
    assert.equal(v.safeParse(schema, least).success, true, name);
    assert.equal(v.safeParse(schema, { ...least, colour: "red" }).success, false, name);
    for (const [key, value] of Object.entries(least)) {
      const { [key]: _, ...without } = least;
      assert.equal(v.safeParse(schema, without).success, false, name);
      assert.equal(v.safeParse(schema, { ...least, [key]: Array.isArray(value) ? [] : "" }).success, false, name);
    }
  }
});

interface Described {
  readonly wrapped?: Described;
  readonly pipe?: readonly { readonly type: string }[];
  readonly entries?: Readonly<Record<string, Described>>;
}

test("registry: every option has a description and an example, for the reference", () => {
  let options = 0;
  for (const [name, { schema }] of channelTypes) {
    for (const [key, entry] of Object.entries((schema as unknown as Described).entries ?? {})) {
      let inner = entry;
      while (inner.wrapped !== undefined) inner = inner.wrapped;
      const kinds = (inner.pipe ?? []).map(({ type }) => type);
      assert.ok(kinds.includes("description") && kinds.includes("examples"), `${name}.${key}`);
      options++;
    }
  }
  assert.ok(options >= 8);
});
