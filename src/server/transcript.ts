/**
 * The dialogue of a session in a file, line by line with its time: commands without secrets, replies, and of messages only
 * the size. It must not change what it listens to.
 */
import { escapeUnsafe } from "../config/diagnostic.ts";
import type { Clock, Files, OpenFile } from "../runtime/runtime.ts";
import { latin1Text } from "../smtp/bytes.ts";
import { COMMANDS, verbOf } from "../smtp/command.ts";
import type { ServerSession, ServerStep } from "../smtp/session.ts";

export class Transcript implements AsyncDisposable {
  readonly #file: OpenFile;
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #label: string;
  #writing: Promise<void> = Promise.resolve();
  #held = "";
  /** AUTH was said: what is no command after it may be its answers. */
  #isSecret = false;
  #bodyOctets = 0;

  private constructor(file: OpenFile, clock: Pick<Clock, "nowMs">, label: string) {
    this.#file = file;
    this.#clock = clock;
    this.#label = label;
  }

  /** Appends; a new file is nobody else's to read. Rejects with `FileError`. `label` tells sessions in one file apart. */
  static async open(path: string, files: Files, clock: Pick<Clock, "nowMs">, label: string): Promise<Transcript> {
    return new Transcript(await files.open(path, "append", 0o600), clock, label);
  }

  /** For `ServerSessionOptions.heard`. */
  readonly heard = (line: Uint8Array | undefined): void => {
    if (line === undefined) return this.note("<", "(a line that is no command)");
    const text = latin1Text(line);
    const { verb, at } = verbOf(text);
    if (verb === "AUTH") {
      this.#isSecret = true;
      const mechanism = /^ +([A-Za-z0-9_-]{1,20})(?: |$)/u.exec(text.slice(at))?.[1];
      return this.note("<", mechanism === undefined ? "AUTH (not shown)" : `AUTH ${mechanism} (not shown)`);
    }
    if (COMMANDS.has(verb)) this.#isSecret = false;
    this.note("<", this.#isSecret ? "(not shown)" : text);
  };

  /** The session, listened to. */
  listen(session: ServerSession): ServerSession {
    return {
      receive: (bytes) => session.receive(bytes),
      next: () => this.#seen(session.next()),
      answer: (verdict) => session.answer(verdict),
      refuseBody: (reply) => session.refuseBody(reply),
      tlsStarted: () => session.tlsStarted(),
      stop: (reply, when) => session.stop(reply, when),
      get inTransaction() {
        return session.inTransaction;
      },
    };
  }

  note(mark: string, text: string): void {
    const time = new Date(this.#clock.nowMs()).toISOString();
    const isIdle = this.#held === "";
    this.#held += `${time} ${this.#label} ${mark} ${escapeUnsafe(text)}\n`;
    if (isIdle) this.#writing = this.#writing.then(() => this.#write());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file.close().catch(() => {});
  }

  #seen(step: ServerStep): ServerStep {
    if (step.kind === "body") this.#bodyOctets += step.bytes.length;
    else if (this.#bodyOctets > 0 && step.kind !== "read") {
      this.note("<", `(${this.#bodyOctets} octets of a message)`);
      this.#bodyOctets = 0;
    }
    if (step.kind === "write") {
      for (const line of latin1Text(step.bytes).split("\r\n").slice(0, -1)) this.note(">", line);
    } else if (step.kind === "close") this.note("-", `closed: ${step.why}`);
    return step;
  }

  /** A transcript that cannot be written is not worth the session. */
  async #write(): Promise<void> {
    const text = this.#held;
    this.#held = "";
    await this.#file.write(new TextEncoder().encode(text)).catch(() => {});
  }
}
