/** What the tests of script channels share: a folder with a module, a channel that runs it, and what it sent and logged. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import type { Channel, ChannelContext, Job, Outcome, Submission } from "../../src/channel/channel.ts";
import { scriptChannel, type ScriptOptions } from "../../src/channel/script.ts";
import { ScriptChannel } from "../../src/channel/script/delivery.ts";
import type { Log, LogFields } from "../../src/observe/log.ts";
import { silentLog } from "../../src/observe/log.ts";
import { contextOf, jobOf, temporaryFolder } from "./channel_world.ts";

export interface LoggedEvent extends LogFields {
  readonly level: string;
  readonly event: string;
}

export interface Sent extends Omit<Submission, "content"> {
  readonly channel: string;
  readonly text: string;
}

export interface ScriptWorldOptions {
  readonly options?: Readonly<Record<string, unknown>>;
  /** Further files, by name. */
  readonly files?: Readonly<Record<string, string>>;
  readonly submit?: (submission: Submission) => Promise<void>;
  readonly context?: Partial<ChannelContext>;
}

/** A script channel on real threads; "relay" is the only other channel there is. */
export class ScriptWorld implements AsyncDisposable {
  readonly folder: string;
  readonly channel: Channel & Pick<ScriptChannel, "decide">;
  readonly sent: Sent[] = [];
  readonly events: LoggedEvent[] = [];
  /** What the channel's monotonic clock is ahead of the real one. */
  aheadMs = 0;
  #removeFolder: () => Promise<void>;

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>, given: ScriptWorldOptions) {
    this.folder = folder.path;
    this.#removeFolder = async () => await folder[Symbol.asyncDispose]();
    const options = v.parse(scriptChannel.schema, { module: join(folder.path, "worker.ts"), ...given.options });
    this.channel = new ScriptChannel(options as ScriptOptions, this.#context(given));
  }

  static async open(module: string, given: ScriptWorldOptions = {}): Promise<ScriptWorld> {
    const folder = await temporaryFolder();
    try {
      for (const [name, text] of Object.entries({ "worker.ts": module, ...given.files })) {
        await writeFile(join(folder.path, name), text);
      }
      const world = new ScriptWorld(folder, given);
      (world.channel as ScriptChannel).create();
      return world;
    } catch (error) {
      await folder[Symbol.asyncDispose]();
      throw error;
    }
  }

  #context({ submit, context }: ScriptWorldOptions): ChannelContext {
    const base = contextOf();
    const { clock } = base.runtime;
    return {
      ...base,
      log: logInto(this.events),
      runtime: { ...base.runtime, clock: { ...clock, monotonicMs: () => clock.monotonicMs() + this.aheadMs } },
      submitTo: (channel) => {
        if (channel !== "relay") return undefined;
        return submit ?? (async ({ content, ...rest }) => {
          let text = "";
          for await (const bytes of content) text += new TextDecoder("latin1").decode(bytes);
          this.sent.push({ ...rest, channel, text });
        });
      },
      ...context,
    };
  }

  /** Delivers to one recipient. */
  async deliver(content: string | Uint8Array, job: Partial<Job> = {}): Promise<Outcome> {
    const outcomes: Outcome[] = [];
    const whole = { ...jobOf(content), ...job };
    for await (const outcome of this.channel.deliver(whole, new AbortController().signal)) outcomes.push(outcome);
    const [only] = outcomes;
    if (only === undefined || outcomes.length > 1) throw new Error(`${outcomes.length} outcomes instead of one`);
    return only;
  }

  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text);
    // The channel looks for changes once a second.
    this.aheadMs += 2_000;
  }

  /** Texts that the script put into the log. */
  get lines(): readonly unknown[] {
    return this.events.filter(({ event }) => event === "script").map(({ text }) => text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.channel[Symbol.asyncDispose]();
    await this.#removeFolder();
  }
}

function logInto(events: LoggedEvent[]): Log {
  const put = (level: string) => (event: string, fields: LogFields = {}) =>
    void events.push({ ...fields, level, event });
  return {
    ...silentLog,
    debug: put("debug"),
    info: put("info"),
    warn: put("warn"),
    error: put("error"),
    enabled: () => true,
  };
}
