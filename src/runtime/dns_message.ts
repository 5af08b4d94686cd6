/**
 * DNS messages (RFC 1035 §4): a question for one name as bytes, and the records of an answer to it. Pure; it must not know
 * how they travel.
 */

export const DNS_TYPES = { A: 1, MX: 15, AAAA: 28 } as const;
export type DnsType = keyof typeof DNS_TYPES;

export type DnsRecord =
  | { readonly type: "A" | "AAAA"; readonly address: string }
  /** `exchange` is "" for the root. */
  | { readonly type: "MX"; readonly preference: number; readonly exchange: string };

export type DnsAnswer =
  /** No record: the name exists and has none of that type. */
  | { readonly kind: "records"; readonly records: readonly DnsRecord[] }
  | { readonly kind: "no-such-name" }
  /** It did not fit: ask again over TCP. */
  | { readonly kind: "truncated" }
  /** `rcode` is the server's trouble: 2 is SERVFAIL, 5 REFUSED. */
  | { readonly kind: "failure"; readonly rcode: number };

const HEADER_BYTES = 12;
const CNAME = 5;
const IN = 1;
/** Pointers followed in one name; each must lead backwards, so this only bounds the work. */
const MAX_POINTERS = 32;

/** The labels of a name in ASCII, or undefined when it cannot be one (RFC 1035 §2.3.4). */
function labelsOf(name: string): readonly string[] | undefined {
  const labels = name.replace(/\.$/u, "").split(".");
  const fits = name.length <= 254 && labels.every((label) => /^[!-~]{1,63}$/u.test(label));
  return fits ? labels : undefined;
}

export function isDnsName(name: string): boolean {
  return labelsOf(name) !== undefined;
}

/** A recursive question. */
export function encodeQuestion(id: number, name: string, type: DnsType): Uint8Array {
  const labels = labelsOf(name);
  if (labels === undefined) throw new RangeError("The name cannot be in the DNS");
  const bytes: number[] = [id >> 8, id & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
  for (const label of labels) {
    bytes.push(label.length);
    for (let index = 0; index < label.length; index++) bytes.push(label.charCodeAt(index));
  }
  bytes.push(0, 0, DNS_TYPES[type], 0, IN);
  return Uint8Array.from(bytes);
}

/** Undefined when the bytes are no answer to that question. */
export function decodeAnswer(bytes: Uint8Array, id: number, name: string, type: DnsType): DnsAnswer | undefined {
  try {
    return new Decoder(bytes).answer(id, name.replace(/\.$/u, "").toLowerCase(), type);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Reads beyond the end throw `RangeError`, as DataView does. */
class Decoder {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = HEADER_BYTES;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  answer(id: number, name: string, type: DnsType): DnsAnswer | undefined {
    const flags = this.#view.getUint16(2);
    const isAnswer = (flags & 0x8000) !== 0 && this.#view.getUint16(0) === id && this.#view.getUint16(4) === 1;
    if (!isAnswer || this.#name().toLowerCase() !== name) return undefined;
    if (this.#short() !== DNS_TYPES[type] || this.#short() !== IN) return undefined;
    if ((flags & 0x0200) !== 0) return { kind: "truncated" };
    const rcode = flags & 0x000f;
    if (rcode === 3) return { kind: "no-such-name" };
    if (rcode !== 0) return { kind: "failure", rcode };
    return { kind: "records", records: this.#records(name, type, this.#view.getUint16(6)) };
  }

  /** Those of the name itself, or of the names that it is an alias for. */
  #records(name: string, type: DnsType, count: number): readonly DnsRecord[] {
    const names = new Set([name]);
    const records: DnsRecord[] = [];
    for (let index = 0; index < count; index++) {
      const owner = this.#name().toLowerCase();
      const recordType = this.#short();
      const recordClass = this.#short();
      this.#at += 4;
      const end = this.#short() + this.#at;
      if (end > this.#bytes.length) throw new RangeError("A record goes beyond the end");
      if (recordClass === IN && names.has(owner)) {
        if (recordType === CNAME) names.add(this.#name().toLowerCase());
        else if (recordType === DNS_TYPES[type]) records.push(this.#record(type, end));
      }
      this.#at = end;
    }
    return records;
  }

  #record(type: DnsType, end: number): DnsRecord {
    if (type === "MX") return { type, preference: this.#short(), exchange: this.#name() };
    const octets = this.#bytes.subarray(this.#at, end);
    if (octets.length !== (type === "A" ? 4 : 16)) throw new RangeError("An address has the wrong length");
    if (type === "A") return { type, address: octets.join(".") };
    const groups = Array.from({ length: 8 }, (_, index) => this.#view.getUint16(this.#at + 2 * index).toString(16));
    return { type, address: groups.join(":") };
  }

  #short(): number {
    const value = this.#view.getUint16(this.#at);
    this.#at += 2;
    return value;
  }

  /** A name that may be compressed (RFC 1035 §4.1.4). Octets that cannot be in a host name make it unusable: "?". */
  #name(): string {
    const labels: string[] = [];
    let position = this.#at;
    let after: number | undefined;
    for (let pointers = 0;;) {
      const length = this.#view.getUint8(position);
      if (length >= 0xc0) {
        const target = this.#view.getUint16(position) & 0x3fff;
        after ??= position + 2;
        if (target >= position || ++pointers > MAX_POINTERS) throw new RangeError("A name points to itself");
        position = target;
        continue;
      }
      if (length > 63) throw new RangeError("A label is of an unknown kind");
      position++;
      if (length === 0) break;
      if (position + length > this.#bytes.length) throw new RangeError("A name goes beyond the end");
      const label = String.fromCharCode(...this.#bytes.subarray(position, position + length));
      labels.push(/^[!-~]+$/u.test(label) && !label.includes(".") ? label : "?");
      position += length;
    }
    this.#at = after ?? position;
    return labels.join(".");
  }
}
