/**
 * `channel slave` behind what starts it in real life: swaks over a pipe, and the front ends that accept connections and tell
 * who the client is, each in its own way.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { freePorts, runCommand } from "../helpers/server_process.ts";
import { SlaveWorld } from "../helpers/slave_process.ts";
import { needs } from "./programs.ts";

const CONFIG = `host_name = "mx.example.com"
[spool]
url = "sqlite:spool/smtpd.db"
min_free_space = 0
[[binding]]
name = "near"
clients = ["127.0.0.1"]
recipients = ["*"]
deliver = ["box"]
[[channel]]
name = "box"
type = "maildir"
path = "mail"
[[channel]]
name = "uplink"
type = "stdio"
slave_debug = "dialogue.log"
`;

/** For front ends that take a command as one text. */
function quoted(world: SlaveWorld, args: readonly string[] = []): string {
  const line = world.commandLine({ args });
  return [line.command, ...line.args].join(" ");
}

test("swaks --pipe", needs("swaks"), async () => {
  await using world = await SlaveWorld.create(CONFIG);
  const command = quoted(world, ["--peer", "127.0.0.1:5", "--log-level", "warn"]);
  const sent = ["--from", "me@example.org", "--to", "you@example.com", "--body", "It works."];
  const { code, out, err } = await runCommand("swaks", ["--pipe", command, "--hide-all", ...sent]);
  assert.equal(code, 0, out + err);
  assert.equal((await world.queue()).length, 1);
  // Exit code 24: no recipient was accepted.
  const stranger = quoted(world, ["--peer", "192.0.2.1:5", "--log-level", "error"]);
  assert.equal((await runCommand("swaks", ["--pipe", stranger, "--hide-all", ...sent])).code, 24);
});

/** Talks as soon as the front end listens; our own end of the connection. */
async function converse(port: number): Promise<string> {
  for (let attempt = 0;; attempt++) {
    try {
      return await once(port);
    } catch (error) {
      if (attempt === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function once(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: "127.0.0.1" });
    let text = "";
    let own = "";
    socket.setEncoding("latin1");
    socket.on("connect", () => own = `127.0.0.1:${socket.localPort}`);
    socket.on("data", (bytes) => {
      if (text === "") {
        socket.write(
          "EHLO me\r\nMAIL FROM:<me@example.org>\r\nRCPT TO:<you@example.com>\r\nDATA\r\nHello\r\n.\r\nQUIT\r\n",
        );
      }
      text += String(bytes);
    });
    socket.on("error", reject);
    socket.on("close", () => {
      const codes = [...text.matchAll(/^(\d{3}) /gm)].map(([, code]) => code).join(" ");
      if (text === "") reject(new Error("Nothing was said"));
      else if (codes !== "220 250 250 250 354 250 221") reject(new Error(`Unexpected: ${text}`));
      else resolve(own);
    });
  });
}

async function end(child: ChildProcess): Promise<void> {
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  if (child.exitCode !== null || child.pid === undefined) return;
  process.kill(child.pid, "SIGKILL");
  await exited;
}

/** A front end in place of us: which client the session was for, and what said so. */
async function through(
  start: (world: SlaveWorld, port: number) => readonly [command: string, ...args: readonly string[]],
  origin: string,
): Promise<void> {
  await using world = await SlaveWorld.create(CONFIG);
  const [port = 0] = await freePorts(1);
  const [command, ...args] = start(world, port);
  const child = spawn(command, args, { cwd: world.directory, stdio: "ignore" });
  try {
    const own = await converse(port);
    const log = await readFile(join(world.directory, "dialogue.log"), "utf8");
    assert.match(log, new RegExp(` - opened for ${own.replaceAll(".", "\\.")}, known from ${origin}\\n`));
    assert.equal((await world.queue()).length, 1);
  } finally {
    await end(child);
  }
}

test("socat EXEC", needs("socat"), async () => {
  await through((world, port) => {
    return [
      "socat",
      `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`,
      `EXEC:${quoted(world).replaceAll(":", "\\:")}`,
    ];
  }, "SOCAT_PEERADDR");
});

test("ncat --exec", needs("ncat"), async () => {
  await through(
    (world, port) => ["ncat", "-l", "127.0.0.1", String(port), "-k", "--exec", quoted(world)],
    "NCAT_REMOTE_ADDR",
  );
});

test("tcpserver: the socket itself", needs("tcpserver"), async () => {
  await through((world, port) => {
    const { command, args } = world.commandLine();
    return ["tcpserver", "-H", "-R", "-q", "127.0.0.1", String(port), command, ...args];
  }, process.platform === "linux" ? "socket" : "TCPREMOTEIP");
});

test("systemd-socket-activate --inetd: the socket itself", needs("systemd-socket-activate"), async () => {
  await through((world, port) => {
    const { command, args } = world.commandLine();
    return ["systemd-socket-activate", "--accept", "--inetd", "--listen", `127.0.0.1:${port}`, command, ...args];
  }, "socket");
});
