/**
 * The schema of `[[test]]`: a message that is imagined, and what must become of it. Once loaded, addresses are parsed and
 * lists are lists. It must not know of positions, nor how a test is run.
 */
import { isIP } from "node:net";
import * as v from "valibot";
import { isFieldName } from "../message/edit.ts";
import { present } from "./build_binding.ts";
import type { HeaderTemplate, RoutingTest } from "./config.ts";
import { sizeOption, textOption } from "./option.ts";
import { isFieldText, isHeloName, OUTCOMES, parseAddress, parseMoment } from "./rehearsal.ts";

const isRecipient = (text: string) => (parseAddress(text) ?? null) !== null;

const recipient = v.pipe(v.string(), v.check(isRecipient, 'must be an address such as "support@example.com"'));

function recipientsOption(description: string, example: string) {
  return v.pipe(
    v.union(
      [recipient, v.pipe(v.array(recipient), v.minLength(1, "must not be empty"))],
      "expected an address or an array of addresses",
    ),
    v.description(description),
    v.examples([example, [example]]),
    v.transform((value) => (typeof value === "string" ? [value] : value).flatMap((text) => parseAddress(text) ?? [])),
  );
}

const named = v.pipe(v.string(), v.minLength(1, "must not be empty"));
const fieldText = v.pipe(v.string(), v.check(isFieldText, "must be one line without control characters"));

const expectation = v.strictObject({
  binding: v.optional(
    v.pipe(
      named,
      v.description("A binding that matches; with continue and aliases, any of these."),
      v.examples(["team"]),
    ),
  ),
  deliver: v.optional(v.pipe(
    v.union([named, v.array(named)], "expected the name of a channel or an array of names"),
    v.description("The channels that get a copy, all of them; [] for none."),
    v.examples([["mailbox", "archive"]]),
    v.transform((value) => typeof value === "string" ? [value] : value),
  )),
  reply: v.optional(v.pipe(
    v.string(),
    v.regex(
      /^[245]\d{0,2}(?: [245]\.\d{1,3}\.\d{1,3})?$/u,
      'must be a code or how it begins, perhaps with the enhanced code, such as "550" or "550 5.1.1"',
    ),
    v.description("How the reply that decides begins: that to RCPT when it refuses, else that at the end of data."),
    v.examples(["550 5.1.1"]),
  )),
  recipient: v.optional(
    recipientsOption("The recipients after rewriting and aliases, all of them.", "case@example.com"),
  ),
  outcome: v.optional(v.pipe(
    v.picklist(OUTCOMES),
    v.description(
      "deliver; hold: stored until somebody releases it; discard: taken and thrown away; reject: 5xx; defer: 4xx.",
    ),
    v.examples(["deliver"]),
  )),
});

export type ExpectationKey = keyof typeof expectation.entries;

export const routingTest = v.pipe(
  v.strictObject({
    name: v.optional(textOption("What it shows, in your words.", "support goes to the team", 200)),
    to: recipientsOption(
      "The recipient. Of several, each is tried in a transaction of its own.",
      "support@example.com",
    ),
    from: v.optional(v.pipe(
      v.string(),
      v.check((text) => parseAddress(text) !== undefined, 'must be an address, or "<>" for the null sender'),
      v.description("The sender; absent: a stranger, somebody@elsewhere.invalid."),
      v.examples(["ann@partner.example", "<>"]),
      v.transform((text) => parseAddress(text) ?? null),
    )),
    ip: v.optional(v.pipe(
      v.string(),
      v.check((text) => isIP(text) !== 0, "must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1"),
      v.description("The client's address; absent: a stranger's, 203.0.113.25."),
      v.examples(["192.0.2.1"]),
    )),
    listener: v.optional(v.pipe(
      named,
      v.description(
        "The listener. Absent: the one whose own binding is expected, else every listener must do what is expected.",
      ),
      v.examples(["inbound"]),
    )),
    user: v.optional(textOption("Whom the client has logged in as; absent: nobody.", "ann", 255)),
    tls: v.optional(v.pipe(
      v.boolean(),
      v.description("Whether the client uses TLS; absent: where the listener demands it."),
      v.examples([true]),
    )),
    helo: v.optional(v.pipe(
      v.string(),
      v.check(isHeloName, "must be a name such as client.example.org"),
      v.description("What the client says in EHLO."),
      v.examples(["client.example.org"]),
    )),
    size: v.optional(sizeOption("Size of the message; absent: small and not announced.", "20MiB", {
      minimum: 0,
      maximum: 4 * 1024 ** 3,
    })),
    headers: v.optional(v.pipe(
      v.record(
        v.pipe(v.string(), v.check(isFieldName, "must be the name of a header field, such as Subject")),
        v.union([fieldText, v.array(fieldText)], "expected a text or an array of texts"),
      ),
      v.description("The header fields of the message; absent: none."),
      v.examples([{ Subject: "Invoice 42" }]),
    )),
    time: v.optional(v.pipe(
      v.string(),
      v.check((text) => parseMoment(text) !== undefined, 'must be a moment such as "2026-01-05T10:00:00Z"'),
      v.description("When it comes, for bindings that ask for the time; absent: when the test runs."),
      v.examples(["2026-01-05T10:00:00Z"]),
    )),
    expect: v.pipe(
      expectation,
      v.check((expected) => Object.keys(expected).length > 0, "must expect something"),
      v.description("What must become of it; at least one of these."),
      v.examples([{ binding: "team", deliver: ["archive"] }]),
    ),
  }),
  v.transform((test): RoutingTest => ({
    ...present("name", test.name),
    to: test.to,
    ...present("from", test.from),
    ...present("ip", test.ip),
    ...present("listener", test.listener),
    ...present("user", test.user),
    ...present("tls", test.tls),
    ...present("helo", test.helo),
    ...present("sizeBytes", test.size),
    headers: headerList(test.headers ?? {}),
    ...present("timeMs", test.time === undefined ? undefined : parseMoment(test.time)),
    expect: {
      ...present("binding", test.expect.binding),
      ...present("deliver", test.expect.deliver),
      ...present("reply", test.expect.reply),
      ...present("recipient", test.expect.recipient),
      ...present("outcome", test.expect.outcome),
    },
  })),
);

function headerList(headers: Readonly<Record<string, string | readonly string[]>>): readonly HeaderTemplate[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    (typeof value === "string" ? [value] : value).map((text) => ({ name, value: text }))
  );
}
