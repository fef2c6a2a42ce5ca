// Splits the records of a transaction into sends that Kafka accepts, grouped by partition. Guarantees: the records of a
// partition keep their order, and every send holds at least one record, however large. Pure. The bounds are set by the
// caller.

import { type OutgoingRecord, type PartitionRecords, recordBytes } from '#kafka/protocol/record.ts';

export interface SendBounds {
  /** Bytes of one partition in one send: one record batch, which max.message.bytes of the topic bounds. */
  readonly partitionBytes: number;
  /** Bytes of one send, over all partitions. */
  readonly sendBytes: number;
}

/** What is sent at once, one batch per partition. */
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
