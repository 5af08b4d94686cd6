/** Octets to text: any octets give a text or a reason, and nothing that is imported throws. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { importAlchemypoint } from "../../../src/config/import/alchemypoint.ts";
import { decodeText, decodeXml } from "../../../src/config/import/decode.ts";
import { importImta } from "../../../src/config/import/imta.ts";

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

test("decodeText: UTF-8 where it is UTF-8, else every octet is a character", () => {
  assert.deepEqual(decodeText(new TextEncoder().encode("Büro")), { ok: true, text: "Büro" });
  assert.deepEqual(decodeText(latin1("B\u00fcro")), { ok: true, text: "Büro" });
  assert.deepEqual(decodeText(new TextEncoder().encode("\ufeffa")), { ok: true, text: "a" });
});

test("decodeXml: by mark, by declaration, else UTF-8 alone", () => {
  assert.deepEqual(decodeXml(latin1("\u00ff\u00fea\0")), { ok: true, text: "a" });
  assert.deepEqual(decodeXml(latin1("\u00fe\u00ff\0a")), { ok: true, text: "a" });
  assert.deepEqual(decodeXml(latin1("<a>\u00fc</a>")), { ok: false, reason: "it is not UTF-8" });
  const declared = '<?xml version="1.0" encoding="latin1"?><a>\u00fc</a>';
  assert.deepEqual(decodeXml(latin1(declared)), { ok: true, text: declared });
});

test("import: no octets throw", () => {
  const pieces = fc.constantFrom(
    "<ServerConfiguration>",
    "<SMTPListener name='a' portNum='1'>",
    "tcp_local smtp\nx\n",
    "A=1\n",
  );
  const octets = fc.array(fc.oneof(pieces.map(latin1), fc.uint8Array({ maxLength: 40 })), { maxLength: 6 })
    .map((parts) => Uint8Array.from(parts.flatMap((part) => [...part])));
  fc.assert(
    fc.property(octets, (bytes) => {
      for (const decoded of [decodeText(bytes), decodeXml(bytes)]) {
        if (!decoded.ok) continue;
        const file = { name: "x", text: decoded.text };
        assert.equal(typeof importAlchemypoint(file).ok, "boolean");
        assert.equal(typeof importImta([file]).ok, "boolean");
      }
    }),
    { numRuns: 1000 },
  );
});
