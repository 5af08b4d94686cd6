/**
 * The server that the clients send to: one listener for each way to use TLS, one maildir. Started by the first test of a
 * file that asks for it. It must not know the clients.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ServerProcess } from "../helpers/server_process.ts";
import { asData, assertSameBytes, type Letter, letters } from "./letters.ts";
import { MaildirReader, type StoredMail } from "./maildir.ts";

export const modes = ["plain", "starttls", "implicit"] as const;
export type Mode = (typeof modes)[number];

export const sender = "sender@example.org";

const tls = (mode: string) => `[listener.tls]\nmode = "${mode}"\ncertificate = "cert.pem"\nprivate_key = "key.pem"\n`;

/** A [[listener]] on a free port of 127.0.0.1; `more` are further lines of it. */
export function listenerText(
  name: string,
  more: readonly string[] = [],
  tlsMode?: "starttls" | "required" | "implicit",
) {
  const lines = ["[[listener]]", `name = "${name}"`, 'listen_ip = "127.0.0.1"', "port = 0", ...more, ""];
  return lines.join("\n") + (tlsMode === undefined ? "" : tls(tlsMode));
}

/** What the configurations of these tests have in common: everything for example.com goes to the maildir "mail". */
export const commonText = `
host_name = "mx.example.com"
shutdown_grace = "1s"

[spool]
url = "sqlite:spool/smtpd.db"
min_free_space = 0

[[binding]]
name = "everyone"
recipients = ["*@example.com"]
deliver = ["box"]

[[channel]]
name = "box"
type = "maildir"
path = "mail"

`;

/** A message of the corpus on its way to a recipient of its own. */
export interface Mail {
  readonly recipient: string;
  readonly letter: Letter;
  /** The letter in a file, line ends CRLF. */
  readonly file: string;
}

export class MailServer implements AsyncDisposable {
  readonly server: ServerProcess;
  readonly maildir: MaildirReader;
  readonly #files: ReadonlyMap<Letter, string>;

  private constructor(server: ServerProcess, files: ReadonlyMap<Letter, string>) {
    this.server = server;
    this.maildir = new MaildirReader(join(server.directory, "mail"));
    this.#files = files;
  }

  static async start(): Promise<MailServer> {
    const listeners = [
      listenerText("plain"),
      listenerText("starttls", [], "starttls"),
      listenerText("implicit", [], "implicit"),
      listenerText("lmtp", ['protocol = "lmtp"']),
    ];
    const server = await ServerProcess.start(commonText + listeners.join("\n"));
    try {
      return new MailServer(server, await writeLetters(join(server.directory, "letters")));
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  port(mode: Mode | "lmtp"): number {
    return this.server.port(mode);
  }

  get certificateFile(): string {
    return join(this.server.directory, "cert.pem");
  }

  /** Messages of the corpus, each for a recipient whose name begins with `tag`. */
  mails(tag: string, chosen: readonly Letter[]): readonly Mail[] {
    return chosen.map((letter, index) => ({
      recipient: `${tag}-${index}@example.com`,
      letter,
      file: this.#files.get(letter) ?? "",
    }));
  }

  /** Waits for all of them, and compares what is stored with what was sent. */
  async assertStored(mails: readonly Mail[], mode: Mode, expected = asData): Promise<readonly StoredMail[]> {
    const stored = await this.maildir.ofEach(mails.map((mail) => mail.recipient));
    stored.forEach((mail, index) => {
      const { letter, recipient } = mails[index] as Mail;
      assertSameBytes(mail.content, expected(letter.bytes), `"${letter.name}" for <${recipient}>`);
      assert.equal(mail.returnPath, sender);
      assertReceived(mail, mode === "plain" ? "ESMTP" : "ESMTPS");
    });
    return stored;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}

async function writeLetters(directory: string): Promise<ReadonlyMap<Letter, string>> {
  await mkdir(directory);
  const files = new Map<Letter, string>();
  for (const letter of await letters()) {
    const file = join(directory, `${files.size}.eml`);
    files.set(letter, file);
    await writeFile(file, letter.bytes);
  }
  return files;
}

/** The whole field, for a message with one recipient. */
export function assertReceived(mail: StoredMail, protocol: string): void {
  const tlsText = protocol.endsWith("S") ? String.raw` \(TLSv1\.[23] [A-Z0-9_-]+\)` : "";
  const pattern = String.raw`^from [\w.[\]:-]+ \(\[127\.0\.0\.1\]\) by mx\.example\.com with ${protocol}${tlsText} ` +
    String.raw`id [\w-]+ for <([^>]+)>; \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}$`;
  const found = new RegExp(pattern).exec(mail.received);
  assert.ok(found !== null, `Received is "${mail.received}", which does not fit ${pattern}`);
  assert.equal(found[1], mail.deliveredTo);
}

/** One server for the tests of a file, started by the first that needs it. */
export class Shared<Resource extends AsyncDisposable> {
  readonly #start: () => Promise<Resource>;
  #started: Promise<Resource> | undefined;

  constructor(start: () => Promise<Resource>) {
    this.#start = start;
  }

  get(): Promise<Resource> {
    return this.#started ??= this.#start();
  }

  async end(): Promise<void> {
    const started = await this.#started?.catch(() => undefined);
    await started?.[Symbol.asyncDispose]();
  }
}
