// Reads every partition as Kafka and the carts database have it, and the events that a sink has not applied yet. Changes
// nothing. What to do about it is plan-sink.ts's.
import type { Queryable } from '@databases/pg';
import { TopicMissingError } from '#kafka/errors.ts';
import type { KafkaLog, LogRecord, PartitionOffsets } from '#kafka/reading/log.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { Database } from '#service/database.ts';
import { readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import { readSettled } from '../../../cart-sink/sql/applied-orders.ts';
import type { AdoptSinkConfig } from '../../config.ts';
import { ToolRefusal } from '../../run-tool.ts';
import { readStoredOffsets, type StoredOffsetRow } from '../../sql/consumer-offsets.ts';
import { findScanStart, planMove, type SinkMove, type SinkPartition } from './plan-sink.ts';
import { createPositionScan, type ScanResult } from './position-scan.ts';

const READ_DEADLINE_MS = 10_000;
/** How many offsets before the stored one are read: nearly always one of them holds an order. */
const READ_BACK = 200n;

export interface SinkFacts {
  readonly partitions: readonly SinkPartition[];
  readonly moves: readonly SinkMove[];
}

/** @throws ToolRefusal if the live topic does not exist */
export async function inspectSink(config: AdoptSinkConfig, carts: Database, log: KafkaLog): Promise<SinkFacts> {
  const { ordersTopic, replayTopic, consumerGroup } = config;
  const rows: StoredOffsetRow[] = await carts.pool.query(readStoredOffsets(consumerGroup, [ordersTopic, replayTopic]));
  const partitions: SinkPartition[] = [];
  const moves: SinkMove[] = [];
  for (const topic of [ordersTopic, replayTopic]) {
    const isLive = topic === ordersTopic;
    const offsets = await readOffsets(log, topic);
    if (offsets === null && isLive) {
      throw new ToolRefusal(
        `the live topic ${topic} does not exist: adopt the reader's halt first (npm run adopt -- reader)`,
      );
    }
    const topicId = offsets === null ? null : await log.readTopicId(topic);
    for (const row of rows.filter((one) => one.topic === topic)) {
      const range = offsets?.get(row.partition);
      if (range === undefined) continue; // Kafka assigns no sink a partition that does not exist
      const stored = { ...row, topicId, consumerGroup };
      const partition = await readPartition(carts.pool, log, stored, range, isLive);
      partitions.push(partition);
      const start = findScanStart(partition);
      const scan = isLive ? await scanPositions(carts.pool, log, partition, start, range.lastStable) : NOTHING_FOUND;
      const move = planMove(partition, start, scan);
      if (move !== null) moves.push(move);
    }
  }
  return { partitions, moves };
}

/** The replay topic is not scanned: its orders come in any sequence. */
const NOTHING_FOUND: ScanResult = { code: null, resumeOffset: null, lowestSkipped: null };

async function readOffsets(log: KafkaLog, topic: string): Promise<Map<number, PartitionOffsets> | null> {
  try {
    return await log.readOffsets(topic, READ_DEADLINE_MS);
  } catch (error) {
    if (error instanceof TopicMissingError) return null;
    throw error;
  }
}

async function readPartition(
  carts: Queryable,
  log: KafkaLog,
  row: StoredOffsetRow & { readonly topicId: string | null; readonly consumerGroup: string },
  { earliest, lastStable, highWatermark }: PartitionOffsets,
  isLive: boolean,
): Promise<SinkPartition> {
  const {
    consumerGroup,
    topic,
    partition,
    next_offset: storedOffset,
    last_timeline,
    last_commit_lsn,
    last_ordinal,
  } = row;
  const isKnown = last_timeline !== null && last_commit_lsn !== null && last_ordinal !== null;
  const untilOffset = storedOffset < lastStable ? storedOffset : lastStable;
  const fromOffset = untilOffset - READ_BACK > earliest ? untilOffset - READ_BACK : earliest;
  let last: { offset: bigint; event: OrderPlaced } | undefined;
  // Without a position nothing has to be applied: this command has moved the offset over orders before.
  if (isLive && storedOffset > 0n && isKnown) {
    for await (const events of readEvents(log, { topic, partition, fromOffset, untilOffset })) {
      last = events.at(-1) ?? last;
    }
  }
  const lastPlace = last && { consumerGroup, topic, partition, offset: last.offset, orderId: last.event.orderId };
  return {
    topic,
    isLive,
    partition,
    ownerEpoch: row.owner_epoch,
    storedOffset,
    applied: {
      position: isKnown
        ? { timeline: last_timeline, commitLsn: parseLsn(last_commit_lsn), ordinal: last_ordinal }
        : null,
      generation: row.generation,
    },
    earliest,
    highWatermark,
    storedTopicId: row.topic_id,
    topicId: row.topicId,
    isLastApplied: lastPlace === undefined ? null : (await carts.query(readSettled(lastPlace)))[0].is_settled,
  };
}

async function scanPositions(
  carts: Queryable,
  log: KafkaLog,
  { topic, partition }: SinkPartition,
  start: ReturnType<typeof findScanStart>,
  untilOffset: bigint,
): Promise<ScanResult> {
  const scan = createPositionScan(start.before);
  for await (const events of readEvents(log, { topic, partition, fromOffset: start.fromOffset, untilOffset })) {
    const orderIds = events.map(({ event }) => event.orderId);
    const unknown = await readUnknownOrders(carts, orderIds);
    for (const { offset, event } of events) scan.add({ offset, event, isApplied: !unknown.has(event.orderId) });
  }
  return scan.result();
}

/** Committed events; a record that can't be decoded is left to the sink, which parks it or halts. */
async function* readEvents(
  log: KafkaLog,
  range: { topic: string; partition: number; fromOffset: bigint; untilOffset: bigint },
): AsyncGenerator<{ offset: bigint; event: OrderPlaced }[], void, undefined> {
  const read = { ...range, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS } as const;
  for await (const records of log.readRecords(read)) {
    yield records.flatMap((record) => {
      const event = decode(record);
      return event === undefined ? [] : [{ offset: record.offset, event }];
    });
  }
}

function decode({ value }: LogRecord): OrderPlaced | undefined {
  try {
    return value === null ? undefined : decodeOrderPlaced(value);
  } catch {
    return undefined;
  }
}
