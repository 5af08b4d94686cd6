/**
 * What lint rules may know of this machine, answered by the runtime and, on Linux, by /proc. Nothing here throws, and
 * nothing changes anything. It must not know the rules.
 */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { reasonOf } from "../config/include.ts";
import type { KeyPairFacts, LintEnvironment, LintFiles, LintPrivileges } from "../config/lint/rule.ts";
import { type Files, type Network, type Runtime, TlsIdentityError } from "../runtime/runtime.ts";

export function lintEnvironment(runtime: Runtime): LintEnvironment {
  const { files, processes, clock } = runtime;
  return {
    files: lintFiles(files),
    variable: (name) => processes.environment(name),
    nowMs: clock.nowMs(),
    hostName: processes.hostName,
    privileges: privileges(files),
    keyPair: (certificate, privateKey) => keyPairFacts(runtime.network, certificate, privateKey),
  };
}

/** More than any certificate or secret; a device or a huge file must not fill the memory. */
const MAX_FILE_BYTES = 1024 * 1024;

function lintFiles(files: Files): LintFiles {
  return {
    async readText(path) {
      try {
        const info = await files.info(path);
        if (info === undefined) return { reason: "there is no such file" };
        // Whatever is not a plain file may block or never end.
        if (info.kind !== "file") {
          return { reason: info.kind === "directory" ? "it is a directory" : "it is no plain file" };
        }
        if (info.sizeBytes > MAX_FILE_BYTES) return { reason: `it is larger than ${MAX_FILE_BYTES} bytes` };
        return { text: await files.readText(path) };
      } catch (error) {
        return { reason: reasonOf(error) };
      }
    },
    async info(path) {
      const info = await quietly(() => files.info(path));
      if (info === undefined) return undefined;
      return { kind: info.kind, sizeBytes: info.sizeBytes, mode: process.platform === "win32" ? undefined : info.mode };
    },
    async isWritable(path) {
      try {
        await access(path, constants.W_OK);
        return true;
      } catch (error) {
        return reasonOf(error) === "there is no such file" ? undefined : false;
      }
    },
    async fileSystem(path) {
      const mounts = await quietly(() => files.readText("/proc/self/mounts"));
      return mounts === undefined ? undefined : fileSystemOf(path, mounts);
    },
    freeBytes: (path) => quietly(() => files.freeBytes(path)),
  };
}

async function quietly<Result>(ask: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await ask();
  } catch {
    return undefined;
  }
}

/** The type of the last mount whose directory holds the path (fstab(5): blanks in names are written as \040). */
export function fileSystemOf(path: string, mounts: string): string | undefined {
  let found: { readonly directory: string; readonly type: string } | undefined;
  for (const line of mounts.split("\n")) {
    const [, written, type] = line.split(" ");
    if (written === undefined || type === undefined) continue;
    const directory = written.replace(/\\([0-7]{3})/gu, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    const holds = path === directory || path.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
    if (holds && directory.length >= (found?.directory.length ?? 0)) found = { directory, type };
  }
  return found?.type;
}

/** CAP_NET_BIND_SERVICE, capability 10 (capabilities(7)). */
const BIND_CAPABILITY = 1n << 10n;

function privileges(files: Files): LintPrivileges {
  const read = (path: string) => quietly(() => files.readText(path));
  return {
    async mayListen(port) {
      if (process.platform === "win32" || process.platform === "darwin") return true;
      const start = Number((await read("/proc/sys/net/ipv4/ip_unprivileged_port_start"))?.trim() ?? "1024");
      if (port >= start) return true;
      const capabilities = /^CapEff:\s*([0-9a-f]{1,16})$/mu.exec(await read("/proc/self/status") ?? "")?.[1];
      return capabilities === undefined ? undefined : (BigInt(`0x${capabilities}`) & BIND_CAPABILITY) !== 0n;
    },
    async openFileLimit() {
      const limit = /^Max open files\s+(\d{1,15})\s/mu.exec(await read("/proc/self/limits") ?? "")?.[1];
      return limit === undefined ? undefined : Number(limit);
    },
  };
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/u;

function keyPairFacts(network: Network, certificate: string, privateKey: string): KeyPairFacts {
  try {
    network.tlsIdentity({ certificate, privateKey });
    const { X509Certificate } = process.getBuiltinModule("node:crypto");
    const leaf = new X509Certificate(CERTIFICATE.exec(certificate)?.[0] ?? certificate);
    const names = (leaf.subjectAltName ?? "").split(", ").flatMap((entry) => {
      const [, name] = /^(?:DNS|IP Address):(.+)$/u.exec(entry) ?? [];
      return name === undefined ? [] : [name];
    });
    return {
      ok: true,
      notBeforeMs: Date.parse(leaf.validFrom),
      notAfterMs: Date.parse(leaf.validTo),
      names,
      covers: (hostName) => leaf.checkHost(hostName) !== undefined,
    };
  } catch (error) {
    if (error instanceof TlsIdentityError) return { ok: false, field: error.field, reason: error.message };
    return { ok: false, field: "certificate", reason: "It cannot be read." };
  }
}
