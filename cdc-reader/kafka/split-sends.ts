// Cuts the records of a transaction into sends that Kafka takes, grouped by partition. Guarantees: the records of a
// partition keep their order, and every send holds at least one record, however large. Pure; the bounds are the caller's.

/** One record on its way out; its partition is chosen already. */
export interface OutgoingRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly value: Buffer;
  readonly headers?: Record<string, string>;
}

export interface SendBounds {
  /** Bytes of one partition in one send: they make one record batch, which the topic's max.message.bytes bounds. */
  readonly partitionBytes: number;
  /** Bytes of one send, over all partitions. */
  readonly sendBytes: number;
}

/** The records of one send that go to one partition. */
export interface PartitionRecords {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly OutgoingRecord[];
}

/** What goes out at once, one batch a partition. */
export interface Send {
  readonly batches: readonly PartitionRecords[];
  readonly largestRecordBytes: number;
}

/** Splits `records` into sends within `bounds`, in order. */
export function splitSends(records: readonly OutgoingRecord[], bounds: SendBounds): Send[] {
  const sends: Send[] = [];
  let next = createOpenSend();
  for (const record of records) {
    const bytes = recordBytes(record);
    if (!next.hasRoom(record, bytes, bounds)) {
      sends.push(next.close());
      next = createOpenSend();
    }
    next.add(record, bytes);
  }
  if (!next.isEmpty()) sends.push(next.close());
  return sends;
}

/** At most: lengths, deltas and counts as numbers of variable length. */
const recordOverheadBytes = 32;
const headerOverheadBytes = 10;

/** Upper bound of a record's bytes inside its batch. */
export function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = recordOverheadBytes + Buffer.byteLength(key) + value.length;
  for (const name in headers) {
    bytes += headerOverheadBytes + Buffer.byteLength(name) + Buffer.byteLength(headers[name]!);
  }
  return bytes;
}

function createOpenSend() {
  const topics = new Map<string, Map<number, { records: OutgoingRecord[]; bytes: number }>>();
  let sendBytes = 0;
  let largestRecordBytes = 0;
  return {
    isEmpty: () => sendBytes === 0,
    hasRoom({ topic, partition }: OutgoingRecord, bytes: number, bounds: SendBounds): boolean {
      const batchBytes = topics.get(topic)?.get(partition)?.bytes ?? 0;
      return sendBytes === 0 || (batchBytes + bytes <= bounds.partitionBytes && sendBytes + bytes <= bounds.sendBytes);
    },
    add(record: OutgoingRecord, bytes: number): void {
      const batches = topics.getOrInsertComputed(record.topic, () => new Map());
      const batch = batches.getOrInsertComputed(record.partition, () => ({ records: [], bytes: 0 }));
      batch.records.push(record);
      batch.bytes += bytes;
      sendBytes += bytes;
      largestRecordBytes = Math.max(largestRecordBytes, bytes);
    },
    close: (): Send => ({
      largestRecordBytes,
      batches: [...topics].flatMap(([topic, batches]) =>
        [...batches].map(([partition, { records }]) => ({ topic, partition, records })),
      ),
    }),
  };
}
