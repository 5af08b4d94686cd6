/**
 * What every store must understand in the same way: the bounds of what it is asked for, the patterns of a selection, the
 * domain of a recipient. It must not know how a store works.
 */
import { compileGlob, isGlob } from "../binding/glob.ts";
import type { QueueEntry, Selection } from "./spool.ts";

const DEFAULT_LIST_LIMIT = 100;
const MAX_LIST_LIMIT = 10_000;
/** Characters of a settlement's detail that are kept: a reply of many lines is told by its beginning. */
const MAX_DETAIL_CHARACTERS = 1000;

/** How many entries a selection gives at most. */
export function listLimit(selection: Selection): number {
  const limit = Math.floor(selection.limit ?? DEFAULT_LIST_LIMIT);
  return Number.isNaN(limit) ? DEFAULT_LIST_LIMIT : Math.min(MAX_LIST_LIMIT, Math.max(0, limit));
}

/** A detail as it is stored. */
export function boundedDetail(detail: string): string {
  return detail.length > MAX_DETAIL_CHARACTERS ? detail.slice(0, MAX_DETAIL_CHARACTERS) : detail;
}

/** The sender of a delivery: what a binding made of it, or what MAIL said. */
export function senderOf({ message, delivery }: Pick<QueueEntry, "message" | "delivery">): string {
  return delivery.reversePath ?? message.envelope.reversePath;
}

/** Without the domain's case; "" when there is none. */
export function domainOf(recipient: string): string {
  return asciiLower(recipient.slice(recipient.lastIndexOf("@") + 1 || recipient.length));
}

/** As SQLite's `lower` does. */
export function asciiLower(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Says of entries whether they are in the selection, but for its limit and where it continues. */
export function selector(selection: Selection): (entry: QueueEntry) => boolean {
  const { messageId, messageIds, channel, state, binding, receivedBeforeMs, receivedAfterMs } = selection;
  const sender = matcher(selection.sender);
  const recipient = matcher(selection.recipient);
  return (entry) => {
    const { message, delivery } = entry;
    return (messageId === undefined || message.id === messageId) &&
      (messageIds === undefined || message.id >= messageIds.from && message.id <= messageIds.to) &&
      (channel === undefined || delivery.channel === channel) &&
      (state === undefined || entry.state === state) &&
      (binding === undefined || delivery.binding === binding) &&
      (receivedBeforeMs === undefined || message.receivedAtMs < receivedBeforeMs) &&
      (receivedAfterMs === undefined || message.receivedAtMs > receivedAfterMs) &&
      sender(senderOf(entry)) && recipient(delivery.recipient);
  };
}

function matcher(pattern: string | undefined): (text: string) => boolean {
  if (pattern === undefined) return () => true;
  const lower = asciiLower(pattern);
  if (!isGlob(lower)) return (text) => asciiLower(text) === lower;
  const glob = compileGlob(lower);
  return (text) => glob.matches(asciiLower(text));
}
