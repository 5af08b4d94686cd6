/** Listening and TLS of the runtime that executes the test. */
import assert from "node:assert/strict";
import { connect as connectPlain, type Socket } from "node:net";
import { describe, test } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { type TlsIdentity, TlsIdentityError, type Transport, TransportError } from "../../src/runtime/runtime.ts";
import { settled } from "../contract/transport_contract.ts";
import { keyPair, makeKeyPair, runtime, Server, SocketPeer, tlsIdentity } from "./socket_peer.ts";

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const text = (value: Uint8Array | undefined): string | undefined => value && new TextDecoder().decode(value);

function once(socket: Socket, event: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`The connection closed before "${event}".`)));
  });
}

describe("listen", () => {
  test("without an address takes IPv4 and IPv6 clients and shows both as what they are", async () => {
    await using server = await Server.open();
    for (const host of ["127.0.0.1", "::1"]) {
      const socket = connectPlain({ port: server.port, host });
      await once(socket, "connect");
      const transport = await server.next();
      assert.deepEqual(transport.peer, { kind: "ip", address: host, port: socket.localPort });
      assert.deepEqual(transport.local, { kind: "ip", address: host, port: server.port });
      transport.abort();
      socket.destroy();
    }
  });

  test("rejects a port in use with EADDRINUSE, also when only one of the two has an address", async () => {
    await using server = await Server.open();
    for (const address of [undefined, "127.0.0.1", "0.0.0.0", "::"]) {
      const options = address === undefined ? { port: server.port } : { port: server.port, address };
      await assert.rejects(runtime.network.listen(options, () => {}), (error: unknown) => {
        assert.ok(error instanceof TransportError);
        assert.equal(error.code, "EADDRINUSE");
        assert.match(error.message, /^Cannot listen on .*Another process/);
        return true;
      });
    }
  });

  test("rejects an address that is not ours with EADDRNOTAVAIL", async () => {
    const listening = runtime.network.listen({ address: "192.0.2.1", port: 0 }, () => {});
    await assert.rejects(listening, (error) => error instanceof TransportError && error.code === "EADDRNOTAVAIL");
  });

  test("close stops accepting, frees the port, and leaves accepted connections alone", async () => {
    const server = await Server.open("127.0.0.1");
    const peer = new SocketPeer(connectPlain({ port: server.port, host: "127.0.0.1" }));
    const transport = await server.next();
    await server.listening.close();
    await server.listening.close();
    await assert.rejects(once(connectPlain({ port: server.port, host: "127.0.0.1" }), "connect"));
    await transport.write(bytes("still here"));
    assert.equal(text(await peer.take(10)), "still here");
    const again = await runtime.network.listen({ address: "127.0.0.1", port: server.port }, () => {});
    await again.close();
    transport.abort();
    peer.destroy();
  });
});

describe("tlsIdentity", () => {
  const refused = (field: string, message: RegExp) => (error: unknown): boolean => {
    assert.ok(error instanceof TlsIdentityError);
    assert.equal(error.field, field);
    assert.match(error.message, message);
    return true;
  };

  test("tells when the certificate ends", async () => {
    const identity = await tlsIdentity();
    assert.equal(identity.kind, "tls-identity");
    assert.ok(identity.notAfterMs > Date.now());
    assert.ok(identity.notAfterMs < Date.now() + 20 * 366 * 86_400_000);
  });

  test("names the half that cannot be used", async () => {
    const { certificate, privateKey } = await keyPair();
    const other = await makeKeyPair();
    const parse = (pair: { certificate: string; privateKey: string }) => () => runtime.network.tlsIdentity(pair);
    assert.throws(parse({ certificate: "", privateKey }), refused("certificate", /BEGIN CERTIFICATE/));
    const damaged = certificate.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA");
    assert.throws(parse({ certificate: damaged, privateKey }), refused("certificate", /certificate 1 of 1/));
    assert.throws(
      parse({ certificate: certificate + damaged, privateKey }),
      refused("certificate", /certificate 2 of 2/),
    );
    assert.throws(parse({ certificate, privateKey: "nonsense" }), refused("privateKey", /no PEM private key/));
    assert.throws(parse({ certificate, privateKey: other.privateKey }), refused("pair", /does not belong/));
  });
});

/** Accepts the next connection, greets it and shakes hands. */
async function greetAndSecure(server: Server, identity: TlsIdentity, greeting: string): Promise<Transport> {
  const transport = await server.next();
  await transport.startTls?.(identity, bytes(greeting));
  return transport;
}

/** A client that waits for the greeting, when there is one, and shakes hands; then sends a line and gets it back. */
async function secureClient(port: number, hasGreeting: boolean): Promise<{ socket: TLSSocket; echo: string }> {
  const plain = connectPlain({ port, host: "127.0.0.1" });
  if (hasGreeting) {
    await once(plain, "data");
    plain.pause();
  }
  const socket = connectTls({ socket: plain, rejectUnauthorized: false, servername: "mx.example.com" });
  await once(socket, "secureConnect");
  socket.write("EHLO x\r\n");
  const echo = String(await once(socket, "data"));
  return { socket, echo };
}

