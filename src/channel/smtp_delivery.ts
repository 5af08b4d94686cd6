/**
 * Deliveries over SMTP and LMTP: a job's recipients by destination, each destination's over a connection that is kept for
 * the next job, and what the server said as outcomes. It must not know of leases or retries.
 */
import { readSecret } from "../config/secret.ts";
import { type ClientTls, type Endpoint, endpointText, type TlsKeyPair, TransportError } from "../runtime/runtime.ts";
import type { ClientSessionOptions, RecipientResult } from "../smtp/client_session.ts";
import { loginMechanism, plainMechanism, type SaslMechanism, xoauth2Mechanism } from "../smtp/sasl_client.ts";
import type { Channel, ChannelContext, Job, JobRecipient, Outcome } from "./channel.ts";
import { oneLine } from "./content.ts";
import { SmtpConnection } from "./smtp_connection.ts";
import { transactionFor } from "./smtp_content.ts";
import {
  type Candidate,
  type Destination,
  destinationsOf,
  directServers,
  gatewayServers,
  type Servers,
} from "./smtp_destination.ts";
import type { ClientOptions } from "./smtp_options.ts";
import { ConnectionPool } from "./smtp_pool.ts";
import { Setbacks } from "./smtp_setbacks.ts";

/** Destinations of one job that are served side by side. */
const DESTINATIONS_AT_ONCE = 10;

/** Addresses that one attempt tries. RFC 5321 §5.1 wants two at least. */
const ADDRESSES_MAX = 10;

/** A server that cannot be reached when it has been asked in vain is asked after all others. */
type Reached =
  | { readonly kind: "connection"; readonly link: Link; readonly isFresh: boolean }
  | { readonly kind: "unreachable"; readonly permanent: boolean; readonly detail: string };

/** A connection with the name of its other end, for people. */
interface Link {
  readonly connection: SmtpConnection;
  readonly name: string;
}

type Server = Extract<Candidate, { readonly kind: "server" }>;

/** Reads the files that the options name; the secrets are read at each connection. */
export async function openSmtpChannel(options: ClientOptions, context: ChannelContext): Promise<Channel> {
  const { files } = context.runtime;
  const authorities = options.tls_ca === undefined ? undefined : await files.readText(options.tls_ca);
  return new SmtpChannel(options, context, authorities);
}

class SmtpChannel implements Channel {
  readonly #options: ClientOptions;
  readonly #context: ChannelContext;
  readonly #authorities: string | undefined;
  readonly #servers: Servers;
  readonly #isGateway: boolean;
  readonly #pool: ConnectionPool;
  readonly #names = new WeakMap<SmtpConnection, string>();
  readonly #setbacks: Setbacks;
  readonly #deadServers: Setbacks;

  constructor(options: ClientOptions, context: ChannelContext, authorities: string | undefined) {
    const { clock, resolver } = context.runtime;
    this.#options = options;
    this.#context = context;
    this.#authorities = authorities;
    this.#isGateway = options.host !== undefined || options.socket_path !== undefined;
    this.#servers = this.#isGateway ? gatewayServers(options, resolver) : directServers(options, context);
    this.#pool = new ConnectionPool(clock, options.connection_idle);
    this.#setbacks = new Setbacks(clock);
    this.#deadServers = new Setbacks(clock);
  }

  async *deliver(job: Job, signal: AbortSignal): AsyncIterable<Outcome> {
    const destinations = this.#isGateway
      ? [{ domain: "", recipients: job.recipients }]
      : destinationsOf(job.recipients);
    const errors: unknown[] = [];
    const settled: Outcome[] = [];
    const running = new Set<Promise<void>>();
    for (const destination of destinations) {
      if (running.size >= DESTINATIONS_AT_ONCE) await Promise.race(running);
      const task: Promise<void> = this.#attempt(destination, job, signal, settled)
        .catch((error: unknown) => void errors.push(error))
        .then(() => void running.delete(task));
      running.add(task);
      yield* settled.splice(0);
    }
    while (running.size > 0) {
      await Promise.race(running);
      yield* settled.splice(0);
    }
    yield* settled.splice(0);
    // Only when nothing of the job runs any more, so that no outcome comes too late.
    if (errors.length > 0) throw errors[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }

  /** Adds outcomes to `settled`; recipients without one when this rejects are tried again. */
  async #attempt(destination: Destination, job: Job, signal: AbortSignal, outcomes: Outcome[]): Promise<void> {
    let left = destination.recipients;
    let mayReuse = true;
    while (left.length > 0) {
      signal.throwIfAborted();
      const reached = await this.#reach(destination, mayReuse, signal);
      if (signal.aborted && reached.kind === "connection") reached.link.connection.abort();
      signal.throwIfAborted();
      if (reached.kind === "unreachable") return this.#unreachable(destination, left, reached, outcomes);
      const { link, isFresh } = reached;
      const sent = await this.#send(link, destination, job, left, signal);
      if (sent.unheard && !isFresh) {
        // It ended while nobody used it; that says nothing on the destination.
        mayReuse = false;
        continue;
      }
      if (sent.unheard && !signal.aborted) this.#setbacks.failed(destination.domain, `${link.name}: it ended`);
      for (const { recipient, result } of sent.results) {
        const outcome = this.#outcome(recipient, result, link.name, signal);
        if (outcome !== undefined) outcomes.push(outcome);
      }
      left = sent.left;
    }
  }

