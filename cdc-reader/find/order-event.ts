// The record of an order in the live topic. Within a partition positions strictly increase (I4), and so, as far as clocks do, do
// the times of the commits: halving finds the place, whatever the topic's length. Guarantees: a bounded read; what Kafka has
// deleted is told from what was never there. What the carts and the orders database know is left to order-path.ts.
import type { LogRecord } from '#kafka/protocol/record.ts';
import type { KafkaLog, PartitionOffsets } from '#kafka/reading/log.ts';
import { findOffset } from '#kafka/reading/search.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPath } from '#schemas/order-path.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { orderPartition } from '#schemas/partition.ts';
import { comparePositions, formatPosition, type Position } from '#schemas/position.ts';
import { TRACEPARENT } from '#service/tracing/trace-context.ts';

/** How many records are read from the place on: a clock that is set back, or a long transaction, moves an order by as many. */
export const MOST_RECORDS = 20_000;
/** A transaction is shown whole up to this many orders. */
const MOST_ORDERS = 20;
/** How long Kafka may deliver nothing. */
const READ_DEADLINE_MS = 3_000;

export interface LiveTopic {
  readonly log: Pick<KafkaLog, 'readRecords' | 'readOffsets'>;
  readonly topic: string;
  /** How many partitions are in use, by the checkpoint; undefined: all. */
  readonly partitions: number | undefined;
}

export interface SoughtOrder {
  readonly orderId: string;
  readonly userId: string;
  /** By the ledger; null if it is not there. */
  readonly position: Position | null;
  /** Microseconds since 1970; the commit is not before it. */
  readonly placedAtMicros: bigint;
}

/** `forgotten`: the partition begins after the order, and may have had it. `given-up`: not within {@link MOST_RECORDS}. */
type FoundEvent =
  | { readonly kind: 'found'; readonly event: NonNullable<OrderPath['event']> }
  | { readonly kind: 'absent' | 'forgotten' | 'given-up' };

interface Decoded {
  readonly record: LogRecord;
  readonly event: OrderPlaced;
}

/** @throws Kafka's errors */
export async function findOrderEvent({ log, topic, partitions }: LiveTopic, sought: SoughtOrder): Promise<FoundEvent> {
  const offsets = await log.readOffsets(topic, READ_DEADLINE_MS);
  const partition = orderPartition(sought.userId, partitions ?? offsets.size);
  const range = rangeOf(topic, partition, offsets.get(partition)!);
  const { position, placedAtMicros, orderId } = sought;
  const isBefore = (event: OrderPlaced) =>
    position === null ? event.committedAt < placedAtMicros : comparePositions(event, position) < 0;
  const from = await findOffset(log, range, (record) => readVerdict(record, isBefore));
  let seen = 0;
  for await (const { record, event } of readEvents(log, { ...range, fromOffset: from })) {
    if (event.orderId === orderId) return { kind: 'found', event: formatEvent(topic, partition, record, event) };
    if (position !== null && comparePositions(event, position) > 0) break;
    seen += 1;
    if (seen >= MOST_RECORDS) return { kind: 'given-up' };
  }
  // Whatever precedes the order is still there: then it never was.
  return { kind: from > range.fromOffset || range.fromOffset === 0n ? 'absent' : 'forgotten' };
}

/** The orders of the transaction that committed at `commitLsn`; `next`: the position of the first one after it, if there is none. */
export async function findTransaction(
  { log, topic }: LiveTopic,
  commitLsn: Lsn,
): Promise<{ readonly orderIds: readonly string[]; readonly next: string | null; readonly isForgotten: boolean }> {
  const offsets = await log.readOffsets(topic, READ_DEADLINE_MS);
  const orders: { readonly id: string; readonly ordinal: number }[] = [];
  let next: Position | undefined;
  let isForgotten = false;
  for (const [partition, ends] of offsets) {
    const range = rangeOf(topic, partition, ends);
    const from = await findOffset(log, range, (record) => readVerdict(record, (event) => event.commitLsn < commitLsn));
    isForgotten ||= from === range.fromOffset && range.fromOffset > 0n;
    for await (const { event } of readEvents(log, { ...range, fromOffset: from })) {
      if (event.commitLsn !== commitLsn) {
        if (next === undefined || comparePositions(event, next) < 0) next = event;
        break;
      }
      orders.push({ id: event.orderId, ordinal: event.ordinal });
      if (orders.length >= MOST_ORDERS) break;
    }
  }
  const first = orders.toSorted((a, b) => a.ordinal - b.ordinal).slice(0, MOST_ORDERS);
  return { orderIds: first.map(({ id }) => id), next: next === undefined ? null : formatPosition(next), isForgotten };
}

function rangeOf(topic: string, partition: number, { earliest, lastStable }: PartitionOffsets) {
  return { topic, partition, fromOffset: earliest, untilOffset: lastStable, deadlineMs: READ_DEADLINE_MS };
}

async function* readEvents(log: LiveTopic['log'], range: ReturnType<typeof rangeOf>): AsyncGenerator<Decoded> {
  for await (const records of log.readRecords({ ...range, isolation: 'read_committed' })) {
    for (const record of records) {
      const event = decode(record);
      if (event !== undefined) yield { record, event };
    }
  }
}

function readVerdict(record: LogRecord, isBefore: (event: OrderPlaced) => boolean): boolean | undefined {
  const event = decode(record);
  return event && isBefore(event);
}

/** Undefined for what is no event of a known schema: its order, if it is one, is found by its parked record. */
function decode({ value }: LogRecord): OrderPlaced | undefined {
  try {
    return value === null ? undefined : decodeOrderPlaced(value);
  } catch {
    return undefined;
  }
}

function formatEvent(topic: string, partition: number, { offset, headers }: LogRecord, event: OrderPlaced) {
  return {
    topic,
    partition,
    offset: String(offset),
    position: formatPosition(event),
    committedAt: new Date(Number(event.committedAt / 1_000n)).toISOString(),
    traceparent: headers[TRACEPARENT]?.toString('latin1') ?? null,
  };
}
