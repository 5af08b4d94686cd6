/**
 * The commands around a configuration: what they take, and their help. Each is a module of its own that is loaded when it
 * is asked for. This file must not know what they do.
 */
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import type { Runtime } from "../runtime/runtime.ts";
import type { ConfigPrintOptions } from "./config_print.ts";
import type { InitOptions } from "./init.ts";
import { configOption, jsonOption, listOption, notEmpty } from "./options.ts";

type End = (code: number) => void;

export function addConfigurationCommands(program: Command, runtime: Runtime, end: End): void {
  addConfig(program, runtime, end);
  addInit(program, runtime, end);
  addSchema(program, runtime, end);
  addImport(program, runtime, end);
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}

function addConfig(program: Command, runtime: Runtime, end: End): void {
  const config = program
    .command("config")
    .summary("show the configuration that is in force")
    .description("Shows the configuration as the program reads it.")
    .addHelpText("after", examples("smtpd config print --effective"));
  config
    .command("print")
    .description(
      "Prints the configuration with its includes as TOML, each value with its origin: file and line. Secrets are\n" +
        "masked; where they come from is shown.",
    )
    .addOption(configOption())
    .addOption(new Option("--effective", "also what is not written: all defaults, and paths made absolute"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples("smtpd config print", "smtpd config print --effective --json --config /etc/smtpd/smtpd.toml"),
    )
    .action(async (options: ConfigPrintOptions) => {
      const { configPrint } = await import("./config_print.ts");
      end(await configPrint(runtime, options));
    });
}

function addInit(program: Command, runtime: Runtime, end: End): void {
  program
    .command("init")
    .summary("write a commented starter configuration")
    .description(
      "Writes a commented starter configuration. What is not given by an option is asked for on a terminal.\n" +
        "A file that exists is left alone, unless --force is given.",
    )
    .addOption(
      new Option(
        "--purpose <purpose>",
        "inbound: mail for your domains; capture: keep everything that an application sends",
      )
        .choices(["inbound", "submission", "relay", "capture"]),
    )
    .addOption(listOption("--domain <domain>", "a domain whose mail is accepted; may be given several times"))
    .addOption(new Option("--host-name <name>", "the server's own name in DNS").argParser(notEmpty))
    .addOption(new Option("--port <port>", "port of the listener (default: 2525)").argParser(portNumber))
    .addOption(
      new Option("--output <file>", 'file to write, "-" for standard output').argParser(notEmpty).default("smtpd.toml"),
    )
    .addOption(new Option("--force", "overwrite the file if it exists").default(false))
    .addHelpText(
      "after",
      examples(
        "smtpd init",
        "smtpd init --purpose inbound --domain example.com --host-name mx.example.com",
        "smtpd init --purpose capture --output - ",
      ),
    )
    .action(async (options: InitOptions) => {
      const { initCommand } = await import("./init.ts");
      end(await initCommand(runtime, options));
    });
}

function portNumber(value: string): number {
  const port = /^\d{1,5}$/u.test(value) ? Number(value) : 0;
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("It must be a port, 1 to 65535.");
  return port;
}

function addSchema(program: Command, runtime: Runtime, end: End): void {
  program
    .command("schema")
    .summary("print the JSON Schema of the configuration, for editors")
    .description(
      "Prints the JSON Schema (draft-07) of the configuration. Editors with taplo, such as Even Better TOML, use it when\n" +
        "the configuration begins with the line: #:schema ./smtpd.schema.json",
    )
    .addHelpText("after", examples("smtpd schema > smtpd.schema.json"))
    .action(async () => {
      const { schemaCommand } = await import("./schema.ts");
      end(schemaCommand(runtime));
    });
}

function addImport(program: Command, runtime: Runtime, end: End): void {
  const command = program
    .command("import")
    .summary("translate a configuration of another server")
    .description(
      "Translates the configuration of another server: TOML on standard output, and on standard error, line by line,\n" +
        "whatever has no equivalent. Exit code 65 when the file cannot be understood.",
    )
    .addHelpText(
      "after",
      examples(
        "smtpd import alchemypoint config.xml > smtpd.toml",
        "smtpd import imta imta.cnf tcp_local_option > smtpd.toml",
      ),
    );
  command
    .command("alchemypoint")
    .summary("AlchemyPoint Server: ServerConfiguration with SMTPListener")
    .description("Translates the SMTPListener objects of an AlchemyPoint ServerConfiguration, an XML file.")
    .addArgument(new Argument("<file>", "the XML file").argParser(notEmpty))
    .addHelpText("after", examples("smtpd import alchemypoint /etc/Orchestr8/AlchemyPoint/config.xml > smtpd.toml"))
    .action(async (file: string) => {
      const { importCommand } = await import("./import.ts");
      end(await importCommand(runtime, "alchemypoint", [file]));
    });
  command
    .command("imta")
    .summary("Messaging Server or PMDF: imta.cnf and channel option files")
    .description(
      "Translates the channel blocks of an imta.cnf and the channel option files that belong to it, named\n" +
        "CHANNEL_option. An option file alone becomes a listener.",
    )
    .addArgument(new Argument("<file...>", "imta.cnf, option files, or both").argParser(gathered))
    .addHelpText("after", examples("smtpd import imta imta.cnf", "smtpd import imta imta.cnf tcp_local_option"))
    .action(async (files: readonly string[]) => {
      const { importCommand } = await import("./import.ts");
      end(await importCommand(runtime, "imta", files));
    });
}

/** Arguments that may be several: each is checked, none is empty. */
function gathered(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...before ?? [], notEmpty(value)];
}
