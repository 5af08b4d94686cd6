/**
 * What happens to the mail of one connection: answers the session's questions from the bindings, streams bodies into the
 * spool, and takes responsibility for a message only once the spool has it. The one place where a failing store becomes a
 * 4xx reply. It must not know how replies or bodies travel.
 */
import type { Router } from "../binding/route.ts";
import type { ListenerConfig } from "../config/config.ts";
import { CLAIM_MS } from "../controller/controller.ts";
import { FieldCollector } from "../message/field.ts";
import { HopCounter } from "../message/header.ts";
import { formatId, ID_RANDOM_BYTES } from "../message/id.ts";
import { protocolName, receivedField } from "../message/received.ts";
import type { Log } from "../observe/log.ts";
import type { Clock, Endpoint, Random, TlsIdentity, TlsInfo, Transport } from "../runtime/runtime.ts";
import { formatMailbox, type ForwardPath } from "../smtp/address.ts";
import { MAX_RECEIVED_HOPS } from "../smtp/limits.ts";
import { prepared, type Reply, reply } from "../smtp/reply.ts";
import type { Question, Verdict } from "../smtp/session.ts";
import { COMMITTED } from "../smtp/replies.ts";
import type { RecipientParameters, Transaction } from "../smtp/transaction.ts";
import {
  type CommittedDelivery,
  type Draft,
  type Envelope,
  type Lease,
  type NewMessage,
  type Spool,
  SpoolError,
} from "../spool/spool.ts";
import { decodeCharset } from "./charset.ts";
import { askedOf, type Deliveries } from "./deliveries.ts";
import type { SessionHost } from "./drive.ts";
import { judge, UNDECIDED } from "./judgement.ts";
import { type Decision, TransactionRouting } from "./routing.ts";

/** What all connections of a listener share. */
export interface ReceptionServices {
  readonly listener: ListenerConfig;
  readonly router: Router;
  readonly spool: Pick<Spool, "begin" | "refusal">;
  readonly deliveries: Deliveries;
  readonly identity: TlsIdentity | undefined;
  readonly clock: Pick<Clock, "nowMs">;
  readonly random: Pick<Random, "bytes">;
}

const ACCEPT: Verdict = { kind: "accept" };
const NOBODY: readonly string[] = [];
const LOOP = prepared(reply(554, "5.4.6", "Too many hops; the message is looping"));
const NO_SPACE = prepared(reply(452, "4.3.1", "Not enough space; try again later"));
const STORE_FAILED = prepared(reply(451, "4.3.0", "Cannot store the message; try again later"));

/** The message that the data question began. */
interface Incoming {
  readonly id: string;
  /** Absent when all of its recipients are discarded. */
  readonly draft: Draft | undefined;
  readonly hops: HopCounter;
  /** When header fields decide about a recipient. */
  readonly fields: FieldCollector | undefined;
}

/** A message whose end was read. */
interface Received {
  readonly id: string;
  readonly draft: Draft;
  readonly transaction: Transaction;
  readonly sizeBytes: number;
}

export class Reception implements SessionHost {
  readonly #services: ReceptionServices;
  readonly #session: string;
  readonly #log: Log;
  readonly #clientAddress: string;
  #verb: "HELO" | "EHLO" | "LHLO" = "HELO";
  #helo = "";
  #tls: TlsInfo | undefined;
  readonly #routing: TransactionRouting;
  #incoming: Incoming | undefined;
  /** Messages accepted so far. */
  messages = 0;

  constructor(services: ReceptionServices, session: string, peer: Endpoint, log: Log) {
    this.#services = services;
    this.#session = session;
    this.#log = log;
    this.#routing = new TransactionRouting(services.router, services.listener.protocol, services.deliveries, log);
    this.#clientAddress = peer.kind === "ip" ? peer.address : "";
  }

  get helo(): string {
    return this.#helo;
  }

  get tls(): TlsInfo | undefined {
    return this.#tls;
  }

  decide(question: Question): Verdict | Promise<Verdict> {
    switch (question.kind) {
      case "connect":
        return ACCEPT;
      case "hello":
        this.#verb = question.verb;
        this.#helo = question.name;
        return ACCEPT;
      case "mail":
        this.#routing.begin(question.reversePath, question.parameters);
        return this.#storeRefusal() ?? ACCEPT;
      case "recipient":
        return this.#recipient(question.forwardPath, question.parameters);
      case "data":
        return this.#storeRefusal() ?? this.#begin(question.transaction);
      case "commit":
        return this.#commit(question.transaction, question.sizeBytes);
    }
  }

  body(bytes: Uint8Array): Reply | undefined | Promise<Reply | undefined> {
    const incoming = this.#incoming;
    if (incoming?.draft === undefined) return undefined;
    if (!incoming.hops.done) {
      incoming.hops.see(bytes);
      if (incoming.hops.hops > MAX_RECEIVED_HOPS) {
        this.abandon(LOOP);
        return LOOP;
      }
    }
    incoming.fields?.see(bytes);
    return this.#write(incoming.draft, bytes);
  }

