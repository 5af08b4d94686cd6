/** The runtime interfaces on Deno. Only the network and the standard streams differ between the runtimes. */
import { systemClock } from "./clock.ts";
import { denoNetwork } from "./deno_network.ts";
import { systemDns } from "./dns.ts";
import { nodeFiles } from "./node_files.ts";
import { nodeHttp } from "./http.ts";
import { nodeProcesses } from "./processes.ts";
import { systemRandom } from "./random.ts";
import { systemResolver } from "./resolver.ts";
import type { Runtime } from "./runtime.ts";
import { scriptProcesses } from "./script_processes.ts";
import { type Pipes, standardStreams } from "./stdio.ts";
import { webWorkers } from "./workers.ts";

/** Everything that smtpd needs of the world, on Deno. */
export function denoRuntime(): Runtime {
  return {
    name: "deno",
    version: Deno.version.deno,
    network: denoNetwork(),
    resolver: systemResolver(),
    dns: systemDns(),
    http: nodeHttp(),
    files: nodeFiles(),
    processes: nodeProcesses(standardStreams(denoPipes)),
    workers: webWorkers(),
    scripts: scriptProcesses(),
    clock: systemClock(),
    random: systemRandom(),
  };
}

const READ_BUFFER_BYTES = 64 * 1024;

function denoPipes(): Pipes {
  const buffer = new Uint8Array(READ_BUFFER_BYTES);
  return {
    async read() {
      const count = await Deno.stdin.read(buffer);
      return count === null ? undefined : buffer.subarray(0, count);
    },
    async write(bytes) {
      for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
    },
  };
}
