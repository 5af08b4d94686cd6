/**
 * Deliveries to a program: one process for each recipient, judged by its exit code. It must not know of leases or retries;
 * the time limit is whoever aborts the signal.
 *
 * A program sees the end of its input only when the message is complete: one whose message breaks off is killed before that.
 * What a program that ended leaves running in the background is its own business and is left alone, but its output is no
 * longer read.
 */
import { readSecret, SecretError } from "../config/secret.ts";
import { SpawnError, TransportError } from "../runtime/runtime.ts";
import type { ProcessExit, SpawnedProcess } from "../runtime/runtime.ts";
import type { Channel, ChannelContext, Job, JobRecipient, Outcome } from "./channel.ts";
import { deliveryFields, GatheringWriter, oneLine, reusableContent } from "./content.ts";
import { INHERITED_VARIABLES, type PipeOptions } from "./pipe.ts";
import { TemplateError, type TemplateValues, templateValues, TextTemplate } from "./template.ts";

/** Between the request to end and the end by force; shorter than an aborted attempt is waited for. */
const KILL_AFTER_MS = 2_000;

/** How long output is read on after the program has ended, when something else still holds it. */
const DRAIN_MS = 500;

/** Where programs are looked for when the server itself has no PATH. */
const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";

/** The exit code of sysexits.h that asks for another attempt. */
const EX_TEMPFAIL = 75;

/** The codes that have a name. */
const SYSEXITS: Readonly<Record<number, string>> = {
  64: "EX_USAGE",
  65: "EX_DATAERR",
  66: "EX_NOINPUT",
  67: "EX_NOUSER",
  68: "EX_NOHOST",
  69: "EX_UNAVAILABLE",
  70: "EX_SOFTWARE",
  71: "EX_OSERR",
  72: "EX_OSFILE",
  73: "EX_CANTCREAT",
  74: "EX_IOERR",
  75: "EX_TEMPFAIL",
  76: "EX_PROTOCOL",
  77: "EX_NOPERM",
  78: "EX_CONFIG",
};

/** What some of the codes say as enhanced status codes (RFC 3463); the others are about this system. */
const STATUSES: Readonly<Record<number, string>> = {
  65: "5.6.0",
  67: "5.1.1",
  68: "5.1.2",
  73: "5.2.0",
  75: "4.3.0",
  76: "5.5.0",
  77: "5.7.0",
  78: "5.3.5",
};

type Content = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
type Verdict = Pick<Outcome, "kind" | "detail" | "status">;

export class PipeChannel implements Channel {
  readonly #options: PipeOptions;
  readonly #context: ChannelContext;
  readonly #program: string;
  readonly #arguments: readonly TextTemplate[];
  /** How many of the arguments stand before a "--". */
  readonly #guarded: number;

  constructor(options: PipeOptions, context: ChannelContext) {
    this.#options = options;
    this.#context = context;
    const [program = "", ...rest] = options.command;
    // The program's name has no variables.
    this.#program = program;
    this.#arguments = rest.map((text) => TextTemplate.compile(text));
    const end = options.command.indexOf("--", 1);
    this.#guarded = end < 0 ? rest.length : end - 1;
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    const content = await reusableContent(job);
    for (const recipient of job.recipients) {
      if (signal.aborted) return;
      const verdict = await this.#attempt(job, recipient, content(), signal);
      yield { ...verdict, deliveryId: recipient.deliveryId };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #attempt(job: Job, recipient: JobRecipient, content: Content, signal: AbortSignal): Promise<Verdict> {
    const name = this.#program;
    try {
      const values = templateValues(job.message, recipient.delivery, this.#context);
      const command = [name, ...this.#expandArguments(values)];
      const environment = await this.#environment(job, recipient, values);
      await using child = await this.#context.runtime.processes.spawn({
        command,
        environment,
        directory: this.#options.cwd ?? "/",
      });
      const run = new Run(child, this.#context, this.#options.max_output);
      const fields = this.#options.add_headers
        ? deliveryFields(job.message, recipient.delivery, "\r\n")
        : new Uint8Array(0);
      const exit = await run.feed(fields, content, job.message.sizeBytes, signal);
      return this.#judge(exit, run.output, recipient);
    } catch (error) {
      // What is wrong with the address stays wrong; what is wrong with this machine can be put right.
      if (error instanceof TemplateError) return { kind: "failed", detail: oneLine(`${error.message}`) };
      if (error instanceof SpawnError || error instanceof SecretError) {
        return { kind: "deferred", detail: oneLine(error.message) };
      }
      throw error;
    }
  }

  #expandArguments(values: TemplateValues): readonly string[] {
    return this.#arguments.map((template, index) => {
      const text = template.expand(values);
      if (index < this.#guarded && template.beginsWithVariable && text.startsWith("-")) {
        throw new TemplateError(
          `The argument "${text}" for "${this.#program}" would be taken for an option; put "--" before it in the command`,
        );
      }
      return text;
    });
  }

  async #environment(
    job: Job,
    { delivery }: JobRecipient,
    values: TemplateValues,
  ): Promise<Readonly<Record<string, string>>> {
    const { processes, files } = this.#context.runtime;
    const result: Record<string, string> = { PATH: DEFAULT_PATH };
    for (const name of INHERITED_VARIABLES) {
      const value = processes.environment(name);
      if (value !== undefined && value !== "") result[name] = value;
    }
    const environment = (name: string) => processes.environment(name);
    for (const [name, secret] of Object.entries(this.#options.env)) {
      result[name] = secret.kind === "inline"
        ? TextTemplate.compile(secret.value).expand(values)
        : await readSecret(secret, { files, environment });
    }
    const { envelope, id, sizeBytes } = job.message;
    const { origin } = envelope;
    Object.assign(result, {
      SENDER: envelope.reversePath,
      RECIPIENT: delivery.recipient,
      ORIGINAL_RECIPIENT: delivery.originalRecipient ?? delivery.recipient,
      LOCAL: values.local,
      DOMAIN: values.domain,
      EXTENSION: values.extension,
      CLIENT_ADDRESS: origin.address,
      CLIENT_HELO: origin.helo,
      CLIENT_PROTOCOL: origin.protocol,
      MESSAGE_ID: id,
      SIZE: String(sizeBytes),
      LISTENER: origin.listener,
      CHANNEL: this.#context.name,
    });
    for (const [name, value] of Object.entries(result)) {
      if (value.includes("\0")) throw new TemplateError(`The variable ${name} would have a NUL character in it`);
    }
    return result;
  }

  #judge(exit: ProcessExit, output: string, { deliveryId }: JobRecipient): Verdict {
    this.#context.log.debug("program-ended", {
      delivery: deliveryId,
      ...(exit.kind === "code" ? { code: exit.code } : { signal: exit.signal }),
      output,
    });
    const line = oneLine(output.split("\n").find((candidate) => candidate.trim() !== "") ?? "");
    const said = line === "" ? "" : `: ${line}`;
    const program = `"${this.#program}"`;
    if (exit.kind === "signal") {
      return { kind: "deferred", detail: oneLine(`${program} was ended by ${exit.signal}${said}`) };
    }
    if (exit.code === 0) return { kind: "delivered", detail: oneLine(`Taken by ${program}${said}`) };
    const name = SYSEXITS[exit.code];
    const code = name === undefined ? String(exit.code) : `${exit.code} (${name})`;
    const kind = exit.code === EX_TEMPFAIL ? "deferred" : "failed";
    return { kind, detail: oneLine(`${program} exited with ${code}${said}`), status: STATUSES[exit.code] ?? "5.3.0" };
  }
}

