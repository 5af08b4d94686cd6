/**
 * `smtpd import`: reads the files of another server, writes the translation to standard output and what has no equivalent
 * to standard error. It must not know the formats.
 */
import { channelTypes } from "../channel/registry.ts";
import { importAlchemypoint } from "../config/import/alchemypoint.ts";
import { type Imported, type ImportFile, MAX_IMPORT_BYTES, type Remark } from "../config/import/imported.ts";
import { importImta } from "../config/import/imta.ts";
import { type Decoded, decodeText, decodeXml } from "../config/import/decode.ts";
import type { ConfigFiles } from "../config/include.ts";
import { loadConfig } from "../config/load.ts";
import { renderDiagnostics } from "../config/render.ts";
import { FileError, type Runtime } from "../runtime/runtime.ts";
import { CommandError, exitCode } from "./exit.ts";
import { visible, wantsColour } from "./terminal.ts";

export type ImportFormat = "alchemypoint" | "imta";

export async function importCommand(
  runtime: Runtime,
  format: ImportFormat,
  paths: readonly string[],
): Promise<number> {
  const { stdio } = runtime.processes;
  const files = await Promise.all(paths.map((path) => readFile(runtime, path, format)));
  const imported = translate(format, files);
  if (!imported.ok) {
    stdio.writeErr(remarkLines(imported.problems));
    throw new CommandError("Nothing was translated: correct what is told above", exitCode.data);
  }
  stdio.writeErr(remarkLines(imported.remarks));
  await verify(runtime, imported.toml);
  const count = imported.remarks.length;
  if (count > 0) {
    stdio.writeErr(`smtpd: ${count} ${count === 1 ? "remark" : "remarks"} above: look through the result\n`);
  }
  stdio.writeOut(imported.toml);
  return exitCode.ok;
}

function translate(format: ImportFormat, files: readonly ImportFile[]): Imported {
  if (format === "imta") return importImta(files);
  const [file = { name: "", text: "" }] = files;
  return importAlchemypoint(file);
}

async function readFile(runtime: Runtime, path: string, format: ImportFormat): Promise<ImportFile> {
  const info = await runtime.files.info(path);
  if (info === undefined) throw new CommandError(`Cannot read "${path}": there is no such file`, exitCode.system);
  if (info.kind === "directory") throw new CommandError(`Cannot read "${path}": it is a directory`, exitCode.system);
  const tooLarge = () =>
    new CommandError(`"${path}" has more than ${MAX_IMPORT_BYTES} bytes: no configuration is so large`, exitCode.data);
  if (info.sizeBytes > MAX_IMPORT_BYTES) throw tooLarge();
  const bytes = await runtime.files.readBytes(path);
  if (bytes.length > MAX_IMPORT_BYTES) throw tooLarge();
  const decoded: Decoded = format === "alchemypoint" ? decodeXml(bytes) : decodeText(bytes);
  if (decoded.ok) return { name: path, text: decoded.text };
  throw new CommandError(`Cannot read "${path}" as text: ${decoded.reason}`, exitCode.data);
}

/** Lines that tools which jump to places understand. */
function remarkLines(remarks: readonly Remark[]): string {
  return remarks.map(({ file, line, text }) => `${visible(`${file}:${line}: ${text}`)}\n`).join("");
}

const RESULT = "smtpd.toml";

/** The result goes through the loader: what comes out can be used. */
async function verify(runtime: Runtime, toml: string): Promise<void> {
  const files: ConfigFiles = {
    readText: (path) =>
      path === RESULT ? Promise.resolve(toml) : Promise.reject(new FileError(`No "${path}" here`, "ENOENT", path)),
    info: (path) =>
      Promise.resolve(
        path === RESULT ? { kind: "file", sizeBytes: toml.length, modifiedMs: 0, mode: 0o600 } : undefined,
      ),
    list: () => Promise.resolve([]),
  };
  const hostName = runtime.processes.hostName;
  const { config, diagnostics, sources } = await loadConfig(RESULT, { files, channels: channelTypes, hostName });
  if (diagnostics.length > 0) {
    const colour = wantsColour(runtime, "err");
    const columns = runtime.processes.stdio.columns();
    const text = renderDiagnostics(diagnostics, sources, {
      colour,
      ...(columns === undefined ? {} : { width: columns }),
    });
    runtime.processes.stdio.writeErr(text);
  }
  if (config === undefined) {
    throw new CommandError("The translation is no valid configuration, see above; nothing was written", exitCode.data);
  }
}
