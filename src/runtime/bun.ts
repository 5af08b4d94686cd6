/** The runtime interfaces on Bun. Only the network and the standard streams differ between the runtimes. */
import process from "node:process";
import { bun } from "./bun_api.ts";
import { bunNetwork } from "./bun_network.ts";
import { systemClock } from "./clock.ts";
import { systemDns } from "./dns.ts";
import { nodeFiles } from "./node_files.ts";
import { nodeHttp } from "./http.ts";
import { nodeProcesses } from "./processes.ts";
import { systemRandom } from "./random.ts";
import { systemResolver } from "./resolver.ts";
import type { Runtime } from "./runtime.ts";
import { scriptThreads } from "./script_threads.ts";
import { type Pipes, standardStreams } from "./stdio.ts";
import { webWorkers } from "./workers.ts";

/** Everything that smtpd needs of the world, on Bun. */
export function bunRuntime(): Runtime {
  return {
    name: "bun",
    version: process.versions["bun"] ?? "",
    network: bunNetwork(),
    resolver: systemResolver(),
    dns: systemDns(),
    http: nodeHttp(),
    files: nodeFiles(),
    processes: nodeProcesses(standardStreams(bunPipes)),
    workers: webWorkers(),
    scripts: scriptThreads(),
    clock: systemClock(),
    random: systemRandom(),
  };
}

/** Bun's native streams: no threads, so no latency, and the system's pipes give the back-pressure. */
function bunPipes(): Pipes {
  const reader = bun.stdin.stream().getReader();
  const writer = bun.stdout.writer();
  return {
    async read() {
      const { value } = await reader.read();
      return value;
    },
    async write(bytes) {
      // Both calls may fail on their own; waiting for them together leaves no failure unheard.
      await Promise.all([writer.write(bytes), writer.flush()]);
    },
  };
}
