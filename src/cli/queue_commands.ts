/**
 * The commands below `smtpd queue`: what they take, and their help. Each is loaded when it is asked for. This file must not
 * know what they do.
 */
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../config/duration.ts";
import type { Config } from "../config/config.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Spool } from "../spool/spool.ts";
import { configOption, jsonOption, notEmpty, wholeNumber } from "./options.ts";
import type { Action, QueueChangeOptions } from "./queue_change.ts";
import type { QueueOptions } from "./queue_entry.ts";
import type { QueueListOptions } from "./queue_list.ts";

type End = (code: number) => void;

/** Here and not imported from the commands, which are loaded only when they are needed. */
const deliveryStates = ["queued", "leased", "held", "failed"] as const;

const SELECTION_HELP = `
Ids are those that list prints; the beginning of an id will do where it fits one message only, and FIRST..LAST is a range.
Filters that are given together must all hold. Addresses are exact or patterns with * and ?; <> is the null sender.
`;

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}

export function addQueue(program: Command, runtime: Runtime, end: End): void {
  const queue = program
    .command("queue")
    .summary("look at the queue and change it")
    .description(
      "Looks at what is still to be delivered, and changes it. Works beside a running serve, and without one.",
    )
    .addHelpText(
      "after",
      examples(
        "smtpd queue summary",
        "smtpd queue list --state failed",
        "smtpd queue show ID",
        "smtpd queue retry --channel archive --state failed",
      ),
    );
  addLooking(queue, runtime, end);
  addSingle(queue, runtime, end);
  for (const action of ["retry", "hold", "release", "bounce", "remove"] as const) {
    addChange(queue, runtime, end, action);
  }
}

function addLooking(queue: Command, runtime: Runtime, end: End): void {
  const limit = (what: string) =>
    new Option("--limit <count>", `show at most so many ${what}, 0 for all (default: 100, all with --json)`)
      .argParser(wholeNumber);
  withFilters(queue.command("list"))
    .description("Lists deliveries: one for each message, recipient and channel.")
    .addArgument(new Argument("[id...]", "only these messages"))
    .addOption(limit("deliveries"))
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText("after", SELECTION_HELP + examples("smtpd queue list --recipient '*@example.com' --older-than 1h"))
    .action(async (ids: readonly string[], options: QueueListOptions) => {
      const { queueList } = await import("./queue_list.ts");
      end(await onSpool(runtime, options, (spool) => queueList(runtime, spool, ids, options)));
    });
  withFilters(queue.command("summary"), { withSubject: false })
    .description("Counts deliveries by channel and recipient domain: how many, the oldest, the next attempt.")
    .addOption(limit("groups"))
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText("after", examples("smtpd queue summary", "smtpd queue summary --state failed --json"))
    .action(async (options: QueueListOptions) => {
      const { queueSummary } = await import("./queue_list.ts");
      end(await onSpool(runtime, options, (spool) => queueSummary(runtime, spool, options)));
    });
  withFilters(queue.command("history"))
    .description(
      "Lists the failed attempts of deliveries that are still in the queue, with what the other side answered.\n" +
        "What was delivered has left the queue; the log has its line.",
    )
    .addArgument(new Argument("[id...]", "only these messages"))
    .addOption(limit("attempts"))
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText("after", SELECTION_HELP + examples("smtpd queue history ID", "smtpd queue history --channel hook"))
    .action(async (ids: readonly string[], options: QueueListOptions) => {
      const { queueHistory } = await import("./queue_show.ts");
      end(await onSpool(runtime, options, (spool) => queueHistory(runtime, spool, ids, options)));
    });
}

function addSingle(queue: Command, runtime: Runtime, end: End): void {
  queue
    .command("show")
    .description("Shows all that is known of messages: envelope, deliveries, attempts and their answers.")
    .addArgument(new Argument("<id...>", "ids, or their beginnings"))
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (ids: readonly string[], options: QueueOptions) => {
      const { queueShow } = await import("./queue_show.ts");
      end(await onSpool(runtime, options, (spool) => queueShow(runtime, spool, ids, options)));
    });
  queue
    .command("cat")
    .description(
      "Writes a message as it is stored, without the changes that bindings make for single recipients.\n" +
        "On a terminal its control characters are made visible; a file or a pipe gets the bytes.",
    )
    .addArgument(new Argument("<id>", "an id, or its beginning"))
    .addOption(configOption())
    .addHelpText("after", examples("smtpd queue cat ID > message.eml"))
    .action(async (id: string, options: QueueOptions) => {
      const { queueCat } = await import("./queue_show.ts");
      end(await onSpool(runtime, options, (spool) => queueCat(runtime, spool, id)));
    });
}

