/**
 * The channel that puts messages into a directory for other programs: for each delivery a `.eml` with the message and a
 * `.json` with its envelope, of the same name. It must not know of leases or retries, nor who takes the files away.
 *
 * Both are complete and on the disk before they get their names, the `.json` last: who sees it has both. The name is made of
 * message and delivery, so an attempt that is repeated because its outcome was not recorded replaces its own files.
 */
import * as v from "valibot";
import { FileError } from "../runtime/runtime.ts";
import type { Files } from "../runtime/runtime.ts";
import type { StoredMessage } from "../spool/spool.ts";
import type { Channel, ChannelContext, ChannelDefinition, Job, JobRecipient, Outcome } from "./channel.ts";
import { deliveryFields, GatheringWriter, reusableContent } from "./content.ts";
import { makeDurableDirectory, Opened } from "./opened.ts";
import { encodeName, PathTemplate, pathTemplateOption, templateValues } from "./template.ts";

const schema = v.strictObject({
  path: pathTemplateOption(
    "Directory that gets an .eml and a .json for each delivery; it is created when missing",
    "drop/${domain}",
  ),
});

type DirectoryOptions = v.InferOutput<typeof schema>;

type Content = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

const encoder = new TextEncoder();

class DirectoryChannel implements Channel {
  readonly #path: PathTemplate;
  readonly #context: ChannelContext;
  readonly #files: Files;
  readonly #directories: Opened<string>;
  #counter = 0;

  constructor(options: DirectoryOptions, context: ChannelContext) {
    const path = PathTemplate.compile(options.path);
    this.#path = path;
    this.#context = context;
    this.#files = context.runtime.files;
    this.#directories = new Opened(async (directory) => {
      await makeDurableDirectory(context, directory, path.root);
      return directory;
    });
  }

  /** What can be known before the first message: that there may be a directory. */
  async create(): Promise<void> {
    await this.#files.makeDirectory(this.#path.root, 0o700);
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    const content = await reusableContent(job);
    for (const recipient of job.recipients) {
      if (signal.aborted) return;
      const { deliveryId, delivery } = recipient;
      try {
        const path = this.#path.expand(templateValues(job.message, delivery, this.#context));
        const stored = await this.#directories.with(
          path,
          (directory) => this.#store(directory, job, recipient, content(), signal),
        );
        yield { kind: "delivered", deliveryId, detail: `Stored as "${stored}"` };
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        yield { kind: "deferred", deliveryId, detail: error.message };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Gives the path of the pair, without `.eml` and `.json`. */
  async #store(
    directory: string,
    job: Job,
    recipient: JobRecipient,
    content: Content,
    signal: AbortSignal,
  ): Promise<string> {
    const name = `${encodeName(job.message.id)}-${recipient.deliveryId}`;
    const path = `${directory}/${name}`;
    // Files that begin with a dot are passed over by those who look for work; the rest tells attempts apart.
    const { random, processes } = this.#context.runtime;
    const tail = Array.from(random.bytes(6), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const temporary = `${directory}/.${name}.${processes.pid}.${this.#counter++}.${tail}`;
    const left = new Set<string>();
    try {
      const { message } = job;
      await this.#write(`${temporary}.eml`, left, message.sizeBytes, async (writer) => {
        await writer.add(deliveryFields(message, recipient.delivery, "\r\n"));
        for await (const piece of content) {
          signal.throwIfAborted();
          await writer.add(piece);
        }
      });
      const envelope = envelopeText(message, recipient, this.#context, `${name}.eml`);
      await this.#write(`${temporary}.json`, left, envelope.length, (writer) => writer.add(encoder.encode(envelope)));
      signal.throwIfAborted();
      for (const ending of [".eml", ".json"]) {
        await this.#files.rename(`${temporary}${ending}`, `${path}${ending}`);
        left.delete(`${temporary}${ending}`);
      }
      await this.#files.syncDirectory(directory);
      return path;
    } catch (error) {
      for (const file of left) await this.#discard(file);
      throw error;
    }
  }

  async #write(
    path: string,
    left: Set<string>,
    expectedBytes: number,
    fill: (writer: GatheringWriter) => Promise<void>,
  ): Promise<void> {
    const file = await this.#files.open(path, "create-new", 0o600);
    left.add(path);
    try {
      const writer = new GatheringWriter((bytes) => file.write(bytes), expectedBytes + 1_024);
      await fill(writer);
      await writer.flush();
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** The failure that led here is what matters; one of the clean-up is only worth a line in the log. */
  async #discard(path: string): Promise<void> {
    try {
      await this.#files.remove(path);
    } catch (error) {
      this.#context.log.warn("undelivered-file-left", { path, error: String(error) });
    }
  }
}

/** The envelope as JSON. Absent keys were not given by the client. */
function envelopeText(
  message: StoredMessage,
  { deliveryId, delivery, attempts }: JobRecipient,
  { name, hostName }: ChannelContext,
  file: string,
): string {
  const { reversePath, body, smtputf8, ret, envid, origin } = message.envelope;
  const { recipient, originalRecipient, binding, notify, orcpt } = delivery;
  const envelope = {
    version: 1,
    messageId: message.id,
    deliveryId,
    file,
    receivedAt: new Date(message.receivedAtMs).toISOString(),
    size: message.sizeBytes,
    reversePath,
    recipient,
    originalRecipient: originalRecipient ?? recipient,
    hostName,
    channel: name,
    binding,
    attempts,
    body,
    smtputf8,
    ret,
    envid,
    notify,
    orcpt,
    origin: {
      session: origin.session,
      listener: origin.listener,
      address: origin.address,
      helo: origin.helo,
      protocol: origin.protocol,
    },
  };
  return `${JSON.stringify(envelope, undefined, 2)}\n`;
}

export const directoryChannel: ChannelDefinition<DirectoryOptions> = {
  type: "directory",
  summary: "Puts each message into a directory as an .eml file, with its envelope in a .json file beside it.",
  schema,
  async open(options, context) {
    const channel = new DirectoryChannel(options, context);
    await channel.create();
    return channel;
  },
};
