/**
 * Entry point of the thread that takes messages apart for webhooks, a Web Worker on both runtimes: ties its message port to
 * the formats and holds nothing else.
 */
import { FormatThread } from "./channel/webhook/thread.ts";
import type { FromThread, ToThread } from "./channel/webhook/protocol.ts";

interface WorkerScope {
  Blob: unknown;
  onmessage: ((event: { readonly data: ToThread }) => void) | null;
  postMessage(message: FromThread): void;
}

type Part = string | ArrayBuffer | Uint8Array;

/**
 * The parser joins the lines of each part through a Blob. Deno's takes time that grows with the square of their number, so
 * that a message of many lines would take minutes; this one joins them.
 */
class JoinedParts {
  readonly #parts: readonly Part[];

  constructor(parts: readonly Part[]) {
    this.#parts = parts;
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    const encoder = new TextEncoder();
    const pieces = this.#parts.map((part) => {
      if (typeof part === "string") return encoder.encode(part);
      return part instanceof ArrayBuffer ? new Uint8Array(part) : part;
    });
    const joined = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    return Promise.resolve(joined.buffer);
  }
}

const scope = globalThis as unknown as WorkerScope;
scope.Blob = JoinedParts;
const thread = new FormatThread();
scope.onmessage = (event) => void thread.receive(event.data).then((answer) => scope.postMessage(answer));