  /** One transaction. `left` are recipients that the server takes in another one. */
  async #send(
    link: Link,
    destination: Destination,
    job: Job,
    recipients: readonly JobRecipient[],
    signal: AbortSignal,
  ) {
    const { connection } = link;
    const batch = recipients.slice(0, connection.extensions.maxRecipients ?? recipients.length);
    try {
      const transaction = await transactionFor(job, batch, connection.extensions);
      const result = await connection.transact(transaction, () => job.content(), signal);
      const results = batch.map((recipient, index) => ({
        recipient,
        result: result.recipients[index] ?? { kind: "deferred", detail: "Nothing was said" } as RecipientResult,
      }));
      const tookSome = results.some(({ result }) => result.kind === "delivered");
      const isLeft = ({ result }: { readonly result: RecipientResult }) => tookSome && result.isSurplus === true;
      return {
        unheard: result.unheard,
        results: results.filter((each) => !isLeft(each)),
        left: [...results.filter(isLeft).map(({ recipient }) => recipient), ...recipients.slice(batch.length)],
      };
    } finally {
      this.#giveBack(link, destination);
    }
  }

  #giveBack({ connection }: Link, { domain }: Destination): void {
    const max = Math.min(this.#options.connection_max_messages, connection.extensions.maxMessages ?? Infinity);
    this.#pool.give(domain, connection, connection.transactions < max);
  }

  async #reach(destination: Destination, mayReuse: boolean, signal: AbortSignal): Promise<Reached> {
    const { domain } = destination;
    const kept = mayReuse ? this.#pool.take(domain) : undefined;
    if (kept !== undefined) {
      return { kind: "connection", link: { connection: kept, name: this.#names.get(kept) ?? domain }, isFresh: false };
    }
    const setback = this.#setbacks.of(domain);
    if (setback !== undefined) {
      return { kind: "unreachable", permanent: false, detail: `Not tried again so soon; before: ${setback.detail}` };
    }
    const reached = await this.#connect(destination, signal);
    if (reached.kind === "connection") this.#setbacks.succeeded(domain);
    else if (!reached.permanent && !signal.aborted) this.#setbacks.failed(domain, reached.detail);
    return reached;
  }

  /** Asks one server after the other; those that could not be reached just before, last. */
  async #connect(destination: Destination, signal: AbortSignal): Promise<Reached> {
    const problems: { readonly permanent: boolean; readonly detail: string }[] = [];
    const later: Server[] = [];
    let tried = 0;
    const tryServer = async (server: Server): Promise<Reached | undefined> => {
      if (tried++ >= ADDRESSES_MAX) return undefined;
      const link = await this.#open(server, signal);
      if ("connection" in link) return { kind: "connection", link, isFresh: true };
      problems.push(link);
      return undefined;
    };
    for await (const candidate of this.#servers.candidates(destination)) {
      signal.throwIfAborted();
      if (candidate.kind === "problem") problems.push(candidate);
      else if (this.#deadServers.of(endpointText(candidate.endpoint)) !== undefined) later.push(candidate);
      else {
        const reached = await tryServer(candidate);
        if (reached !== undefined) return reached;
      }
    }
    for (const server of later) {
      signal.throwIfAborted();
      const reached = await tryServer(server);
      if (reached !== undefined) return reached;
    }
    // One that may yet be reached is worth waiting for.
    const told = problems.find(({ permanent }) => !permanent) ?? problems[0];
    const permanent = told !== undefined && told.permanent && !this.#isGateway;
    return { kind: "unreachable", permanent, detail: told?.detail ?? "4.4.4 There is no server" };
  }

  async #open(
    server: Server,
    signal: AbortSignal,
  ): Promise<Link | { readonly permanent: boolean; readonly detail: string }> {
    const name = nameOf(server);
    const key = endpointText(server.endpoint);
    const { tls } = this.#options;
    const first = await this.#openWith(server, tls, signal);
    // A server whose TLS does not work takes mail without, where encryption is no condition.
    const opened = "connection" in first || first.stage !== "tls" || tls !== "opportunistic"
      ? first
      : await this.#openWith(server, "off", signal);
    if ("connection" in opened) {
      this.#deadServers.succeeded(key);
      this.#names.set(opened.connection, name);
      this.#context.log.debug("connected", { server: name, tls: opened.connection.tls?.version ?? "off" });
      return { connection: opened.connection, name };
    }
    if (opened.stage === "connect" && !signal.aborted) this.#deadServers.failed(key, opened.detail);
    return { permanent: opened.permanent, detail: `${name}: ${opened.detail}` };
  }

  async #openWith(server: Server, tls: ClientOptions["tls"], signal: AbortSignal) {
    const { network, clock } = this.#context.runtime;
    const { connect_timeout: timeoutMs, reply_timeout: maxTimeoutMs } = this.#options;
    // Secrets first: a connection on which nothing is said would be a riddle to the server.
    const session = await this.#sessionOptions(tls);
    const clientTls = await this.#clientTls(server, tls);
    let transport;
    try {
      transport = await network.connect(server.endpoint, { timeoutMs, signal });
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      return { stage: "connect" as const, permanent: false, detail: `4.4.1 ${error.message}` };
    }
    const limit = maxTimeoutMs === undefined ? {} : { maxTimeoutMs };
    const options = { session: { ...session, ...limit }, tls: clientTls, clock, ...limit };
    const opened = await SmtpConnection.open(transport, options, signal);
    if (opened.ok) return { connection: opened.connection };
    const { stage, kind, detail, enhanced, reply } = opened.failure;
    const shown = reply === undefined ? `${enhanced} ${detail}` : detail;
    return { stage, permanent: kind === "permanent", detail: shown };
  }

  async #sessionOptions(tls: ClientOptions["tls"]): Promise<ClientSessionOptions> {
    const { protocol, helo_name: heloName = this.#context.hostName } = this.#options;
    return {
      protocol,
      heloName,
      tls: tls === "implicit" ? "active" : tls === "verified" ? "required" : tls,
      mechanisms: await this.#mechanisms(),
      // Whoever writes "off" beside a password means it.
      loginInPlain: this.#options.tls === "off",
      // A gateway on the same machine may have the machine's name.
      ownNames: this.#isGateway ? [] : [this.#context.hostName],
    };
  }

  async #mechanisms(): Promise<readonly SaslMechanism[]> {
    const { auth } = this.#options;
    if (auth === undefined) return [];
    const { files, processes } = this.#context.runtime;
    const environment = (name: string) => processes.environment(name);
    const credentials = { user: auth.user, password: await readSecret(auth.password, { files, environment }) };
    if (auth.mechanism === "xoauth2") return [xoauth2Mechanism(credentials)];
    const both = [plainMechanism(credentials), loginMechanism(credentials)];
    return both.filter(({ name }) => auth.mechanism === undefined || name.toLowerCase() === auth.mechanism);
  }

  async #clientTls(server: Server, tls: ClientOptions["tls"]): Promise<ClientTls> {
    const serverName = this.#options.tls_server_name ?? server.name.replace(/^\[(?:ipv6:)?(.+)\]$/iu, "$1");
    return {
      serverName,
      verify: tls === "verified" || tls === "implicit",
      ...(this.#authorities === undefined ? {} : { authorities: this.#authorities }),
      ...await this.#identity(),
    };
  }

  async #identity(): Promise<{ readonly identity?: TlsKeyPair }> {
    const { tls_certificate: path, tls_private_key: key } = this.#options;
    if (path === undefined || key === undefined) return {};
    const { files, processes } = this.#context.runtime;
    const environment = (name: string) => processes.environment(name);
    const privateKey = await readSecret(key, { files, environment });
    return { identity: { certificate: await files.readText(path), privateKey } };
  }

  #unreachable(
    { domain }: Destination,
    recipients: readonly JobRecipient[],
    { permanent, detail }: Extract<Reached, { readonly kind: "unreachable" }>,
    outcomes: Outcome[],
  ): void {
    const retryAfterMs = this.#setbacks.of(domain)?.leftMs;
    for (const { deliveryId } of recipients) {
      if (permanent) outcomes.push({ kind: "failed", deliveryId, detail: oneLine(detail) });
      else {
        const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
        outcomes.push({ kind: "deferred", deliveryId, detail: oneLine(detail), ...wait });
      }
    }
  }

  /** Undefined for what an attempt that was stopped did not come to: it was not attempted. */
  #outcome(
    { deliveryId }: JobRecipient,
    result: RecipientResult,
    name: string,
    signal: AbortSignal,
  ): Outcome | undefined {
    const { kind, detail, enhanced, reply } = result;
    const code = reply === undefined && enhanced !== undefined ? `${enhanced} ` : "";
    switch (kind) {
      case "delivered":
        return { kind, deliveryId, detail: oneLine(`Taken by ${name}: ${detail}`) };
      case "failed":
        return { kind, deliveryId, detail: oneLine(`${name}: ${code}${detail}`) };
      case "unknown":
        this.#context.log.warn("outcome-unknown", { delivery: deliveryId, server: name, detail });
        return { kind: "deferred", deliveryId, detail: oneLine(`${name}: ${code}Outcome unknown. ${detail}`) };
      case "deferred":
        if (signal.aborted && reply === undefined) return undefined;
        return { kind, deliveryId, detail: oneLine(`${name}: ${code}${detail}`) };
    }
  }
}

function nameOf({ name, endpoint }: Server): string {
  const where = shownEndpoint(endpoint);
  return where.startsWith(name) || endpoint.kind !== "ip" ? where : `${name} (${where})`;
}

function shownEndpoint(endpoint: Endpoint): string {
  return endpointText(endpoint);
}
