/**
 * The recipients of one transaction: asks the router for each, keeps together only those that one reply at the end of data
 * can answer truly, and says at the end what is to be delivered to whom. It must not know of bodies, stores or replies to
 * anything else.
 */
import type { BodyFacts, Query } from "../binding/condition.ts";
import type { Route, RoutedDelivery, Router } from "../binding/route.ts";
import type { Log } from "../observe/log.ts";
import { formatMailbox, type ForwardPath, type ReversePath } from "../smtp/address.ts";
import { prepared, type Reply, reply } from "../smtp/reply.ts";
import type { MailParameters, RecipientParameters } from "../smtp/transaction.ts";
import type { CommittedDelivery, NewDelivery } from "../spool/spool.ts";
import { askedOf, type Deliveries } from "./deliveries.ts";

/** What of the session matters to bindings. */
export type SessionFacts = Pick<Query, "clientAddress" | "helo" | "tls" | "user" | "nowMs">;

interface Accepted {
  readonly query: Query;
  readonly parameters: RecipientParameters;
  readonly route: Route;
}

export interface Decision {
  /** One copy for each recipient and channel. */
  readonly deliveries: readonly CommittedDelivery[];
  /** For each accepted recipient in order: why it is refused after all. */
  readonly refusals: readonly (Reply | undefined)[];
  /** For each accepted recipient in order, which of the deliveries are its own; only when channels decide. */
  readonly shares: readonly (readonly CommittedDelivery[])[] | undefined;
}

const NOT_TOGETHER = prepared(reply(452, "4.5.3", "Other rules apply to this recipient; send in another transaction"));

export class TransactionRouting {
  readonly #router: Router;
  readonly #protocol: "smtp" | "lmtp";
  readonly #channels: Pick<Deliveries, "deciding">;
  readonly #log: Log;
  #sender: ReversePath = null;
  #declaredSizeBytes: number | undefined;
  #accepted: Accepted[] = [];
  #undecided = false;

  constructor(router: Router, protocol: "smtp" | "lmtp", channels: Pick<Deliveries, "deciding">, log: Log) {
    this.#router = router;
    this.#protocol = protocol;
    this.#channels = channels;
    this.#log = log;
  }

  /** MAIL: forgets the transaction before. */
  begin(sender: ReversePath, parameters: MailParameters): void {
    this.#sender = sender;
    this.#declaredSizeBytes = parameters.sizeBytes;
    this.#accepted = [];
    this.#undecided = false;
  }

  /** RCPT: why the recipient is refused, or undefined. */
  add(recipient: ForwardPath, parameters: RecipientParameters, session: SessionFacts): Reply | undefined {
    const { clientAddress, helo, tls, user, nowMs } = session;
    const query: Query = {
      recipient,
      sender: this.#sender,
      clientAddress,
      helo,
      tls,
      user,
      notify: parameters.notify,
      declaredSizeBytes: this.#declaredSizeBytes,
      nowMs,
      body: undefined,
    };
    const route = this.#router.route(query);
    if (route.kind === "refuse") {
      this.#refused(query, route);
      return route.reply;
    }
    // SMTP has one reply at the end of data, so what is refused there must be refused for all (RFC 5321 §4.2.5).
    const first = this.#accepted[0];
    if (first !== undefined && this.#protocol === "smtp" && this.#keyOf(first.route) !== this.#keyOf(route)) {
      return NOT_TOGETHER;
    }
    this.#accepted.push({ query, parameters, route });
    this.#undecided ||= route.kind === "undecided";
    return undefined;
  }

  /** Whether header fields may decide something at the end of data. */
  get wantsFields(): boolean {
    return this.#router.reads.headers && (this.#undecided || this.#sizeMatters);
  }

