/**
 * What standard input is: a socket, and then between which addresses, or something else. No runtime offers getpeername for
 * it, so on Linux the system's tables of sockets are read; elsewhere only that it is a socket can be told. It must not know
 * why anybody asks.
 */
import fs from "node:fs";
import { readFile, readlink } from "node:fs/promises";
import { ipEndpoint } from "./failures.ts";
import type { Endpoint, StandardInput } from "./runtime.ts";

const OTHER: StandardInput = { kind: "other" };
const UNKNOWN_SOCKET: StandardInput = { kind: "socket", ends: "unknown" };

export async function standardInput(): Promise<StandardInput> {
  try {
    if (!fs.fstatSync(0).isSocket()) return OTHER;
  } catch {
    return OTHER;
  }
  try {
    const inode = /^socket:\[(\d+)\]$/u.exec(await readlink("/proc/self/fd/0"))?.[1];
    if (inode === undefined) return UNKNOWN_SOCKET;
    for (const table of ["tcp", "tcp6"]) {
      const ends = endsIn(await readFile(`/proc/self/net/${table}`, "latin1").catch(() => ""), inode);
      if (ends !== undefined) return { kind: "socket", ends };
    }
    const local = await readFile("/proc/self/net/unix", "latin1").catch(() => "");
    return new RegExp(` ${inode}(?: |$)`, "mu").test(local) ? { kind: "socket", ends: "unix" } : UNKNOWN_SOCKET;
  } catch {
    return UNKNOWN_SOCKET;
  }
}

/** The line of a socket in /proc/net/tcp or tcp6 (proc_pid_net(5)): local and remote address, and further on its inode. */
export function endsIn(
  table: string,
  inode: string,
): { readonly local: Endpoint; readonly peer: Endpoint } | undefined {
  for (const line of table.split("\n")) {
    const fields = line.trim().split(/\s+/u);
    if (fields[9] !== inode) continue;
    const [local, peer] = [endpoint(fields[1] ?? ""), endpoint(fields[2] ?? "")];
    return local === undefined || peer === undefined ? undefined : { local, peer };
  }
  return undefined;
}

/** `0100007F:1F90`: words of 32 bits in the order of the machine, which is the little one wherever we run; then the port. */
function endpoint(text: string): Endpoint | undefined {
  const [, digits = "", port = ""] = /^((?:[0-9A-F]{8}){1,4}):([0-9A-F]{4})$/u.exec(text) ?? [];
  const octets = (digits.match(/.{8}/gu) ?? []).flatMap((word) =>
    (word.match(/../gu) ?? []).reverse().map((octet) => Number.parseInt(octet, 16))
  );
  const portNumber = Number.parseInt(port, 16);
  if (octets.length === 4) return ipEndpoint(octets.join("."), portNumber);
  if (octets.length !== 16) return undefined;
  const isMapped = octets.slice(0, 10).every((octet) => octet === 0) && octets[10] === 0xff && octets[11] === 0xff;
  if (isMapped) return ipEndpoint(octets.slice(12).join("."), portNumber);
  const groups = Array.from(
    { length: 8 },
    (_, at) => ((octets[2 * at] ?? 0) * 256 + (octets[2 * at + 1] ?? 0)).toString(16),
  );
  return ipEndpoint(new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1), portNumber);
}
