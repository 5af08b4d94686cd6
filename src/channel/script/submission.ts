/**
 * What a script sends with `forward` and `reply`: checked, and made into messages of their own. It must not know of threads
 * or of the spool.
 */
import { editedContent, type HeaderEdit } from "../../message/edit.ts";
import { HopCounter } from "../../message/header.ts";
import { formatId, ID_RANDOM_BYTES } from "../../message/id.ts";
import { receivedField } from "../../message/received.ts";
import { formatMailbox, type Mailbox, needsSmtputf8, parseForwardPath } from "../../smtp/address.ts";
import { CR, LF, NUL } from "../../smtp/bytes.ts";
import { MAX_RECEIVED_HOPS } from "../../smtp/limits.ts";
import type { Envelope } from "../../spool/spool.ts";
import type { ChannelContext, Job, JobRecipient, Submission } from "../channel.ts";
import type { ForwardRequest, ReplyRequest } from "./protocol.ts";

/** The script asked for what cannot be sent; the message is for its author. */
export class RequestError extends Error {
  override readonly name = "RequestError";
}

/** The message has been here too often; trying again cannot help. */
export class LoopError extends Error {
  override readonly name = "LoopError";
}

/** The message as it came, with further fields, to another address. The sender stays who it was. */
export function forwarded(
  { to, headers }: ForwardRequest,
  job: Job,
  { delivery }: JobRecipient,
  context: ChannelContext,
): Submission {
  const recipient = mailboxOf(to);
  const { envelope } = job.message;
  if (needsSmtputf8(recipient) && !envelope.smtputf8) {
    throw new RequestError(`Cannot forward to "${to}": the message came without SMTPUTF8`);
  }
  const id = newId(context);
  const edits = headers.map(([name, value]): HeaderEdit => ({ kind: "add", name, value }));
  return {
    id,
    envelope: { ...envelope },
    recipient: formatMailbox(recipient),
    binding: delivery.binding,
    content: traced(editedContent(job.content(), edits), id, context),
  };
}

/** A new message to who sent this one. The rules are Cloudflare's, as far as they are not about DMARC. */
export function replied(
  { from, to, content }: ReplyRequest,
  job: Job,
  { delivery }: JobRecipient,
  context: ChannelContext,
): Submission {
  const { envelope } = job.message;
  if (envelope.reversePath === "") throw new RequestError("A message without a sender cannot be replied to");
  const sender = mailboxOf(from);
  const recipient = mailboxOf(to);
  if (!isSame(recipient, mailboxOf(envelope.reversePath))) {
    throw new RequestError(`A reply must go to the sender of the message, "${envelope.reversePath}", not to "${to}"`);
  }
  const own = [delivery.recipient, delivery.originalRecipient ?? delivery.recipient].map(mailboxOf);
  if (!own.some(({ domain }) => domain.toLowerCase() === sender.domain.toLowerCase())) {
    throw new RequestError(`A reply must come from the domain of "${delivery.recipient}", not from "${from}"`);
  }
  if (content.includes(NUL)) throw new RequestError("A reply must not contain NUL");
  const id = newId(context);
  const bytes = withLineEnds(content);
  const isAscii = bytes.every((byte) => byte < 0x80);
  const newEnvelope: Envelope = {
    reversePath: formatMailbox(sender),
    body: isAscii ? "7bit" : "8bitmime",
    smtputf8: needsSmtputf8(sender) || needsSmtputf8(recipient),
    origin: envelope.origin,
  };
  // RFC 3834 §5: so that nobody's program answers it.
  const edits: HeaderEdit[] = [{ kind: "set", name: "Auto-Submitted", value: "auto-replied" }];
  return {
    id,
    envelope: newEnvelope,
    recipient: formatMailbox(recipient),
    binding: delivery.binding,
    content: traced(editedContent(once(bytes), edits), id, context),
  };
}

function newId({ runtime: { clock, random } }: ChannelContext): string {
  return formatId(clock.nowMs(), random.bytes(ID_RANDOM_BYTES));
}

function mailboxOf(address: string): Mailbox {
  const text = address.trim();
  const path = `<${text}>`;
  const parsed = parseForwardPath(path, 0);
  if (!parsed.ok || parsed.end !== path.length || text === "" || parsed.value.domain === "") {
    throw new RequestError(`"${address}" is not an address`);
  }
  return parsed.value;
}

function isSame(one: Mailbox, other: Mailbox): boolean {
  return one.localPart === other.localPart && one.domain.toLowerCase() === other.domain.toLowerCase();
}

/** With a Received field on top; among channels that send to each other it is what ends the loop (RFC 5321 §6.3). */
async function* traced(
  content: AsyncIterable<Uint8Array>,
  id: string,
  context: ChannelContext,
): AsyncIterable<Uint8Array> {
  const { hostName, runtime: { clock } } = context;
  yield receivedField({ helo: hostName, clientAddress: "", hostName, protocol: "local", id, timeMs: clock.nowMs() });
  const hops = new HopCounter();
  for await (const bytes of content) {
    if (!hops.done) {
      hops.see(bytes);
      if (hops.hops > MAX_RECEIVED_HOPS) throw new LoopError("5.4.6 Too many hops; the message is looping");
    }
    yield bytes;
  }
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/** Each CR, LF and CRLF becomes CRLF, and the last line has one: a bare one is an attack elsewhere (RFC 5321 §2.3.8). */
function withLineEnds(content: Uint8Array): Uint8Array {
  let bare = 0;
  for (let at = 0; at < content.length; at++) {
    const byte = content[at];
    if (byte === LF ? content[at - 1] !== CR : byte === CR && content[at + 1] !== LF) bare++;
  }
  const ends = content.length > 0 && (content.at(-1) === LF || content.at(-1) === CR);
  if (bare === 0 && ends) return content;
  const bytes = new Uint8Array(content.length + bare + (ends ? 0 : 2));
  let to = 0;
  for (let at = 0; at < content.length; at++) {
    const byte = content[at] ?? 0;
    if (byte === LF && content[at - 1] === CR) continue;
    if (byte === LF || byte === CR) {
      bytes[to++] = CR;
      bytes[to++] = LF;
    } else bytes[to++] = byte;
  }
  if (!ends) bytes.set([CR, LF], to);
  return bytes;
}
