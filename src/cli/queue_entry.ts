/**
 * How deliveries and messages of the queue are told: the columns of a table, and the stable shape of `--json`. It must not
 * ask the spool for anything, nor write.
 */
import type { HeaderEdit } from "../message/edit.ts";
import { senderOf } from "../spool/selection.ts";
import type { Attempt, DeliveryState, QueueEntry, StoredMessage } from "../spool/spool.ts";
import { type Column, relativeTime, sizeText, type Style } from "./terminal.ts";

/** What all queue commands take. */
export interface QueueOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** A table longer than this is not read by anybody. */
export const defaultRows = 100;

export function listColumns(nowMs: number, style: Style): readonly Column<QueueEntry>[] {
  const paint = (entry: QueueEntry) => stateStyle(entry.state, style);
  return [
    { title: "MESSAGE", text: (entry) => entry.message.id },
    { title: "STATE", text: (entry) => entry.state, paint },
    { title: "TRIES", align: "right", text: (entry) => String(entry.attempts) },
    { title: "DUE", text: (entry) => dueText(entry, nowMs) },
    { title: "RECEIVED", text: (entry) => relativeTime(entry.message.receivedAtMs, nowMs) },
    { title: "SIZE", align: "right", text: (entry) => sizeText(entry.message.sizeBytes) },
    { title: "CHANNEL", text: (entry) => entry.delivery.channel },
    { title: "FROM", text: (entry) => reversePathText(senderOf(entry)) },
    { title: "TO", text: (entry) => entry.delivery.recipient },
  ];
}

function stateStyle(state: DeliveryState, style: Style): ((text: string) => string) | undefined {
  if (state === "failed") return style.red;
  return state === "held" ? style.yellow : undefined;
}

/** Failed and held deliveries wait for a person, not for a time. */
export function dueText(entry: QueueEntry, nowMs: number): string {
  if (entry.state === "failed" || entry.state === "held") return "-";
  return entry.dueAtMs <= nowMs ? "now" : relativeTime(entry.dueAtMs, nowMs);
}

export function reversePathText(reversePath: string): string {
  return reversePath === "" ? "<>" : reversePath;
}

/** `1 delivery`, `2,500 deliveries`. */
export function countText(count: number, one: string, many: string): string {
  return `${numberText(count)} ${count === 1 ? one : many}`;
}

export function numberText(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** A change to the header section in a few words. */
export function editText(edit: HeaderEdit): string {
  switch (edit.kind) {
    case "add":
    case "set":
      return `${edit.kind} ${edit.name}: ${edit.value}`;
    case "remove":
      return `remove ${edit.name}`;
    case "prefix-subject":
      return `prefix the subject with ${edit.text}`;
  }
}

/** Times in ISO 8601, absent values left out. */
export function entryAsJson(entry: QueueEntry) {
  const { message } = entry;
  return {
    message: message.id,
    ...deliveryAsJson(entry),
    reversePath: senderOf(entry),
    receivedAt: isoTime(message.receivedAtMs),
    sizeBytes: message.sizeBytes,
    listener: message.envelope.origin.listener,
    session: message.envelope.origin.session,
  };
}

function deliveryAsJson(entry: QueueEntry) {
  const { delivery } = entry;
  return {
    delivery: entry.deliveryId,
    state: entry.state,
    attempts: entry.attempts,
    dueAt: isoTime(entry.dueAtMs),
    lastDetail: entry.lastDetail,
    recipient: delivery.recipient,
    originalRecipient: delivery.originalRecipient,
    notify: delivery.notify,
    orcpt: delivery.orcpt,
    edits: delivery.edits,
    channel: delivery.channel,
    binding: delivery.binding,
  };
}

export function messageAsJson(
  message: StoredMessage,
  deliveries: readonly QueueEntry[],
  attempts: readonly Attempt[],
) {
  return {
    message: message.id,
    receivedAt: isoTime(message.receivedAtMs),
    sizeBytes: message.sizeBytes,
    envelope: message.envelope,
    deliveries: deliveries.map((entry) => ({
      ...deliveryAsJson(entry),
      reversePath: senderOf(entry),
      history: attempts
        .filter((attempt) => attempt.deliveryId === entry.deliveryId)
        .map(({ atMs, kind, detail }) => ({ at: isoTime(atMs), kind, detail })),
    })),
  };
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
