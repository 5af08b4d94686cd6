/** The ring of shared memory, with places taken and given back at random. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Ring } from "../../src/spool/ring.ts";

test("ring: places never overlap, never end behind the memory, and all the room comes back", () => {
  // A number puts so many bytes; 0 gives the oldest place back.
  const steps = fc.array(fc.integer({ min: 0, max: 16 }), { maxLength: 200 });
  fc.assert(fc.property(steps, (sizes) => {
    const ring = new Ring(16);
    const memory = new Uint8Array(ring.memory);
    const places: { at: number; size: number; taken: number; mark: number }[] = [];
    let mark = 0;
    for (const size of sizes) {
      if (size === 0) {
        const oldest = places.shift();
        if (oldest !== undefined) ring.free(oldest.taken);
        continue;
      }
      mark = mark % 255 + 1;
      const place = ring.put(new Uint8Array(size).fill(mark));
      if (place === undefined) assert.ok(places.length > 0, "an empty ring refused");
      else places.push({ ...place, mark });
      for (const { at, size, mark } of places) {
        assert.deepEqual(memory.slice(at, at + size), new Uint8Array(size).fill(mark));
      }
    }
    for (const { taken } of places) ring.free(taken);
    assert.equal(ring.put(new Uint8Array(16))?.at, 0);
  }));
});
