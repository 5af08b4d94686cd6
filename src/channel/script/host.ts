/**
 * The side of a script: loads its module once, and calls its handler for one message after another. Runs in the script's
 * thread. It must not know how messages reach the thread or what the platform calls its loader.
 */
import { ScriptMessage } from "./message.ts";
import {
  type ConsoleLevel,
  type FromScript,
  type Invoke,
  MAX_LINE_CHARACTERS,
  MAX_LINES,
  type ScriptVerdict,
  type ToScript,
} from "./protocol.ts";

export interface ScriptPlatform {
  post(message: FromScript): void;
  /** Imports the module with that URL. */
  load(url: string): Promise<unknown>;
  /** Paths of what was imported so far. */
  files(): readonly string[];
}

type EmailHandler = (message: ScriptMessage, env: Readonly<Record<string, string>>, context: unknown) => unknown;

export class ScriptHost {
  readonly #platform: ScriptPlatform;
  #handler: EmailHandler | undefined;
  #env: Readonly<Record<string, string>> = {};
  #current: Invocation | undefined;
  #lines = 0;

  constructor(platform: ScriptPlatform) {
    this.#platform = platform;
  }

  receive(message: ToScript): void {
    switch (message.kind) {
      case "start":
        return void this.#start(message.module, message.env);
      case "invoke":
        return void this.#invoke(message);
      case "piece":
      case "answer":
        if (this.#current?.number === message.invocation) this.#current.receive(message);
    }
  }

  /** A line of the script for the log. What is too much is left out, and that is said once. */
  say(level: ConsoleLevel, text: string): void {
    this.#lines++;
    if (this.#lines > MAX_LINES + 1) return;
    const shown = this.#lines <= MAX_LINES ? text.slice(0, MAX_LINE_CHARACTERS) : "Further lines are left out";
    this.#platform.post({ kind: "line", level, text: shown });
  }

  async #start(module: string, env: Readonly<Record<string, string>>): Promise<void> {
    this.#env = env;
    try {
      this.#handler = handlerOf(await this.#platform.load(module));
      this.#platform.post({ kind: "started", files: this.#platform.files() });
    } catch (error) {
      this.#platform.post({ kind: "not-started", error: errorText(error) });
    }
  }

  async #invoke(request: Invoke): Promise<void> {
    this.#lines = 0;
    const invocation = new Invocation(request.invocation, this.#platform);
    this.#current = invocation;
    const verdict = await this.#handle(new ScriptMessage(request, invocation), invocation);
    this.#platform.post({ kind: "verdict", invocation: invocation.number, verdict });
    await invocation.drain((error) => this.say("warn", `A promise given to waitUntil failed: ${errorText(error)}`));
    this.#current = undefined;
    this.#platform.post({ kind: "ended", invocation: invocation.number });
  }

  async #handle(message: ScriptMessage, invocation: Invocation): Promise<ScriptVerdict> {
    const context = {
      waitUntil: (work: unknown) => invocation.wait(work),
      passThroughOnException: () => {},
      props: {},
    };
    try {
      // A copy, so that one message does not see what the handler did to it for another.
      await this.#handler?.(message, { ...this.#env }, context);
    } catch (error) {
      return { kind: "threw", error: errorText(error) };
    }
    const reason = ScriptMessage.reasonOf(message);
    return reason === undefined
      ? { kind: "handled" }
      : { kind: "rejected", reason: reason.slice(0, MAX_LINE_CHARACTERS) };
  }
}

/** One message: what the script asks the channel for, and what it left to `waitUntil`. */
class Invocation {
  readonly number: number;
  readonly #platform: ScriptPlatform;
  readonly #requests = new Map<number, PromiseWithResolvers<string>>();
  #pulling: PromiseWithResolvers<Uint8Array | undefined> | undefined;
  #background: Promise<unknown>[] = [];
  #lastRequest = 0;
  #isOver = false;

  constructor(number: number, platform: ScriptPlatform) {
    this.number = number;
    this.#platform = platform;
  }

  receive(message: Extract<ToScript, { readonly kind: "piece" | "answer" }>): void {
    if (message.kind === "piece") {
      const pulling = this.#pulling;
      this.#pulling = undefined;
      if (message.error === undefined) pulling?.resolve(message.bytes);
      else pulling?.reject(new Error(message.error));
      return;
    }
    const request = this.#requests.get(message.request);
    this.#requests.delete(message.request);
    if (message.messageId === undefined) request?.reject(new Error(message.error ?? "It could not be sent"));
    else request?.resolve(message.messageId);
  }

  pull(): Promise<Uint8Array | undefined> {
    if (this.#isOver) return Promise.reject(tooLate());
    this.#pulling ??= Promise.withResolvers();
    this.#platform.post({ kind: "pull", invocation: this.number });
    return this.#pulling.promise;
  }

  forward(to: string, headers: readonly (readonly [string, string])[]): Promise<string> {
    return this.#ask((request) => ({ kind: "forward", invocation: this.number, request, to, headers }));
  }

  reply(from: string, to: string, content: Uint8Array): Promise<string> {
    return this.#ask((request) => ({ kind: "reply", invocation: this.number, request, from, to, content }));
  }

  wait(work: unknown): void {
    const promise = Promise.resolve(work);
    // Its failure is looked at in `drain`; until then it is nobody's.
    promise.catch(() => {});
    this.#background.push(promise);
  }

  /** Waits for the background work, and for what that adds to it. */
  async drain(failed: (error: unknown) => void): Promise<void> {
    while (this.#background.length > 0) {
      for (const result of await Promise.allSettled(this.#background.splice(0))) {
        if (result.status === "rejected") failed(result.reason);
      }
    }
    this.#isOver = true;
  }

  #ask(message: (request: number) => FromScript): Promise<string> {
    if (this.#isOver) return Promise.reject(tooLate());
    const request = ++this.#lastRequest;
    const answer = Promise.withResolvers<string>();
    this.#requests.set(request, answer);
    this.#platform.post(message(request));
    return answer.promise;
  }
}

function tooLate(): Error {
  return new Error("The handler has come to its end; give what takes longer to ctx.waitUntil");
}

function handlerOf(module: unknown): EmailHandler {
  const exported = (module as { readonly default?: { readonly email?: unknown } }).default;
  const email = exported?.email;
  if (typeof email !== "function") {
    throw new Error("It has no email handler; write: export default { async email(message, env, ctx) { … } }");
  }
  return (message, env, context) => email.call(exported, message, env, context);
}

/** Files of the server and of the runtime, in a source tree and in an executable. */
const OURS = /\$bunfs|~BUN|(?:^|\/)script_(?:host|message|worker)\.ts:|^(?:ext|node|native):/u;

/** The error, and the first place in the script that it comes from. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return errorText(error.errors[0]);
  // An error of Bun's compiler.
  const position = (error as { readonly position?: { readonly line: number; readonly column: number } } | null)
    ?.position;
  if (!(error instanceof Error) && !position) {
    return `Thrown: ${String(error)}`.slice(0, MAX_LINE_CHARACTERS);
  }
  const { name, message, stack = "" } = error as Error;
  const places = [...stack.matchAll(/^\s*at (?:.*\()?(?:file:\/\/)?(.+:\d+:\d+)\)?$/gmu)].map(([, place = ""]) =>
    place
  );
  const place = position ? `line ${position.line}, column ${position.column}` : places.find((each) => !OURS.test(each));
  const text = `${name}: ${message}`.slice(0, MAX_LINE_CHARACTERS);
  return place === undefined ? text : `${text} (${place})`;
}
