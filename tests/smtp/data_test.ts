/** The readers of mail data against their definition, for any text cut anywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineEndingWatch } from "../../src/smtp/chunking.ts";
import { type DataReader, NormalizingDataReader, StrictDataReader } from "../../src/smtp/data.ts";

interface Result {
  readonly body: string;
  readonly rest: string | undefined;
  readonly fault: string | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** Feeds the text in the given pieces and gathers what comes out. */
function readAll(reader: DataReader, pieces: readonly Uint8Array[]): Result {
  let body = "";
  for (let index = 0; index < pieces.length; index++) {
    const chunk = pieces[index] ?? new Uint8Array();
    for (let at = 0;;) {
      const step = reader.read(chunk, at);
      if (step.kind === "more") break;
      if (step.kind === "end") {
        const rest = [chunk.subarray(step.next), ...pieces.slice(index + 1)].map((piece) => decoder.decode(piece)).join(
          "",
        );
        return { body, rest, fault: reader.fault };
      }
      body += decoder.decode(step.bytes);
      at = step.next;
    }
  }
  return { body, rest: undefined, fault: reader.fault };
}

function split(text: string, cuts: readonly number[]): readonly Uint8Array[] {
  const bytes = encoder.encode(text);
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((left, right) => left - right);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

/** What RFC 5321 §4.5.2 says, written for clearness: only for text without faults. */
function plainly(text: string): Result {
  const end = text.startsWith(".\r\n") ? 0 : text.indexOf("\r\n.\r\n") + 2;
  if (end === 1) return { body: text.replace(/(^|\r\n)\./g, "$1"), rest: undefined, fault: undefined };
  return { body: text.slice(0, end).replace(/(^|\r\n)\./g, "$1"), rest: text.slice(end + 3), fault: undefined };
}

const cleanText = fc.array(fc.constantFrom("\r\n", ".", "a", "b.", "\r\n."), { maxLength: 20 })
  .map((parts) => `${parts.join("")}\r\n.\r\nrest`);
const dirtyText = fc.array(fc.constantFrom("\r\n", "\r", "\n", ".", "a", "\0", "\r\n.", "\n.\n"), { maxLength: 24 })
  .map((parts) => parts.join(""));
const someCuts = fc.array(fc.nat(200), { maxLength: 12 });

test("StrictDataReader unstuffs and ends as RFC 5321 §4.5.2 says, however the text is split", () => {
  fc.assert(
    fc.property(cleanText, someCuts, (text, cuts) => {
      assert.deepEqual(readAll(new StrictDataReader(), split(text, cuts)), plainly(text));
    }),
    { numRuns: 2000 },
  );
});

for (
  const [name, Reader] of [["StrictDataReader", StrictDataReader], [
    "NormalizingDataReader",
    NormalizingDataReader,
  ]] as const
) {
  test(`${name} gives the same for any split of any text`, () => {
    fc.assert(
      fc.property(dirtyText, someCuts, (text, cuts) => {
        const whole = readAll(new Reader(), split(text, []));
        const parts = readAll(new Reader(), split(text, cuts));
        // A fault is named by the first one met, which a NUL in the same piece may precede; that there is one is certain.
        assert.deepEqual({ ...parts, fault: parts.fault !== undefined }, {
          ...whole,
          fault: whole.fault !== undefined,
        });
      }),
      { numRuns: 3000 },
    );
  });
}

test("StrictDataReader names every text that is not clean (RFC 5321 §2.3.8)", () => {
  fc.assert(
    fc.property(dirtyText, someCuts, (text, cuts) => {
      const ended = `${text}\r\n.\r\n`;
      const { rest, fault } = readAll(new StrictDataReader(), split(ended, cuts));
      const consumed = ended.slice(0, ended.length - (rest?.length ?? 0));
      // deno-lint-ignore no-control-regex
      const dirty = /\r(?!\n)|(?<!\r)\n|\x00/.test(consumed);
      assert.equal(fault !== undefined, dirty);
      assert.notEqual(rest, undefined, "the data end at CRLF.CRLF whatever came before");
    }),
    { numRuns: 3000 },
  );
});

test("NormalizingDataReader passes on nothing but CRLF line ends", () => {
  fc.assert(
    fc.property(dirtyText, someCuts, (text, cuts) => {
      const { body } = readAll(new NormalizingDataReader(), split(text, cuts));
      assert.doesNotMatch(body, /\r(?!\n)|(?<!\r)\n/);
    }),
    { numRuns: 2000 },
  );
});

test("NormalizingDataReader ends at LF.LF as at CRLF.CRLF, and not at CR.CR", () => {
  const read = (text: string) => readAll(new NormalizingDataReader(), split(text, []));
  assert.deepEqual(read("a\n..b\n.\nQUIT"), { body: "a\r\n.b\r\n", rest: "QUIT", fault: undefined });
  assert.deepEqual(read("a\r\n.\r\nQUIT"), { body: "a\r\n", rest: "QUIT", fault: undefined });
  assert.equal(read("a\r.\rb").rest, undefined);
});

test("LineEndingWatch finds the same faults in chunks as the reader finds in DATA (RFC 3030 §2)", () => {
  fc.assert(
    fc.property(dirtyText, someCuts, (text, cuts) => {
      const watch = new LineEndingWatch();
      for (const piece of split(text, cuts)) watch.see(piece);
      watch.end();
      // deno-lint-ignore no-control-regex
      assert.equal(watch.fault !== undefined, /\r(?!\n)|(?<!\r)\n|\x00/.test(text));
    }),
    { numRuns: 3000 },
  );
});

test("The readers take long runs of line ends in linear time", () => {
  for (const unit of ["\n", "\r", "\r\n", ".", "\r\n.", "\n."]) {
    const chunk = encoder.encode(unit.repeat(200_000));
    readAll(new StrictDataReader(), [chunk]);
    readAll(new NormalizingDataReader(), [chunk]);
    new LineEndingWatch().see(chunk);
  }
});