describe("startTls", () => {
  for (const greeting of ["220 2.0.0 Go ahead\r\n", ""]) {
    const when = greeting === "" ? "from the start" : "after a greeting";
    test(`200 handshakes in a row ${when}, none hangs`, { timeout: 60_000 }, async () => {
      await using server = await Server.open("127.0.0.1");
      const identity = await tlsIdentity();
      for (let count = 0; count < 200; count++) {
        const serving = greetAndSecure(server, identity, greeting).then(async (transport) => {
          const line = await transport.read();
          assert.ok(line);
          await transport.write(line);
          return transport;
        });
        const { socket, echo } = await secureClient(server.port, greeting !== "");
        assert.equal(echo, "EHLO x\r\n");
        const transport = await serving;
        socket.destroy();
        await transport.close();
      }
    });
  }

  test("tells version, cipher and the name asked for as OpenSSL writes them", async () => {
    await using server = await Server.open("127.0.0.1");
    const identity = await tlsIdentity();
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const plain = connectPlain({ port: server.port, host: "127.0.0.1" });
      const transport = await server.next();
      const securing = transport.startTls?.(identity, new Uint8Array(0));
      const socket = connectTls({
        socket: plain,
        rejectUnauthorized: false,
        servername: "mx.example.com",
        minVersion: version,
        maxVersion: version,
      });
      socket.on("error", () => {});
      const info = await securing;
      assert.equal(info?.version, version);
      assert.match(info?.cipher ?? "", version === "TLSv1.3" ? /^TLS_\w+_SHA\d+$/ : /^ECDHE-RSA-[A-Z0-9-]+$/);
      assert.equal(info?.serverName, "mx.example.com");
      socket.destroy();
      transport.abort();
    }
  });

  test("throws away what came in plain text and was not read (RFC 3207 §4.2)", async () => {
    await using server = await Server.open("127.0.0.1");
    const identity = await tlsIdentity();
    const plain = connectPlain({ port: server.port, host: "127.0.0.1" });
    plain.on("error", () => {});
    plain.write("STARTTLS\r\n");
    const transport = await server.next();
    assert.equal(text(await transport.read()), "STARTTLS\r\n");
    plain.write("MAIL FROM:<injected@example.com>\r\n");
    await settled();
    const securing = transport.startTls?.(identity, bytes("220 go\r\n"));
    securing?.catch(() => {});
    await once(plain, "data");
    plain.pause();
    const socket = connectTls({ socket: plain, rejectUnauthorized: false });
    socket.on("error", () => {});
    // Either the injected line is dropped or it spoils the handshake; it is never returned.
    socket.on("secureConnect", () => socket.write("EHLO x\r\n"));
    let received: string | undefined;
    try {
      await securing;
      received = text(await transport.read());
    } catch (error) {
      assert.ok(error instanceof TransportError);
      received = text(await Promise.resolve(transport.read()).catch(() => undefined));
    }
    assert.ok(received === undefined || received === "EHLO x\r\n", `got ${received}`);
    socket.destroy();
    plain.destroy();
    await transport.close();
  });

  test("rejects what is no handshake with ETLS, and the connection is of no further use", async () => {
    await using server = await Server.open("127.0.0.1");
    const identity = await tlsIdentity();
    const peer = new SocketPeer(connectPlain({ port: server.port, host: "127.0.0.1" }));
    const transport = await server.next();
    const securing = transport.startTls?.(identity, new Uint8Array(0)) as Promise<unknown>;
    await peer.send(bytes("EHLO x\r\nMAIL FROM:<a@example.com>\r\n"));
    await assert.rejects(securing, (error) => error instanceof TransportError && error.code === "ETLS");
    await assert.rejects(async () => await transport.write(bytes("x")), TransportError);
    await assert.rejects(async () => await transport.read(), TransportError);
    await transport.close();
    peer.destroy();
  });

  test("rejects when the peer ends or resets in the middle", async () => {
    await using server = await Server.open("127.0.0.1");
    const identity = await tlsIdentity();
    for (const how of ["finish", "reset"] as const) {
      const peer = new SocketPeer(connectPlain({ port: server.port, host: "127.0.0.1" }));
      const transport = await server.next();
      const securing = transport.startTls?.(identity, new Uint8Array(0)) as Promise<unknown>;
      peer[how]();
      await assert.rejects(securing, TransportError, how);
      await transport.close();
      peer.destroy();
    }
  });

  test("is ended by interrupt, abort and close while the peer says nothing", async () => {
    await using server = await Server.open("127.0.0.1");
    const identity = await tlsIdentity();
    for (const how of ["interrupt", "abort", "close"] as const) {
      const peer = new SocketPeer(connectPlain({ port: server.port, host: "127.0.0.1" }));
      const transport = await server.next();
      const securing = transport.startTls?.(identity, bytes("220 go\r\n")) as Promise<unknown>;
      securing.catch(() => {});
      await peer.take(8);
      await transport[how]();
      await assert.rejects(securing, TransportError, how);
      await transport.close();
      await peer.rest().catch(() => {});
      peer.destroy();
    }
  });

  test("rejects at once after interrupt", async () => {
    await using server = await Server.open("127.0.0.1");
    const peer = new SocketPeer(connectPlain({ port: server.port, host: "127.0.0.1" }));
    const transport = await server.next();
    transport.interrupt();
    await assert.rejects(
      transport.startTls?.(await tlsIdentity(), new Uint8Array(0)) as Promise<unknown>,
      TransportError,
    );
    transport.abort();
    peer.destroy();
  });
});
