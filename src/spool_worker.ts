/**
 * Entry point of the SQLite thread, a Web Worker on both runtimes: ties its message port and timers to the spool's group
 * commit and holds nothing else.
 */
import { setImmediate } from "node:timers";
import { GroupCommit } from "./spool/group_commit.ts";
import type { FromThread, ToThread } from "./spool/protocol.ts";

interface WorkerScope {
  onmessage: ((event: { readonly data: ToThread }) => void) | null;
  postMessage(message: FromThread, moved: ArrayBuffer[]): void;
}

const scope = globalThis as unknown as WorkerScope;
const thread = new GroupCommit({
  post: (message, moved) => scope.postMessage(message, [...moved]),
  soon: (call) => void setImmediate(call),
  after: (delayMs, call) => void setTimeout(call, delayMs),
});
scope.onmessage = (event) => thread.receive(event.data);
