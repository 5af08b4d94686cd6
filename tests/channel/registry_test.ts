/** The registry: its names, and that the options of each type describe themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { channelTypes } from "../../src/channel/registry.ts";

test("registry: each type is found by its own name and says what it is for in one sentence", () => {
  assert.deepEqual([...channelTypes.keys()].sort(), ["discard", "maildir", "mbox"]);
  for (const [name, definition] of channelTypes) {
    assert.equal(definition.type, name);
    assert.match(definition.summary, /^[A-Z][^\n]*\.$/);
  }
});

test("registry: unknown options are refused, and paths are needed where files are written", () => {
  for (const [name, { schema }] of channelTypes) {
    const path = name === "discard" ? {} : { path: "/var/mail/box" };
    assert.equal(v.safeParse(schema, path).success, true, name);
    assert.equal(v.safeParse(schema, { ...path, colour: "red" }).success, false, name);
    if (name !== "discard") {
      assert.equal(v.safeParse(schema, {}).success, false, name);
      assert.equal(v.safeParse(schema, { path: "" }).success, false, name);
    }
  }
});
