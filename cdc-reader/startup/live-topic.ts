// What the live topic is and holds: its id; the end of every partition with its last event, as a start needs it; and from
// where on it has every order, for replay. Reads only what is
// committed; checking it is continuity.ts's, what of it can be replayed is kafka-coverage.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { isBatchError } from '#kafka/protocol/batch-errors.ts';
import type { KafkaLog, LogRecord } from '#kafka/reading/log.ts';
import { findNewestRecord } from '#kafka/reading/newest-record.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { parseOrderPlaced } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { LiveTopicChangedError } from '../errors.ts';
import { findOldestCovered, type KafkaCoverage, type PartitionHead } from '../replay-window/kafka-coverage.ts';
import { LiveTopicTransactionOpenError } from '../supervise/restart-errors.ts';
import type { PartitionTail } from './continuity.ts';

/** Brokers hear of a new topic or leader within milliseconds; one that is cut off from the controller leads nothing for long. */
const SETTLING_READS = 3;
const BETWEEN_READS_MS = 1_000;
const READ_ID_DEADLINE_MS = 10_000;

export function readEvent(topic: string, partition: number, { offset, value }: LogRecord): OrderPlaced {
  try {
    if (value === null) throw new Error('it has no value');
    // What breaks the rules of findProblem may be from a reader that did not check them.
    return parseOrderPlaced(value);
  } catch (cause) {
    const why = `${topic}[${partition}] holds a record that no reader wrote (${(cause as Error).message})`;
    throw new LiveTopicChangedError(why, { partition, offset });
  }
}

/** As a record that no reader wrote: what the topic holds there can't be compared with what was published. */
export function refuseBatch(topic: string, partition: number, error: unknown): never {
  if (!isBatchError(error)) throw error;
  const offset = String(error.details.offset);
  const limit =
    error.code === 'BATCH_TOO_LARGE'
      ? ", which MAX_EXPANDED_BATCH_BYTES limits: raise it if the batch is the reader's"
      : '';
  const why = `${topic}[${partition}] holds a record batch at offset ${offset} that can't be read (${error.code}${limit})`;
  throw new LiveTopicChangedError(why, { partition, offset });
}

export interface EventTail extends PartitionTail {
  readonly newest: OrderPlaced | null;
}

/**
 * The ends of all partitions. `deadlineMs`: see KafkaLog. @throws LiveTopicChangedError for a foreign record, and for a
 * batch that can't be read where no record follows it,
 * LiveTopicTransactionOpenError while a transaction is open: what lies after it can't be read yet
 */
export async function readPartitionTails(log: KafkaLog, topic: string, deadlineMs: number): Promise<EventTail[]> {
  const tails: EventTail[] = [];
  for (const [partition, { earliest, lastStable, highWatermark }] of await log.readOffsets(topic, deadlineMs)) {
    if (lastStable < highWatermark) throw new LiveTopicTransactionOpenError(topic, partition, lastStable);
    const range = { topic, partition, earliest, untilOffset: lastStable, deadlineMs };
    const record = await findNewestRecord(log, range).catch((error) => refuseBatch(topic, partition, error));
    tails.push({ partition, earliest, end: lastStable, newest: record && readEvent(topic, partition, record) });
  }
  return tails;
}

/**
 * The same, read again for a while where a partition ends before `leastEnd`: a new leader may not know the high watermark of
 * the old one for a moment.
 */
export async function readSettledTails(
  log: KafkaLog,
  topic: string,
  leastEnd: (partition: number) => bigint,
  deadlineMs: number,
): Promise<EventTail[]> {
  for (let read = 1; ; read += 1) {
    const tails = await readPartitionTails(log, topic, deadlineMs);
    if (read === SETTLING_READS || tails.every(({ partition, end }) => end >= leastEnd(partition))) return tails;
    await delay(BETWEEN_READS_MS);
  }
}

/**
 * Kafka's id of the topic, null where the brokers have none. One that is not `expected` is read again: a broker may not
 * have heard yet which topic has the name.
 */
export async function readSettledTopicId(
  log: Pick<KafkaLog, 'readTopicId'>,
  topic: string,
  expected: string | null,
): Promise<string | null> {
  for (let read = 1; ; read += 1) {
    const found = await log.readTopicId(topic, READ_ID_DEADLINE_MS);
    if (found === null || expected === null || found === expected || read === SETTLING_READS) return found;
    await delay(BETWEEN_READS_MS);
  }
}

/**
 * From where on the live topic has every order, its checkpoint's gaps aside. Reads one record of each partition that
 * retention has cut. `deadlineMs`: see KafkaLog. @throws TopicMissingError, LiveTopicChangedError for a foreign record
 */
export async function readKafkaCoverage(
  log: Pick<KafkaLog, 'readOffsets' | 'readRecords'>,
  topic: string,
  checkpoint: Pick<Checkpoint, 'partitions' | 'nextOffsets' | 'throughLsn'>,
  deadlineMs: number,
): Promise<KafkaCoverage> {
  const heads: PartitionHead[] = [];
  for (const [partition, { earliest, lastStable, highWatermark }] of await log.readOffsets(topic, deadlineMs)) {
    if (partition >= checkpoint.partitions) continue;
    const range = { topic, partition, fromOffset: earliest, untilOffset: lastStable, deadlineMs };
    let first: OrderPlaced | null = null;
    if (earliest > 0n) {
      for await (const [record] of log.readRecords({ ...range, isolation: 'read_committed' })) {
        first = readEvent(topic, partition, record!);
        break;
      }
    }
    heads.push({ partition, earliest, end: highWatermark, firstCommitLsn: first?.commitLsn ?? null });
  }
  return { oldestLsn: findOldestCovered(checkpoint, heads) };
}
