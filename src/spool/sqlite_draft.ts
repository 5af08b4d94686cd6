/**
 * A message on its way into the SQLite spool. What is small stays here until the commit, which is then one request; what
 * is large goes to the file in chunks as it comes, so that memory stays flat. It must not know of leases or queues.
 */
import { CHUNK_BYTES, type CommitRequest, type DeliveryRow, type Payload } from "./protocol.ts";
import type { CommittedDelivery, Draft, Lease, NewMessage, StoredMessage } from "./spool.ts";
import { SpoolError } from "./spool.ts";
import type { ThreadLink } from "./sqlite_link.ts";

/** Content of one draft that was sent and is not yet in the file; beyond it the writer waits. */
const MAX_UNDER_WAY_BYTES = 1024 * 1024;

/** What a draft needs of the spool it belongs to. */
export interface DraftHost {
  readonly link: ThreadLink;
  /** A number no other draft of this spool has. */
  nextNumber(): number;
  nowMs(): number;
  /** Counts content that goes to the disk; an error says that there is no room for more. */
  take(sizeBytes: number): SpoolError | undefined;
  /** Content of a message that was just claimed whole: its deliverer will ask for it next. */
  keep(messageId: string, content: Uint8Array, deliveries: number): void;
}

const NOTHING: Uint8Array<ArrayBuffer> = new Uint8Array(0);

export class SqliteDraft implements Draft {
  readonly #host: DraftHost;
  #state: "open" | "ended" = "open";
  #number = 0;
  #chunks = 0;
  #sizeBytes = 0;
  /** What is not sent yet: the first `#filled` bytes. Never full. */
  #tail: Uint8Array = NOTHING;
  #filled = 0;
  #underWayBytes = 0;
  #failure: SpoolError | undefined;

