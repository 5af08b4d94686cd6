/** The HTTP client of both runtimes against servers on loopback, well-behaved and not. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { after, test } from "node:test";
import { generate } from "selfsigned";
import { currentRuntime } from "../../src/runtime/current.ts";
import type { HttpBody, HttpClientOptions, HttpRequest } from "../../src/runtime/runtime.ts";
import { TransportError } from "../../src/runtime/runtime.ts";

const runtime = await currentRuntime();
const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.reverse()) await close();
});

const toLoopback = () => Promise.resolve(["127.0.0.1"]);

async function clientOf(options: Partial<HttpClientOptions> = {}) {
  const client = await runtime.http.open({ addressesOf: toLoopback, ...options });
  closing.push(() => client[Symbol.asyncDispose]());
  return client;
}

async function listening(server: net.Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  const remember = (socket: net.Socket) => void sockets.add(socket);
  server.on("connection", remember);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
}

const bodyOf = (text: string): HttpBody => {
  const bytes = new TextEncoder().encode(text);
  return { sizeBytes: bytes.length, pieces: () => [bytes] };
};

/** That many bytes out of one buffer that is used again for each piece. */
function largeBody(pieces: number): HttpBody & { readonly hash: string } {
  const buffer = new Uint8Array(65_536);
  const fill = (piece: number) => buffer.fill(piece % 251);
  const hash = createHash("sha256");
  for (let piece = 0; piece < pieces; piece++) hash.update(fill(piece));
  return {
    sizeBytes: pieces * buffer.length,
    hash: hash.digest("hex"),
    async *pieces() {
      for (let piece = 0; piece < pieces; piece++) yield await Promise.resolve(fill(piece));
    },
  };
}

const never = new AbortController().signal;

