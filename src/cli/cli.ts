/**
 * The command line: which commands there are, what they take, how their failures are told and which exit code they end
 * with. Each command is a module of its own that is loaded when it is asked for, so that a short command does not pay
 * for the server. This file must not know what a command does.
 */
import { Argument, Command, CommanderError, Option } from "commander";
import type { Runtime } from "../runtime/runtime.ts";
import { exitCode, exitCodeOf } from "./exit.ts";
import type { CheckOptions } from "./check.ts";
import { addChannel } from "./channel_commands.ts";
import { addConfigurationCommands } from "./configuration_commands.ts";
import { addExplain } from "./explain_command.ts";
import { FORMAT_NAMES } from "../config/format/formats.ts";
import { configOption, jsonOption, listOption, notEmpty, percentage, type ServeOptions, strict } from "./options.ts";
import { addQueue } from "./queue_commands.ts";
import { visible } from "./terminal.ts";

/** Runs the command that the process was started with; resolves with the exit code. */
export async function run(runtime: Runtime): Promise<number> {
  let code: number = exitCode.ok;
  const program = commands(runtime, (result) => code = result);
  try {
    const { args, calledAs } = runtime.processes;
    await program.parseAsync(calledAs === "sendmail" ? ["sendmail", ...args] : [...args], { from: "user" });
    return code;
  } catch (error) {
    const failed = failure(runtime, error);
    // Whoever runs check in a pipeline tells "found something" from "did not run", and needs no more.
    return runtime.processes.args[0] === "check" && failed !== exitCode.ok ? exitCode.notRun : failed;
  }
}

/** Tells what went wrong in one line; the stack is for those who ask for it. */
function failure(runtime: Runtime, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  const { stdio } = runtime.processes;
  const code = exitCodeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split("\n").map(visible).join("\n");
  const debugging = (runtime.processes.environment("SMTPD_DEBUG") ?? "") !== "";
  if (code !== undefined) stdio.writeErr(`smtpd: ${lines}\n`);
  else {
    const hint = debugging ? "" : " Set SMTPD_DEBUG=1 to see where.";
    stdio.writeErr(`smtpd: Internal error, please report it: ${lines}${hint}\n`);
  }
  if (debugging) stdio.writeErr(`${stackText(error)}\n`);
  return code ?? exitCode.software;
}

function stackText(error: unknown): string {
  const texts = [];
  for (let at = error; at instanceof Error && texts.length < 10; at = at.cause) texts.push(at.stack ?? at.message);
  return texts.join("\ncaused by ").split("\n").map(visible).join("\n");
}

type End = (code: number) => void;

function commands(runtime: Runtime, end: End): Command {
  const { stdio } = runtime.processes;
  const writeErr = (text: string) => stdio.writeErr(text);
  const program = new Command("smtpd")
    .description("An SMTP server that routes each recipient and never loses a message it has acknowledged.")
    .usage("<command> [options]")
    .exitOverride()
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .configureOutput({
      writeOut: (text) => stdio.writeOut(text),
      writeErr,
      getOutHelpWidth: () => helpWidth(stdio.columns()),
      getErrHelpWidth: () => helpWidth(stdio.columns()),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText(
      "after",
      examples([
        "smtpd serve --capture",
        "smtpd check smtpd.toml",
        "smtpd serve --config smtpd.toml",
        "smtpd queue list",
      ]),
    );
  addServe(program, runtime, end);
  addCheck(program, runtime, end);
  addExplain(program, runtime, end);
  addConfigurationCommands(program, runtime, end);
  addChannel(program, runtime, end);
  addQueue(program, runtime, end);
  addVersion(program, runtime, end);
  for (const command of withChildren(program)) strict(command, writeErr);
  return program;
}

function helpWidth(columns: number | undefined): number {
  return Math.min(Math.max(columns ?? 100, 40), 120);
}

function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}

function withChildren(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(withChildren)];
}

