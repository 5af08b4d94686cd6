/**
 * Connections that wait for the next message to the same destination, for a short time and not too many. It must not know
 * how they are opened.
 */
import type { Clock } from "../runtime/runtime.ts";
import type { SmtpConnection } from "./smtp_connection.ts";

/** Idle connections of one channel. */
const IDLE_MAX = 100;

interface Idle {
  readonly key: string;
  readonly connection: SmtpConnection;
  readonly timer: Disposable;
}

export class ConnectionPool implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #idleMs: number;
  /** In the order in which they began to wait. */
  readonly #idle = new Set<Idle>();
  readonly #leaving = new Set<Promise<void>>();
  #closed = false;

  constructor(clock: Clock, idleMs: number) {
    this.#clock = clock;
    this.#idleMs = idleMs;
  }

  /** The one that was used last: the others may end. */
  take(key: string): SmtpConnection | undefined {
    let found: Idle | undefined;
    for (const idle of this.#idle) if (idle.key === key) found = idle;
    if (found === undefined) return undefined;
    this.#remove(found);
    return found.connection.isOpen ? found.connection : this.take(key);
  }

  /** Keeps it for the next, or ends it in order when it is not to be kept. */
  give(key: string, connection: SmtpConnection, keep: boolean): void {
    if (!keep || this.#idleMs === 0 || this.#closed || !connection.isOpen) return this.#end(connection);
    const idle: Idle = {
      key,
      connection,
      timer: this.#clock.after(this.#idleMs, () => {
        if (this.#remove(idle)) this.#end(connection);
      }),
    };
    this.#idle.add(idle);
    connection.rest(() => {
      this.#remove(idle);
      connection.abort();
    });
    if (this.#idle.size > IDLE_MAX) {
      for (const oldest of this.#idle) {
        this.#remove(oldest);
        return this.#end(oldest.connection);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const idle of this.#idle) {
      this.#remove(idle);
      this.#end(idle.connection);
    }
    await Promise.all(this.#leaving);
  }

  #remove(idle: Idle): boolean {
    idle.timer[Symbol.dispose]();
    return this.#idle.delete(idle);
  }

  #end(connection: SmtpConnection): void {
    const leaving = connection.quit();
    this.#leaving.add(leaving);
    void leaving.then(() => this.#leaving.delete(leaving));
  }
}
