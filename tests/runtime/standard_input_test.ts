/** The ends of a socket on standard input, read from the system's tables. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpointText } from "../../src/runtime/runtime.ts";
import { endsIn } from "../../src/runtime/standard_input.ts";

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9191 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2600019 1 0000000097e95c54 100 0 0 10 0
   1: 0102000A:0019 FE0200C0:04DC 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000097e95c54 20 4 30 10 -1
`;
const TCP6 =
  `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: B80D0120000000000000000002000000:0019 B80D0120000000000000000001000000:0005 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0
   1: 0000000000000000FFFF00000100007F:0019 0000000000000000FFFF0000010200C0:0006 01 00000000:00000000 00:00000000 00000000     0        0 79 1 0
`;

function ends(table: string, inode: string): string | undefined {
  const found = endsIn(table, inode);
  return found === undefined ? undefined : `${endpointText(found.local)} ${endpointText(found.peer)}`;
}

test("standard input: IPv4", () => {
  assert.equal(ends(TCP, "77"), "10.0.2.1:25 192.0.2.254:1244");
});

test("standard input: IPv6, and IPv4 in it", () => {
  assert.equal(ends(TCP6, "78"), "[2001:db8::2]:25 [2001:db8::1]:5");
  assert.equal(ends(TCP6, "79"), "127.0.0.1:25 192.0.2.1:6");
});

test("standard input: what is not in the table, and tables of another form", () => {
  for (const inode of ["7", "0", "", "inode", "2600", "1"]) assert.equal(ends(TCP, inode), undefined);
  assert.equal(ends("", "77"), undefined);
  assert.equal(ends(TCP.replaceAll(":0019", ":19"), "77"), undefined);
});
