/**
 * Plays a transaction that nobody sent through the code of `serve`: the session, its driver, the reception and the router
 * are the real ones, only the connection and the spool are stand-ins that remember. Nothing is listened on, stored or
 * delivered. It must not know who asks, nor how answers are shown.
 */
import type { Query, Route, Router, Step } from "../binding/route.ts";
import type { ListenerConfig } from "../config/config.ts";
import type { Exchange, ImaginedMessage, Rehearsal, RehearsalOutcome, RehearsedDelivery } from "../config/rehearsal.ts";
import { silentLog } from "../observe/log.ts";
import type { Endpoint, TlsIdentity, TlsInfo, Transport } from "../runtime/runtime.ts";
import { formatMailbox, needsSmtputf8 } from "../smtp/address.ts";
import { concatBytes, EMPTY, isAscii, utf8Bytes } from "../smtp/bytes.ts";
import { type Reply, reply } from "../smtp/reply.ts";
import { createServerSession } from "../smtp/server.ts";
import type { CommittedDelivery, Draft, NewMessage } from "../spool/spool.ts";
import type { Watch } from "./deadlines.ts";
import type { Deliveries } from "./deliveries.ts";
import { drive } from "./drive.ts";
import { sessionOptions } from "./listener.ts";
import { Reception, type ReceptionServices } from "./reception.ts";

/** Rejects only when we are wrong. */
export async function rehearse(
  listener: ListenerConfig,
  router: Router,
  message: ImaginedMessage,
): Promise<Rehearsal> {
  const identity = listener.tls.mode === "off" ? undefined : IDENTITY;
  const watched = new WatchedRouter(router, message);
  const spool = new RememberingSpool();
  const services: ReceptionServices = {
    listener,
    router: watched,
    spool,
    deliveries: NOBODY,
    identity,
    clock: { nowMs: () => message.timeMs },
    random: { bytes: (count) => new Uint8Array(count) },
  };
  const client = new Client(message, listener);
  const reception = new Reception(services, "rehearsal", client.peer, silentLog);
  if (listener.tls.mode === "implicit") await reception.startTls(client, EMPTY);
  await drive(createServerSession(sessionOptions(listener, identity !== undefined)), client, reception, UNWATCHED);
  const deliveries = (spool.message?.deliveries ?? []).map(rehearsed);
  const dialogue = client.dialogue.map((exchange) => withoutId(exchange, spool.message?.id));
  const last = dialogue.at(-1)?.reply.code ?? 0;
  return {
    listener: listener.name,
    outcome: outcomeOf(last, deliveries),
    ...(watched.binding === undefined ? {} : { binding: watched.binding }),
    dialogue,
    deliveries,
    explain: () => watched.steps(),
  };
}

function outcomeOf(code: number, deliveries: readonly RehearsedDelivery[]): RehearsalOutcome {
  if (code >= 500) return "reject";
  if (code >= 400) return "defer";
  if (deliveries.length === 0) return "discard";
  return deliveries.every(({ held }) => held) ? "hold" : "deliver";
}

function rehearsed({ channel, binding, recipient, reversePath, edits = [], held }: CommittedDelivery) {
  const sender = reversePath === undefined ? {} : { sender: reversePath };
  return { channel, binding, recipient, ...sender, edits, held: held === true };
}

/** The message has no id that anybody could look for. */
function withoutId(exchange: Exchange, id: string | undefined): Exchange {
  if (id === undefined) return exchange;
  const lines = exchange.reply.lines.map((line) => line.replaceAll(id, "ID"));
  return { ...exchange, reply: { ...exchange.reply, lines } };
}

const IDENTITY: TlsIdentity = { kind: "tls-identity", notAfterMs: Infinity };
const TLS: TlsInfo = { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" };
/** Channels that decide for themselves accept: nobody asks them. */
const NOBODY: Deliveries = {
  deciding: new Set(),
  claimable: () => false,
  accept() {},
  decide: () => Promise.resolve(),
  nudge() {},
};
/** Nothing here takes time. */
const UNWATCHED: Watch = { within() {}, [Symbol.dispose]() {} };

/** The router, told what cannot be played: who has logged in, and a size that would have to be sent. */
class WatchedRouter implements Router {
  readonly reads: Router["reads"];
  readonly #router: Router;
  readonly #message: ImaginedMessage;
  #query: Query | undefined;
  #route: Route | undefined;

  constructor(router: Router, message: ImaginedMessage) {
    this.reads = router.reads;
    this.#router = router;
    this.#message = message;
  }

  route(query: Query): Route {
    this.#query = this.#complete(query);
    this.#route = this.#router.route(this.#query);
    return this.#route;
  }

  explain(query: Query) {
    return this.#router.explain(this.#complete(query));
  }

  get binding(): string | undefined {
    return this.#route === undefined || this.#route.kind === "undecided" ? undefined : this.#route.binding;
  }

  steps(): readonly Step[] {
    return this.#query === undefined ? [] : this.#router.explain(this.#query).steps;
  }

  #complete(query: Query): Query {
    const { user, sizeBytes } = this.#message;
    return {
      ...query,
      ...(user === undefined ? {} : { user }),
      ...(query.body === undefined || sizeBytes === undefined ? {} : { body: { ...query.body, sizeBytes } }),
    };
  }
}

