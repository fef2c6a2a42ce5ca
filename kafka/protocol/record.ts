// A record as it is read from a partition and as it is sent to one, and an upper bound of its size inside a record batch:
// one bound, so that whoever fills sends and transactions counts the bytes that produce-request.ts reserves. Pure.

/** A record read from a partition. Its buffers may be views of a larger one: copy what is kept. */
export interface LogRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer>>;
}

/** A record to send. Its partition is already chosen. */
export interface OutgoingRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly value: Buffer;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** What {@link recordBytes} gives, where it is known beforehand. */
  readonly maxBytes?: number;
}

/** Records to send to one partition, in order. */
export interface PartitionRecords {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly OutgoingRecord[];
}

/** Upper bounds of what varints for lengths, deltas and counts take: of a record, and of a header. */
export const RECORD_OVERHEAD_BYTES = 32;
export const HEADER_OVERHEAD_BYTES = 10;

/** Upper bound of the bytes that a record takes in its batch. */
export function recordBytes(record: OutgoingRecord): number {
  if (record.maxBytes !== undefined) return record.maxBytes;
  const { key, value, headers } = record;
  let bytes = RECORD_OVERHEAD_BYTES + Buffer.byteLength(key) + value.length;
  for (const name in headers) {
    bytes += HEADER_OVERHEAD_BYTES + Buffer.byteLength(name) + Buffer.byteLength(headers[name]!);
  }
  return bytes;
}
