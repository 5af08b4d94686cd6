/** The transport contract over memory, over this runtime's sockets, and over TLS on them. */
import { transportPair } from "../../src/runtime/memory_transport.ts";
import type { Transport } from "../../src/runtime/runtime.ts";
import { type Connected, type Peer, transportContract } from "../contract/transport_contract.ts";
import { openPlain, openTls } from "./socket_peer.ts";

transportContract("memory", openMemory, { halfClose: false, tellsReset: true });
transportContract("sockets", openPlain, { halfClose: true, tellsReset: true });
transportContract("sockets with TLS", openTls, { halfClose: true, tellsReset: false });

function openMemory(): Promise<Connected> {
  const { client, server } = transportPair();
  return Promise.resolve({
    transport: server,
    peer: new TransportPeer(client),
    async [Symbol.asyncDispose]() {
      client.abort();
      server.abort();
      await server.close();
    },
  });
}

class TransportPeer implements Peer {
  readonly #transport: Transport;
  #left: Uint8Array = new Uint8Array(0);
  #isSending = false;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  isHeldBack(): boolean {
    return this.#isSending;
  }

  async send(bytes: Uint8Array): Promise<void> {
    this.#isSending = true;
    for (let at = 0; at < bytes.length; at += 16_384) {
      await this.#transport.write(bytes.subarray(at, at + 16_384));
    }
    this.#isSending = false;
  }

  async take(count: number): Promise<Uint8Array> {
    const pieces = [this.#left];
    for (let have = this.#left.length; have < count;) {
      const piece = await this.#transport.read();
      if (piece === undefined) throw new Error("The stream ended.");
      pieces.push(piece);
      have += piece.length;
    }
    const all = await join(pieces);
    this.#left = all.subarray(count);
    return all.subarray(0, count);
  }

  async rest(): Promise<Uint8Array> {
    const pieces = [this.#left];
    for (let piece = await this.#transport.read(); piece !== undefined; piece = await this.#transport.read()) {
      pieces.push(piece);
    }
    return await join(pieces);
  }

  finish(): void {
    this.#transport.close();
  }

  reset(): void {
    this.#transport.abort();
  }
}

async function join(pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
