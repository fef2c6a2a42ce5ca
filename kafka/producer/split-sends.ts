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
    if (next.add(record, bounds)) continue;
    sends.push(next.close());
    next = createOpenSend();
    next.add(record, bounds);
  }
  if (records.length > 0) sends.push(next.close());
  return sends;
}

interface OpenBatch extends PartitionRecords {
  readonly records: OutgoingRecord[];
  bytes: number;
}

function createOpenSend() {
  /** Of each topic, by partition, in the order of their first records. */
  const topics = new Map<string, Map<number, OpenBatch>>();
  const batches: OpenBatch[] = [];
  let sendBytes = 0;
  let largestRecordBytes = 0;
  const open = (topic: string, partition: number): OpenBatch => {
    const batch: OpenBatch = { topic, partition, records: [], bytes: 0 };
    const ofTopic = topics.get(topic) ?? new Map();
    topics.set(topic, ofTopic.set(partition, batch));
    batches.push(batch);
    return batch;
  };
  return {
    /** @returns whether there was room for it. */
    add(record: OutgoingRecord, bounds: SendBounds): boolean {
      const bytes = recordBytes(record);
      let batch = topics.get(record.topic)?.get(record.partition);
      if (sendBytes > 0 && sendBytes + bytes > bounds.sendBytes) return false;
      if (batch !== undefined && batch.bytes + bytes > bounds.partitionBytes) return false;
      if (batch === undefined && sendBytes > 0 && bytes > bounds.partitionBytes) return false;
      batch ??= open(record.topic, record.partition);
      batch.records.push(record);
      batch.bytes += bytes;
      sendBytes += bytes;
      if (bytes > largestRecordBytes) largestRecordBytes = bytes;
      return true;
    },
    close: (): Send => ({ largestRecordBytes, batches }),
  };
}