/** Remembers the message that was committed; there is one at most. */
class RememberingSpool {
  message: NewMessage | undefined;

  begin(): Draft {
    return {
      write() {},
      commit: (message) => {
        this.message = message;
        return Promise.resolve([]);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  refusal(): undefined {
    return undefined;
  }
}

interface Line {
  readonly command: string;
  readonly text: string;
}

/** The far end of the connection: says one command after the other until one is refused, and remembers the replies. */
class Client implements Transport {
  readonly peer: Endpoint;
  readonly local: Endpoint = { kind: "unknown" };
  readonly dialogue: Exchange[] = [];
  readonly #lines: Iterator<Line>;
  #command = "connection";
  #heard: Uint8Array[] = [];

  constructor(message: ImaginedMessage, listener: ListenerConfig) {
    this.peer = { kind: "ip", address: message.ip, port: 0 };
    this.#lines = linesOf(message, listener)[Symbol.iterator]();
  }

  /** The session waits for us, so what it has said until now is the reply to the last command. */
  read(): Uint8Array | undefined {
    const answer = parseReply(new TextDecoder().decode(concatBytes(this.#heard)));
    this.#heard = [];
    this.dialogue.push({ command: this.#command, reply: answer });
    if (answer.code >= 400) return undefined;
    const next = this.#lines.next();
    if (next.done === true) return undefined;
    this.#command = next.value.command;
    return utf8Bytes(next.value.text);
  }

  write(bytes: Uint8Array): void {
    this.#heard.push(bytes.slice());
  }

  startTls(_identity: TlsIdentity, lastPlaintext: Uint8Array): Promise<TlsInfo> {
    this.write(lastPlaintext);
    return Promise.resolve(TLS);
  }

  interrupt(): void {}
  abort(): void {}

  close(): Promise<void> {
    // A session that hangs up has said why, and nobody reads any more.
    if (this.#heard.length > 0) this.read();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function linesOf(message: ImaginedMessage, listener: ListenerConfig): readonly Line[] {
  const { to, from, helo, sizeBytes } = message;
  const { mode } = listener.tls;
  const content = contentOf(message);
  const size = sizeBytes === undefined ? "" : ` SIZE=${sizeBytes}`;
  const eightBit = isAscii(content) ? "" : " BODY=8BITMIME";
  const international = [to, ...(from === null ? [] : [from])].some(needsSmtputf8) ? " SMTPUTF8" : "";
  const verb = listener.protocol === "lmtp" ? "LHLO" : "EHLO";
  const hello: Line = { command: verb, text: `${verb} ${helo}\r\n` };
  const wantsTls = mode !== "implicit" && (message.tls ?? mode === "required");
  return [
    hello,
    ...(wantsTls ? [{ command: "STARTTLS", text: "STARTTLS\r\n" }, hello] : []),
    { command: "MAIL", text: `MAIL FROM:<${formatMailbox(from)}>${size}${eightBit}${international}\r\n` },
    { command: "RCPT", text: `RCPT TO:<${formatMailbox(to)}>\r\n` },
    { command: "DATA", text: "DATA\r\n" },
    { command: "end of data", text: `${content}.\r\n` },
  ];
}

function contentOf({ headers }: ImaginedMessage): string {
  const fields = headers.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
  return `${fields}\r\nNobody sent this.\r\n`.replaceAll(/^\./gmu, "..");
}

/** A reply as it comes over the wire (RFC 5321 §4.2, RFC 2034 §4). */
function parseReply(text: string): Reply {
  const lines = text.split("\r\n").slice(0, -1);
  const code = Number(lines.at(-1)?.slice(0, 3));
  const texts = lines.map((line) => line.slice(4));
  const enhanced = /^[245]\.\d{1,3}\.\d{1,3}(?= )/u.exec(texts[0] ?? "")?.[0];
  if (enhanced === undefined) return reply(code, undefined, ...texts);
  return reply(code, enhanced, ...texts.map((line) => line.slice(enhanced.length + 1)));
}
