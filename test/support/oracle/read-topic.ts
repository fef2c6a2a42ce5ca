// The oracle's own eyes on Kafka: a hundred lines of the wire protocol, so that no client library (ours, or kafkajs with
// its known read_committed faults) stands between the judge and the log. It reads every batch up to the high watermark
// as it lies on the broker and decides from the transaction markers themselves whether a record is committed, aborted or
// still open; read_committed and read_uncommitted are two views of that one reading. Left to others: what records mean.

import { type Outcome, parseRecordBatches, type RawRecord, settleTransactions } from './records.ts';
import { type Connection, int32, int64, openConnection, type Reader, string } from './wire.ts';

export type { Outcome, RawRecord };

/** One partition from its earliest offset to the high watermark at the time of reading. */
export interface PartitionLog {
  readonly partition: number;
  readonly earliest: bigint;
  /** End of what read_committed readers may see: the first record of the oldest open transaction, or the high watermark. */
  readonly lastStable: bigint;
  readonly highWatermark: bigint;
  readonly records: readonly RawRecord[];
}

const [fetchKey, listOffsetsKey, metadataKey] = [1, 2, 3] as const;
const unknownTopic = 3;
const fetchBytes = 8 * 1024 * 1024;

interface Topic {
  readonly partitions: readonly { readonly partition: number; readonly leader: number }[];
  readonly brokers: ReadonlyMap<number, { host: string; port: number }>;
}

/**
 * Reads all of `topic`, partitions in order; an empty list when the topic does not exist. Throws when a leader can't be
 * reached or does not deliver up to the high watermark within `deadlineMs`.
 */
export async function readTopic(options: {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly deadlineMs: number;
  /** By partition, where to begin: at an offset before which no transaction is open. Default: the earliest. */
  readonly from?: ReadonlyMap<number, bigint>;
}): Promise<readonly PartitionLog[]> {
  const { topic, deadlineMs, from } = options;
  const endMs = performance.now() + deadlineMs;
  return withConnections(deadlineMs, async (connection) => {
    const { brokers, partitions } = await readMetadata(options.brokers, topic, connection);
    const logs: PartitionLog[] = [];
    for (const { partition, leader } of partitions) {
      const broker = brokers.get(leader);
      if (broker === undefined) throw new Error(`The oracle finds no leader for ${topic}-${partition}.`);
      const open = await connection(broker.host, broker.port);
      logs.push(await readPartition(open, topic, partition, endMs, from?.get(partition)));
    }
    return logs;
  });
}

type Connect = (host: string, port: number) => Promise<Connection>;

async function withConnections<T>(deadlineMs: number, use: (connection: Connect) => Promise<T>): Promise<T> {
  const connections = new Map<string, Connection>();
  try {
    return await use(async (host, port) => {
      const address = `${host}:${port}`;
      const open = connections.get(address) ?? (await openConnection(host, port, deadlineMs));
      connections.set(address, open);
      return open;
    });
  } finally {
    for (const open of connections.values()) open.close();
  }
}

/** Sum of the ends of what read_committed readers may see, all partitions together; for watching progress. */
export async function readCommittedEnds(options: {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly deadlineMs: number;
}): Promise<bigint> {
  const { topic, deadlineMs } = options;
  return withConnections(deadlineMs, async (connection) => {
    const { brokers, partitions } = await readMetadata(options.brokers, topic, connection);
    let sum = 0n;
    for (const { partition, leader } of partitions) {
      const broker = brokers.get(leader);
      if (broker === undefined) throw new Error(`The oracle finds no leader for ${topic}-${partition}.`);
      const body = [int32(-1), Buffer.from([1]), int32(1), string(topic), int32(1), int32(partition), int64(-1n)];
      const answer = await (await connection(broker.host, broker.port)).request(listOffsetsKey, 2, body);
      answer.int32(); // throttle time
      const [, end] = parseAnswer(answer, `${topic}-${partition}`, () => [answer.int64(), answer.int64()] as const);
      sum += end;
    }
    return sum;
  });
}

async function readMetadata(bootstrap: readonly string[], topic: string, connection: Connect): Promise<Topic> {
  const failures: unknown[] = [];
  for (const address of bootstrap) {
    const separator = address.lastIndexOf(':');
    try {
      const open = await connection(address.slice(0, separator), Number(address.slice(separator + 1)));
      return parseMetadata(await open.request(metadataKey, 1, [int32(1), string(topic)]), topic);
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures, `The oracle reaches none of the brokers ${bootstrap.join(', ')}.`);
}

function parseMetadata(answer: Reader, topic: string): Topic {
  const brokers = new Map(
    answer.array(() => {
      const id = answer.int32();
      const broker = { host: answer.string()!, port: answer.int32() };
      answer.string();
      return [id, broker] as const;
    }),
  );
  answer.int32();
  const topics = answer.array(() => {
    const error = answer.int16();
    answer.string();
    answer.int8();
    const partitions = answer.array(() => {
      answer.int16();
      const found = { partition: answer.int32(), leader: answer.int32() };
      answer.array(() => answer.int32());
      answer.array(() => answer.int32());
      return found;
    });
    return { error, partitions };
  });
  const { error, partitions } = topics[0]!;
  if (error !== 0 && error !== unknownTopic) throw new Error(`Kafka's metadata of ${topic} has error ${error}.`);
  return { brokers, partitions: partitions.toSorted((a, b) => a.partition - b.partition) };
}

async function readPartition(
  connection: Connection,
  topic: string,
  partition: number,
  endMs: number,
  from: bigint | undefined,
): Promise<PartitionLog> {
  const name = `${topic}-${partition}`;
  const target = [int32(1), string(topic), int32(1), int32(partition)];
  const offsets = await connection.request(listOffsetsKey, 1, [int32(-1), ...target, int64(-2n)]);
  const [, earliest] = parseAnswer(offsets, name, () => [offsets.int64(), offsets.int64()] as const);
  const records: RawRecord[] = [];
  let position = from ?? earliest;
  let highWatermark: bigint | undefined;
  while (highWatermark === undefined || position < highWatermark) {
    if (performance.now() > endMs) throw new Error(`The oracle read ${name} only up to ${position} in time.`);
    const limits = [int32(-1), int32(100), int32(1), int32(fetchBytes), Buffer.from([0])];
    const answer = await connection.request(fetchKey, 4, [...limits, ...target, int64(position), int32(fetchBytes)]);
    answer.int32(); // throttle time
    const fetched = parseAnswer(answer, name, () => {
      const end = answer.int64();
      answer.int64();
      answer.array(() => [answer.int64(), answer.int64()]);
      return { end, bytes: answer.bytes() ?? Buffer.alloc(0) };
    });
    highWatermark ??= fetched.end;
    const batches = parseRecordBatches(fetched.bytes, partition);
    for (const record of batches.records) if (record.offset >= position) records.push(record);
    position = batches.nextOffset ?? position;
  }
  const settled = settleTransactions(records.filter(({ offset }) => offset < highWatermark));
  const firstOpen = settled.find(({ outcome }) => outcome === 'open')?.offset;
  return { partition, earliest, lastStable: firstOpen ?? highWatermark, highWatermark, records: settled };
}

function parseAnswer<T>(answer: Reader, what: string, parse: () => T): T {
  answer.int32();
  answer.string();
  answer.int32();
  answer.int32();
  const error = answer.int16();
  if (error !== 0) throw new Error(`Kafka answered with error ${error} for ${what}.`);
  return parse();
}
