/**
 * The corpus over real sockets of this runtime, with real handshakes: the driver and the transport between the client and
 * the session, the policy of the dialogs behind it. Each dialog in lock-step, as one buffer, and byte by byte.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Listening, TlsIdentity, Transport } from "../../src/runtime/runtime.ts";
import { drive } from "../../src/server/drive.ts";
import { createServerSession } from "../../src/smtp/server.ts";
import type { ServerSession } from "../../src/smtp/session.ts";
import { runtime, tlsIdentity } from "../runtime/socket_peer.ts";
import { SocketConnection } from "./connections.ts";
import { dialogFiles } from "./corpus.ts";
import type { Dialog } from "./dialog.ts";
import { assertStored } from "./play.ts";
import { type DialogConnection, type Pace, playOver, suits } from "./play_over.ts";
import { Policy } from "./policy.ts";
import { PolicyHost } from "./policy_host.ts";

/** One connection as the server has it. */
interface Served {
  readonly session: ServerSession;
  readonly transport: Transport;
  readonly host: PolicyHost;
  readonly ended: Promise<string>;
}

const NO_LIMITS = { within: () => {}, [Symbol.dispose]: () => {} };

let listening: Listening | undefined;
let identity: TlsIdentity | undefined;
let accept: (transport: Transport) => void = () => {};

before(async () => {
  identity = await tlsIdentity();
  listening = await runtime.network.listen({ address: "127.0.0.1", port: 0 }, (transport) => accept(transport));
});
after(async () => {
  await listening?.close();
});

function serve(dialog: Dialog, transport: Transport): Served {
  const session = createServerSession(dialog.options);
  const host = new PolicyHost(new Policy(dialog.rules, dialog.options.protocol), identity);
  return { session, transport, host, ended: drive(session, transport, host, NO_LIMITS) };
}

async function play(dialog: Dialog, pace: Pace): Promise<void> {
  const accepted = new Promise<Served>((resolve) => {
    accept = (transport) => resolve(serve(dialog, transport));
  });
  assert.ok(listening?.local.kind === "ip");
  await using socket = await SocketConnection.open(listening.local.port);
  const served = await accepted;
  // Whatever the end, it is awaited below; until then nobody must stumble over it.
  served.ended.catch(() => {});
  const connection: DialogConnection = {
    read: () => socket.read(),
    write: (bytes) => socket.write(bytes),
    end: () => socket.end(),
    startTls: () => socket.startTls(),
    stop: ({ reply, when }) => {
      served.session.stop(reply, when);
      if (when === "now" || !served.session.inTransaction) served.transport.interrupt();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  await playOver(dialog, connection, pace);
  await socket[Symbol.asyncDispose]();
  await served.ended.catch(() => served.transport.abort());
  const expected = dialog.events.filter((event) => event.kind === "stored").map((event) => event.message);
  assertStored(served.host.stored, expected, dialog.place);
}

for (const file of dialogFiles()) {
  for (const dialog of file.dialogs) {
    test(`over sockets: ${file.name}: ${dialog.name}`, async () => {
      for (const pace of ["lock-step", "one buffer", "byte by byte"] as const) {
        if (suits(dialog, pace, { tls: true })) await play(dialog, pace);
      }
    });
  }
}
