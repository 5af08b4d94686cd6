/**
 * What a message needs of the server that it goes to, found out by reading it when the envelope's word for it is more than
 * the server offers. It must not know of connections.
 */
import { NUL } from "../smtp/bytes.ts";
import { LineEndingWatch } from "../smtp/chunking.ts";
import type { OutgoingTransaction } from "../smtp/client_session.ts";
import type { PeerExtensions } from "../smtp/peer_extensions.ts";
import type { Job, JobRecipient } from "./channel.ts";
import { wireAddress } from "./smtp_destination.ts";

interface Findings {
  readonly hasEightBit: boolean;
  /** In the header section. */
  readonly hasUtf8Header: boolean;
  /** Lines end with CRLF, and there is no NUL. */
  readonly isText: boolean;
}

/** The transaction for these recipients, as the server can take it; or, where it cannot, as it is. */
export async function transactionFor(
  job: Job,
  recipients: readonly JobRecipient[],
  offered: PeerExtensions,
): Promise<OutgoingTransaction> {
  const { envelope, sizeBytes } = job.message;
  let { body, smtputf8 } = envelope;
  const lacks = (body === "binarymime" && !offered.binaryMime) || (body === "8bitmime" && !offered.eightBitMime) ||
    (smtputf8 && !offered.smtputf8);
  if (lacks) {
    const findings = await read(job);
    // RFC 6152 §3: what was announced need not be in it.
    if (body !== "binarymime" || (!offered.binaryMime && findings.isText)) {
      body = findings.hasEightBit ? "8bitmime" : "7bit";
    }
    smtputf8 &&= offered.smtputf8 || findings.hasUtf8Header;
  }
  const { ret, envid } = envelope;
  return {
    reversePath: wireAddress(envelope.reversePath),
    recipients: recipients.map(({ delivery: { recipient, notify, orcpt } }) => ({
      address: wireAddress(recipient),
      ...(notify === undefined ? {} : { notify }),
      ...(orcpt === undefined ? {} : { orcpt }),
    })),
    body,
    smtputf8,
    sizeBytes,
    ...(ret === undefined ? {} : { ret }),
    ...(envid === undefined ? {} : { envid }),
  };
}

async function read(job: Job): Promise<Findings> {
  const watch = new LineEndingWatch();
  const header = new HeaderWatch();
  let hasEightBit = false;
  let hasNul = false;
  for await (const piece of job.content()) {
    watch.see(piece);
    header.see(piece);
    hasNul ||= piece.includes(NUL);
    hasEightBit ||= piece.some((byte) => byte > 0x7f);
  }
  watch.end();
  return { hasEightBit, hasUtf8Header: header.hasEightBit, isText: watch.fault === undefined && !hasNul };
}

/** Looks at the octets before the first empty line. */
class HeaderWatch {
  hasEightBit = false;
  #ended = false;
  /** Since the last LF: nothing but CR. */
  #lineIsEmpty = true;

  see(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.#ended; at++) {
      const byte = bytes[at] as number;
      if (byte === 0x0a) {
        this.#ended = this.#lineIsEmpty;
        this.#lineIsEmpty = true;
      } else if (byte !== 0x0d) this.#lineIsEmpty = false;
      this.hasEightBit ||= byte > 0x7f;
    }
  }
}
