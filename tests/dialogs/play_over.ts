/**
 * Plays dialogs against a server at the other end of a byte stream, which may be a socket, a pair of pipes or anything
 * else: only replies and ends are seen, not what was stored. It must not know how the stream is made.
 */
import assert from "node:assert/strict";
import type { Dialog, DialogEvent } from "./dialog.ts";
import { ReplyReader } from "./reply_lines.ts";

/** The client's end of a stream. */
export interface DialogConnection extends AsyncDisposable {
  /** Hands the bytes over; a stream that the server has closed already swallows them. */
  write(bytes: Uint8Array): Promise<void>;
  /** The next bytes, undefined at the end of the stream. Rejects when the server is silent for too long. */
  read(): Promise<Uint8Array | undefined>;
  /** Ends the client's half. */
  end(): Promise<void>;
  startTls?(): Promise<void>;
  /** Tells the server to stop, where the test is its master. */
  stop?(event: DialogEvent & { kind: "stop" }): void;
}

export type Pace = "lock-step" | "one buffer" | "byte by byte";

/** Whether a dialog can be played so. Bytes injected before a handshake must come in the packet of STARTTLS itself. */
export function suits(dialog: Dialog, pace: Pace, connection: { readonly tls: boolean }): boolean {
  const handshakes = dialog.events.some((event) => event.kind === "tls");
  if (handshakes && !connection.tls) return false;
  if (pace === "lock-step") return true;
  const octets = dialog.events.reduce((sum, event) => sum + (event.kind === "send" ? event.bytes.length : 0), 0);
  return !handshakes && (pace === "one buffer" || octets < 2000);
}

/** Throws an assertion error at the first difference. */
export async function playOver(dialog: Dialog, connection: DialogConnection, pace: Pace): Promise<void> {
  const reader = new ReplyReader();
  let ended = false;
  for (const group of grouped(dialog.events, pace)) {
    for (const event of group.actions) await act(connection, event, pace);
    for (const event of group.expectations) {
      if (event.kind === "close") {
        while (!ended) ended = await pull(connection, reader);
        continue;
      }
      for (;;) {
        const result = reader.take(event.expectation);
        if (result === "met") break;
        if (result !== undefined) assert.fail(`${event.place}: ${result.wrong}`);
        assert.ok(!ended, `${event.place}: The server closed in place of ${event.expectation.prefix}`);
        ended = await pull(connection, reader);
      }
    }
    if (pace === "lock-step") assert.equal(reader.rest(), "", `${dialog.place}: The server said more than expected`);
  }
  assert.equal(reader.rest(), "", `${dialog.place}: The server said more than expected`);
}

type Action = DialogEvent & { kind: "send" | "tls" | "eof" | "stop" };
type Expected = DialogEvent & { kind: "expect" | "close" };

interface Group {
  readonly actions: Action[];
  readonly expectations: Expected[];
}

/** What the client does, and what must come before it does more: in one buffer that is a handshake, a stop or an end. */
function grouped(events: readonly DialogEvent[], pace: Pace): readonly Group[] {
  const groups: Group[] = [{ actions: [], expectations: [] }];
  for (const event of events) {
    const group = groups.at(-1);
    if (group === undefined || event.kind === "stored" || event.kind === "nothing-stored") continue;
    if (event.kind === "expect" || event.kind === "close") group.expectations.push(event);
    else if (group.expectations.length > 0 && (pace === "lock-step" || event.kind !== "send")) {
      groups.push({ actions: [event], expectations: [] });
    } else group.actions.push(event);
  }
  return groups;
}

async function act(connection: DialogConnection, event: Action, pace: Pace): Promise<void> {
  switch (event.kind) {
    case "send":
      if (pace !== "byte by byte") return await connection.write(event.bytes);
      for (const byte of event.bytes) await connection.write(Uint8Array.of(byte));
      return;
    case "tls":
      return await connection.startTls?.();
    case "eof":
      return await connection.end();
    case "stop":
      connection.stop?.(event);
  }
}

/** True at the end of the stream. */
async function pull(connection: DialogConnection, reader: ReplyReader): Promise<boolean> {
  const bytes = await connection.read();
  if (bytes !== undefined) reader.push(bytes);
  return bytes === undefined;
}
