/** Connections that we open: the transport contract over TCP and a UNIX socket, failures to connect, and TLS. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type ListenOptions, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "../../src/runtime/connect.ts";
import { type Endpoint, TransportError } from "../../src/runtime/runtime.ts";
import { type Connected, transportContract } from "../contract/transport_contract.ts";
import { Server, SocketPeer, tlsIdentity } from "./socket_peer.ts";

transportContract("client sockets", () => open({ host: "127.0.0.1", port: 0 }), { halfClose: false, tellsReset: true });

async function open(options: ListenOptions): Promise<Connected> {
  const server = createServer({ allowHalfOpen: true });
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  await new Promise<void>((resolve) => server.listen(options, () => resolve()));
  const address = server.address();
  const endpoint: Endpoint = typeof address === "object" && address !== null
    ? { kind: "ip", address: "127.0.0.1", port: address.port }
    : { kind: "unix", path: options.path ?? "" };
  const transport = await connect(endpoint, { timeoutMs: 5_000 });
  const peer = new SocketPeer(await accepted);
  return {
    transport,
    peer,
    async [Symbol.asyncDispose]() {
      peer.destroy();
      transport.abort();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

test("connect: a UNIX socket carries bytes both ways", async () => {
  const directory = await mkdtemp(join(tmpdir(), "smtpd-unix-"));
  try {
    await using connected = await open({ path: join(directory, "socket") });
    const { transport, peer } = connected;
    await transport.write(new TextEncoder().encode("LHLO x\r\n"));
    assert.equal(new TextDecoder().decode(await peer.take(8)), "LHLO x\r\n");
    await peer.send(new TextEncoder().encode("250 ok\r\n"));
    assert.equal(new TextDecoder().decode(await transport.read()), "250 ok\r\n");
    assert.deepEqual(transport.peer, { kind: "unix", path: join(directory, "socket") });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("connect: what cannot be reached says why, and a signal ends the waiting", async () => {
  const closed = await open({ host: "127.0.0.1", port: 0 });
  const { peer } = closed.transport;
  await closed[Symbol.asyncDispose]();
  await assert.rejects(connect(peer, { timeoutMs: 5_000 }), (error: Error) => {
    assert.ok(error instanceof TransportError);
    assert.equal(error.code, "ECONNREFUSED");
    assert.match(error.message, /^Cannot connect to 127\.0\.0\.1:\d+: nobody listens there \(ECONNREFUSED\)$/);
    return true;
  });
  const path = join(tmpdir(), "smtpd-no-such-socket");
  await assert.rejects(connect({ kind: "unix", path }, { timeoutMs: 5_000 }), { code: "ENOENT" });
  const reason = new Error("Stopped");
  await assert.rejects(connect(peer, { timeoutMs: 5_000, signal: AbortSignal.abort(reason) }), reason);
});

test("secure: plain text that came before the handshake makes it fail, and nothing of it is read later", async () => {
  await using connected = await open({ host: "127.0.0.1", port: 0 });
  const { transport, peer } = connected;
  await peer.send(new TextEncoder().encode("250 injected\r\n"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok("secure" in transport && typeof transport.secure === "function");
  await assert.rejects(transport.secure({ serverName: "mx.example.com", verify: false }), { code: "ETLS" });
});

test("secure: a peer that speaks no TLS, or goes, or is silent until we go, ends the handshake", async () => {
  for (const how of ["speaks", "goes", "silent"] as const) {
    await using connected = await open({ host: "127.0.0.1", port: 0 });
    const { transport, peer } = connected;
    assert.ok("secure" in transport && typeof transport.secure === "function");
    const secured = transport.secure({ serverName: "mx.example.com", verify: false }) as Promise<unknown>;
    secured.catch(() => {});
    await peer.take(5);
    if (how === "speaks") await peer.send(new TextEncoder().encode("500 5.5.1 What?\r\n".repeat(10)));
    else if (how === "goes") peer.finish();
    else transport.abort();
    await assert.rejects(secured, TransportError, how);
    await assert.rejects(async () => await transport.write(new Uint8Array(1)), TransportError, how);
  }
});

test("secure: bytes pass both ways over TLS, and the end is seen", async () => {
  await using server = await Server.open("127.0.0.1");
  const client = await connect({ kind: "ip", address: "127.0.0.1", port: server.port }, { timeoutMs: 5_000 });
  const accepted = await server.next();
  const shaking = accepted.startTls?.(await tlsIdentity(), new Uint8Array(0));
  const info = await client.secure({ serverName: "mx.example.com", verify: false });
  await shaking;
  assert.equal(info.version, "TLSv1.3");
  await client.write(new TextEncoder().encode("EHLO x\r\n"));
  assert.equal(new TextDecoder().decode(await accepted.read()), "EHLO x\r\n");
  await accepted.write(new TextEncoder().encode("250 ok\r\n"));
  assert.equal(new TextDecoder().decode(await client.read()), "250 ok\r\n");
  const closing = accepted.close();
  assert.equal(await client.read(), undefined);
  await client.close();
  await closing;
});
