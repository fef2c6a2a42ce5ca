// What the live topic holds, as a start needs it: the end of every partition with the position of its last event, and
// the ids of all orders in it after an interrupted first start. Reads only what is committed; judging it is
// continuity's.
import { decodeOrderPlaced } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { Position } from '#schemas/position.ts';
import type { KafkaLog, LogRecord } from '#service/kafka-log.ts';
import type { PartitionTail } from './continuity.ts';
import { LiveTopicChangedError } from './errors.ts';
import { OrderIndex } from './order-index.ts';

/** Of the last records, nearly always one is an event; control and aborted records in between are skipped. */
const FIRST_WINDOW = 64n;
const WINDOW_GROWTH = 32n;

function readEvent(topic: string, partition: number, { offset, value }: LogRecord): OrderPlaced {
  try {
    if (value === null) throw new Error('it has no value');
    return decodeOrderPlaced(value);
  } catch (cause) {
    const why = `${topic}[${partition}] holds a record that no reader wrote (${(cause as Error).message})`;
    throw new LiveTopicChangedError(why, { partition, offset });
  }
}

/** The ends of all partitions. `deadlineMs`: see KafkaLog. @throws LiveTopicChangedError for a foreign record */
export async function readPartitionTails(log: KafkaLog, topic: string, deadlineMs: number): Promise<PartitionTail[]> {
  const tails: PartitionTail[] = [];
  for (const [partition, { earliest, lastStable }] of await log.readOffsets(topic, deadlineMs)) {
    tails.push({
      partition,
      earliest,
      end: lastStable,
      newest: await readNewest(log, topic, partition, earliest, lastStable, deadlineMs),
    });
  }
  return tails;
}

async function readNewest(
  log: KafkaLog,
  topic: string,
  partition: number,
  earliest: bigint,
  end: bigint,
  deadlineMs: number,
): Promise<Position | null> {
  let untilOffset = end;
  for (let window = FIRST_WINDOW; untilOffset > earliest; window *= WINDOW_GROWTH) {
    const fromOffset = untilOffset - window > earliest ? untilOffset - window : earliest;
    const range = { topic, partition, fromOffset, untilOffset, isolation: 'read_committed', deadlineMs } as const;
    let newest: Position | null = null;
    for await (const records of log.readRecords(range)) newest = readEvent(topic, partition, records.at(-1)!);
    if (newest !== null) return newest;
    untilOffset = fromOffset;
  }
  return null;
}

/** The ids of all orders that the topic holds. @throws LiveTopicChangedError for a foreign record */
export async function readPublishedOrders(log: KafkaLog, topic: string, deadlineMs: number): Promise<OrderIndex> {
  const published = new OrderIndex();
  for (const [partition, { earliest, highWatermark }] of await log.readOffsets(topic, deadlineMs)) {
    const range = { topic, partition, fromOffset: earliest, untilOffset: highWatermark, deadlineMs };
    for await (const records of log.readRecords({ ...range, isolation: 'read_committed' })) {
      for (const record of records) published.add(readEvent(topic, partition, record).orderId);
    }
  }
  return published;
}
