// Cuts the records of a transaction into sends that Kafka and kafkajs can take. Guarantees: the records of a partition
// keep their order, and every send holds at least one record, however large. Pure; the bounds are the caller's.

/** One record on its way out; its partition is chosen already. */
export interface OutgoingRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly value: Buffer;
  readonly headers?: Record<string, string>;
}

export interface SendBounds {
  /** Records of one partition in one send. */
  readonly partitionRecords: number;
  /** Bytes of one partition in one send: they make one record batch, which the topic's max.message.bytes bounds. */
  readonly partitionBytes: number;
  /** Bytes of one send. */
  readonly sendBytes: number;
}

/** What goes out in one request, with what its answer has to confirm. */
export interface Send {
  readonly topicMessages: readonly { topic: string; messages: OutgoingRecord[] }[];
  readonly parts: readonly { topic: string; partition: number; records: number }[];
  readonly largestRecordBytes: number;
}

/** At most: lengths, deltas and counts as numbers of variable length. */
const recordOverheadBytes = 32;

/** Upper bound of a record's bytes inside its batch. */
function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = recordOverheadBytes + Buffer.byteLength(key) + value.length;
  for (const name in headers) bytes += 10 + Buffer.byteLength(name) + Buffer.byteLength(headers[name]!);
  return bytes;
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
  const topics = new Map<
    string,
    { messages: OutgoingRecord[]; parts: Map<number, { records: number; bytes: number }> }
  >();
  let sendBytes = 0;
  let largestRecordBytes = 0;
  return {
    isEmpty: () => sendBytes === 0,
    hasRoom({ topic, partition }: OutgoingRecord, bytes: number, bounds: SendBounds): boolean {
      const part = topics.get(topic)?.parts.get(partition) ?? { records: 0, bytes: 0 };
      return (
        sendBytes === 0 ||
        (part.records < bounds.partitionRecords &&
          part.bytes + bytes <= bounds.partitionBytes &&
          sendBytes + bytes <= bounds.sendBytes)
      );
    },
    add(record: OutgoingRecord, bytes: number): void {
      const { messages, parts } = topics.getOrInsertComputed(record.topic, () => ({ messages: [], parts: new Map() }));
      const part = parts.getOrInsertComputed(record.partition, () => ({ records: 0, bytes: 0 }));
      messages.push(record);
      part.records += 1;
      part.bytes += bytes;
      sendBytes += bytes;
      largestRecordBytes = Math.max(largestRecordBytes, bytes);
    },
    close: (): Send => ({
      topicMessages: [...topics].map(([topic, { messages }]) => ({ topic, messages })),
      parts: [...topics].flatMap(([topic, { parts }]) =>
        [...parts].map(([partition, { records }]) => ({ topic, partition, records })),
      ),
      largestRecordBytes,
    }),
  };
}
