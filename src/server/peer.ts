/**
 * Who the client of a session on standard input and output is: what the command line, the environment and the socket say, in
 * the order in which they count. The first that says anything decides; one that cannot be understood leaves the client
 * unknown. It must not know what is made of it.
 *
 * Values come from outside, some from names that anybody may register, so control characters are taken out of them.
 */
import { isIP } from "node:net";
import type { Endpoint, StandardInput } from "../runtime/runtime.ts";

export interface Ends {
  readonly peer: Endpoint;
  readonly local: Endpoint;
}

export interface PeerSources {
  /** From the command line. */
  readonly peer?: Endpoint;
  readonly local?: Endpoint;
  environment(name: string): string | undefined;
  input(): Promise<StandardInput>;
}

export interface FoundPeer extends Ends {
  /** What said so: `--peer`, `TRANSPORTINFO`, `socket`, …, or `nothing`. */
  readonly origin: string;
  /** Nothing speaks against a client on this machine: a pipe or a UNIX socket, and nobody said anything else. */
  readonly mayBeLocal: boolean;
  /** What could not be understood, one sentence each. */
  readonly problems: readonly string[];
  /** The client's name and TLS by APPLICATIONINFO, for the log: neither proves anything. */
  readonly application?: { readonly helo?: string; readonly tls?: string };
}

/** What one source says; undefined when it says nothing. */
type Said =
  | { readonly kind: "ends"; readonly peer: Endpoint; readonly local: Endpoint }
  /** A connection from somewhere, and from where is not said. */
  | { readonly kind: "network" }
  | { readonly kind: "unix" }
  | { readonly kind: "malformed"; readonly name: string; readonly value: string; readonly form: string }
  | undefined;

type Variables = (name: string) => string | undefined;

const UNKNOWN: Endpoint = { kind: "unknown" };

export async function findPeer(sources: PeerSources): Promise<FoundPeer> {
  const variables: Variables = (name) => {
    const value = withoutControls(sources.environment(name) ?? "").trim();
    return value === "" ? undefined : value;
  };
  const { problems, ...application } = applicationInfo(variables("APPLICATIONINFO"));
  const found = sources.peer === undefined
    ? await firstSaid(sources, variables)
    : { origin: "--peer", said: { kind: "ends", peer: sources.peer, local: UNKNOWN } as const };
  const { said, origin } = found;
  const ends = said?.kind === "ends" ? said : { peer: UNKNOWN, local: UNKNOWN };
  const malformed = said?.kind === "malformed"
    ? [`${said.name} is "${said.value}", and must have the form ${said.form}; the client counts as unknown`]
    : [];
  return {
    peer: ends.peer,
    local: sources.local ?? ends.local,
    origin,
    mayBeLocal: said === undefined || said.kind === "unix",
    problems: [...malformed, ...problems],
    ...application,
  };
}

async function firstSaid(
  sources: PeerSources,
  variables: Variables,
): Promise<{ readonly origin: string; readonly said: Said }> {
  const transport = transportInfo(variables("TRANSPORTINFO"));
  if (transport !== undefined) return { origin: "TRANSPORTINFO", said: transport };
  const input = await sources.input();
  if (input.kind === "socket" && typeof input.ends !== "string") {
    return { origin: "socket", said: { kind: "ends", ...input.ends } };
  }
  for (const [origin, read] of CONVENTIONS) {
    const said = read(variables);
    if (said !== undefined) return { origin, said };
  }
  if (input.kind === "other") return { origin: "nothing", said: undefined };
  return { origin: "socket", said: { kind: input.ends === "unix" ? "unix" : "network" } };
}

const CONVENTIONS: readonly (readonly [origin: string, read: (variables: Variables) => Said])[] = [
  ["TCPREMOTEIP", tcpserver],
  [
    "SOCAT_PEERADDR",
    (variables) => prefixed(variables, "SOCAT_PEERADDR", "SOCAT_PEERPORT", "SOCAT_SOCKADDR", "SOCAT_SOCKPORT"),
  ],
  [
    "NCAT_REMOTE_ADDR",
    (variables) => prefixed(variables, "NCAT_REMOTE_ADDR", "NCAT_REMOTE_PORT", "NCAT_LOCAL_ADDR", "NCAT_LOCAL_PORT"),
  ],
  ["REMOTE_ADDR", remoteAddr],
  ["SSH_CONNECTION", sshConnection],
];

const TRANSPORT_FORM = "TCP|local address|local port|client's address|client's port";

/** Empty fields and missing last ones are allowed: then the client is not known. */
function transportInfo(value: string | undefined): Said {
  if (value === undefined) return undefined;
  const malformed = { kind: "malformed", name: "TRANSPORTINFO", value, form: TRANSPORT_FORM } as const;
  const [protocol = "", localAddress = "", localPort = "", peerAddress = "", peerPort = "", ...more] = value.split("|");
  if (/^UNIX$/iu.test(protocol)) return { kind: "unix" };
  if (!/^TCP6?$/iu.test(protocol) || more.length > 0) return malformed;
  const local = localAddress === "" ? UNKNOWN : endpointOf(localAddress, localPort);
  const peer = peerAddress === "" ? UNKNOWN : endpointOf(peerAddress, peerPort);
  if (local === undefined || peer === undefined) return malformed;
  return peer.kind === "unknown" ? { kind: "network" } : { kind: "ends", peer, local };
}