function requestTo(port: number, changes: Partial<HttpRequest> & { readonly path?: string } = {}): HttpRequest {
  const { path = "/in?x=1", ...rest } = changes;
  return {
    method: "POST",
    url: new URL(`http://hook.test:${port}${path}`),
    headers: [["Content-Type", "text/plain"], ["X-Mark", "a, b"]],
    body: bodyOf("hello"),
    keepBytes: 1_024,
    ...rest,
  };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("http: a request arrives as it was given, and connections are used again", async () => {
  const seen: { ports: Set<unknown>; lines: string[] } = { ports: new Set(), lines: [] };
  const port = await listening(http.createServer((request, response) => {
    seen.ports.add(request.socket.remotePort);
    const { method, url, headers } = request;
    let body = "";
    request.on("data", (piece) => body += piece);
    request.on("end", () => {
      seen.lines.push(
        [method, url, headers.host, headers["x-mark"], headers["content-length"], headers["transfer-encoding"], body]
          .join(" "),
      );
      response.writeHead(202, "Taken", { "Retry-After": "5" }).end("thanks");
    });
  }));
  const client = await clientOf();
  for (let count = 0; count < 3; count++) {
    const response = await client.request(requestTo(port), never);
    assert.deepEqual([response.status, response.statusText, text(response.body)], [202, "Taken", "thanks"]);
    assert.equal(response.header("retry-after"), "5");
    assert.equal(response.header("constructor"), undefined);
  }
  assert.deepEqual(seen.lines, Array(3).fill(`POST /in?x=1 hook.test:${port} a, b 5  hello`));
  assert.equal(seen.ports.size, 1);
});

test("http: only the addresses given are connected to, asked for once for each connection, or none", async () => {
  const port = await listening(http.createServer((request, response) => {
    request.resume();
    response.end("here");
  }));
  const asked: string[] = [];
  const client = await clientOf({
    addressesOf(host) {
      asked.push(host);
      return host === "hook.test" ? Promise.resolve(["127.0.0.1"]) : Promise.reject(new RangeError("Not there"));
    },
  });
  await client.request(requestTo(port), never);
  await client.request(requestTo(port), never);
  assert.deepEqual(asked, ["hook.test"]);
  const elsewhere = requestTo(port, { url: new URL(`http://localhost:${port}/`) });
  await assert.rejects(client.request(elsewhere, never), RangeError);
  assert.deepEqual(asked, ["hook.test", "localhost"]);
});

test("http: several addresses are tried until one answers", async () => {
  const port = await listening(http.createServer((request, response) => {
    request.resume();
    response.end();
  }));
  const client = await clientOf({ addressesOf: () => Promise.resolve(["127.0.0.77", "127.0.0.1"]) });
  assert.equal((await client.request(requestTo(port), never)).status, 200);
});

test("http: a large body arrives whole, from a buffer that is used again", async () => {
  const body = largeBody(320);
  const port = await listening(http.createServer((request, response) => {
    const hash = createHash("sha256");
    request.on("data", (piece) => hash.update(piece));
    request.on("end", () => response.end(hash.digest("hex")));
  }));
  const client = await clientOf();
  for (let count = 0; count < 2; count++) {
    assert.equal(text((await client.request(requestTo(port, { body }), never)).body), body.hash);
  }
});

test("http: an answer that comes before the body was read counts, and ends the sending", async () => {
  const port = await listening(http.createServer((_, response) => {
    response.writeHead(406, { Connection: "close" }).end("no");
  }));
  const client = await clientOf();
  for (let count = 0; count < 5; count++) {
    const body = largeBody(1_600);
    const response = await client.request(requestTo(port, { body }), never);
    assert.deepEqual([response.status, text(response.body)], [406, "no"]);
  }
});

test("http: what breaks is a transport error that names host and code", async () => {
  const port = await listening(net.createServer((socket) => socket.once("data", () => socket.destroy())));
  const client = await clientOf();
  const failure = (error: unknown) => {
    assert.ok(error instanceof TransportError, String(error));
    assert.match(error.message, /^Cannot send to "hook\.test:\d+": [^\p{Cc}]+ \(E[A-Z]+\)$/u);
    return true;
  };
  await assert.rejects(client.request(requestTo(port), never), failure);
  await assert.rejects(client.request(requestTo(port, { body: largeBody(200) }), never), failure);
  await assert.rejects(client.request(requestTo(1), never), failure);
  const babbling = await listening(net.createServer((socket) => socket.end("250 what?\r\n\r\n")));
  await assert.rejects(client.request(requestTo(babbling), never), TransportError);
});

test("http: a body that fails, or has another length than it says, breaks the request off", async () => {
  let complete = 0;
  const port = await listening(http.createServer((request, response) => {
    request.on("end", () => complete++);
    request.on("error", () => {});
    request.resume();
    request.on("end", () => response.end());
  }));
  const client = await clientOf();
  async function* broken() {
    yield await Promise.resolve(new Uint8Array(10));
    throw new RangeError("The store broke");
  }
  await assert.rejects(client.request(requestTo(port, { body: { sizeBytes: 20, pieces: broken } }), never), RangeError);
  for (const sizeBytes of [4, 6]) {
    const body = { sizeBytes, pieces: () => [new Uint8Array(5)] };
    await assert.rejects(client.request(requestTo(port, { body }), never), /has not the \d bytes/);
  }
  assert.equal(complete, 0);
  assert.equal((await client.request(requestTo(port), never)).status, 200);
  assert.equal(complete, 1);
});

test("http: an endless answer is cut off, an answer without an end too when the signal says so", async () => {
  let closed = 0;
  const port = await listening(http.createServer((request, response) => {
    request.resume();
    response.on("close", () => closed++);
    response.writeHead(500);
    if (request.url === "/drip") return void response.write("x");
    const flood = () => {
      while (!response.destroyed && response.write("y".repeat(65_536)));
    };
    response.on("drain", flood);
    flood();
  }));
  const client = await clientOf();
  const response = await client.request(requestTo(port, { keepBytes: 100 }), never);
  assert.deepEqual([response.status, text(response.body)], [500, "y".repeat(100)]);
  const reason = new Error("Too late");
  const late = new AbortController();
  setTimeout(() => late.abort(reason), 100);
  await assert.rejects(client.request(requestTo(port, { path: "/drip" }), late.signal), reason);
  while (closed < 2) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("http: a signal ends a request that nobody answers, in each of its stages", async () => {
  const silent = await listening(net.createServer(() => {}));
  const client = await clientOf({
    addressesOf: (host) => host === "hook.test" ? toLoopback() : new Promise(() => {}),
  });
  const reason = new Error("Too late");
  for (
    const request of [
      requestTo(silent),
      requestTo(silent, { body: largeBody(1_600) }),
      requestTo(silent, { url: new URL("http://slow.test/") }),
    ]
  ) {
    const late = new AbortController();
    setTimeout(() => late.abort(reason), 50);
    await assert.rejects(client.request(request, late.signal), reason);
  }
  await assert.rejects(client.request(requestTo(silent), AbortSignal.abort(reason)), reason);
});

test("http: header sections without an end are refused", async () => {
  const port = await listening(net.createServer((socket) => {
    socket.on("error", () => {});
    socket.write("HTTP/1.1 200 OK\r\n");
    const flood = () => {
      while (!socket.destroyed && socket.write(`X-Field: ${"z".repeat(1_000)}\r\n`));
    };
    socket.on("drain", flood);
    flood();
  }));
  const client = await clientOf();
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error("Too late")), 5_000);
  await assert.rejects(client.request(requestTo(port), late.signal), TransportError);
  clearTimeout(timer);
});

test("http: a connection that the server closed while it was idle is replaced without a word", async () => {
  let [connections, broken] = [0, 0];
  const port = await listening(net.createServer((socket) => {
    connections++;
    let requests = 0;
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (piece) => {
      text += String(piece);
      // The second request on a connection finds it closed.
      if (requests === 1) {
        broken++;
        return void socket.destroy();
      }
      if (!text.endsWith("hello")) return;
      requests++;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  }));
  const client = await clientOf();
  for (let count = 0; count < 4; count++) {
    assert.equal((await client.request(requestTo(port), never)).status, 200);
  }
  assert.ok(broken > 0, `${connections} connections`);
});

test("https: certificates are checked against the name in the URL, whatever address was given", async () => {
  const { private: key, cert } = await generate([{ name: "commonName", value: "hook.test" }], {
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "hook.test" }] }],
  });
  const names: unknown[] = [];
  const port = await listening(https.createServer({ key, cert }, (request, response) => {
    names.push((request.socket as unknown as { servername?: string }).servername);
    request.resume();
    response.end("safe");
  }));
  const to = (host: string) => requestTo(port, { url: new URL(`https://${host}:${port}/`) });
  await assert.rejects((await clientOf()).request(to("hook.test"), never), /certificate/);
  const trusting = await clientOf({ authorities: cert });
  assert.equal(text((await trusting.request(to("hook.test"), never)).body), "safe");
  assert.equal(text((await trusting.request(to("hook.test"), never)).body), "safe");
  await assert.rejects(trusting.request(to("other.test"), never), /for another host/);
  assert.deepEqual(names, ["hook.test", "hook.test"]);
});

test("resolver: addresses of this machine's names, and a transport error for a name that is none", async () => {
  const found = await runtime.resolver.addresses("localhost");
  assert.ok(found.length > 0 && found.every((address) => net.isIP(address) > 0), found.join());
  await assert.rejects(runtime.resolver.addresses("nothing.invalid"), TransportError);
});
