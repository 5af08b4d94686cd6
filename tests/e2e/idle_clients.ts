/**
 * A program of its own for the memory test: opens many sessions, says EHLO in each, and holds them until its standard
 * input ends. Arguments: port, number of sessions. Prints "ready" when all have been answered.
 */
import net from "node:net";
import process from "node:process";

/** So many connections are being opened at one time; the kernel's queue of new ones is short. */
const AT_ONCE = 100;

const [port = 0, count = 0] = process.argv.slice(2).map(Number);
const sockets: net.Socket[] = [];

/** Resolves when the reply to EHLO is complete. */
function open(number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // Several addresses, so that the ports of one do not run out.
    const localAddress = `127.0.0.${2 + number % 8}`;
    const socket = net.connect({ host: "127.0.0.1", port, localAddress });
    sockets.push(socket);
    let text = "";
    let greeted = false;
    socket.on("data", (bytes: Uint8Array) => {
      text += new TextDecoder().decode(bytes);
      if (!greeted && /^220 .*\r\n/.test(text)) {
        greeted = true;
        text = "";
        socket.write("EHLO idle.example\r\n");
      } else if (/^250 .*\r\n/m.test(text)) resolve();
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`Session ${number} was closed: ${text}`)));
  });
}

let next = 0;
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
  while (next < count) await open(next++);
}));
console.log("ready");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