function addServe(program: Command, runtime: Runtime, end: End): void {
  program
    .command("serve")
    .summary("run the listeners of a configuration")
    .description(
      "Runs the listeners of a configuration until SIGTERM or SIGINT; a second signal ends it at once.\n" +
        "With --capture no configuration is needed: it listens on 127.0.0.1:2525 and keeps everything it gets.",
    )
    .addOption(configOption())
    .addOption(listOption("--listener <name>", "run only this listener; may be given several times"))
    .addOption(new Option("--capture", "accept and keep everything, without a configuration").default(false))
    .addOption(
      new Option("--log-level <level>", "what to log on stderr").choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .addOption(
      new Option("--log-format <format>", "json: a line of JSON for each event; pretty: for people")
        .choices(["json", "pretty"]).default(undefined, "pretty on a terminal, else json"),
    )
    .addHelpText(
      "after",
      examples(["smtpd serve --capture", "smtpd serve --config smtpd.toml --listener inbound --log-level debug"]),
    )
    .action(async (options: Omit<ServeOptions, "logFormat"> & Partial<Pick<ServeOptions, "logFormat">>) => {
      const { serveCommand } = await import("./serve.ts");
      const logFormat = options.logFormat ?? (runtime.processes.stdio.errIsTerminal ? "pretty" : "json");
      end(await serveCommand(runtime, { ...options, logFormat }));
    });
}

function addCheck(program: Command, runtime: Runtime, end: End): void {
  program
    .command("check")
    .summary("check configurations")
    .description(
      "Checks configurations with all they include, and shows what is wrong, where, why, and what to do.\n" +
        "Exit code 0: clean, 1: findings, 2: could not run.",
    )
    .addArgument(
      new Argument("[file...]", "configurations (default: $SMTPD_CONFIG, ./smtpd.toml, /etc/smtpd/smtpd.toml)")
        .argParser((value: string, before: readonly string[] | undefined) => [...before ?? [], notEmpty(value)]),
    )
    .addOption(
      new Option("--format <format>", "how to write the findings").choices([...FORMAT_NAMES]).default("text"),
    )
    .addOption(
      new Option("--output <file>", "write the format into this file; the terminal still gets text").argParser(
        notEmpty,
      ),
    )
    .addOption(
      new Option("--fail-on <severity>", "what makes the exit code 1").choices(["error", "warning"])
        .default(undefined, "error"),
    )
    .addOption(new Option("--strict", "warnings fail, and unset environment variables are errors").default(false))
    .addOption(new Option("--online", "also check what needs the network").default(false))
    .addOption(
      new Option("--severity <code=severity>", "set a code to off, warning or error; may be given several times")
        .default([], "as in the file")
        .argParser((value: string, before: readonly string[]) => [...before, notEmpty(value)]),
    )
    .addOption(new Option("--coverage", "also find the bindings that no [[test]] reaches").default(false))
    .addOption(
      new Option("--min-coverage <percent>", "fail when the tests reach fewer of the bindings; includes --coverage")
        .argParser(percentage),
    )
    .addOption(new Option("--fix", "apply the safe fixes, then check again").default(false))
    .addOption(new Option("--diff", "show what --fix would change, and change nothing").default(false))
    .addOption(
      new Option("--color <when>", "colour the text").choices(["auto", "always", "never"]).default("auto"),
    )
    .addHelpText(
      "after",
      examples([
        "smtpd check smtpd.toml",
        "smtpd check --strict --format sarif --output smtpd.sarif",
        "smtpd check --diff smtpd.toml",
      ]),
    )
    .action(async (files: readonly string[] | undefined, options: CheckOptions) => {
      const { checkCommand } = await import("./check.ts");
      end(await checkCommand(runtime, files ?? [], options));
    });
}

function addVersion(program: Command, runtime: Runtime, end: End): void {
  program
    .command("version")
    .description("Prints version, commit and runtime.")
    .addOption(jsonOption())
    .action(async (options: { readonly json?: boolean }) => {
      const { versionCommand } = await import("./version.ts");
      end(await versionCommand(runtime, options));
    });
}
