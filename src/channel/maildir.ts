/**
 * The channel that stores messages in a Maildir: one file per recipient, written to `tmp`, made durable, then moved to
 * `new` under a name that no other delivery uses. It must not know of leases or retries.
 *
 * The bytes of a message are stored as they were received, CRLF line ends included, and the two fields added above them
 * have CRLF too: what is in the file is what was sent, and every Maildir reader in use takes both kinds of line ends.
 *
 * A crash after the move and before the outcome is recorded leads to a second attempt and so to a second copy: a
 * duplicate is preferred to a loss. A crash before the move leaves a file in `tmp`, which readers delete after 36 hours.
 */
import * as v from "valibot";
import { FileError } from "../runtime/runtime.ts";
import type { Files, OpenFile } from "../runtime/runtime.ts";
import type { StoredMessage } from "../spool/spool.ts";
import type { Channel, ChannelContext, ChannelDefinition, Job, JobRecipient, Outcome } from "./channel.ts";
import { deliveryFields, GatheringWriter, reusableContent } from "./content.ts";
import { makeDurableDirectory, Opened } from "./opened.ts";
import { PathTemplate, pathTemplateOption, templateValues } from "./template.ts";

const schema = v.strictObject({
  path: pathTemplateOption(
    "Directory of the Maildir; it is created with its cur, new and tmp when missing",
    "mail/${domain}/${local}",
  ),
});

type MaildirOptions = v.InferOutput<typeof schema>;

/** Room for the added fields in the write buffer's size. */
const FIELDS_BYTES = 1_024;

type Content = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

class MaildirChannel implements Channel {
  readonly #path: PathTemplate;
  readonly #context: ChannelContext;
  readonly #maildirs: Opened<Maildir>;

  constructor(options: MaildirOptions, context: ChannelContext) {
    const path = PathTemplate.compile(options.path);
    this.#path = path;
    this.#context = context;
    this.#maildirs = new Opened(async (directory) => {
      const maildir = new Maildir(directory, path.root, context);
      await maildir.create();
      return maildir;
    });
  }

  /** What can be known before the first message: that there may be directories. */
  async create(): Promise<void> {
    const { root } = this.#path;
    if (this.#path.hasVariables) await this.#context.runtime.files.makeDirectory(root, 0o700);
    else await this.#maildirs.with(root, () => Promise.resolve());
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    const content = await reusableContent(job);
    for (const recipient of job.recipients) {
      if (signal.aborted) return;
      const { deliveryId, delivery } = recipient;
      try {
        const { hasVariables, root } = this.#path;
        const path = hasVariables ? this.#path.expand(templateValues(job.message, delivery, this.#context)) : root;
        const name = await this.#maildirs.with(path, (maildir) => maildir.store(job, recipient, content, signal));
        // Where there is only one Maildir, its path says nothing that the channel's name does not say.
        yield { kind: "delivered", deliveryId, detail: `Stored as "${hasVariables ? `${path}/${name}` : name}"` };
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        yield { kind: "deferred", deliveryId, detail: error.message };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** One directory with its cur, new and tmp. */
class Maildir {
  readonly #path: string;
  readonly #root: string;
  readonly #context: ChannelContext;
  readonly #files: Files;
  readonly #host: string;
  readonly #newDirectory: SharedSync;
  #counter = 0;

  constructor(path: string, root: string, context: ChannelContext) {
    this.#path = path;
    this.#root = root;
    this.#context = context;
    this.#files = context.runtime.files;
    this.#host = safeHost(context.hostName);
    this.#newDirectory = new SharedSync(() => this.#files.syncDirectory(`${this.#path}/new`));
  }

  async create(): Promise<void> {
    for (const name of ["cur", "new", "tmp"]) await this.#files.makeDirectory(`${this.#path}/${name}`, 0o700);
    await this.#files.syncDirectory(this.#path);
    await makeDurableDirectory(this.#context, this.#path, this.#root);
  }

  async store(job: Job, recipient: JobRecipient, content: () => Content, signal: AbortSignal): Promise<string> {
    const { name, file } = await this.#createUnique();
    let path = `${this.#path}/tmp/${name}`;
    try {
      let sizeBytes: number;
      try {
        sizeBytes = await writeMessage(file, job.message, recipient, content(), signal);
      } finally {
        await file.close();
      }
      signal.throwIfAborted();
      const stored = `new/${name},S=${sizeBytes}`;
      await this.#files.rename(path, `${this.#path}/${stored}`);
      path = `${this.#path}/${stored}`;
      await this.#newDirectory.sync();
      return stored;
    } catch (error) {
      await this.#discard(path);
      throw error;
    }
  }

  async #createUnique(): Promise<{ readonly name: string; readonly file: OpenFile }> {
    for (let attempt = 1;; attempt++) {
      const name = this.#uniqueName();
      try {
        return { name, file: await this.#files.open(`${this.#path}/tmp/${name}`, "create-new", 0o600) };
      } catch (error) {
        if (!(error instanceof FileError) || attempt >= 3) throw error;
        // Someone removed the directories: a Maildir that is missing is created, as at the start.
        if (error.code === "ENOENT") await this.create();
        else if (error.code !== "EEXIST") throw error;
      }
    }
  }

  /** Seconds, then what tells deliveries of the same second apart, then the host: the Maildir convention for unique names. */
  #uniqueName(): string {
    const { clock, random, processes } = this.#context.runtime;
    const nowMs = clock.nowMs();
    const seconds = Math.floor(nowMs / 1_000);
    const micros = Math.floor((nowMs - seconds * 1_000) * 1_000);
    const tail = Array.from(random.bytes(6), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return `${seconds}.M${micros}P${processes.pid}Q${this.#counter++}R${tail}.${this.#host}`;
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

/** Writes the added fields and the content, makes them durable, and returns how many bytes there are. */
async function writeMessage(
  file: OpenFile,
  message: StoredMessage,
  recipient: JobRecipient,
  content: Content,
  signal: AbortSignal,
): Promise<number> {
  const writer = new GatheringWriter((bytes) => file.write(bytes), message.sizeBytes + FIELDS_BYTES);
  await writer.add(deliveryFields(message, recipient.delivery, "\r\n"));
  for await (const piece of content) {
    signal.throwIfAborted();
    await writer.add(piece);
  }
  await writer.flush();
  await file.sync();
  return writer.totalBytes;
}

/** Lets calls that come while one is under way share the next one: a sync covers everything done before it began. */
class SharedSync {
  readonly #call: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(call: () => Promise<void>) {
    this.#call = call;
  }

  sync(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    this.#next ??= this.#running.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.#start();
    });
    return this.#next;
  }

  #start(): Promise<void> {
    const running = this.#call().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}

/** "/" and ":" have a meaning in paths and in the names' flags; the convention writes them in octal. */
function safeHost(hostName: string): string {
  const host = hostName.replace(/[/:]/g, (found) => found === "/" ? "\\057" : "\\072").replace(/[^\w.\\-]/g, "_");
  return host === "" ? "localhost" : host;
}

export const maildirChannel: ChannelDefinition<MaildirOptions> = {
  type: "maildir",
  summary: "Stores each message as a file of its own in a Maildir; the path may depend on the recipient.",
  schema,
  async open(options, context) {
    const channel = new MaildirChannel(options, context);
    await channel.create();
    return channel;
  },
};
