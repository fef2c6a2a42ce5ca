// Kafka's record batches (message format 2) as the oracle reads them: pure functions from bytes to records, and from
// records with their transaction markers to outcomes. A record of a transaction is committed if and only if the next
// marker of the same producer in that partition says so; this holds whatever the isolation of a consumer makes of it.

import { gunzipSync, zstdDecompressSync } from 'node:zlib';

export type Outcome = 'committed' | 'aborted' | 'open';

/** A data record as it lies in the log, whatever became of its transaction. */
export interface RawRecord {
  readonly partition: number;
  readonly offset: bigint;
  /** The broker's time of appending where the topic has LogAppendTime, else the producer's; milliseconds since 1970. */
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Records sent outside of a transaction aren't our reader's. */
  readonly transactional: boolean;
  readonly outcome: Outcome;
  /** By name; undefined: none. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A record, or a transaction marker, before outcomes are known. */
export type LogEntry = RawRecord & { readonly marker?: 'commit' | 'abort' };

/**
 * Parses what one fetch returned. `nextOffset` is where the next fetch starts, undefined when there is no whole batch
 * (the broker may cut the last one short). Throws on compression other than gzip and on older formats.
 */
export function parseRecordBatches(
  bytes: Buffer,
  partition: number,
): { records: readonly LogEntry[]; nextOffset: bigint | undefined } {
  const records: LogEntry[] = [];
  let nextOffset: bigint | undefined;
  for (let at = 0; at + 12 <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    if (end > bytes.length) break;
    const baseOffset = bytes.readBigInt64BE(at);
    if (bytes.readInt8(at + 16) !== 2)
      throw new Error(`The oracle reads message format 2 only (offset ${baseOffset}).`);
    const attributes = bytes.readInt16BE(at + 21);
    const [transactional, control] = [(attributes & 16) !== 0, (attributes & 32) !== 0];
    const [baseMs, maxMs] = [Number(bytes.readBigInt64BE(at + 27)), Number(bytes.readBigInt64BE(at + 35))];
    const producerId = bytes.readBigInt64BE(at + 43);
    const producerEpoch = bytes.readInt16BE(at + 51);
    const count = bytes.readInt32BE(at + 57);
    const content = new Varints(decompress(bytes.subarray(at + 61, end), attributes & 7));
    for (let index = 0; index < count; index += 1) {
      content.integer(); // the record's length
      content.skip(1); // its attributes
      const sinceBaseMs = content.integer();
      const timestampMs = (attributes & 8) !== 0 ? maxMs : baseMs + sinceBaseMs;
      const offset = baseOffset + BigInt(content.integer());
      const [key, value] = [content.bytes(), content.bytes()];
      const headers: Record<string, string> = {};
      const headerCount = content.integer();
      for (let left = headerCount; left > 0; left -= 1) headers[String(content.bytes())] = String(content.bytes());
      const outcome = 'open' as const;
      const entry = { partition, offset, timestampMs, key, value, producerId, producerEpoch, outcome, transactional };
      if (control) records.push({ ...entry, marker: key!.readInt16BE(2) === 1 ? 'commit' : 'abort' });
      else records.push(headerCount === 0 ? entry : { ...entry, headers });
    }
    nextOffset = baseOffset + BigInt(bytes.readInt32BE(at + 23)) + 1n;
    at = end;
  }
  return { records, nextOffset };
}

/** Gives every data record its outcome, markers left out. Records outside of transactions are committed. */
export function settleTransactions(entries: readonly RawRecord[]): readonly RawRecord[] {
  const pending = new Map<bigint, number[]>();
  const settled: RawRecord[] = [];
  for (const { marker, ...record } of entries as readonly LogEntry[]) {
    const { producerId, transactional } = record;
    if (marker !== undefined) {
      const outcome = marker === 'commit' ? 'committed' : 'aborted';
      for (const index of pending.get(producerId) ?? []) settled[index] = { ...settled[index]!, outcome };
      pending.delete(producerId);
    } else if (transactional) {
      const indexes = pending.get(producerId) ?? [];
      indexes.push(settled.length);
      pending.set(producerId, indexes);
      settled.push(record);
    } else {
      settled.push({ ...record, outcome: 'committed' });
    }
  }
  return settled;
}

function decompress(bytes: Buffer, codec: number): Buffer {
  if (codec === 0) return bytes;
  if (codec === 1) return gunzipSync(bytes);
  if (codec === 4) return zstdDecompressSync(bytes);
  throw new Error(`The oracle does not read Kafka's compression ${codec}.`);
}

/** Zig-zag variable-length integers, as Kafka's records and Avro use them. */
export class Varints {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get atEnd(): boolean {
    return this.#at === this.#buffer.length;
  }

  skip(bytes: number): void {
    this.#at += bytes;
  }

  /** A value that fits a double exactly. */
  integer(): number {
    let [value, unit] = [0, 1];
    for (;;) {
      const byte = this.#buffer.readUInt8(this.#at++);
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      unit *= 128;
    }
  }

  long(): bigint {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = this.#buffer.readUInt8(this.#at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return (value >> 1n) ^ -(value & 1n);
      shift += 7n;
    }
  }

  /** Bytes behind their length; null for a negative one. */
  bytes(): Buffer | null {
    const length = this.integer();
    if (length < 0) return null;
    if (this.#at + length > this.#buffer.length) throw new RangeError('A length points beyond the end.');
    this.#at += length;
    return this.#buffer.subarray(this.#at - length, this.#at);
  }
}
