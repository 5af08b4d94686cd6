/**
 * The commands below `smtpd channel`, and `smtpd sendmail`: what they take, and their help. What they do is loaded when it is
 * asked for. This file must not know what that is.
 */
import { isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Endpoint, Runtime, WorkerPort, Workers } from "../runtime/runtime.ts";
import type { SlaveCommandOptions } from "./channel_slave.ts";
import { configOption, notEmpty } from "./options.ts";

type End = (code: number) => void;
type Given = Omit<SlaveCommandOptions, "isSendmail" | "logFormat"> & Partial<Pick<SlaveCommandOptions, "logFormat">>;

export function addChannel(program: Command, runtime: Runtime, end: End): void {
  const channel = program
    .command("channel")
    .summary("SMTP on standard input and output")
    .description("Speaks SMTP on standard input and output, so that mail travels wherever a program can be started.");
  addSlave(channel, runtime, end);
  addSendmail(program, runtime, end);
}

function addSlave(channel: Command, runtime: Runtime, end: End): void {
  const slave = channel
    .command("slave")
    .summary("serve one SMTP session on standard input and output")
    .description(
      "Serves one SMTP session on standard input and output. What it accepts is in the spool before its 250; serve\n" +
        "delivers it, now or when it runs next. Nothing but replies goes to standard output.\n" +
        "Exit code 0: the session is over, 69 or 75: no service now, 70: a mistake of ours, 78: the configuration is wrong;\n" +
        "with --batch 0: no errors, 1: some messages were accepted, 2: none.",
    )
    .addOption(new Option("--batch [file]", "read commands and messages from a file (BSMTP); errors go to stderr"))
    .addHelpText(
      "after",
      "\nExamples:\n  ssh mx.example.com smtpd channel slave --channel uplink\n" +
        "  socat TCP-LISTEN:2525,fork,reuseaddr EXEC:'smtpd channel slave --channel uplink'\n" +
        "  smtpd channel slave --channel uplink --batch letters.bsmtp\n",
    );
  withSessionOptions(slave, "info").action(async (options: Given) => {
    end(await serve(runtime, { ...options, isSendmail: false }));
  });
}

/** As mail programs call it. What does not concern a session is taken and has no effect. */
function addSendmail(program: Command, runtime: Runtime, end: End): void {
  const sendmail = program
    .command("sendmail")
    .summary("serve programs that call sendmail -bs")
    .description(
      "Serves a program that starts sendmail -bs and speaks SMTP with it, as PHP's mailers do. The same as channel slave for\n" +
        'the channel that sendmail_channel names, or for the only one of type stdio or with trust = "local". A link to smtpd that\n' +
        "is named sendmail does as well.",
    )
    .addOption(new Option("-b <mode>", "s: SMTP on standard input and output").choices(["s"]).makeOptionMandatory())
    .addOption(new Option("-i", "has no effect").hideHelp())
    .addOption(new Option("-o <option>", "has no effect").hideHelp())
    .addOption(new Option("-f <address>", "has no effect: the session says who sends").hideHelp())
    .addHelpText("after", "\nExamples:\n  smtpd sendmail -bs\n  ln -s smtpd /usr/local/sbin/sendmail\n");
  withSessionOptions(sendmail, "warn").action(async (options: Given) => {
    end(await serve(runtime, { ...options, isSendmail: true }));
  });
}

function withSessionOptions(command: Command, logLevel: string): Command {
  return command
    .addOption(
      new Option("--channel <name>", "the channel").argParser(notEmpty).default(undefined, "$PMDF_CHANNEL"),
    )
    .addOption(configOption())
    .addOption(
      new Option("--peer <address:port>", "who the client is").argParser(endpoint)
        .default(undefined, "what the environment says"),
    )
    .addOption(new Option("--local <address:port>", "where it connected to, for the log").argParser(endpoint))
    .addOption(
      new Option("--strict-env", "refuse when the environment says who the client is and cannot be understood")
        .default(false),
    )
    .addOption(
      new Option("--log-level <level>", "what to log on stderr").choices(["debug", "info", "warn", "error"])
        .default(logLevel),
    )
    .addOption(
      new Option("--log-format <format>", "json: a line of JSON for each event; pretty: for people")
        .choices(["json", "pretty"]).default(undefined, "pretty on a terminal, else json"),
    );
}

async function serve(
  runtime: Runtime,
  options: Given & Pick<SlaveCommandOptions, "isSendmail">,
): Promise<number> {
  // A thread takes as long to start as a configuration takes to read, and the client waits for both.
  using early = new EarlyThread(runtime.workers);
  const { slaveCommand } = await import("./channel_slave.ts");
  const logFormat = options.logFormat ?? (runtime.processes.stdio.errIsTerminal ? "pretty" : "json");
  return await slaveCommand({ ...runtime, workers: early }, { ...options, logFormat });
}

/** The spool's thread, started before anybody asks for it. */
class EarlyThread implements Workers, Disposable {
  readonly #workers: Workers;
  readonly #port: WorkerPort;
  #error: Error | undefined;
  #isTaken = false;

  constructor(workers: Workers) {
    this.#workers = workers;
    this.#port = workers.open("spool");
    this.#port.onError((error) => {
      this.#error = error;
    });
  }

  open(name: Parameters<Workers["open"]>[0]): WorkerPort {
    if (name !== "spool" || this.#isTaken || this.#error !== undefined) return this.#workers.open(name);
    this.#isTaken = true;
    return this.#port;
  }

  [Symbol.dispose](): void {
    if (!this.#isTaken) this.#port.terminate();
  }
}

/** `192.0.2.1:25`, `[2001:db8::1]:25`; the port may be left out. */
function endpoint(value: string): Endpoint {
  const [, bracketed, plain, port = "0"] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/u.exec(value) ?? [];
  const address = isIP(value) === 0 ? bracketed ?? plain ?? "" : value;
  if (isIP(address) === 0 || Number(port) > 65_535) {
    throw new InvalidArgumentError("It must be an address and a port, such as 192.0.2.1:25 or [2001:db8::1]:25.");
  }
  return { kind: "ip", address, port: Number(port) };
}
