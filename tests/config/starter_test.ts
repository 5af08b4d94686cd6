/** Starter configurations: they pass everything that check looks at, in every combination, also when parts are uncommented. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Starter, starterConfiguration } from "../../src/config/starter.ts";
import { examineExample, EXAMPLE_FILE } from "./example_world.ts";

const combinations: readonly Starter[] = (["inbound", "capture"] as const).flatMap((purpose) =>
  [["example.com"], ["example.com", "xn--bcher-kva.example"], ...(purpose === "capture" ? [[]] : [])].flatMap((
    domains,
  ) =>
    [undefined, "mx.example.com"].flatMap((hostName) =>
      [undefined, 25, 65_535].map((port) => ({
        purpose,
        domains,
        ...(hostName === undefined && purpose === "capture" ? {} : { hostName: hostName ?? "mail.example.com" }),
        ...(port === undefined ? {} : { port }),
      }))
    )
  )
);

for (const starter of combinations) {
  test(`starter: no finding for ${JSON.stringify(starter)}`, async () => {
    const text = starterConfiguration(starter);
    const { loaded, findings } = await examineExample({ text });
    assert.deepEqual(findings.map((finding) => `${finding.code}: ${finding.message}`), []);
    const config = loaded.config;
    assert.ok(config !== undefined);
    assert.equal(config.file, EXAMPLE_FILE);
    const [listener] = config.listeners;
    assert.equal(listener?.port, starter.port ?? 2525);
    assert.equal(listener?.listenIp, starter.purpose === "capture" ? "127.0.0.1" : undefined);
    if (starter.hostName !== undefined) assert.equal(config.hostName, starter.hostName);
    const patterns = starter.domains.map((domain) => `*@${domain}`);
    for (const pattern of patterns.length === 0 ? ["*"] : patterns) assert.ok(text.includes(JSON.stringify(pattern)));
    for (const line of text.split("\n")) assert.ok(line.length <= 120, line);
  });
}

test("starter: what is commented out works when it is not", async () => {
  const text = starterConfiguration({ purpose: "inbound", domains: ["example.com"], hostName: "mx.example.com" });
  const uncommented = text.replace(/^# (?=\[|[a-z_]+ = )/gmu, "");
  assert.notEqual(uncommented, text);
  const { loaded, findings } = await examineExample({
    text: uncommented,
    files: { "tls/cert.pem": "x", "tls/key.pem": "x" },
  });
  assert.deepEqual(findings.map((finding) => `${finding.code}: ${finding.message}`), []);
  assert.equal(loaded.config?.listeners[0]?.tls.mode, "starttls");
  assert.deepEqual(loaded.config?.bindings.map((binding) => binding.name), ["retired", "everyone"]);
});
