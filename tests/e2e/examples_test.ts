/**
 * Examples of docs/examples, served as they are but for their ports: what goes in comes out where their comments say.
 */
import assert from "node:assert/strict";
import { cp, readdir, readFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import { projectRoot, ServerProcess } from "../helpers/server_process.ts";
import { RawClient, sendMail } from "./raw_client.ts";
import { isLinux, queueEmpty, skipUnless, TemporaryDirectory, until } from "./setup.ts";

const timeout = 120_000;
const examples = join(projectRoot, "docs/examples");

interface Started extends AsyncDisposable {
  readonly server: ServerProcess;
  /** A path below the directory that holds the configuration. */
  path(name: string): string;
}

/** The example with its neighbours in a directory of its own, on a free port. */
async function startExample(
  name: string,
  options: { readonly environment?: Readonly<Record<string, string>>; readonly change?: (text: string) => string } = {},
): Promise<Started> {
  const { environment = {}, change = (text) => text } = options;
  const directory = await TemporaryDirectory.create();
  try {
    // What serving an example by hand has left in its directory is not the example's.
    await cp(examples, directory.path, { recursive: true, filter: (source) => source !== join(examples, "var") });
    const text = await readFile(join(examples, name), "utf8");
    const server = await ServerProcess.start(change(text.replace(/^port = 2525$/gmu, "port = 0")), {
      directory: directory.path,
      environment,
    });
    return {
      server,
      path: (below) => join(directory.path, below),
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await directory[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await directory[Symbol.asyncDispose]();
    throw error;
  }
}

interface Letter {
  readonly to: string;
  readonly from?: string;
  readonly subject?: string;
}

/** Sends them one after the other. */
async function send(server: ServerProcess, ...letters: readonly Letter[]): Promise<void> {
  const client = await RawClient.greet(server.port());
  for (const { to, from = "sender@example.org", subject = "Hello" } of letters) {
    const text = `From: <${from}>\r\nSubject: ${subject}\r\nMessage-ID: <1@example.org>\r\n\r\nText\r\n`;
    await sendMail(client, { from, to: [to], content: new TextEncoder().encode(text) });
  }
  await client.quit();
}

/** What has arrived in a maildir. */
async function arrived(maildir: string): Promise<readonly string[]> {
  const folder = join(maildir, "new");
  const names = await readdir(folder).catch(() => []);
  return await Promise.all(names.map((name) => readFile(join(folder, name), "latin1")));
}

interface Request {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An application: answers the first request with 503, the others with 200, and keeps them all. */
class Receiver implements AsyncDisposable {
  readonly requests: Request[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on("request", (request, response) => {
      const pieces: Uint8Array[] = [];
      request.on("data", (piece: Uint8Array) => void pieces.push(piece));
      request.on("end", () => {
        receiver.requests.push({ headers: request.headers, body: Buffer.concat(pieces).toString() });
        response.writeHead(receiver.requests.length === 1 ? 503 : 200).end();
      });
    });
    await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

test("Examples: webhook.toml sends signed requests, tries again, and keeps a copy", { timeout }, async () => {
  const secret = "whsec_bm90IGEgc2VjcmV0LCBidXQgbG9uZyBlbm91Z2g=";
  await using receiver = await Receiver.start();
  await using example = await startExample("webhook.toml", {
    environment: { WEBHOOK_SECRET: secret },
    change: (text) => text.replace("127.0.0.1:8080", `127.0.0.1:${receiver.port}`).replace('"30s" # doubled', '"1s" #'),
  });
  const { server, path } = example;
  await send(server, { to: "orders@in.example.com", subject: "Order 42" });
  await until("the request was repeated", () => receiver.requests.length === 2);
  await queueEmpty(server);
  const ids = receiver.requests.map(({ headers, body }) => {
    const fields = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
    const payload = new Webhook(secret).verify(body, fields) as Readonly<Record<string, unknown>>;
    assert.ok(JSON.stringify(payload).includes("Order 42"), body);
    assert.equal(fields["x-source"], "smtpd");
    assert.throws(() => new Webhook(secret).verify(body.replace("Order 42", "Order 43"), fields));
    return fields["webhook-id"];
  });
  assert.equal(new Set(ids).size, 1);
  assert.equal((await arrived(path("var/webhook/archive"))).length, 1);
  assert.equal(await server.stop(), 0);
});

test("Examples: tickets.toml opens tickets, files answers, and refuses numbers that are none", {
  timeout,
  skip: skipUnless(isLinux, "examples: tickets", "the program is a shell script"),
}, async () => {
  await using example = await startExample("tickets.toml");
  const { server, path } = example;
  const desk = path("var/tickets/desk");
  const filed = async (number: number) => {
    const names = (await readdir(join(desk, String(number))).catch(() => [])).filter((name) => name.endsWith(".eml"));
    return await Promise.all(names.map((name) => readFile(join(desk, String(number), name), "latin1")));
  };
  await send(server, { to: "support@example.com", subject: "First" });
  await until("there is a ticket", async () => (await filed(1)).length === 1);
  await send(server, { to: "ticket-1@example.com", subject: "More" }, { to: "support@example.com", subject: "Second" });
  await until("both are filed", async () => (await filed(1)).length === 2 && (await filed(2)).length === 1);
  const answer = (await filed(1)).find((text) => text.includes("More")) ?? "";
  assert.match(answer, /^X-Ticket: 1\r?$/mu);
  assert.match(answer, /^Subject: \[#1\] More\r?$/mu);
  assert.match((await filed(2))[0] ?? "", /^Subject: Second\r?$/mu);
  await send(server, { to: "ticket-99@example.com" });
  const failed = await server.logged(({ event }) => event === "failed");
  assert.match(String(failed["detail"]), /There is no ticket 99/u);
  assert.equal(await server.stop(), 0);
});

test("Examples: mailboxes.toml keeps a maildir for each user, and folders", { timeout }, async () => {
  await using example = await startExample("mailboxes.toml");
  const { server, path } = example;
  await send(
    server,
    { to: "Ann@example.com", subject: "One" },
    { to: "ann+shop@example.com", subject: "Two" },
    { to: "postmaster", subject: "Three" },
    { to: "ann@example.org", subject: "Four" },
  );
  const client = await RawClient.greet(server.port());
  await client.command("MAIL FROM:<sender@example.org>", 250);
  await client.command("RCPT TO:<carol@example.com>", 550);
  // An address that would lead out of the user's maildir is a name inside of it.
  await client.command('RCPT TO:<"bob+../../../../up"@example.com>', 250);
  await client.command("DATA", 354);
  await client.command("Subject: Five\r\n\r\nText\r\n.", 250);
  await client.quit();
  await queueEmpty(server);
  const subjects = async (maildir: string) =>
    (await arrived(path(`var/mailboxes/mail/${maildir}`)))
      .map((text) => /^Subject: (\w+)/mu.exec(text)?.[1]).toSorted();
  assert.deepEqual(await subjects("example.com/ann"), ["One", "Three"]);
  assert.deepEqual(await subjects("example.com/ann/.shop"), ["Two"]);
  assert.deepEqual(await subjects("example.org/ann"), ["Four"]);
  const [folder = ""] = (await readdir(path("var/mailboxes/mail/example.com/bob"))).filter((name) => name[0] === ".");
  assert.deepEqual(await subjects(`example.com/bob/${folder}`), ["Five"]);
  assert.equal(await server.stop(), 0);
});

test("Examples: worker.toml rejects, forwards and replies", { timeout }, async () => {
  await using example = await startExample("worker.toml");
  const { server, path } = example;
  await send(
    server,
    { to: "desk@example.com", from: "spam@example.net", subject: "Offers" },
    { to: "desk@example.com", from: "ann@example.org", subject: "Urgent: please help" },
  );
  const failed = await server.logged(({ event }) => event === "failed");
  assert.match(String(failed["detail"]), /Address is blocked/u);
  const mail = (address: string) => arrived(path(`var/worker/mail/${address}`));
  await until("it was answered", async () => (await mail("ann@example.org")).length === 1);
  const [forwarded = ""] = await mail("team@example.com");
  assert.match(forwarded, /^x-urgent: yes\r$/imu);
  assert.match((await mail("ann@example.org"))[0] ?? "", /^In-Reply-To: <1@example\.org>\r$/mu);
  assert.equal((await mail("team@example.com")).length, 1);
  assert.equal(await server.stop(), 0);
});
