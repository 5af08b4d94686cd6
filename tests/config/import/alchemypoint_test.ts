/** AlchemyPoint configurations translated: every attribute, what has no equivalent, and files that are no such thing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { importAlchemypoint } from "../../../src/config/import/alchemypoint.ts";
import { load } from "../world.ts";

const NS = "http://www.orchestr8.net/schemas/ServerConfig";

/** A listener with the two attributes that are required. */
const MINIMAL = `<?xml version="1.0"?>
<ServerConfiguration xmlns="${NS}">
    <SMTPListener name="SmtpListener1"
                  portNum="25">
    </SMTPListener>
</ServerConfiguration>
`;

/** A listener with every attribute there is. */
const COMPLETE = `<?xml version="1.0" encoding="UTF-8"?>
<!-- The mail of
     example.com -->
<ServerConfiguration xmlns="${NS}">
    <!-- for the sales department -->
    <SMTPListener name="SmtpListener1" tags="listener smtp"
                  description="example smtp protocol server"
                  hostName="mail.example.com"
                  sessionMaxMessages="4"
                  listenIP="192.168.0.1"
                  portNum="25"
                  maxConcurrency="50"
                  sessionTimeout="60">
    </SMTPListener>
</ServerConfiguration>
`;

function translated(text: string) {
  const result = importAlchemypoint({ name: "config.xml", text });
  assert.ok(result.ok, JSON.stringify(result));
  return { toml: result.toml, remarks: result.remarks.map(({ line, text }) => `${line}: ${text}`) };
}

function refused(text: string): readonly string[] {
  const result = importAlchemypoint({ name: "config.xml", text });
  assert.ok(!result.ok, JSON.stringify(result));
  return result.problems.map(({ line, text }) => `${line}: ${text}`);
}

async function loaded(text: string) {
  const { toml, remarks } = translated(text);
  const { config, diagnostics } = await load(toml);
  assert.deepEqual(diagnostics, [], toml);
  assert.ok(config !== undefined);
  return { config, toml, remarks };
}

function listener(attributes: string, children = ""): string {
  return `<ServerConfiguration><SMTPListener ${attributes}>${children}</SMTPListener></ServerConfiguration>`;
}

test("import alchemypoint: the minimal listener", async () => {
  const { config, remarks } = await loaded(MINIMAL);
  assert.deepEqual(remarks, []);
  assert.equal(config.listeners.length, 1);
  assert.deepEqual(
    config.listeners.map(({ name, port, listenIp, tls }) => ({ name, port, listenIp, tls })),
    [{ name: "SmtpListener1", port: 25, listenIp: undefined, tls: { mode: "off" } }],
  );
});

