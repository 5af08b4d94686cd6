/**
 * Makes notifications and stores them as new messages, which take the way through the bindings that mail to the sender
 * takes. It must not know when one is due, nor what becomes of the deliveries that it tells of.
 */
import type { Router } from "../binding/route.ts";
import { NOTIFICATIONS } from "../config/config.ts";
import { type ReportedRecipient, type StatusNotification, statusNotification } from "../message/dsn.ts";
import { formatId, ID_RANDOM_BYTES } from "../message/id.ts";
import { MAX_RETURNED_OCTETS, type Returned, ReturnedContent } from "../message/returned_content.ts";
import type { Log } from "../observe/log.ts";
import type { Clock, Random } from "../runtime/runtime.ts";
import { formatMailbox, type Mailbox, parseReversePath } from "../smtp/address.ts";
import { type CommittedDelivery, type Envelope, type Spool, SpoolError, type StoredMessage } from "../spool/spool.ts";

export interface NotificationOptions {
  readonly spool: Pick<Spool, "begin" | "content">;
  /** Of the shared bindings, for a listener named `NOTIFICATIONS`. */
  readonly router: Router;
  readonly hostName: string;
  /** Takes what no binding takes; undefined: then nobody does. */
  readonly channel: string | undefined;
  readonly clock: Pick<Clock, "nowMs">;
  readonly random: Pick<Random, "bytes">;
  readonly log: Log;
  /** Something was stored for these channels. */
  nudge(channels: readonly string[]): void;
}

export type Told =
  /** The notification survives a power cut. */
  | { readonly kind: "told" }
  /** There is nobody to tell; `why` goes on after a colon. */
  | { readonly kind: "nobody"; readonly why: string };

export class Notifications {
  readonly #options: NotificationOptions;

  constructor(options: NotificationOptions) {
    this.#options = options;
  }

  /** Tells the sender of all these recipients of the message in one notification. Rejects with `SpoolError`. */
  async tell(message: StoredMessage, sender: string, recipients: readonly ReportedRecipient[]): Promise<Told> {
    const { spool, hostName, clock, random, log, nudge } = this.#options;
    const path = `<${sender}>`;
    const parsed = parseReversePath(path, 0);
    if (!parsed.ok || parsed.value === null || parsed.end !== path.length) {
      return { kind: "nobody", why: `"${sender}" is not an address` };
    }
    const returned = await this.#returned(message, recipients);
    if (returned === undefined) return { kind: "nobody", why: "the message is gone" };
    const timeMs = clock.nowMs();
    const id = formatId(timeMs, random.bytes(ID_RANDOM_BYTES));
    const { envelope } = message;
    const notification = statusNotification({
      id,
      hostName,
      timeMs,
      reversePath: sender,
      ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
      arrivalMs: message.receivedAtMs,
      recipients,
      returned,
      smtputf8: envelope.smtputf8,
    });
    const deliveries = this.#deliveries(parsed.value, notification, timeMs);
    if (typeof deliveries === "string") return { kind: "nobody", why: deliveries };
    await using draft = spool.begin();
    const pending = draft.write(notification.content);
    if (pending !== undefined) await pending;
    const own = envelopeOf(notification, envelope, hostName);
    await draft.commit({ id, receivedAtMs: timeMs, envelope: own, deliveries });
    log.info("notified", {
      session: envelope.origin.session,
      message: message.id,
      notification: id,
      action: recipients[0]?.action,
      to: sender,
      recipients: recipients.length,
    });
    nudge([...new Set(deliveries.filter(({ held }) => held !== true).map(({ channel }) => channel))]);
    return { kind: "told" };
  }

  /** What of the message goes back; undefined when it is not there any more. */
  async #returned(message: StoredMessage, recipients: readonly ReportedRecipient[]): Promise<Returned | undefined> {
    const { ret, body } = message.envelope;
    // RFC 3461 §6.2: only who is told of a failure gets the whole message, and only a small one.
    const isWhole = ret !== "headers" && body !== "binarymime" && message.sizeBytes <= MAX_RETURNED_OCTETS &&
      recipients.some(({ action }) => action === "failed");
    const content = new ReturnedContent(isWhole ? "message" : "header");
    try {
      for await (const bytes of this.#options.spool.content(message.id)) {
        content.see(bytes);
        if (content.isEnough) break;
      }
    } catch (error) {
      if (error instanceof SpoolError && error.code === "gone") return undefined;
      throw error;
    }
    return content.returned();
  }

  /** Where the notification goes, or why nowhere. */
  #deliveries(
    recipient: Mailbox,
    { content, fields }: StatusNotification,
    nowMs: number,
  ): readonly CommittedDelivery[] | string {
    const { router, hostName, channel } = this.#options;
    const address = formatMailbox(recipient);
    const route = router.route({
      recipient,
      sender: null,
      clientAddress: "",
      helo: hostName,
      tls: undefined,
      user: undefined,
      notify: ["never"],
      declaredSizeBytes: content.length,
      nowMs,
      body: { sizeBytes: content.length, fields },
    });
    if (route.kind === "accept") {
      if (route.deliveries.length === 0) return `the binding "${route.binding}" discards mail to "${address}"`;
      // The sender stays null, whatever a binding would make of it.
      return route.deliveries.map(({ channel: to, binding, recipient: changed, edits, held }) => {
        const now = changed === undefined ? address : formatMailbox(changed);
        return {
          ...NEVER,
          recipient: now,
          ...(now === address ? {} : { originalRecipient: address }),
          channel: to,
          binding,
          ...(edits === undefined ? {} : { edits }),
          ...(held === undefined ? {} : { held }),
        };
      });
    }
    if (channel !== undefined) return [{ ...NEVER, recipient: address, channel, binding: NOTIFICATIONS }];
    return route.kind === "refuse" && route.binding !== undefined
      ? `the binding "${route.binding}" refuses mail to "${address}"`
      : `no binding takes mail to "${address}", and [notifications] names no channel for it`;
  }
}

/** RFC 3461 §6.1. */
const NEVER = { notify: ["never"] } as const;

/** The null reverse-path: whoever cannot deliver it tells nobody (RFC 5321 §4.5.5). */
function envelopeOf({ body, smtputf8 }: StatusNotification, { origin }: Envelope, hostName: string): Envelope {
  return {
    reversePath: "",
    body,
    smtputf8,
    origin: { session: origin.session, listener: NOTIFICATIONS, address: "", helo: hostName, protocol: "local" },
  };
}
