/**
 * Deliveries to a script: one call of its handler for each recipient, judged by how the handler ends. It must not know of
 * leases or retries, or of how threads are kept.
 *
 * What a handler sends is stored when it has come to its end and not before, so that one that fails halfway and is tried
 * again has sent nothing. A crash of the server after that and before the outcome is recorded sends it twice: a duplicate is
 * preferred to a loss.
 */
import { SpoolError } from "../../spool/spool.ts";
import type { Channel, ChannelContext, Decision, Job, JobRecipient, Outcome, Submission, Submit } from "../channel.ts";
import { oneLine } from "../content.ts";
import type { ScriptOptions } from "../script.ts";
import { ScriptPool } from "./pool.ts";
import {
  FIRST_PIECE_BYTES,
  type ForwardRequest,
  MAX_SUBMISSIONS,
  PIECE_BYTES,
  type ReplyRequest,
  type ScriptVerdict,
} from "./protocol.ts";
import { forwarded, LoopError, replied, RequestError } from "./submission.ts";
import { type Conversation, ScriptError, type ScriptThread } from "./thread.ts";

interface Verdict extends Pick<Outcome, "kind" | "detail"> {
  /** For who sent the message, when it failed. */
  readonly reason?: string;
}

export class ScriptChannel implements Channel {
  readonly decide: Channel["decide"];
  readonly #context: ChannelContext;
  readonly #options: ScriptOptions;
  readonly #pool: ScriptPool;
  #submit: Submit | undefined;

  constructor(options: ScriptOptions, context: ChannelContext) {
    this.#options = options;
    this.#context = context;
    this.#pool = new ScriptPool(options, context);
    if (options.when === "rcpt-data") this.decide = (job, signal) => this.#decide(job, signal);
  }

  /** What can be known before the first message: whether there is somewhere to forward to. */
  create(): void {
    const { forward_channel: name } = this.#options;
    if (name !== undefined) {
      this.#submit = this.#context.submitTo(name);
      if (this.#submit === undefined) {
        throw new Error(`There is no channel "${name}" to forward to; define it, or name another in "forward_channel"`);
      }
    }
    // The first message finds the module loaded, and what is wrong with it is in the log before that.
    this.#pool.with(new AbortController().signal, () => Promise.resolve()).catch(() => {});
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    for (const recipient of job.recipients) {
      if (signal.aborted) return;
      const { kind, detail } = await this.#attempt(job, recipient, signal);
      yield { kind, detail, deliveryId: recipient.deliveryId };
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#pool.close();
    return Promise.resolve();
  }

  /** What the script sends is stored, whatever it decides. */
  async #decide(job: Job, signal: AbortSignal): Promise<Decision> {
    const [recipient] = job.recipients;
    if (recipient === undefined) throw new Error("A script was asked about a message without a recipient");
    const { kind, detail, reason = detail } = await this.#attempt(job, recipient, signal);
    if (kind === "delivered") return { kind: "accept", detail };
    return kind === "failed" ? { kind: "reject", detail, reason } : { kind: "defer", detail };
  }

  async #attempt(job: Job, recipient: JobRecipient, signal: AbortSignal): Promise<Verdict> {
    try {
      const call = new Call(job, recipient, this.#context, signal);
      const verdict = await this.#pool.with(signal, (thread) => call.make(thread, this.#submit !== undefined));
      if (verdict.kind === "threw") return { kind: "deferred", detail: oneLine(`The script failed: ${verdict.error}`) };
      for (const submission of call.submissions) await this.#submit?.(submission);
      return judged(verdict, call.submissions);
    } catch (error) {
      if (error instanceof LoopError) return { kind: "failed", detail: error.message };
      if (error instanceof ScriptError) return { kind: "deferred", detail: oneLine(error.message) };
      if (error instanceof SpoolError) {
        return {
          kind: "deferred",
          detail: oneLine(`Cannot store what the script sent, or read the message: ${error.message}`),
        };
      }
      throw error;
    }
  }
}

function judged(verdict: ScriptVerdict, submissions: readonly Submission[]): Verdict {
  if (verdict.kind === "rejected") {
    const { reason } = verdict;
    return { kind: "failed", detail: oneLine(`Rejected by the script: ${reason}`), reason: oneLine(reason) };
  }
  const sent = submissions.map(({ id, recipient }) => `, sent to ${recipient} as ${id}`);
  return { kind: "delivered", detail: oneLine(`Handled by the script${sent.join("")}`) };
}

/** One message on its way through a handler. */
class Call implements Conversation {
  readonly submissions: Submission[] = [];
  readonly #job: Job;
  readonly #recipient: JobRecipient;
  readonly #context: ChannelContext;
  readonly #signal: AbortSignal;
  readonly #content: AsyncIterator<Uint8Array>;
  #failure: { readonly error: unknown } | undefined;

  constructor(job: Job, recipient: JobRecipient, context: ChannelContext, signal: AbortSignal) {
    this.#job = job;
    this.#recipient = recipient;
    this.#context = context;
    this.#signal = signal;
    this.#content = job.content()[Symbol.asyncIterator]();
  }

  /** Throws what reading the content threw, even if the script did not mind: it has not seen the whole message. */
  async make(thread: ScriptThread, canBeForwarded: boolean): Promise<ScriptVerdict> {
    const { message } = this.#job;
    try {
      const { bytes, isEnd } = await this.#gather(FIRST_PIECE_BYTES);
      const request = {
        from: message.envelope.reversePath,
        to: this.#recipient.delivery.recipient,
        sizeBytes: message.sizeBytes,
        canBeForwarded,
        first: bytes,
        isWhole: isEnd,
      };
      const verdict = await thread.invoke(request, this, this.#signal);
      if (this.#failure !== undefined) throw this.#failure.error;
      return verdict;
    } finally {
      await this.#content.return?.();
    }
  }

  async pull(): Promise<Uint8Array | undefined> {
    try {
      const { bytes } = await this.#gather(PIECE_BYTES);
      return bytes.length === 0 ? undefined : bytes;
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    }
  }

  send(request: ForwardRequest | ReplyRequest): string {
    if (this.submissions.length >= MAX_SUBMISSIONS) {
      throw new RequestError(`One message may be forwarded and replied to ${MAX_SUBMISSIONS} times`);
    }
    const make = request.kind === "forward"
      ? () => forwarded(request, this.#job, this.#recipient, this.#context)
      : () => replied(request, this.#job, this.#recipient, this.#context);
    const submission = make();
    this.submissions.push(submission);
    return submission.id;
  }

  /** At least so many octets of the content, or all that are left. */
  async #gather(wantedBytes: number): Promise<{ readonly bytes: Uint8Array; readonly isEnd: boolean }> {
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    let isEnd = false;
    while (sizeBytes < wantedBytes && !isEnd) {
      this.#signal.throwIfAborted();
      const next = await this.#content.next();
      isEnd = next.done === true;
      if (next.done === true) break;
      pieces.push(next.value.slice());
      sizeBytes += next.value.length;
    }
    const [only] = pieces;
    if (pieces.length === 1 && only !== undefined) return { bytes: only, isEnd };
    const bytes = new Uint8Array(sizeBytes);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return { bytes, isEnd };
  }
}
