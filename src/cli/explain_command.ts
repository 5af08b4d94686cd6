/**
 * The command `smtpd explain`: what it takes, and its help. What it does is loaded when it is asked for. This file must not
 * know what that is.
 */
import { isIP } from "node:net";
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { isFieldText, isHeloName, parseAddress, parseMoment } from "../config/rehearsal.ts";
import { parseSize } from "../config/size.ts";
import { isFieldName } from "../message/edit.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { ExplainOptions } from "./explain.ts";
import { configOption, jsonOption, listOption, notEmpty } from "./options.ts";

type End = (code: number) => void;

export function addExplain(program: Command, runtime: Runtime, end: End): void {
  program
    .command("explain")
    .summary("explain what becomes of an address, or a code of a finding")
    .description(
      "With an address: what the configuration makes of a message to it, found out by the code that serves mail. Every\n" +
        "binding that is tried, why it does not match, what is changed, where it goes, and what the client is told.\n" +
        "Exit code 0: taken, 1: some listener rejects it, 75: some listener defers it.\n" +
        "With a code: the page of the finding, what it is, why it matters, a bad and a good example.",
    )
    .usage("[options] <address or code>")
    .addArgument(new Argument("<subject>", "an address, or a code such as SMTPD101").argParser(notEmpty))
    .addOption(
      new Option("--from <address>", "the sender; <> is the null sender").argParser(address)
        .default(undefined, "a stranger"),
    )
    .addOption(new Option("--ip <address>", "the client's IP address").argParser(ip).default(undefined, "a stranger's"))
    .addOption(listOption("--listener <name>", "only on this listener; may be given several times"))
    .addOption(new Option("--helo <name>", "what the client says in EHLO").argParser(helo))
    .addOption(new Option("--tls", "the client uses TLS; without it, only where the listener demands it"))
    .addOption(new Option("--user <name>", "the client has logged in as this user").argParser(oneLine))
    .addOption(new Option("--size <size>", "the size of the message, such as 20MiB").argParser(size))
    .addOption(
      new Option(
        "--header <field>",
        "a header field of the message, such as 'Subject: Hello'; may be given several times",
      )
        .argParser(header).default([], "none"),
    )
    .addOption(
      new Option("--time <moment>", "when it comes, such as 2026-01-05T10:00:00Z").argParser(moment)
        .default(undefined, "now"),
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  smtpd explain support@example.com\n" +
        "  smtpd explain support@example.com --listener inbound --ip 192.0.2.1 --header 'Subject: Invoice' --json\n" +
        "  smtpd explain SMTPD101\n",
    )
    .action(async (subject: string, options: ExplainOptions) => {
      const { explainCommand } = await import("./explain.ts");
      end(await explainCommand(runtime, subject, options));
    });
}

function address(value: string) {
  const parsed = parseAddress(value === "" ? "<>" : value);
  if (parsed === undefined) throw new InvalidArgumentError("It is no address.");
  return { mailbox: parsed };
}

function ip(value: string): string {
  if (isIP(value) === 0) throw new InvalidArgumentError("It is no IP address.");
  return value;
}

function helo(value: string): string {
  if (!isHeloName(value)) throw new InvalidArgumentError("It is no name that a client can say.");
  return value;
}

function oneLine(value: string): string {
  if (value === "" || !isFieldText(value)) throw new InvalidArgumentError("It must be one line of text.");
  return value;
}

function size(value: string): number {
  const parsed = parseSize(value);
  if (!parsed.ok || parsed.value > Number.MAX_SAFE_INTEGER) {
    throw new InvalidArgumentError("It must be a number of bytes, or a text such as 25MiB.");
  }
  return Math.round(parsed.value);
}

function header(value: string, before: ExplainOptions["header"]): ExplainOptions["header"] {
  const [, name = "", text = ""] = /^([^:]*):[ \t]*(.*)$/su.exec(value) ?? [];
  if (!isFieldName(name) || !isFieldText(text)) {
    throw new InvalidArgumentError('It must be a name and a value on one line, such as "Subject: Hello".');
  }
  return [...before, { name, value: text }];
}

function moment(value: string): number {
  const timeMs = parseMoment(value);
  if (timeMs === undefined) throw new InvalidArgumentError("It must be a moment such as 2026-01-05T10:00:00Z.");
  return timeMs;
}