  /** Whatever the body is, nobody gets it: it need not be kept. */
  get discards(): boolean {
    if (this.#undecided || this.#sizeMatters) return false;
    return this.#accepted.every(({ route }) => route.kind === "accept" && route.deliveries.length === 0);
  }

  /** The end of data. A wrong SIZE has decided nothing: with the real one, everybody is routed again. */
  decide(body: BodyFacts): Decision {
    const again = this.#sizeMatters && this.#declaredSizeBytes !== body.sizeBytes;
    const deliveries: CommittedDelivery[] = [];
    const refusals: (Reply | undefined)[] = [];
    const shares: CommittedDelivery[][] | undefined = this.#channels.deciding.size > 0 ? [] : undefined;
    for (const { query, parameters, route: before } of this.#accepted) {
      const from = deliveries.length;
      const isOpen = again || before.kind === "undecided";
      const route = isOpen ? this.#router.route({ ...query, body }) : before;
      if (route.kind === "undecided") throw new Error("A recipient is undecided after the end of data");
      if (route.kind === "refuse") this.#refused(query, route);
      else addDeliveries(deliveries, route.deliveries, query.recipient, parameters);
      shares?.push(deliveries.slice(from));
      refusals.push(route.kind === "refuse" ? route.reply : undefined);
    }
    return { deliveries: withoutRepetitions(deliveries), refusals, shares };
  }

  /**
   * What the reply at the end of data depends on: undefined when the recipient will be accepted whatever the body is. One that
   * is undecided may come to a channel that decides, which cannot be known before.
   */
  #keyOf(route: Route): string | undefined {
    if (route.kind === "undecided") return route.refusalKey;
    const { deciding } = this.#channels;
    if (route.kind === "refuse" || deciding.size === 0) return undefined;
    const asked = askedOf(route.deliveries, deciding);
    return asked.length === 0 ? undefined : `asks ${asked.toSorted().join(" ")}`;
  }

  get #sizeMatters(): boolean {
    return this.#router.reads.size && this.#declaredSizeBytes !== undefined;
  }

  #refused({ recipient }: Query, route: Route & { readonly kind: "refuse" }): void {
    const { code, enhanced, lines } = route.reply;
    this.#log.info("recipient refused", {
      recipient: formatMailbox(recipient),
      binding: route.binding,
      reply: `${code} ${enhanced ?? ""} ${lines[0] ?? ""}`,
    });
  }
}

function addDeliveries(
  deliveries: CommittedDelivery[],
  routed: readonly RoutedDelivery[],
  given: ForwardPath,
  { notify, orcpt }: RecipientParameters,
): void {
  const original = formatMailbox(given);
  for (const { channel, binding, recipient, sender, edits, held } of routed) {
    const now = recipient === undefined ? original : formatMailbox(recipient);
    deliveries.push({
      recipient: now,
      ...(now === original ? {} : { originalRecipient: original }),
      channel,
      binding,
      ...(notify === undefined ? {} : { notify }),
      ...(orcpt === undefined ? {} : { orcpt }),
      ...(sender === undefined ? {} : { reversePath: formatMailbox(sender) }),
      ...(edits === undefined ? {} : { edits }),
      ...(held === undefined ? {} : { held }),
    });
  }
}

/** The same for deliveries that are the same to whoever gets them. */
export function deliveryKey({ channel, recipient, reversePath, edits }: NewDelivery): string {
  const changes = reversePath === undefined && edits === undefined ? "" : JSON.stringify([reversePath, edits]);
  return `${channel}\n${recipient}\n${changes}`;
}

/** Whoever is given twice, or reached in two ways, gets one copy in each channel; differently changed ones are two. */
function withoutRepetitions(deliveries: readonly CommittedDelivery[]): readonly CommittedDelivery[] {
  if (deliveries.length < 2) return deliveries;
  const distinct = new Map<string, CommittedDelivery>();
  for (const delivery of deliveries) {
    const key = deliveryKey(delivery);
    const before = distinct.get(key);
    // Held only when every way there is held.
    if (before === undefined || (before.held === true && delivery.held !== true)) distinct.set(key, delivery);
  }
  return [...distinct.values()];
}
