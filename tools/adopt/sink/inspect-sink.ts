// Looks at every partition as Kafka and the carts database have it, and reads what a sink has still to apply. Changes
// nothing. What it means is plan-sink.ts's.
import type { Transaction } from '@databases/pg';
import { TopicMissingError } from '#kafka/errors.ts';
import type { KafkaLog, LogRecord, PartitionOffsets } from '#kafka/reading/log.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { parseLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { Database } from '#service/database.ts';
import { readAppliedOrders } from '../../captured/sql/read-applied-orders.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { AdoptSinkConfig } from '../config.ts';
import { readStoredOffsets, type StoredOffsetRow } from '../sql/read-stored-offsets.ts';
import { findScanStart, planMove, type SinkMove, type SinkPartition } from './plan-sink.ts';
import { createPositionScan, type ScanResult } from './position-scan.ts';

const READ_DEADLINE_MS = 10_000;
/** Of the records before the stored offset, nearly always one of these is an order. */
const LOOK_BACK = 200n;

export interface SinkLook {
  readonly partitions: readonly SinkPartition[];
  readonly moves: readonly SinkMove[];
}

type Query = Pick<Transaction, 'query'>;

/** @throws ToolRefusal when the live topic does not exist */
export async function inspectSink(config: AdoptSinkConfig, carts: Database, log: KafkaLog): Promise<SinkLook> {
  const { ordersTopic, replayTopic, consumerGroup } = config;
  const rows: StoredOffsetRow[] = await carts.pool.query(readStoredOffsets(consumerGroup, [ordersTopic, replayTopic]));
  const partitions: SinkPartition[] = [];
  const moves: SinkMove[] = [];
  for (const topic of [ordersTopic, replayTopic]) {
    const isLive = topic === ordersTopic;
    const offsets = await readOffsets(log, topic);
    if (offsets === null && isLive) {
      throw new ToolRefusal(
        `the live topic ${topic} does not exist: the reader's side comes first (npm run adopt -- reader)`,
      );
    }
    for (const row of rows.filter((one) => one.topic === topic)) {
      const range = offsets?.get(row.partition);
      if (range === undefined) continue; // no sink is given a partition that Kafka does not have
      const partition = await readPartition(carts.pool, log, row, range, isLive);
      partitions.push(partition);
      const start = findScanStart(partition);
      const scan = isLive ? await scanPositions(carts.pool, log, partition, start, range.lastStable) : NOTHING_FOUND;
      const move = planMove(partition, start, scan);
      if (move !== null) moves.push(move);
    }
  }
  return { partitions, moves };
}

/** Replayed orders come in any sequence. */
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
  carts: Query,
  log: KafkaLog,
  row: StoredOffsetRow,
  { earliest, lastStable, highWatermark }: PartitionOffsets,
  isLive: boolean,
): Promise<SinkPartition> {
  const { topic, partition, next_offset: storedOffset, last_timeline, last_commit_lsn, last_ordinal } = row;
  const isKnown = last_timeline !== null && last_commit_lsn !== null && last_ordinal !== null;
  const untilOffset = storedOffset < lastStable ? storedOffset : lastStable;
  const fromOffset = untilOffset - LOOK_BACK > earliest ? untilOffset - LOOK_BACK : earliest;
  let last: OrderPlaced | undefined;
  if (isLive && storedOffset > 0n) {
    for await (const events of readEvents(log, { topic, partition, fromOffset, untilOffset })) {
      last = events.at(-1)?.event ?? last;
    }
  }
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
    isLastApplied: last === undefined ? null : (await findApplied(carts, [last])).has(last.orderId),
  };
}

async function scanPositions(
  carts: Query,
  log: KafkaLog,
  { topic, partition }: SinkPartition,
  start: ReturnType<typeof findScanStart>,
  untilOffset: bigint,
): Promise<ScanResult> {
  const scan = createPositionScan(start.before);
  for await (const events of readEvents(log, { topic, partition, fromOffset: start.fromOffset, untilOffset })) {
    const applied = await findApplied(
      carts,
      events.map(({ event }) => event),
    );
    for (const { offset, event } of events) scan.add({ offset, event, isApplied: applied.has(event.orderId) });
  }
  return scan.result();
}

async function findApplied(carts: Query, orders: readonly OrderPlaced[]): Promise<Set<string>> {
  if (orders.length === 0) return new Set();
  const rows: { order_id: string }[] = await carts.query(readAppliedOrders(orders.map(({ orderId }) => orderId)));
  return new Set(rows.map((row) => row.order_id));
}

/** Committed events; what can't be decoded is the sink's to park, or to halt for. */
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
