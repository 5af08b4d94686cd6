/**
 * The loop between a session and its transport: the only place where the protocol meets I/O, the same for sockets, stdio
 * and tests. It gathers writes until the session wants to read, and awaits only what is not known at once. It must not
 * know what a question is about.
 */
import type { Transport } from "../runtime/runtime.ts";
import { concatBytes } from "../smtp/bytes.ts";
import { DATA_TIMEOUT_MS } from "../smtp/limits.ts";
import type { Reply } from "../smtp/reply.ts";
import type { Question, ServerSession, Verdict } from "../smtp/session.ts";
import type { Watch } from "./deadlines.ts";

/** Who answers the session's questions and takes the bodies. */
export interface SessionHost {
  decide(question: Question): Verdict | Promise<Verdict>;
  /** Takes a piece of the body; a reply means that it cannot be kept. */
  body(bytes: Uint8Array): Reply | undefined | Promise<Reply | undefined>;
  /** Forgets the body so far; `refusal` is what the client is told when that is why. */
  abandon(refusal?: Reply): void;
  /** The handshake; `lastPlaintext` goes out before it. */
  startTls(transport: Transport, lastPlaintext: Uint8Array): Promise<void>;
}

export type SessionEnd = "quit" | "end-of-stream" | "refused";

/** A client that sends without reading must not make replies pile up. */
const MAX_GATHERED_OCTETS = 16 * 1024;
/** A handshake takes a few round trips; the rest is somebody holding the door. */
export const HANDSHAKE_TIMEOUT_MS = 30_000;

/** Runs the session to its end and closes the transport. Rejects with `TransportError` when the connection broke. */
export async function drive(
  session: ServerSession,
  transport: Transport,
  host: SessionHost,
  watch: Watch,
): Promise<SessionEnd> {
  const output = new Output(transport, watch);
  for (;;) {
    const step = session.next();
    switch (step.kind) {
      case "write": {
        const full = output.add(step.bytes);
        if (full) await output.flush();
        break;
      }
      case "read": {
        const flushed = output.flush();
        if (flushed !== undefined) await flushed;
        watch.within(step.timeoutMs);
        const bytes = transport.read();
        session.receive(bytes instanceof Promise ? await bytes : bytes);
        break;
      }
      case "ask": {
        watch.within(Infinity);
        const verdict = host.decide(step.question);
        session.answer(verdict instanceof Promise ? await verdict : verdict);
        break;
      }
      case "body": {
        const taken = host.body(step.bytes);
        const refusal = taken instanceof Promise ? await taken : taken;
        if (refusal !== undefined) session.refuseBody(refusal);
        break;
      }
      case "abandon":
        host.abandon(step.reply);
        break;
      case "start-tls":
        watch.within(HANDSHAKE_TIMEOUT_MS);
        await host.startTls(transport, output.take());
        session.tlsStarted();
        break;
      case "close":
        await output.flush();
        watch.within(DATA_TIMEOUT_MS);
        await transport.close();
        return step.why;
    }
  }
}

/** Replies on their way out. */
class Output {
  readonly #transport: Transport;
  readonly #watch: Watch;
  #pieces: Uint8Array[] = [];
  #octets = 0;

  constructor(transport: Transport, watch: Watch) {
    this.#transport = transport;
    this.#watch = watch;
  }

  /** True when it is time to flush. */
  add(bytes: Uint8Array): boolean {
    this.#pieces.push(bytes);
    this.#octets += bytes.length;
    return this.#octets > MAX_GATHERED_OCTETS;
  }

  take(): Uint8Array {
    const bytes = concatBytes(this.#pieces);
    this.#pieces = [];
    this.#octets = 0;
    return bytes;
  }

  flush(): void | Promise<void> {
    if (this.#octets === 0) return;
    this.#watch.within(DATA_TIMEOUT_MS);
    return this.#transport.write(this.take());
  }
}
