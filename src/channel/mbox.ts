/**
 * The channel that appends messages to a file in mboxrd format. Appends are serialised within the process by a queue and
 * between processes by `FILE.lock`; one that fails is taken back by cutting the file to its old size, and one that
 * succeeds is on the disk before its outcome is given. It must not know of leases or retries.
 *
 * Line ends become LF, as readers of the format expect. A message of any size passes through in pieces. After a crash the
 * file may end in an incomplete message; the next append separates itself from it by empty lines, and the incomplete one
 * is delivered again.
 */
import * as v from "valibot";
import { FileError } from "../runtime/runtime.ts";
import type { OpenFile } from "../runtime/runtime.ts";
import type { Channel, ChannelContext, ChannelDefinition, Job, JobRecipient, Outcome } from "./channel.ts";
import { deliveryFields, directoryOf, GatheringWriter, Mutex, reusableContent } from "./content.ts";
import { LockedError, takeLock } from "./dot_lock.ts";
import { MboxEncoder, separatorLine } from "./mbox_format.ts";
import { makeDurableDirectory, Opened } from "./opened.ts";
import { PathTemplate, pathTemplateOption, templateValues } from "./template.ts";

const schema = v.strictObject({
  path: pathTemplateOption(
    "The mbox file; it is created when missing, and locked by a file of the same name with .lock added",
    "mail/${domain}/${local}.mbox",
  ),
});

type MboxOptions = v.InferOutput<typeof schema>;

const encoder = new TextEncoder();

class MboxChannel implements Channel {
  readonly #path: PathTemplate;
  readonly #context: ChannelContext;
  readonly #boxes: Opened<Mbox>;

  constructor(options: MboxOptions, context: ChannelContext) {
    const path = PathTemplate.compile(options.path);
    this.#path = path;
    this.#context = context;
    this.#boxes = new Opened(async (file) => {
      const folder = directoryOf(file);
      await makeDurableDirectory(context, folder, path.hasVariables ? path.root : folder);
      return new Mbox(file, context);
    }, (box) => box.isTorn);
  }

  /** What can be known before the first message: that there may be a directory. */
  async create(): Promise<void> {
    const { hasVariables, root } = this.#path;
    await this.#context.runtime.files.makeDirectory(hasVariables ? root : directoryOf(root), 0o700);
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    for (const [path, recipients] of this.#byPath(job)) {
      let failure: string | undefined;
      try {
        await this.#boxes.with(path, (box) => box.append(job, recipients, signal));
      } catch (error) {
        if (!(error instanceof FileError || error instanceof LockedError)) throw error;
        failure = error.message;
      }
      for (const { deliveryId } of recipients) {
        yield failure === undefined
          ? { kind: "delivered", deliveryId, detail: `Appended to "${path}"` }
          : { kind: "deferred", deliveryId, detail: failure };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #byPath(job: Job): ReadonlyMap<string, readonly JobRecipient[]> {
    if (!this.#path.hasVariables) return new Map([[this.#path.root, job.recipients]]);
    return Map.groupBy(
      job.recipients,
      ({ delivery }) => this.#path.expand(templateValues(job.message, delivery, this.#context)),
    );
  }
}

/** One file. */
class Mbox {
  readonly #path: string;
  readonly #context: ChannelContext;
  readonly #turn = new Mutex();
  /** A failed append could not be taken back: the next one has to separate itself from what it left. */
  #torn = false;

  constructor(path: string, context: ChannelContext) {
    this.#path = path;
    this.#context = context;
  }

  get isTorn(): boolean {
    return this.#torn;
  }

  async append(job: Job, recipients: readonly JobRecipient[], signal: AbortSignal): Promise<void> {
    using _turn = await this.#turn.acquire(signal);
    const { files } = this.#context.runtime;
    const lockPath = `${this.#path}.lock`;
    const lock = await takeLock(this.#context.runtime, lockPath, signal);
    if (lock.broken) {
      this.#torn = true;
      this.#context.log.warn("lock-broken", { channel: this.#context.name, path: lockPath });
    }
    try {
      const file = await files.open(this.#path, "append", 0o600);
      try {
        await this.#append(file, job, recipients, signal);
      } finally {
        await file.close();
      }
    } finally {
      await this.#release(() => lock.release(), lockPath);
    }
  }

  /** One entry for each recipient: all of them are there in the end, or none. */
  async #append(
    file: OpenFile,
    job: Job,
    recipients: readonly JobRecipient[],
    signal: AbortSignal,
  ): Promise<void> {
    const oldBytes = await file.sizeBytes();
    try {
      const writer = new GatheringWriter((bytes) => file.write(bytes), 64 * 1_024);
      const content = await reusableContent(job);
      if (this.#torn && oldBytes > 0) await writer.add(encoder.encode("\n\n"));
      for (const { delivery } of recipients) {
        await writer.add(encoder.encode(separatorLine(job.message)));
        await writer.add(deliveryFields(job.message, delivery, "\n"));
        const body = new MboxEncoder();
        for await (const piece of content()) {
          signal.throwIfAborted();
          await writer.add(body.encode(piece));
        }
        await writer.add(body.end());
      }
      await writer.flush();
      await file.sync();
      // A file that is new must be found again by its name, too.
      if (oldBytes === 0) await this.#context.runtime.files.syncDirectory(directoryOf(this.#path));
      this.#torn = false;
    } catch (error) {
      await this.#takeBack(file, oldBytes);
      throw error;
    }
  }

  async #takeBack(file: OpenFile, oldBytes: number): Promise<void> {
    try {
      await file.truncate(oldBytes);
      await file.sync();
    } catch (error) {
      this.#torn = true;
      this.#context.log.error("append-not-taken-back", {
        channel: this.#context.name,
        path: this.#path,
        error: String(error),
      });
    }
  }

  /** The message is stored by now; a lock that stays is judged by the next who wants it. */
  async #release(release: () => Promise<void>, lockPath: string): Promise<void> {
    try {
      await release();
    } catch (error) {
      this.#context.log.warn("lock-left", { channel: this.#context.name, path: lockPath, error: String(error) });
    }
  }
}

export const mboxChannel: ChannelDefinition<MboxOptions> = {
  type: "mbox",
  summary: "Appends each message to a file in mbox format (mboxrd); the path may depend on the recipient.",
  schema,
  async open(options, context) {
    const channel = new MboxChannel(options, context);
    await channel.create();
    return channel;
  },
};
