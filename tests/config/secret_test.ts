/** Secrets from files, the environment and the configuration itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Secret } from "../../src/config/config.ts";
import { readSecret, SecretError } from "../../src/config/secret.ts";
import { MemoryFiles } from "./world.ts";

const context = {
  files: new MemoryFiles({
    "/s/key": "hush\n",
    "/s/crlf": "hush\r\n",
    "/s/pem": "a\nb\n\n",
    "/s/empty": "\n",
    "/s/no": "forbidden",
  }),
  environment: (name: string) => new Map([["KEY", "hush"], ["EMPTY", ""]]).get(name),
};

test("readSecret gives the text without the file's last line end", async () => {
  const cases: readonly (readonly [Secret, string])[] = [
    [{ kind: "inline", value: "x\n" }, "x\n"],
    [{ kind: "env", name: "KEY" }, "hush"],
    [{ kind: "file", path: "/s/key" }, "hush"],
    [{ kind: "file", path: "/s/crlf" }, "hush"],
    [{ kind: "file", path: "/s/pem" }, "a\nb\n"],
  ];
  for (const [secret, text] of cases) assert.equal(await readSecret(secret, context), text);
});

test("readSecret says which place has no secret, and what to do", async () => {
  const cases: readonly (readonly [Secret, RegExp])[] = [
    [{ kind: "env", name: "NONE" }, /^The environment variable "NONE" is not set: set it/u],
    [{ kind: "env", name: "EMPTY" }, /"EMPTY" is empty/u],
    [{ kind: "file", path: "/s/none" }, /Cannot read the secret file "\/s\/none": there is no such file; check/u],
    [{ kind: "file", path: "/s/no" }, /permission denied/u],
    [{ kind: "file", path: "/s/empty" }, /"\/s\/empty" is empty/u],
  ];
  for (const [secret, message] of cases) {
    await assert.rejects(
      readSecret(secret, context),
      (error) => error instanceof SecretError && message.test(error.message),
    );
  }
});