/** One process from its input to its end. */
class Run {
  readonly #child: SpawnedProcess;
  readonly #context: ChannelContext;
  readonly #kept: Uint8Array;
  #keptBytes = 0;

  constructor(child: SpawnedProcess, context: ChannelContext, maxOutputBytes: number) {
    this.#child = child;
    this.#context = context;
    this.#kept = new Uint8Array(maxOutputBytes);
  }

  /** What the program wrote to both of its outputs, in the order in which it came, up to the limit. */
  get output(): string {
    return new TextDecoder().decode(this.#kept.subarray(0, this.#keptBytes));
  }

  /** Gives the program its input and waits for its end. Throws what the content threw, or the signal's reason. */
  async feed(fields: Uint8Array, content: Content, sizeBytes: number, signal: AbortSignal): Promise<ProcessExit> {
    const child = this.#child;
    const reading = Promise.all([this.#collect(child.transport), this.#collect(child.errors)]);
    let ending: Promise<void> | undefined;
    const end = () => ending ??= this.#end();
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    let failure: { readonly error: unknown } | undefined;
    const writing = this.#write(fields, content, sizeBytes, signal).catch((error: unknown) => {
      failure = { error };
      end();
    });
    try {
      const exit = await child.exited;
      // One that was told to end may say what it likes; one that ended before has done its work.
      const wasStopped = ending !== undefined;
      signal.removeEventListener("abort", end);
      await this.#within(reading, DRAIN_MS);
      child.transport.abort();
      child.errors.interrupt();
      await writing;
      if (!wasStopped) return exit;
      await ending;
      throw failure === undefined ? signal.reason : failure.error;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  async #write(fields: Uint8Array, content: Content, sizeBytes: number, signal: AbortSignal): Promise<void> {
    const { transport } = this.#child;
    try {
      const writer = new GatheringWriter(
        async (bytes) => await transport.write(bytes),
        fields.length + sizeBytes,
      );
      await writer.add(fields);
      for await (const piece of content) {
        signal.throwIfAborted();
        await writer.add(piece);
      }
      await writer.flush();
    } catch (error) {
      // It does not want to read on; its exit code says whether it has read enough.
      if (error instanceof TransportError) return;
      throw error;
    }
    signal.throwIfAborted();
    await this.#child.endInput();
  }

  async #collect(source: Pick<SpawnedProcess["errors"], "read">): Promise<void> {
    try {
      for (let bytes = await source.read(); bytes !== undefined; bytes = await source.read()) {
        const part = bytes.subarray(0, this.#kept.length - this.#keptBytes);
        this.#kept.set(part, this.#keptBytes);
        this.#keptBytes += part.length;
      }
    } catch (error) {
      // Its output is for people; without it the exit code is still there.
      if (!(error instanceof TransportError)) throw error;
    }
  }

  /** Asks the group to end, then makes it. Its input stays open until then: it must not take half a message for a whole. */
  async #end(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#within(this.#child.exited, KILL_AFTER_MS);
    // Others of its group may have stayed; nobody else can have got the group's number in the meantime.
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async #within(work: Promise<unknown>, timeMs: number): Promise<void> {
    let timer: Disposable | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#context.runtime.clock.after(timeMs, resolve);
    });
    try {
      await Promise.race([work, late]);
    } finally {
      timer?.[Symbol.dispose]();
    }
  }
}