  constructor(host: DraftHost) {
    this.#host = host;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#state !== "open") return Promise.reject(ended());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#sizeBytes += bytes.length;
    if (this.#filled + bytes.length < CHUNK_BYTES) return this.#append(bytes);
    const rest = this.#writeChunks(bytes);
    // The caller may reuse its bytes once we return, so what has to wait is copied.
    if (rest.length > 0) return this.#writeWhenRoom(rest.slice());
    if (this.#underWayBytes > MAX_UNDER_WAY_BYTES) return this.#writeWhenRoom(NOTHING);
  }

  async commit(message: NewMessage, options: { readonly claimForMs?: number } = {}): Promise<readonly Lease[]> {
    if (this.#state !== "open") throw ended();
    this.#state = "ended";
    try {
      if (this.#failure !== undefined) throw this.#failure;
      if (message.deliveries.length === 0) {
        throw new SpoolError(`Cannot store message "${message.id}": it has no deliveries`, "broken");
      }
      return await this.#send(message, options.claimForMs);
    } catch (error) {
      await this.#discard();
      throw this.#failure ?? error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "ended";
    await this.#discard();
  }

  async #send(message: NewMessage, claimForMs: number | undefined): Promise<readonly Lease[]> {
    const { link } = this.#host;
    const nowMs = this.#host.nowMs();
    const tail = this.#tail.subarray(0, this.#filled);
    this.#tail = NOTHING;
    this.#host.take(tail.length);
    const claimUntilMs = claimForMs === undefined ? undefined : nowMs + claimForMs;
    const request: CommitRequest = {
      op: "commit",
      id: message.id,
      receivedAtMs: message.receivedAtMs,
      sizeBytes: this.#sizeBytes,
      envelope: JSON.stringify(message.envelope),
      deliveries: message.deliveries.map(toRow),
      nowMs,
      chunks: this.#chunks,
      tail: link.place(tail) ?? tail,
      ...(claimUntilMs === undefined ? {} : { claimUntilMs }),
      ...(this.#chunks === 0 ? {} : { draft: this.#number }),
    };
    const firstId = await link.request<"commit">(request);
    if (claimUntilMs === undefined) return [];
    const { id, receivedAtMs, envelope } = message;
    const stored: StoredMessage = { id, receivedAtMs, sizeBytes: this.#sizeBytes, envelope };
    const leases: Lease[] = [];
    for (const [index, delivery] of message.deliveries.entries()) {
      if (delivery.held === true) continue;
      leases.push({
        deliveryId: firstId + index,
        token: String(firstId + index),
        expiresAtMs: claimUntilMs,
        message: stored,
        delivery,
        attempts: 0,
      });
    }
    if (this.#chunks === 0 && leases.length > 0) this.#host.keep(message.id, tail, leases.length);
    return leases;
  }

  /** Copies into the tail, which has room for it. The first piece is often the only one, so it gets just its size. */
  #append(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const filled = this.#filled + bytes.length;
    if (this.#filled === 0 && this.#tail.length < bytes.length) {
      this.#tail = bytes.slice();
    } else {
      if (filled > this.#tail.length) {
        const grown = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(2 * this.#tail.length, filled)));
        grown.set(this.#tail.subarray(0, this.#filled));
        this.#tail = grown;
      }
      this.#tail.set(bytes, this.#filled);
    }
    this.#filled = filled;
  }

  /** Sends whole chunks while there is room for them; gives back what it could not take. */
  #writeChunks(bytes: Uint8Array): Uint8Array {
    while (this.#filled + bytes.length >= CHUNK_BYTES) {
      if (this.#underWayBytes >= MAX_UNDER_WAY_BYTES) return bytes;
      let chunk: Uint8Array;
      const missing = CHUNK_BYTES - this.#filled;
      if (this.#filled === 0) {
        chunk = bytes.subarray(0, CHUNK_BYTES);
      } else {
        if (this.#tail.length < CHUNK_BYTES) {
          const grown = new Uint8Array(CHUNK_BYTES);
          grown.set(this.#tail.subarray(0, this.#filled));
          this.#tail = grown;
        }
        this.#tail.set(bytes.subarray(0, missing), this.#filled);
        chunk = this.#tail;
      }
      const place = this.#host.link.place(chunk);
      // What was copied behind `#filled` is copied again next time.
      if (place === undefined) return bytes;
      this.#sendChunk(place);
      this.#filled = 0;
      bytes = bytes.subarray(missing);
    }
    this.#append(bytes);
    return NOTHING;
  }

  #sendChunk(bytes: Payload): void {
    if (this.#chunks === 0) this.#number = this.#host.nextNumber();
    const request = { op: "write", draft: this.#number, index: this.#chunks++, bytes } as const;
    this.#failure ??= this.#host.take(CHUNK_BYTES);
    this.#underWayBytes += CHUNK_BYTES;
    this.#host.link.request<"write">(request).then(
      () => {
        this.#underWayBytes -= CHUNK_BYTES;
      },
      (error: SpoolError) => {
        this.#underWayBytes -= CHUNK_BYTES;
        this.#failure ??= error;
      },
    );
  }

  async #writeWhenRoom(copy: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await this.#writeSlowly(copy);
    } finally {
      // Freed now: copies of a large message would pile up until the garbage collector looks.
      if (copy.length > 0) copy.buffer.transfer(0);
    }
  }

  async #writeSlowly(bytes: Uint8Array): Promise<void> {
    while (bytes.length > 0 || this.#underWayBytes > MAX_UNDER_WAY_BYTES) {
      await this.#host.link.room();
      this.#failure ??= this.#host.link.failure;
      if (this.#failure !== undefined) throw this.#failure;
      if (bytes.length > 0) bytes = this.#writeChunks(bytes);
    }
  }

  async #discard(): Promise<void> {
    this.#tail = NOTHING;
    if (this.#chunks === 0) return;
    try {
      await this.#host.link.request<"discard">({ op: "discard", draft: this.#number });
    } catch {
      // The thread is gone; whoever opens the file next removes what we left.
    }
  }
}

function ended(): SpoolError {
  return new SpoolError("Cannot write to a message that was already stored or given up", "closed");
}

function toRow({ channel, held, ...record }: CommittedDelivery): DeliveryRow {
  return { channel, record: JSON.stringify(record), ...(held === undefined ? {} : { held }) };
}