test("import alchemypoint: every attribute of a listener, and comments", async () => {
  const { config, toml, remarks } = await loaded(COMPLETE);
  assert.deepEqual(remarks, []);
  const { name, tags, description, hostName, sessionMaxMessages, listenIp, port, maxConcurrency, sessionTimeoutMs } =
    config.listeners[0] ?? assert.fail();
  assert.deepEqual(
    { name, tags, description, hostName, sessionMaxMessages, listenIp, port, maxConcurrency, sessionTimeoutMs },
    {
      name: "SmtpListener1",
      tags: ["listener", "smtp"],
      description: "example smtp protocol server",
      hostName: "mail.example.com",
      sessionMaxMessages: 4,
      listenIp: "192.168.0.1",
      port: 25,
      maxConcurrency: 50,
      sessionTimeoutMs: 60_000,
    },
  );
  assert.match(toml, /# for the sales department\n\[\[listener\]\]/u);
  assert.match(toml, /# Comment at line 2: The mail of\n# {6}example\.com\n/u);
});

test("import alchemypoint: with a prefix, or without a namespace", async () => {
  await loaded(MINIMAL.replace(` xmlns="${NS}"`, ""));
  await loaded(
    MINIMAL.replaceAll("<S", "<o:S").replaceAll("</S", "</o:S").replace("xmlns=", "xmlns:o="),
  );
});

test("import alchemypoint: a secure listener stays secure, also when it does not say where its key is", async () => {
  const unknown = await loaded(listener('name="a" portNum="465"', '<SSLServerConfig password="hunter2"/>'));
  assert.equal(unknown.config.listeners[0]?.tls.mode, "implicit");
  assert.deepEqual(unknown.remarks, [
    "1: SSLServerConfig does not say where the certificate is; a placeholder stands in its place",
    "1: SSLServerConfig does not say where the private key is; a placeholder stands in its place",
    '1: The attribute password="(not shown)" of <SSLServerConfig> has no equivalent',
  ]);
  const known = await loaded(listener('name="a" portNum="465"', '<SSLServerConfig certFile="c.pem" keyFile="k.p12"/>'));
  assert.match(known.toml, /certificate = "c\.pem"\nprivate_key = "k\.p12"/u);
  assert.deepEqual(known.remarks, ['1: "k.p12" must be a PEM file; convert it if it is in another format']);
});

test("import alchemypoint: bindings whose filter can be read keep their mail, everything else is told", async () => {
  const bindings = `
<Bindings>
  <!-- tickets -->
  <Binding name="Tick ets" mailAddress="support@example.com, @tickets.example.com" tags="x">
    <ChainedActions>
      <Action type="run" script="a.sh"/>
    </ChainedActions>
  </Binding>
  <Binding name="im" user="bob"/>
</Bindings>`;
  const { config, toml, remarks } = await loaded(listener('name="a" portNum="25"', bindings));
  assert.deepEqual(config.listeners[0]?.bindings.map((binding) => binding.name), ["Tick-ets"]);
  assert.match(toml, /recipients = \["support@example\.com", "\*@tickets\.example\.com"\]\ndeliver = \["imported"\]/u);
  assert.match(toml, /# tickets\n\[\[listener\.binding\]\]/u);
  assert.deepEqual(config.channels.map((channel) => channel.name), ["imported"]);
  assert.deepEqual(remarks, [
    '4: The name "Tick ets" becomes "Tick-ets": names are unique, plain and short',
    '4: What <Binding> "Tick ets" does is not translated; its mail is kept by the channel "imported"',
    "5: <ChainedActions> has no equivalent",
    "6: <Action> has no equivalent",
    '6: The attribute type="run" of <Action> has no equivalent',
    '6: The attribute script="a.sh" of <Action> has no equivalent',
    '9: <Binding> "im" has no equivalent',
    '9: The attribute name="im" of <Binding> "im" has no equivalent',
    '9: The attribute user="bob" of <Binding> "im" has no equivalent',
  ]);
});

test("import alchemypoint: a secure listener with bindings, and shared bindings behind it", async () => {
  const text = `<ServerConfiguration>
<Bindings><Binding name="shared" domain="example.org"/></Bindings>
<SMTPListener name="a" portNum="25"><Bindings><Binding name="own" domain="example.com"/></Bindings><SSLServerConfig/></SMTPListener>
<SMTPListener name="b" portNum="26"/>
</ServerConfiguration>`;
  const { config } = await loaded(text);
  assert.deepEqual(config.listeners.map(({ tls }) => tls.mode), ["implicit", "off"]);
  assert.deepEqual(config.listeners.map(({ bindings }) => bindings.map(({ name }) => name)), [["own"], []]);
  assert.deepEqual(config.bindings.map(({ name }) => name), ["shared"]);
});

test("import alchemypoint: other objects, included files and text are told with their line", async () => {
  const text = `<ServerConfiguration version="2">
<?php echo 1 ?>
<Include file="listeners.xml"/>
<HTTPFullDuplexListener name="web" portNum="80"/>
<x:SMTPListener xmlns:x="urn:other" name="c"/>
<SMTPListener name="a" portNum="25" authType="digest" authSecret="hunter2">
  ... more ...
</SMTPListener>
</ServerConfiguration>`;
  const { remarks } = await loaded(text);
  assert.deepEqual(remarks, [
    '1: The attribute version="2" of <ServerConfiguration> has no equivalent',
    '2: Processing instruction "php"',
    "3: <Include> is not followed: translate the included file by itself",
    '3: The attribute file="listeners.xml" of <Include> has no equivalent',
    '4: <HTTPFullDuplexListener> "web" has no equivalent',
    '4: The attribute name="web" of <HTTPFullDuplexListener> "web" has no equivalent',
    '4: The attribute portNum="80" of <HTTPFullDuplexListener> "web" has no equivalent',
    '5: <SMTPListener> "c" has no equivalent',
    '5: The attribute name="c" of <SMTPListener> "c" has no equivalent',
    '6: The attribute authType="digest" of <SMTPListener> "a" has no equivalent',
    '6: The attribute authSecret="(not shown)" of <SMTPListener> "a" has no equivalent',
    '7: The text "... more ..." of <SMTPListener> "a" has no equivalent',
  ]);
});

test("import alchemypoint: two names that are equal, and names and tags that smtpd cannot have", async () => {
  const text = `<ServerConfiguration>
<SMTPListener name="a b" portNum="25" tags="ok &#xFC;" description="one&#10;two"/>
<SMTPListener name="a b" portNum="26"/>
</ServerConfiguration>`;
  const { config, remarks } = await loaded(text);
  assert.deepEqual(config.listeners.map(({ name }) => name), ["a-b", "a-b-2"]);
  assert.equal(config.listeners[0]?.description, "one two");
  assert.equal(remarks.length, 4);
});

const broken: readonly (readonly [string, string, RegExp])[] = [
  ["no XML", "hello", /^1: This is not well-formed XML: /u],
  ["nothing", "", /^1: This is not well-formed XML: |^1: There is no element/u],
  ["an element that is not closed", "<ServerConfiguration>\n<SMTPListener>", /^2: This is not well-formed XML: /u],
  ["another root", "<Config/>", /^1: The outermost element is <Config>; expected <ServerConfiguration>/u],
  ["another namespace", '<ServerConfiguration xmlns="urn:x"/>', /^1: The outermost element/u],
  ["no listener", "<ServerConfiguration/>", /^1: There is no SMTPListener to translate$/u],
  ["an entity of its own", "<ServerConfiguration>&x;</ServerConfiguration>", /^1: This is not well-formed XML: /u],
  [
    "a document type",
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<ServerConfiguration>&x;</ServerConfiguration>',
    /^1: A document type \(DOCTYPE\) is refused/u,
  ],
  ["elements too deep", `${"<a>".repeat(200)}`, /^1: Elements are nested too deeply$/u],
  ["no name", listener('portNum="25"'), /^1: SMTPListener has no attribute "name", which is required$/u],
  ["no port", listener('name="a"'), /^1: SMTPListener has no attribute "portNum", which is required$/u],
  ["a port that is none", listener('name="a"\nportNum="0"'), /: portNum="0" is not a whole number from 1 to 65535$/u],
  ["a port in words", listener('name="a" portNum="smtp"'), /^1: portNum="smtp" is not a whole number/u],
  [
    "an address that is none",
    listener('name="a" portNum="25" listenIP="eth0"'),
    /: listenIP="eth0" is not an IPv4 or/u,
  ],
  [
    "a host name that is none",
    listener('name="a" portNum="25" hostName="a b"'),
    /: hostName="a b" is not a host name/u,
  ],
  [
    "a time that is none",
    listener('name="a" portNum="25" sessionTimeout="1m"'),
    /: sessionTimeout="1m" is not a whole/u,
  ],
  ["controls", listener('name="a" portNum="&#x9B;31m"'), /^1: portNum="\\u\{9b\}31m" is not a whole number/u],
];

for (const [what, text, expected] of broken) {
  test(`import alchemypoint: ${what} is refused with its line`, () => {
    const [first, ...more] = refused(text);
    assert.match(first ?? "", expected);
    assert.deepEqual(more, []);
  });
}

test("import alchemypoint: all mistakes are told at once", () => {
  assert.equal(refused(listener('portNum="x" listenIP="y" maxConcurrency="z"')).length, 4);
});

test("import alchemypoint: no text throws, and what comes out loads or is explained", async () => {
  const words = [
    "<ServerConfiguration>",
    "</ServerConfiguration>",
    "<SMTPListener",
    ' name="a"',
    ' portNum="25"',
    ' portNum="26"',
    ' tags="a b"',
    ">",
    "/>",
    "</SMTPListener>",
    "<SSLServerConfig/>",
    "<Bindings>",
    "</Bindings>",
    "<Binding",
    ' mailAddress="a@example.com"',
    ' domain="*"',
    "<!-- -- -->",
    "<!-- smtpd: allow x -->",
    "<![CDATA[x]]>",
    "&amp;",
    "&#0;",
    "&#xD800;",
    "<!DOCTYPE a>",
    "<?x?>",
    "\u0000",
    "\ud800",
    "\u202e",
    "text",
    "\n",
    'xmlns:a="b"',
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.array(fc.constantFrom(...words), { maxLength: 20 }).map((parts) => parts.join("")),
        fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((parts) =>
          `<ServerConfiguration><SMTPListener name="x" portNum="2525"/>${parts.join("")}</ServerConfiguration>`
        ),
        fc.string({ unit: "binary", maxLength: 200 }),
      ),
      async (text) => {
        const result = importAlchemypoint({ name: "config.xml", text });
        for (const { line, text } of result.ok ? result.remarks : result.problems) {
          assert.ok(line >= 1);
          // deno-lint-ignore no-control-regex
          assert.doesNotMatch(text, /[\u0000-\u001f\u007f-\u009f\u202e]/u);
        }
        if (!result.ok) return assert.ok(result.problems.length > 0);
        const { diagnostics } = await load(result.toml);
        // Two listeners on one port are what the file says; the loader tells it.
        assert.deepEqual(diagnostics.filter(({ code }) => code !== "SMTPD108"), [], result.toml);
      },
    ),
    { numRuns: 1000 },
  );
});
