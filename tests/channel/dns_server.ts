/** A DNS server for tests, on one port of 127.0.0.1 over UDP and TCP, with the records and failures that a test wants. */
import { createSocket } from "node:dgram";
import { createServer, isIPv4, type Socket } from "node:net";

export type Zone = Readonly<Record<string, Records>>;

/** `silent`: no answer at all. `long`: it does not fit into UDP. `forged`: first comes an answer to another question. */
export interface Records {
  readonly mx?: readonly (readonly [preference: number, exchange: string])[];
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly cname?: string;
  readonly trouble?: "nxdomain" | "servfail" | "refused" | "silent" | "long" | "forged";
}

const TYPES: Readonly<Record<number, "a" | "mx" | "aaaa">> = { 1: "a", 15: "mx", 28: "aaaa" };

export interface DnsServer extends AsyncDisposable {
  /** For SMTPD_DNS. */
  readonly server: string;
  /** `MX example.net`, in the order in which they came. */
  readonly questions: string[];
  zone: Zone;
}

export async function startDns(zone: Zone): Promise<DnsServer> {
  const udp = createSocket("udp4");
  await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", () => resolve()));
  const { port } = udp.address();
  const sockets = new Set<Socket>();
  const world = { server: `127.0.0.1:${port}`, questions: [] as string[], zone };
  udp.on("message", (question, from) => {
    for (const answer of answersTo(question, world, false)) udp.send(answer, from.port, from.address);
  });
  const tcp = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (bytes: Uint8Array) => {
      for (const answer of answersTo(Buffer.from(bytes.subarray(2)), world, true)) {
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        // In two pieces, as it may come.
        socket.write(Buffer.concat([length, answer.subarray(0, 5)]));
        setTimeout(() => socket.writable && socket.write(answer.subarray(5)), 5);
      }
    });
  });
  await new Promise<void>((resolve) => tcp.listen({ host: "127.0.0.1", port }, () => resolve()));
  return Object.assign(world, {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      udp.close();
      await new Promise<void>((resolve) => tcp.close(() => resolve()));
    },
  });
}

function answersTo(question: Buffer, world: { zone: Zone; questions: string[] }, overTcp: boolean): readonly Buffer[] {
  let at = 12;
  const labels: string[] = [];
  for (let length = question[at++] ?? 0; length > 0; length = question[at++] ?? 0) {
    labels.push(question.subarray(at, at + length).toString("latin1"));
    at += length;
  }
  const type = TYPES[question.readUInt16BE(at)];
  const name = labels.join(".").toLowerCase();
  world.questions.push(`${type?.toUpperCase()} ${name}`);
  const records = world.zone[name] ?? { trouble: "nxdomain" };
  const { trouble } = records;
  if (trouble === "silent" || type === undefined) return [];
  const asked = question.subarray(12, at + 4);
  const answers = trouble === "nxdomain" || trouble === "servfail" || trouble === "refused"
    ? []
    : recordsOf(records, type, world.zone);
  const rcode = trouble === "nxdomain" ? 3 : trouble === "servfail" ? 2 : trouble === "refused" ? 5 : 0;
  const truncated = trouble === "long" && !overTcp;
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180 | rcode | (truncated ? 0x0200 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(truncated ? 0 : answers.length, 6);
  const answer = Buffer.concat([header, asked, ...truncated ? [] : answers]);
  if (trouble !== "forged") return [answer];
  const forged = Buffer.from(answer);
  forged.writeUInt16BE(forged.readUInt16BE(0) ^ 0x5555, 0);
  return [forged, Buffer.from("rubbish"), answer];
}

function recordsOf(records: Records, type: "a" | "mx" | "aaaa", zone: Zone): readonly Buffer[] {
  // The question's name, compressed (RFC 1035 §4.1.4).
  const question = Buffer.from([0xc0, 12]);
  if (records.cname !== undefined) {
    const target = nameBytes(records.cname);
    const found = recordBytes(zone[records.cname] ?? {}, type).map((data) => resource(target, type, data));
    return [resource(question, "cname", target), ...found];
  }
  return recordBytes(records, type).map((data) => resource(question, type, data));
}

function recordBytes(records: Records, type: "a" | "mx" | "aaaa"): readonly Buffer[] {
  if (type !== "mx") return (records[type] ?? []).map(addressBytes);
  return (records.mx ?? []).map(([preference, exchange]) => {
    const data = Buffer.alloc(2);
    data.writeUInt16BE(preference);
    return Buffer.concat([data, nameBytes(exchange)]);
  });
}

function resource(name: Buffer, type: "a" | "mx" | "aaaa" | "cname", data: Buffer): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE({ a: 1, cname: 5, mx: 15, aaaa: 28 }[type]);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(60, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([name, fixed, data]);
}

function nameBytes(name: string): Buffer {
  const labels = name.split(".").filter((label) => label !== "");
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0]),
  ]);
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  const [head = "", tail = ""] = address.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const before = groups(head);
  const after = groups(tail);
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
