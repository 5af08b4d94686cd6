/**
 * Which commands carry a transaction's envelope to a server that offers what it offers, and what cannot go to it at all. It
 * must not know when the commands are sent.
 */
import type { OutgoingTransaction, RecipientResult } from "./client_session.ts";
import { mailCommand, rcptCommand, wireForwardPath, wireReversePath } from "./envelope_commands.ts";
import type { Command } from "./expected_reply.ts";
import type { Outgoing } from "./outgoing.ts";
import type { PeerExtensions } from "./peer_extensions.ts";

/** MAIL, RCPT for each recipient that can be sent, and DATA unless chunks follow. What cannot be sent is settled. */
export function planEnvelope(outgoing: Outgoing, offered: PeerExtensions): readonly Command[] {
  const { transaction } = outgoing;
  const refusal = cannotSend(transaction, offered);
  const reversePath = wireReversePath(transaction.reversePath);
  if (refusal !== undefined || reversePath === undefined) {
    outgoing.settleAll(refusal ?? failed("5.1.7", "The sender's address is malformed"));
    return [];
  }
  const paths = transaction.recipients.map((recipient) => wireForwardPath(recipient.address));
  let smtputf8 = transaction.smtputf8 || reversePath.needsSmtputf8;
  for (const [index, path] of paths.entries()) {
    if (path === undefined) outgoing.settle(index, failed("5.1.3", "The recipient's address is malformed"));
    else if (path.needsSmtputf8 && !offered.smtputf8) {
      outgoing.settle(index, failed("5.6.7", "The address needs SMTPUTF8, which the server does not offer"));
    } else smtputf8 ||= path.needsSmtputf8;
  }
  if (outgoing.isDecided) return [];
  const commands: Command[] = [
    { text: mailCommand(reversePath, transaction, smtputf8, offered), expected: { to: "MAIL" } },
  ];
  for (const [index, recipient] of transaction.recipients.entries()) {
    const path = paths[index];
    if (path === undefined || !outgoing.isOpen(index)) continue;
    commands.push({ text: rcptCommand(path, recipient, smtputf8, offered), expected: { to: "RCPT", index } });
  }
  if (!offered.chunking) commands.push({ text: "DATA", expected: { to: "DATA" } });
  return commands;
}

function cannotSend(transaction: OutgoingTransaction, offered: PeerExtensions): RecipientResult | undefined {
  const { reversePath, body, smtputf8, sizeBytes } = transaction;
  if ((smtputf8 || wireReversePath(reversePath)?.needsSmtputf8 === true) && !offered.smtputf8) {
    return failed("5.6.7", "The message needs SMTPUTF8, which the server does not offer");
  }
  if (body === "binarymime" && !offered.binaryMime) {
    return failed("5.6.1", "The message is binary, and the server does not offer BINARYMIME");
  }
  if (body === "8bitmime" && !offered.eightBitMime) {
    return failed("5.6.3", "The message has 8-bit text, and the server does not offer 8BITMIME");
  }
  const { maxSizeBytes } = offered;
  if (maxSizeBytes !== undefined && sizeBytes !== undefined && sizeBytes > maxSizeBytes) {
    return failed("5.3.4", `The message has ${sizeBytes} octets, and the server takes ${maxSizeBytes} at most`);
  }
  return undefined;
}

function failed(enhanced: string, detail: string): RecipientResult {
  return { kind: "failed", enhanced, detail };
}
