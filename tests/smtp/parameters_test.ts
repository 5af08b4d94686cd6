/** ESMTP parameters: each extension's values, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMailParameters, parseRecipientParameters } from "../../src/smtp/parameters.ts";

function mail(text: string): unknown {
  const result = parseMailParameters(text, 0);
  return result.ok ? result.value : result.reply.code;
}

function recipient(text: string): unknown {
  const result = parseRecipientParameters(text, 0);
  return result.ok ? result.value : result.reply.code;
}

test("parseMailParameters() reads each extension's parameter", () => {
  const plain = { body: "7bit", smtputf8: false };
  assert.deepEqual(mail(""), plain);
  assert.deepEqual(mail("  "), plain);
  assert.deepEqual(mail(" SIZE=1024"), { ...plain, sizeBytes: 1024 });
  assert.deepEqual(mail(" size=00010"), { ...plain, sizeBytes: 10 });
  assert.deepEqual(mail(" SIZE=99999999999999999999"), { ...plain, sizeBytes: Number.MAX_SAFE_INTEGER });
  assert.deepEqual(mail(" BODY=8bitmime SMTPUTF8"), { body: "8bitmime", smtputf8: true });
  assert.deepEqual(mail(" RET=HDRS ENVID=QQ+2B314159"), { ...plain, ret: "headers", envid: "QQ+314159" });
});

test("parseMailParameters() refuses unknown, repeated and malformed ones (RFC 5321 §4.1.1.11)", () => {
  assert.equal(mail(" XYZ=1"), 555);
  assert.equal(mail(" SIZE=1 SIZE=1"), 501);
  for (
    const text of [
      " SIZE",
      " SIZE=",
      " SIZE=-1",
      " SIZE=1x",
      " SIZE=123456789012345678901",
      " BODY=9BIT",
      " BODY",
      " SMTPUTF8=yes",
      " RET=ALL",
      " ENVID=a+b",
      " ENVID=+0D+0A",
      ` ENVID=${"x".repeat(101)}`,
      "SIZE=1",
      " =x",
      " SI ZE=1=2",
    ]
  ) assert.match(String(mail(text)), /^(501|555)$/, text);
});

test("parseRecipientParameters() reads NOTIFY and ORCPT (RFC 3461 §4.1, §4.2)", () => {
  assert.deepEqual(recipient(" NOTIFY=NEVER"), { notify: ["never"] });
  assert.deepEqual(recipient(" NOTIFY=success,FAILURE,delay"), { notify: ["success", "failure", "delay"] });
  assert.deepEqual(recipient(" ORCPT=rfc822;a+2Bb@example.com"), { orcpt: "rfc822;a+b@example.com" });
  for (
    const text of [
      " NOTIFY",
      " NOTIFY=",
      " NOTIFY=NEVER,SUCCESS",
      " NOTIFY=SUCCESS,SUCCESS",
      " NOTIFY=OFTEN",
      " ORCPT=nobody",
      " ORCPT=rfc822;",
      " ORCPT=rfc822;a+0Ab",
      ` ORCPT=rfc822;${"x".repeat(500)}`,
      " SIZE=1",
    ]
  ) assert.match(String(recipient(text)), /^(501|555)$/, text);
});