  abandon(refusal?: Reply): void {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    if (incoming === undefined) return;
    this.#drop(incoming.draft);
    if (refusal !== undefined) this.#log.info("message refused", { message: incoming.id, reply: replyText(refusal) });
  }

  async startTls(transport: Transport, lastPlaintext: Uint8Array): Promise<void> {
    const { identity } = this.#services;
    if (identity === undefined || transport.startTls === undefined) {
      throw new Error("TLS was offered without a key pair");
    }
    this.#tls = await transport.startTls(identity, lastPlaintext);
    this.#helo = "";
  }

  /** The session asks for the commit only after this has returned undefined for each piece. */
  #write(draft: Draft, bytes: Uint8Array): undefined | Promise<Reply | undefined> {
    const pending = draft.write(bytes);
    if (pending === undefined) return undefined;
    return pending.then(() => undefined, (error: unknown) => {
      this.abandon();
      return this.#storeFailed(error);
    });
  }

  #storeRefusal(): Verdict | undefined {
    const refusal = this.#services.spool.refusal();
    return refusal === undefined ? undefined : { kind: "refuse", reply: storeReply(refusal) };
  }

  #recipient(forwardPath: ForwardPath, parameters: RecipientParameters): Verdict {
    const { router, clock } = this.#services;
    const refusal = this.#routing.add(forwardPath, parameters, {
      clientAddress: this.#clientAddress,
      helo: this.#helo,
      tls: this.#tls,
      user: undefined,
      nowMs: router.reads.time ? clock.nowMs() : 0,
    });
    return refusal === undefined ? ACCEPT : { kind: "refuse", reply: refusal };
  }

  #begin(transaction: Transaction): Verdict {
    this.abandon();
    const { clock, random, spool, listener } = this.#services;
    const timeMs = clock.nowMs();
    const id = formatId(timeMs, random.bytes(ID_RANDOM_BYTES));
    const hops = new HopCounter();
    if (this.#routing.discards) {
      this.#incoming = { id, draft: undefined, hops, fields: undefined };
      return ACCEPT;
    }
    const only = transaction.recipients.length === 1 ? transaction.recipients[0] : undefined;
    const field = receivedField({
      helo: this.#helo,
      clientAddress: this.#clientAddress,
      hostName: listener.hostName,
      protocol: this.#protocol(transaction),
      id,
      timeMs,
      ...(this.#tls === undefined ? {} : { tls: this.#tls }),
      ...(only === undefined ? {} : { recipient: formatMailbox(only.forwardPath) }),
    });
    const fields = this.#routing.wantsFields ? new FieldCollector() : undefined;
    const draft = spool.begin();
    this.#incoming = { id, draft, hops, fields };
    // A few hundred octets into an empty draft: the store has room for them without waiting.
    void this.#write(draft, field);
    return ACCEPT;
  }

  #protocol(transaction: Transaction): string {
    return protocolName(this.#verb, {
      tls: this.#tls !== undefined,
      authenticated: false,
      smtputf8: transaction.parameters.smtputf8,
    });
  }

  async #commit(transaction: Transaction, sizeBytes: number): Promise<Verdict> {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    if (incoming === undefined) return { kind: "refuse", reply: STORE_FAILED };
    const { id, draft, fields } = incoming;
    if (fields?.tooLarge === true) this.#log.warn("header section not read", { message: id, size: sizeBytes });
    const body = {
      sizeBytes,
      fields: fields === undefined || fields.tooLarge ? undefined : fields.fields(decodeCharset),
    };
    const routed = this.#routing.decide(body);
    const { deliveries, refusals } = routed;
    const { protocol } = this.#services.listener;
    const refused = refusals.find((refusal) => refusal !== undefined);
    if (refused !== undefined && (protocol === "smtp" || deliveries.length === 0)) {
      this.#drop(draft);
      return protocol === "smtp" ? { kind: "refuse", reply: refused } : endReply(protocol, refusals, undefined);
    }
    if (deliveries.length === 0) this.#drop(draft);
    else {
      if (draft === undefined) throw new Error("A message that was to be discarded has deliveries");
      const { deciding } = this.#services.deliveries;
      const asked = deciding.size === 0 ? NOBODY : askedOf(deliveries, deciding);
      if (asked.length > 0) return await this.#ask(asked, routed, { id, draft, transaction, sizeBytes });
      const failure = await this.#store(id, draft, transaction, deliveries);
      if (failure !== undefined) return { kind: "refuse", reply: failure };
    }
    this.#taken(deliveries.length === 0 ? "discarded" : "accepted", id, transaction, sizeBytes);
    return endReply(protocol, refusals, deliveries.length === 0 ? undefined : `Queued as ${id}`);
  }

  /** Takes responsibility for the message, or says why not. */
  async #store(
    id: string,
    draft: Draft,
    transaction: Transaction,
    committed: readonly CommittedDelivery[],
  ): Promise<Reply | undefined> {
    const { deliveries: attempts } = this.#services;
    const channels = channelsOf(committed);
    const claim = attempts.claimable(channels);
    try {
      const leases = await draft.commit(
        this.#message(id, transaction, committed),
        claim ? { claimForMs: CLAIM_MS } : {},
      );
      if (claim) attempts.accept(leases);
      else attempts.nudge(channels);
      return undefined;
    } catch (error) {
      this.#drop(draft);
      return this.#storeFailed(error);
    }
  }

  /**
   * Stores the message, and answers as the channels do that decide about it. Until then nothing of it is delivered; a crash
   * meanwhile leaves it in the spool, and the client, who was told nothing, sends it again.
   */
  async #ask(asked: readonly string[], routed: Decision, received: Received): Promise<Verdict> {
    const { deliveries: attempts, listener: { protocol } } = this.#services;
    const { id, draft, transaction, sizeBytes } = received;
    let { refusals } = routed;
    if (attempts.claimable(asked)) {
      let leases: readonly Lease[];
      try {
        const message = this.#message(id, transaction, routed.deliveries);
        leases = await draft.commit(message, { claimForMs: CLAIM_MS });
      } catch (error) {
        this.#drop(draft);
        return { kind: "refuse", reply: this.#storeFailed(error) };
      }
      await attempts.decide(leases, (answers) => {
        const judgement = judge(protocol, routed, answers);
        refusals = judgement.refusals;
        return judgement.removal;
      });
    } else {
      this.#drop(draft);
      refusals = refusals.map((refusal) => refusal ?? UNDECIDED);
    }
    const refused = refusals.find((refusal) => refusal !== undefined);
    if (refused !== undefined) this.#log.info("message refused", { message: id, reply: replyText(refused) });
    if (refused !== undefined && protocol === "smtp") return { kind: "refuse", reply: refused };
    if (!refusals.includes(undefined)) return endReply(protocol, refusals, undefined);
    this.#taken("accepted", id, transaction, sizeBytes);
    return endReply(protocol, refusals, `Queued as ${id}`);
  }

  #taken(what: "accepted" | "discarded", id: string, transaction: Transaction, sizeBytes: number): void {
    this.messages += 1;
    this.#log.info(what, {
      message: id,
      from: formatMailbox(transaction.reversePath),
      recipients: transaction.recipients.length,
      size: sizeBytes,
    });
  }

  #message(id: string, transaction: Transaction, deliveries: readonly CommittedDelivery[]): NewMessage {
    return { id, receivedAtMs: this.#services.clock.nowMs(), envelope: this.#envelope(transaction), deliveries };
  }

  #envelope(transaction: Transaction): Envelope {
    const { body, smtputf8, ret, envid } = transaction.parameters;
    return {
      reversePath: formatMailbox(transaction.reversePath),
      body,
      smtputf8,
      ...(ret === undefined ? {} : { ret }),
      ...(envid === undefined ? {} : { envid }),
      origin: {
        session: this.#session,
        listener: this.#services.listener.name,
        address: this.#clientAddress,
        helo: this.#helo,
        protocol: this.#protocol(transaction),
      },
    };
  }

  #storeFailed(error: unknown): Reply {
    this.#log.error("store failed", { error: error instanceof Error ? error.message : String(error) });
    return storeReply(error);
  }

  #drop(draft: Draft | undefined): void {
    draft?.[Symbol.asyncDispose]().then(undefined, (error: unknown) => {
      this.#log.warn("draft not removed", { error: error instanceof Error ? error.message : String(error) });
    });
  }
}

/** The first line of a reply, for the log. */
function replyText({ code, enhanced, lines }: Reply): string {
  return [code, enhanced, lines[0]].filter((part) => part !== undefined).join(" ");
}

function storeReply(error: unknown): Reply {
  return error instanceof SpoolError && error.code === "full" ? NO_SPACE : STORE_FAILED;
}

/** One reply for each recipient when the protocol has them, else one for all. */
function endReply(
  protocol: "smtp" | "lmtp",
  refusals: readonly (Reply | undefined)[],
  detail: string | undefined,
): Verdict {
  if (protocol === "smtp" || refusals.every((refusal) => refusal === undefined)) {
    return detail === undefined ? ACCEPT : { kind: "accept", detail };
  }
  const accepted = detail === undefined ? COMMITTED : reply(250, "2.0.0", detail);
  return { kind: "accept-each", replies: refusals.map((refusal) => refusal ?? accepted) };
}

/** Of what is to be attempted now. */
function channelsOf(deliveries: readonly CommittedDelivery[]): readonly string[] {
  const first = deliveries[0];
  if (deliveries.length === 1 && first !== undefined) return first.held === true ? [] : [first.channel];
  return [...new Set(deliveries.filter(({ held }) => held !== true).map(({ channel }) => channel))];
}