interface About {
  readonly description: string;
  readonly example: string;
}

const changes: Readonly<Record<Action, About>> = {
  retry: {
    description: "Makes deliveries due at once: those that wait for their next attempt, and those that failed.",
    example: "--state failed --channel archive",
  },
  hold: {
    description: "Holds queued deliveries: nobody attempts them until they are released.",
    example: "--recipient '*@example.com'",
  },
  release: { description: "Releases held deliveries: they are due at once.", example: "--binding quarantine" },
  bounce: {
    description: "Gives queued and held deliveries up: they are failed, and kept until they are retried or removed.\n" +
      "The sender is told, as for any failure: not when the message has no sender, or asked for no notification.",
    example: "ID --reason 'Wrong domain'",
  },
  remove: {
    description: "Removes deliveries in any state, and with its last delivery the message. There is no way back.",
    example: "--sender '*@spam.example'",
  },
};

function addChange(queue: Command, runtime: Runtime, end: End, action: Action): void {
  const { description, example } = changes[action];
  const command = withFilters(queue.command(action))
    .description(
      `${description}\nWhat is being attempted right now is left alone. Exit code 1: nothing matched, or an id is unknown.`,
    )
    .addArgument(new Argument("[id...]", "only these messages"))
    .addOption(new Option("--all", "the whole queue; asks first"))
    .addOption(new Option("--yes", "with --all: do not ask"))
    .addOption(new Option("--dry-run", "show what would be changed, and change nothing"))
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText("after", SELECTION_HELP + examples(`smtpd queue ${action} ID`, `smtpd queue ${action} ${example}`))
    .action(async (ids: readonly string[], options: QueueChangeOptions) => {
      const { checkChange, queueChange, terminalAsk } = await import("./queue_change.ts");
      const ask = terminalAsk(runtime);
      checkChange(action, ids, options, ask);
      end(
        await onSpool(runtime, options, async (spool, config) => {
          const bouncer = action !== "bounce" || options.dryRun === true
            ? undefined
            : await (await import("./queue_bounce.ts")).openBouncer(runtime, config, spool);
          return await queueChange(runtime, spool, action, ids, options, ask, bouncer);
        }),
      );
    });
  if (action === "bounce") {
    command.addOption(new Option("--reason <text>", "kept with the delivery, for its history").argParser(printable));
  }
}

function withFilters(command: Command, { withSubject = true } = {}): Command {
  command
    .addOption(new Option("--channel <name>", "only deliveries of this channel").argParser(notEmpty))
    .addOption(new Option("--state <state>", "only deliveries in this state").choices([...deliveryStates]))
    .addOption(new Option("--sender <address>", "only from this sender").argParser(notEmpty))
    .addOption(new Option("--recipient <address>", "only to this recipient").argParser(notEmpty))
    .addOption(new Option("--binding <name>", "only what this binding decided").argParser(notEmpty))
    .addOption(new Option("--older-than <duration>", "only received longer ago, such as 2h").argParser(duration))
    .addOption(new Option("--newer-than <duration>", "only received since, such as 10m").argParser(duration));
  if (withSubject) {
    command.addOption(
      new Option("--subject <text>", "only with this text in the subject; reads the messages").argParser(notEmpty),
    );
  }
  return command;
}

function duration(value: string): number {
  const parsed = parseDuration(value);
  if (!parsed.ok) throw new InvalidArgumentError(`It ${parsed.message}.`);
  return parsed.value;
}

function printable(value: string): string {
  if (/\p{C}/u.test(notEmpty(value))) throw new InvalidArgumentError("It has control characters.");
  return value;
}

async function onSpool(
  runtime: Runtime,
  options: QueueOptions,
  work: (spool: Spool, config: Config) => Promise<number>,
): Promise<number> {
  const { withSpool } = await import("./with_spool.ts");
  return await withSpool(runtime, options.config, work);
}
