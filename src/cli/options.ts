/**
 * What the commands' options have in common: their words, their checks, and how wrong usage is told. It must not know
 * what a command does.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { LogFormat } from "../observe/logtape.ts";
import type { LogLevel } from "../observe/log.ts";
import { visible } from "./terminal.ts";

/** Options of `serve`, as the command line gives them. */
export interface ServeOptions {
  /** Absent: looked for in the usual places. */
  readonly config?: string;
  /** Only these listeners; empty: all of them. */
  readonly listener: readonly string[];
  readonly capture: boolean;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export function configOption(): Option {
  return new Option(
    "--config <file>",
    "configuration file (default: $SMTPD_CONFIG, ./smtpd.toml, /etc/smtpd/smtpd.toml)",
  ).argParser(notEmpty);
}

export function jsonOption(): Option {
  return new Option("--json", "print JSON instead of text for people");
}

/** An option that may be given several times; its value is the list. */
export function listOption(flags: string, description: string): Option {
  return new Option(flags, description)
    .default([], "all")
    .argParser((value: string, before: readonly string[]) => [...before, notEmpty(value)]);
}

export function notEmpty(value: string): string {
  if (value === "") throw new InvalidArgumentError("It is empty.");
  return value;
}

/** A whole number from 0 to 2^31 - 1. */
export function wholeNumber(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError("It must be a whole number of at most nine digits.");
  return Number(value);
}

/** A whole number from 0 to 100, with or without the sign. */
export function percentage(value: string): number {
  const digits = /^(\d{1,3})%?$/u.exec(value)?.[1];
  if (digits === undefined || Number(digits) > 100) {
    throw new InvalidArgumentError("It must be a whole number from 0 to 100.");
  }
  return Number(digits);
}

/**
 * Finishes a command: options given twice are refused (commander takes the last one silently, which hides a slip), and
 * wrong usage is told in one line that ends with where to look.
 */
export function strict(command: Command, writeErr: (text: string) => void): Command {
  for (const option of command.options) {
    if (Array.isArray(option.defaultValue)) continue;
    let seen = false;
    command.on(`option:${option.name()}`, () => {
      if (seen) command.error(`error: option '${option.long}' is given more than once`);
      seen = true;
    });
  }
  return command.configureOutput({
    outputError: (text) => writeErr(usageLine(text, commandPath(command))),
  });
}

function commandPath(command: Command): string {
  const names = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return names.join(" ");
}

/** Commander's words as one line in ours: `smtpd: Unknown option "--confg". Did you mean "--config"? See "smtpd serve --help".` */
export function usageLine(text: string, path: string): string {
  const [first = "", ...more] = text.replace(/^error: /, "").trim().split(/\n(?=\(Did you mean )/);
  const what = first.replace(/'([^']*)'/g, '"$1"').replace(/[.\s]*$/, ".");
  const hint = more.join(" ").replace(/^\(Did you mean (?:one of )?(.*)\?\)$/s, (_, names: string) => {
    const quoted = names.split(", ").map((name) => `"${name}"`);
    return ` Did you mean ${quoted.join(" or ")}?`;
  });
  return `smtpd: ${visible(what.charAt(0).toUpperCase() + what.slice(1) + hint)} See "${path} --help".\n`;
}