/** tcp-environ(5): tcpserver, tcp-env, s/qmail, GNU inetd. */
function tcpserver(variables: Variables): Said {
  const protocol = variables("PROTO");
  const prefix = protocol === "TCP6" && variables("TCP6REMOTEIP") !== undefined ? "TCP6" : "TCP";
  const names = ["REMOTEIP", "REMOTEPORT", "LOCALIP", "LOCALPORT"].map((name) => `${prefix}${name}`);
  const [ip = "", port = "", localIp = "", localPort = ""] = names;
  if (variables(ip) !== undefined) return prefixed(variables, ip, port, localIp, localPort);
  if (protocol === "UNIX") return { kind: "unix" };
  return protocol === "TCP" || protocol === "TCP6" || protocol === "SSL" ? { kind: "network" } : undefined;
}

/** Four variables of one program. A path in place of an address is a UNIX socket. */
function prefixed(
  variables: Variables,
  peerName: string,
  peerPort: string,
  localName: string,
  localPort: string,
): Said {
  const address = variables(peerName);
  if (address === undefined) return undefined;
  if (/^[/@]/u.test(address)) return { kind: "unix" };
  const peer = endpointOf(address, variables(peerPort) ?? "");
  if (peer === undefined) {
    const port = variables(peerPort);
    const value = port === undefined ? address : `${address} and ${port}`;
    return { kind: "malformed", name: `${peerName} with ${peerPort}`, value, form: "of an IP address and a port" };
  }
  // The other end is for the log alone, and not worth a refusal.
  return { kind: "ends", peer, local: endpointOf(variables(localName) ?? "", variables(localPort) ?? "") ?? UNKNOWN };
}

/** systemd with Accept=yes and others. In a CGI environment the same name is that of the browser, not of our client. */
function remoteAddr(variables: Variables): Said {
  if (variables("GATEWAY_INTERFACE") !== undefined) return undefined;
  return prefixed(variables, "REMOTE_ADDR", "REMOTE_PORT", "SERVER_ADDR", "SERVER_PORT");
}

/** Below a terminal, our pipes are somebody's on this machine, and not the connection that the terminal came by. */
function sshConnection(variables: Variables): Said {
  const value = variables("SSH_CONNECTION");
  if (value === undefined || variables("SSH_TTY") !== undefined) return undefined;
  const [peerAddress = "", peerPort = "", localAddress = "", localPort = "", ...more] = value.split(/ +/u);
  const [peer, local] = [endpointOf(peerAddress, peerPort), endpointOf(localAddress, localPort)];
  if (peer !== undefined && local !== undefined && more.length === 0) return { kind: "ends", peer, local };
  const form = "client's address, client's port, local address, local port";
  return { kind: "malformed", name: "SSH_CONNECTION", value, form };
}

/** app [ "/" tls ] [ "/" helo ], the last two also the other way round: what looks like TLS is TLS. */
function applicationInfo(value: string | undefined): Pick<FoundPeer, "application" | "problems"> {
  if (value === undefined) return { problems: [] };
  const [application = "", ...parts] = value.split("/");
  if (!/^(?:E?SMTP|LMTP)/iu.test(application) || parts.length > 2) {
    return {
      problems: [`APPLICATIONINFO is "${value}", and must have the form SMTP/TLS/client's name; it is ignored`],
    };
  }
  const tls = parts.find((part) => /^(?:TLS|SSL)v?[0-9._]|^TLS_|-(?:SHA|GCM|CCM|POLY1305)/iu.test(part));
  const helo = parts.find((part) => part !== tls && part !== "");
  return {
    problems: [],
    application: { ...(helo === undefined ? {} : { helo }), ...(tls === undefined || tls === "" ? {} : { tls }) },
  };
}

/** Undefined when either cannot be read. An absent port is 0. */
function endpointOf(addressText: string, portText: string): Endpoint | undefined {
  const address = canonicalAddress(addressText.replace(/^\[(.*)\]$/u, "$1"));
  if (address === undefined || !/^\d{0,5}$/u.test(portText)) return undefined;
  const port = Number(portText);
  return port > 65_535 ? undefined : { kind: "ip", address, port };
}

/** IPv6 in its shortest form, without a zone; IPv4 in IPv6 as what it is. */
function canonicalAddress(text: string): string | undefined {
  const family = isIP(text);
  if (family !== 6) return family === 4 ? text : undefined;
  const canonical = new URL(`http://[${text.replace(/%.*$/u, "")}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/u.exec(canonical);
  if (mapped === null) return canonical;
  return mapped.slice(1).flatMap((word) => {
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 0xff];
  }).join(".");
}

function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "");
}
