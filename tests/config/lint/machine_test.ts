/** Rules about the machine and its limits, beyond the examples of their pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Code } from "../../../src/config/codes.ts";
import type { LintEnvironment } from "../../../src/config/lint/rule.ts";
import { lint } from "../../../src/config/lint/run.ts";
import { lintRules } from "../../../src/config/lint/rules.ts";
import type { Example, ExampleWorld } from "../../../src/config/pages/page.ts";
import { examineExample, exampleEnvironment, placesOf } from "../example_world.ts";

const LISTENER = '[[listener]]\nname = "inbound"\nport = 2525\n';

async function places(text: string, world?: ExampleWorld, files?: Example["files"]): Promise<readonly string[]> {
  return placesOf(
    await examineExample({
      text,
      ...(world === undefined ? {} : { world }),
      ...(files === undefined ? {} : { files }),
    }),
  );
}

/** Messages of one rule on a machine that answers otherwise than examples can say. */
async function messages(code: Code, text: string, change: (plain: LintEnvironment) => Partial<LintEnvironment>) {
  const { loaded } = await examineExample({ text });
  const plain = exampleEnvironment({ text });
  const rules = lintRules.filter((rule) => rule.code === code);
  return (await lint(loaded, { environment: { ...plain, ...change(plain) }, rules })).map((finding) => finding.message);
}

test("privileged port: only ports that may certainly not be opened are reported", async () => {
  const text = '[[listener]]\nname = "a"\nport = 25\n[[listener]]\nname = "b"\nport = 1024\n';
  assert.deepEqual(await places(text, { mayListenBelow1024: false }), ["SMTPD250 3:8"]);
  const unknown = { mayListen: () => Promise.resolve(undefined), openFileLimit: () => Promise.resolve(undefined) };
  assert.deepEqual(await messages("SMTPD250", text, () => ({ privileges: unknown })), []);
});

test("spool directory: missing is fine where it can be made, and reported where not", async () => {
  const text = `[spool]\nurl = "sqlite:a/b/q.db"\n${LISTENER}`;
  assert.deepEqual(await places(text), []);
  const unwritable = (plain: LintEnvironment) => ({
    files: { ...plain.files, isWritable: (path: string) => Promise.resolve(path !== "/etc/smtpd") },
  });
  assert.deepEqual(await messages("SMTPD251", text, unwritable), [
    'The spool\'s directory "/etc/smtpd/a/b" is not there, and this user may not make it in "/etc/smtpd"',
  ]);
  assert.deepEqual(await places(text, {}, { a: "a file" }), ["SMTPD251 2:7"]);
  assert.deepEqual(await places(`[spool]\nurl = "memory:"\n${LISTENER}`, { fileSystem: "tmpfs", freeBytes: 0 }), []);
});

test("spool directory: the default spool is looked at as well, and the finding stands where the spool is set", async () => {
  assert.deepEqual(await places(LISTENER, { fileSystem: "tmpfs" }), ["SMTPD252 1:1"]);
  assert.deepEqual(await places(`[spool]\nmin_free_space = 0\n${LISTENER}`, { fileSystem: "nfs4" }), ["SMTPD252 1:1"]);
  assert.deepEqual(await places(LISTENER, { fileSystem: "xfs" }), []);
});

test("spool space: reserve and largest message must fit, to the byte", async () => {
  const text = `[spool]\nmin_free_space = 1000\nurl = "sqlite:q.db"\n${LISTENER}max_message_size = 70000\n`;
  const with254 = { freeBytes: 71_000 };
  assert.deepEqual((await places(text, with254)).filter((place) => place.startsWith("SMTPD253")), []);
  assert.deepEqual((await places(text, { freeBytes: 70_999 })).filter((place) => place.startsWith("SMTPD253")), [
    "SMTPD253 3:7",
  ]);
});

test("message size over the space kept free: at the size, or at the reserve when the size is the default", async () => {
  assert.deepEqual(await places(`${LISTENER}max_message_size = "64MiB"\n`), []);
  assert.deepEqual(await places(`${LISTENER}max_message_size = "65MiB"\n`), ["SMTPD254 4:20"]);
  assert.deepEqual(await places(`[spool]\nmin_free_space = "1MiB"\n${LISTENER}`), ["SMTPD254 2:18"]);
  assert.deepEqual(await places(`[spool]\nmin_free_space = 0\n${LISTENER}`), []);
});

test("session time-out: five minutes are enough, the default is", async () => {
  assert.deepEqual(await places(`${LISTENER}session_timeout = "5m"\n`), []);
  assert.deepEqual(await places(`${LISTENER}session_timeout = 299\n`), ["SMTPD255 4:19"]);
});

test("open files: what all listeners and channels may use together counts", async () => {
  const two = `${LISTENER}max_concurrency = 400\n[[listener]]\nname = "b"\nport = 2526\nmax_concurrency = 500\n`;
  assert.deepEqual(await places(two, { openFileLimit: 964 }), []);
  assert.deepEqual(await places(two, { openFileLimit: 963 }), ["SMTPD257 8:19"]);
  assert.deepEqual(await places(LISTENER, { openFileLimit: 100 }), ["SMTPD257 2:8"]);
});

test("host name: names that are not in the public DNS are reported, unless only this machine connects", async () => {
  for (const name of ["mail", "mail.local", "box.localdomain", "localhost", "10.0.0.1"]) {
    const text = `host_name = "${name}"\n${LISTENER}`;
    assert.deepEqual(await places(text), ["SMTPD256 1:13"], name);
    assert.deepEqual(await places(`${text}listen_ip = "127.0.0.1"\n`), [], name);
    assert.deepEqual(await places(`${text}listen_ip = "::1"\n`), [], name);
  }
  for (const name of ["mail.example.com", "[192.0.2.1]", "münchen.example"]) {
    assert.deepEqual(await places(`host_name = "${name}"\n${LISTENER}`), [], name);
  }
});

test("host name: a listener's own is looked at, the common one only where it counts", async () => {
  const own = `${LISTENER}host_name = "mx"\n`;
  assert.deepEqual(await places(own), ["SMTPD256 4:13"]);
  const local = `${LISTENER}[[listener]]\nname = "local"\nlisten_ip = "127.0.0.1"\nport = 2526\nhost_name = "box"\n`;
  assert.deepEqual(await places(local), []);
  const unnamed = () => ({ hostName: "box" });
  assert.equal((await messages("SMTPD256", LISTENER, unnamed)).length, 1);
  assert.deepEqual(await messages("SMTPD256", `host_name = "a.example"\n${LISTENER}`, unnamed), []);
  assert.deepEqual(await messages("SMTPD256", `${LISTENER}host_name = "a.example"\n`, unnamed), []);
});
